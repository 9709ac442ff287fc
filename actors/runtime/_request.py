"""The request that an ask puts into a mailbox, and the caller's wait for its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import trio

from actors.loop.wakeup import Wakeup

if TYPE_CHECKING:
    import outcome


class Keeper(Protocol):
    """The holder of a request that is not being handled now: the mailbox, or the actor's stash and deferred asks."""

    def give_up(self, request: PendingAsk) -> None:
        """Drop the request, because its caller gave up."""
        ...


class AskEnd:
    """The tasks that wait until an ask is answered or given up, and the work that ends with the ask.

    The object is made when it is first needed, because most asks need none.
    """

    __slots__ = ("_changed", "scopes")

    def __init__(self) -> None:
        self._changed = Wakeup()
        self.scopes: list[trio.CancelScope] = []
        """Cancel scopes around the work that ends with the ask."""

    async def wait(self) -> None:
        """Wait until the next :meth:`on_ended`, or the next change that a subclass has. Safe to cancel."""
        await self._changed.wait()

    def on_ended(self) -> None:
        """Wake all waiting tasks, and cancel the work, because the ask is answered or given up."""
        self._changed.wake()
        for scope in self.scopes:
            scope.cancel()


class PendingAsk:
    """The message of an ask, and the caller's wait for the answer.

    A request is answered, failed or abandoned. Only the first of these three events counts. This class does not use
    ``OneShot`` (a result that one task sets once). A ``OneShot`` would add an event and two objects to every ask, and
    could not cancel the work for an abandoned ask.
    """

    __slots__ = ("caller", "done", "end", "is_passed_on", "keeper", "kept", "message", "result", "scope", "task")

    def __init__(self, message: object, keeper: Keeper | None = None) -> None:
        self.message = message
        self.done = False
        self.keeper = keeper
        """Object that drops the request when its caller gives up; None while the message is being handled."""
        self.kept = False
        """Whether the answer comes after ``receive`` has returned, because the request was stashed or deferred."""
        self.is_passed_on = False
        """Whether an actor passes the request on at the moment, and perhaps waits for room in the other mailbox."""
        self.result: outcome.Outcome[Any] | None = None
        self.scope: trio.CancelScope | None = None
        """Cancel scope around the ``receive`` call that handles the message; None at any other time."""
        self.task: trio.lowlevel.Task | None = None
        """Task that waits for the answer."""
        self.end: AskEnd | None = None
        """The tasks that wait for the end of this ask, and its parts if the caller takes it in parts."""
        self.caller: trio.lowlevel.Task | None = None
        """Task that takes the parts of the reply; None for an ask with one reply, which has ``task``."""

    def settle(self, result: outcome.Outcome[Any]) -> bool:
        """Set the answer, and wake the caller.

        Return False if there was an answer before, or the caller no longer waits.
        """
        if self.done:
            return False
        self.done = True
        self.result = result
        if self.task is not None:
            trio.lowlevel.reschedule(self.task)
            self.task = None
        if self.end is not None:
            self.end.on_ended()
        return True

    def abandon(self) -> None:
        """Give up the request, because its caller no longer waits.

        Cancel the work for the request, or drop the request from a queue.
        """
        if not self.done:
            self.done = True
            if self.scope is not None:
                self.scope.cancel()
            if self.keeper is not None and not self.is_passed_on:
                self.keeper.give_up(self)
            if self.end is not None:
                self.end.on_ended()

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller gave up before there was an answer."""
        return self.done and self.result is None

    async def ended(self) -> None:
        """Wait until the request is answered, failed or abandoned. Safe to cancel."""
        if self.done:
            await trio.lowlevel.checkpoint()
            return
        if self.end is None:
            self.end = AskEnd()
        while not self.done:
            await self.end.wait()

    async def wait(self) -> object:
        """Wait for the answer, and return it. If the answer is an error, raise it.

        If the wait is cancelled, the request is abandoned, and the work for it is cancelled.
        """
        if self.result is None:
            self.task = trio.lowlevel.current_task()
            try:
                await trio.lowlevel.wait_task_rescheduled(self._abort)
            finally:
                # Where the stack ended before the task waited, it must not be woken for this any more. This calls
                # nothing, since a call would fail for the same reason.
                self.task = None
        assert self.result is not None  # noqa: S101  -- only settle() reschedules the task
        return self.result.unwrap()

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self.task = None
        self.abandon()
        return trio.lowlevel.Abort.SUCCEEDED
