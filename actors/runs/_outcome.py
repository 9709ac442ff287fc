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
    """The ``code`` and ``message`` of the error; None if the status is ``ok``."""

    @classmethod
    def failed(cls, error: BaseException) -> Outcome:
        """Return the outcome for an exception. The error code is the name of its class; the message is its text."""
        # A nursery wraps the exception of its only failing child: the author wants to see the exception inside.
        while len(inner := members(error)) == 1:
            error = inner[0]
        return cls(Status.ERROR, error={"code": class_name(error), "message": message_of(error)})

    @classmethod
    def stopped(cls, status: Status, message: str) -> Outcome:
        """Return the outcome of a run or call that was stopped. The error code is the same as the status."""
        return cls(status, error={"code": status.value, "message": message})
