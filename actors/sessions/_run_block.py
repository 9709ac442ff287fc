"""Runs of which the code is a block of the application: ``async with handle.run("import", rows) as run``.

A task of the session, the companion, holds the run open while the block is executed in a task of the application. So
the run has its place in the user's queue, its time limit and its end like any other run.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import trio

from actors.errors import RunCancelled, UnserialisableEvent
from actors.events.types import Status
from actors.failures import log_line
from actors.loop.one_shot import OneShot
from actors.runs._agents import Agent
from actors.runs._context import RUN_CONTEXT
from actors.runs._outcome import Outcome
from actors.runs._raised import CodeEnded, only_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from actors.events.redaction import Redact
    from actors.events.types import JSON
    from actors.runs._run import Run

NEVER_BEGUN = "the block was cancelled before it began"

logger = logging.getLogger("greenroom.sessions")


@attrs.define(eq=False)
class Companion:
    """The session's side of a run block: the function of its agent, which ends when the block has ended."""

    _cancel: Callable[[], object]
    """Function that cancels the block. It must not wait."""
    _abandon_seconds: float
    """Time in which the block must end after its cancellation."""
    opened: OneShot[Run] = attrs.field(factory=OneShot["Run"])
    """The run, once it is open."""
    _over: trio.Event = attrs.field(factory=trio.Event)
    _outcome: Outcome | None = None

    def finish(self, outcome: Outcome | None) -> None:
        """End the run, because the block has ended: with ``outcome``, or with the run's result if it is None.

        A run that opens later ends at once.
        """
        if not self._over.is_set():
            self._outcome = outcome
            self._over.set()

    async def __call__(self, run: Run, _: object) -> object:
        """Wait until the block has ended, and return the run's result. Raise CodeEnded for another outcome.

        Cancellation: the block is cancelled. A block that has not ended after the time for it is logged and left.
        """
        self.opened.set(run)
        try:
            await self._over.wait()
        except trio.Cancelled:
            self._cancel()
            with trio.move_on_after(self._abandon_seconds, shield=True):
                await self._over.wait()
            if not self._over.is_set():
                text = "the block of run %s (%s) has not ended %g s after its cancellation, and is left behind"
                fields = {"user": run.user, "session": run.session, "run": run.id}
                log_line(logger, logging.ERROR, text, run.id, run.agent, self._abandon_seconds, fields=fields)
                raise
            if self._outcome is not None and self._outcome.status is not Status.ERROR:
                raise
        if self._outcome is not None:
            raise CodeEnded(self._outcome)
        return run.result


@attrs.frozen
class BlockAgent(Agent):
    """The agent of a run block. Its name need not be registered, and any JSON value is an input."""

    def fit(self, value: JSON, redact: Redact | None = None) -> object:
        """Return the input as it is."""
        del redact
        return value

    def __call__(self, run: object, value: object) -> Awaitable[object]:
        """Return an awaitable that waits in the session's task until the block has ended."""
        return self.function(run, value)


class RunBlock:
    """An async context manager that opens a run on entry and closes it on exit. It can be entered only once.

    :meth:`SessionHandle.run` makes this object.
    """

    __slots__ = ("_before", "_begin", "_companion", "_outer", "_run", "_scope")

    _run: Run

    def __init__(self, begin: Callable[[Companion], Awaitable[Run]]) -> None:
        self._begin = begin
        self._scope = trio.CancelScope()
        self._companion = Companion(self._scope.cancel, float("inf"))
        self._outer: Any = None
        self._before: object = None

    async def __aenter__(self) -> Run:
        try:
            self._run = run = await self._begin(self._companion)
        except BaseException:
            self._companion.finish(Outcome.stopped(Status.CANCELLED, NEVER_BEGUN))
            raise
        self._outer = RUN_CONTEXT.get()
        RUN_CONTEXT.set(run.context)
        if run.span is not None:
            self._before = run.span.enter()
        self._scope.__enter__()
        return run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        run = self._run
        if RUN_CONTEXT.get() is run.context:
            RUN_CONTEXT.set(self._outer)
        if run.span is not None:
            run.span.leave(self._before)
        unfit = finish_block(self._companion, run, error, cancelled=error is not None and only_cancelled(error))
        with trio.CancelScope(shield=True) as closing:
            if not run.closed:
                run.waits.add(closing)  # the end of the run cancels it
                await trio.sleep_forever()
        # Without an error it returns True as well.
        if self._scope.__exit__(kind, error, traceback) and error is not None:
            raise_cancelled(run)
        if unfit is not None:
            raise unfit
        if error is None and run.outcome is not None and run.outcome.status is not Status.OK:
            raise_cancelled(run)
        return False


def finish_block(
    companion: Companion, run: Run, error: BaseException | None, *, cancelled: bool, status: Status = Status.CANCELLED
) -> Exception | None:
    """End the run of a block that ended with ``error``.

    Return the error of a result that is not JSON or too large: such a run ends as ``error``.
    """
    if cancelled:
        companion.finish(Outcome.stopped(status, "the task of the block was cancelled"))
    elif error is not None:
        companion.finish(Outcome.failed(error))
    else:
        try:
            run.require_result()
        except (UnserialisableEvent, RecursionError) as unfit:
            companion.finish(Outcome.failed(unfit))
            return unfit
        companion.finish(None)
    return None


def raise_cancelled(run: Run) -> NoReturn:
    """Raise RunCancelled for the block of a run that was stopped."""
    status = Status.CANCELLED if run.outcome is None else run.outcome.status
    raise RunCancelled(run.id, run.agent, status.value) from None
