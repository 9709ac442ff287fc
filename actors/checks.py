"""Checks of values that users pass in. Each error names the field and shows the value. Pure.

A wrong value of the actor runtime raises :class:`~actors.SpecError`, a wrong setting :class:`~actors.ConfigError`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

from actors.errors import ConfigError, SpecError
from actors.failures import shown

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable

    import attrs

    Validator = Callable[[Any, attrs.Attribute[Any], Any], None]

LARGEST = 2**1023
"""The largest integer that is accepted where a float is needed. Twice this number does not fit a float."""


def is_number(value: object) -> TypeGuard[float]:
    """Return whether ``value`` is a number that fits a float. Infinity is a number here; NaN and ``True`` are not."""
    if isinstance(value, float):
        return not math.isnan(value)
    return is_whole(value) and abs(value) <= LARGEST


def is_whole(value: object, lowest: float = -math.inf, highest: float = math.inf) -> TypeGuard[int]:
    """Return whether ``value`` is an integer from ``lowest`` to ``highest``. ``True`` is not an integer here."""
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


# Specs of the runtime


def check_kind(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise SpecError unless ``value`` is an instance of ``kind``.

    ``expected`` is the text that describes ``kind`` in the error message.
    """
    if not isinstance(value, kind):
        raise SpecError(f"{name} must be {expected}, not {shown(value)}")


def check_seconds(value: object, name: str = "the time") -> None:
    """Raise SpecError unless ``value`` is a number of seconds, 0 or more. ``math.inf`` stands for no limit."""
    if not is_number(value) or value < 0:
        raise SpecError(f"{name} must be a number of seconds, 0 or more, not {shown(value)}")


def check_count(value: object, lowest: int, name: str) -> None:
    """Raise SpecError unless ``value`` is an integer of at least ``lowest``."""
    if not is_whole(value, lowest):
        raise SpecError(f"{name} must be a whole number, {lowest} or more, not {shown(value)}")


def one_of(kind: type[enum.StrEnum]) -> Validator:
    """Return a validator that raises SpecError unless the value is a member of the enumeration ``kind``."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind):
            raise SpecError(f"{field.name} must be one of {', '.join(kind)}, not {shown(value)}")

    return check


def count(lowest: int, *, optional: bool = False) -> Validator:
    """Return a validator of a field. It raises SpecError unless the field's value is an integer of at least ``lowest``.

    If ``optional`` is true, the validator also accepts None.
    """

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not (optional and value is None):
            check_count(value, lowest, field.name)

    return check


# Settings


def number_from(lowest: float, highest: float = math.inf) -> Validator:
    """Return a validator that raises ConfigError unless the value is a number from ``lowest`` to ``highest``."""
    bounds = f"of at least {lowest:g}" if highest == math.inf else f"from {lowest:g} to {highest:.15g}"

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not is_number(value) or not lowest <= value <= highest:
            raise ConfigError(f"{field.name} must be a number {bounds}, not {shown(value)}")

    return check


def whole_from(lowest: int) -> Validator:
    """Return a validator that raises ConfigError unless the value is an integer of at least ``lowest``."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not is_whole(value, lowest):
            raise ConfigError(f"{field.name} must be a whole number of at least {lowest}, not {shown(value)}")

    return check
