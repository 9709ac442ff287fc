"""A tool call that a framework reports in two steps: the call has started, and later it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from actors.errors import RunClosed
from actors.events.types import Status
from actors.runs._outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors.runs._protocols import Caller
    from actors.runs._tools import ToolCall


class OpenCall:
    """A tool call that has started. Your code reports its end. :meth:`Run.call_started` makes this object.

    Report the end by :meth:`completed` or :meth:`failed`, exactly once. If the run ends before, the call is closed with
    the run, as ``cancelled``.

    ``await`` the object, also as ``await call.completed(…)``, to wait while too many events of the session are not yet
    stored. Code that cannot await need not do so.
    """

    __slots__ = ("_call", "_ended", "_run")

    def __init__(self, run: Caller, call: ToolCall) -> None:
        self._run = run
        self._call = call
        self._ended = False
        call.open()

    @property
    def id(self) -> str:
        """Id of the call. By the id, several calls of the same tool can be told apart."""
        return self._call.id

    @property
    def name(self) -> str:
        """Name of the tool."""
        return self._call.name

    def completed(self, result: object = None) -> Self:
        """Report that the tool has returned ``result``. Emit ``tool_completed`` with the status ``ok``. Never wait.

        Raises:
            UnserialisableEvent: ``result`` is not JSON or too large. The call was closed as ``error``.
            RunClosed: The run has ended, and has closed this call.
            RuntimeError: The end of the call was reported before.
        """
        return self._close(Outcome(Status.OK, result))

    def failed(self, error: BaseException | str) -> Self:
        """Report that the tool has failed. Emit ``tool_completed`` with the status ``error``. Never wait.

        Args:
            error: The exception that the tool raised, or a text with the fault. An exception by which the
                event loop cancels a task ends the call as ``cancelled``.

        Raises:
            RunClosed: The run has ended, and has closed this call.
            RuntimeError: The end of the call was reported before.
        """
        if isinstance(error, BaseException):
            return self._close(self._call.outcome_of(error))
        return self._close(Outcome(Status.ERROR, error={"code": "error", "message": str(error)}))

    def _close(self, outcome: Outcome) -> Self:
        return self._run.in_loop("completed() or failed()", self._close_now, outcome)

    def _close_now(self, outcome: Outcome) -> Self:
        if self._ended:
            raise RuntimeError(f"the end of call {self.id} of {self.name} was reported already")
        if self._run.closed:
            raise RunClosed(f"run {self._run.id} of {self._run.agent} is over, and its call {self.id} is closed")
        self._ended = True
        self._call.close(outcome)
        return self

    def __await__(self) -> Generator[Any, Any, Self]:
        yield from self._run.pause().__await__()
        return self
