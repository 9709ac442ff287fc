"""How something that was opened ended, as data (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.failures import class_name, members, message_of

if TYPE_CHECKING:
    from actors.events.types import JSON


@attrs.frozen
class Outcome:
    """A ``status`` (ok, error, timeout, cancelled, interrupted) with a result or an error, as in the protocol."""

    status: str
    result: object = None
    error: dict[str, JSON] | None = None


def failed(error: BaseException) -> Outcome:
    """Make the outcome of an exception: its class name as code, its text as message."""
    leaf = _leaf(error)
    return Outcome("error", error={"code": class_name(leaf), "message": message_of(leaf)})


def ended(status: str, message: str) -> Outcome:
    """Make the outcome of something that did not end by itself: the status is the code as well."""
    return Outcome(status, error={"code": status, "message": message})


def _leaf(error: BaseException) -> BaseException:
    """Find the one exception in a group of one: a nursery wraps what its only failing child raised."""
    while len(inner := members(error)) == 1:
        error = inner[0]
    return error
