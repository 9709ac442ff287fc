"""The waits for one actor's start and for its end, and the checks that no actor waits for itself."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic

import outcome
import trio

from actors.loop.wakeup import Wakeup
from actors.runtime._control import Control, LifeT
from actors.runtime._home import Home
from actors.runtime._lifecycle import HALT, KILL, ExitReason, State, Stop
from actors.runtime.topics._supervision import ChildRestarted, ChildStarted

if TYPE_CHECKING:
    from collections.abc import Iterable


class Waits(Control[LifeT], Generic[LifeT]):
    """The tasks that wait for one actor: one for its start, any number for its end, one for its halt.

    A halt is the stop before the restart of a group of children.
    """

    __slots__ = ("_ended", "_halted", "_starter")

    # Set by the constructor of ``Cell``.
    _starter: trio.lowlevel.Task | None
    """Task that waits until the actor is up; None if no task waits for that."""
    _ended: Wakeup | None
    """Tasks that wait until the actor has ended permanently."""
    _halted: trio.Event | None
    """Event that wakes the task of a group restart when the actor has stopped; None if no task waits for that."""

    # The start

    async def start(self) -> None:
        """Wait until ``started()`` has returned. If the start failed, raise its exception.

        If this is cancelled, the actor is killed, and has ended when Cancelled is raised.
        """
        try:
            await self._wait_until_up()
        except trio.Cancelled:
            self.stop_soon(KILL, 0.0)
            with trio.CancelScope(shield=True):
                await self.gone()
            raise

    async def begin_again(self) -> None:
        """Start the actor again, after a group restart has stopped it.

        Return when the actor is up, or raise the exception of its start.

        If this is cancelled, the start continues.
        """
        do = self.resume()
        if do:
            self._act(do)
            await self._wait_until_up()

    async def _wait_until_up(self) -> None:
        """Wait until :meth:`_notify_starter` is called. If that call passes an error, raise the error.

        Safe to cancel.
        """

        def abort(_: object) -> trio.lowlevel.Abort:
            self._starter = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._starter = task = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(abort)
        except BaseException:
            if self._starter is task:  # the stack ended before the task waited: it must not be woken for this any more
                self._starter = None
            raise

    def on_up(self) -> None:
        """Record that ``started()`` has returned. Notify the parent, and the task that waits for the start."""
        self.came_up()
        if self.parent is not None:
            self.parent.on_up(self)
        if self._starter is not None:
            self._notify_starter(outcome.Value(None))
        if self.system.supervision.exists:
            kind = ChildRestarted if self.restarts else ChildStarted
            self.system.events.deliver(kind(self.path, self.restarts + 1))

    def _notify_starter(self, result: outcome.Outcome[None]) -> None:
        """Wake the task that waits for the start, if there is one."""
        if self._starter is not None:
            trio.lowlevel.reschedule(self._starter, result)
            self._starter = None

    # The end

    async def stop(self, stop: Stop, seconds: float) -> ExitReason:
        """Stop the actor, wait until nothing of the actor is left, and return the exit reason.

        If this is cancelled, the stop continues.
        """
        self.stop_soon(stop, seconds)
        return await self.gone()

    async def gone(self) -> ExitReason:
        """Wait until the actor has ended permanently, and return the reason. Safe to cancel."""
        if self.reason is not None:
            await trio.lowlevel.checkpoint()
            return self.reason
        ended = self._ended = Wakeup() if self._ended is None else self._ended
        await ended.wait()
        assert self.reason is not None  # noqa: S101  -- it is woken at the end only
        return self.reason

    async def halt(self, seconds: float) -> None:
        """Stop the actor for the restart of its group. Return when the actor has stopped, perhaps permanently."""
        if self.reason is not None or (self.held and self.state is State.RESTARTING):
            return
        self._halted = halted = trio.Event()
        self.stop_soon(HALT, seconds)
        await halted.wait()

    def _notify_halted(self) -> None:
        """Wake the task of a group restart that waits for the stop of this actor, if there is one."""
        halted, self._halted = self._halted, None
        if halted is not None:
            halted.set()

    def _notify_ended(self) -> None:
        """Wake all tasks that wait for the end of the actor."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended.wake()

    # Waits that would never end

    def check_not_own_end(self) -> None:
        """Raise RuntimeError if this actor or an actor below it makes the call: the caller would wait for its own end.

        Raises RuntimeError outside the trio run of the system too.
        """
        if get_ident() != self.system.home.thread:
            raise Home.elsewhere()
        task = trio.lowlevel.current_task()
        if self.task is task:
            raise RuntimeError(f"{self.path} waits for its own end; use context.stop()")
        for below in self._descendants():
            if below.task is task:
                raise RuntimeError(
                    f"{below.path} waits for the end of {self.path}, which waits for that of {below.path}"
                )

    def _descendants(self) -> Iterable[Control[Any]]:
        life = self.life
        return () if life is None or life.children is None else life.children.descendants()

    def check_may_be_asked(self) -> None:
        """Raise RuntimeError if the caller of an ask would wait for itself.

        It would if this actor asks itself, or if this actor waits for the start of the asking actor.
        """
        if self.task is trio.lowlevel.current_task():
            raise RuntimeError(f"{self.path} asks itself: it would wait for ever")
        # Only an actor with children can be waiting for the start of a child.
        if self.life is not None and self.life.children is not None:
            self.check_not_awaited()

    def check_not_awaited(self) -> None:
        """Raise RuntimeError if this actor waits, directly or through others, for the start of the calling actor.

        Such a call would be a deadlock.

        The calling task is recognised because the tasks of children run in a nursery of their parent's task, under the
        names of the children.
        """
        tasks: list[trio.lowlevel.Task] = []
        # Upwards from the current task to this actor's task, then downwards: each actor on the way must be starting.
        task = trio.lowlevel.current_task()
        while task is not self.task:
            tasks.append(task)
            if task.parent_nursery is None:
                return
            task = task.parent_nursery.parent_task
        starting: Waits[Any] | None = self
        for below in reversed(tasks):
            starting = starting._started_in(below) if starting is not None else None  # noqa: SLF001  -- of this class
        if tasks and starting is not None:
            raise RuntimeError(f"{self.path} waits until {starting.path} has started, which waits for {self.path}")

    def _started_in(self, task: trio.lowlevel.Task) -> Waits[Any] | None:
        """Return the child that runs in ``task``, if this actor's own task waits for that child's start; else None."""
        life = self.life
        child = None if life is None or life.children is None else life.children.find(task.name)
        if not isinstance(child, Waits) or child.task is not task or self.task is None:
            return None
        waiting: Waits[Any] = child
        return waiting if waiting._starter is self.task else None

    def tells_itself(self) -> bool:
        """Return True only if the caller is a task of this actor and other code has asked this actor to stop.

        The actor's tasks are its own task and the tasks of its nursery. Stops from other code can come at any time. An
        actor that called ``context.stop()`` itself knows that its mailbox accepts no messages.
        """
        if self.stop_asked is None or self.stop_asked.own:
            return False
        task = trio.lowlevel.current_task()
        if task is self.task:
            return True
        own = None if self.life is None else self.life.nursery
        nursery = None if own is None else task.parent_nursery
        while nursery is not None and nursery is not own:
            nursery = nursery.parent_task.parent_nursery
        return nursery is not None
