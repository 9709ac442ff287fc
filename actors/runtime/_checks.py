"""Checks of values that users give: each raises SpecError with the name of the field. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

from actors.errors import SpecError
from actors.failures import shown

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable

    import attrs


def check_kind(name: str, value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Raise SpecError for a value that is not of that class."""
    if not isinstance(value, kind):
        raise SpecError(f"{name} must be {what}, not {shown(value)}")


LARGEST = 2**1023
"""A whole number beyond it is no float."""


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number that fits a float, infinity included: no bool, no NaN."""
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def check_seconds(value: object, name: str = "the time") -> None:
    """Raise SpecError for what is no time to wait: 0 seconds or more, ``math.inf`` for no limit."""
    if not is_number(value) or value < 0:
        raise SpecError(f"{name} must be a number of seconds, 0 or more, not {shown(value)}")


def check_count(value: object, least: int, name: str) -> None:
    """Raise SpecError for what is no whole number of at least that."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"{name} must be a whole number, {least} or more, not {shown(value)}")


def one_of(kind: type[enum.StrEnum]) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Return a validator for the members of an enumeration."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind):
            raise SpecError(f"{field.name} must be one of {', '.join(kind)}, not {shown(value)}")

    return check


def count(least: int, *, optional: bool = False) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Return a validator for whole numbers of at least that; None passes if it is ``optional``."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not (optional and value is None):
            check_count(value, least, field.name)

    return check
