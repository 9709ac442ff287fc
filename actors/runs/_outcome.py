"""Outcomes: how a run or a tool call ended, as data. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.events.types import Status
from actors.failures import class_name, members, message_of

if TYPE_CHECKING:
    from actors.events.types import JSON


@attrs.frozen
class Outcome:
    """The end of a run or a tool call: a status with a result or an error."""

    status: Status
    result: object = None
    error: dict[str, JSON] | None = None
    """``code`` and ``message``; None where the status is ``ok``."""

    @classmethod
    def failed(cls, error: BaseException) -> Outcome:
        """Return the outcome of an exception: its class name is the code, its text the message."""
        # A nursery wraps the exception of its only failing child: the author wants to see that one.
        while len(inner := members(error)) == 1:
            error = inner[0]
        return cls(Status.ERROR, error={"code": class_name(error), "message": message_of(error)})

    @classmethod
    def stopped(cls, status: Status, message: str) -> Outcome:
        """Return the outcome of a run or call that did not end by itself. The status is the code too."""
        return cls(status, error={"code": status.value, "message": message})
