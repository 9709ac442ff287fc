"""Outcomes: how a run or a tool call ended, as data. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.events._validation import client_text
from actors.events.types import Status
from actors.failures import class_name, members
from actors.frozen import frozen_unchecked
from actors.runs._wrong_library import hint_for

if TYPE_CHECKING:
    from actors.events.types import JSON


@frozen_unchecked
class Outcome:
    """The way in which a run or a tool call ended: a status, with a result or an error."""

    status: Status
    result: object = None
    error: dict[str, JSON] | None = None
    """The ``code`` and ``message`` of the error. None if the status is ``ok``."""

    @classmethod
    def failed(cls, error: BaseException) -> Outcome:
        """Return the outcome of a run or tool call that raised ``error``.

        The error code is the name of the exception's class. The message is the text of the exception. If the agent has
        awaited a function of the wrong library, asyncio or trio, the message also says what to do.
        """
        # A nursery wraps the exception of its only failing child: the author wants to see the exception inside.
        while len(inner := members(error)) == 1:
            error = inner[0]
        text, hint = client_text(error), hint_for(error)
        return cls(Status.ERROR, error={"code": class_name(error), "message": f"{text} ({hint})" if hint else text})

    @classmethod
    def stopped(cls, status: Status, message: str) -> Outcome:
        """Return the outcome of a run or tool call that was stopped. ``status`` is also used as the error code."""
        return cls(status, error={"code": status.value, "message": message})
