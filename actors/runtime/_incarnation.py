"""One incarnation of an actor: its life between two restarts, until all its tasks and children have ended.

The class is put together from base classes, which saves an object or two for each actor: ``Nurseries`` (the cancel
scope and the nurseries; its module has a picture), ``MessageLoop`` (messages, and the control lane: stops, kills and
timers), ``Incarnation`` (the order of its start and end).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from actors.failures import without
from actors.loop.trio_internals import (
    LEFT_OPEN,
    cancel_with_force,
    close_around,
    close_nursery,
    is_cancelled,
)
from actors.runtime._deadlines import GRACE
from actors.runtime._frames import let_go_of_frames
from actors.runtime._instance import LIFE, Instance, make_instance
from actors.runtime._lifecycle import KILLED, ExitReason, Failure, Killed, is_graceful
from actors.runtime._messages import MessageLoop, is_overridden
from actors.runtime._occupation import NO_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.runtime._body import Body
    from actors.runtime._waits import Waits


class Incarnation(MessageLoop):
    """One life of an actor between two restarts. The actor's Cell makes it, runs it, and asks it to end."""

    __slots__ = ("stopping_begun", "up_since")

    is_restarted: ClassVar[bool] = False
    """Whether another incarnation was before this one."""

    def __init__(self, cell: Waits[Any]) -> None:
        # One constructor for all base classes.
        self.cell = cell
        self.nursery = self.children = self.child_nursery = self.scope = None
        self.over = self.is_leaving = False
        self.actor = self.timers = self.asks = self.watching = None
        self.current = self._notice = NO_MESSAGE
        self._attention = False
        self._handled_at_tick = -1
        self.leases = 0
        self.up_since = math.inf
        """Time at which the actor's ``started()`` returned, in seconds on trio's clock; infinite before that."""
        self.stopping_begun = False
        """Whether the actor's ``stopping()`` was called. It is called at most once."""

    # From start to end

    async def run(self) -> ExitReason:
        """Run the actor until its end or restart, and return the reason.

        When this returns, the actor's tasks have ended, but perhaps not all of its children.

        The reason contains the exceptions of the actor and of its tasks, and a cancellation from outside.
        """
        wish: ExitReason | None = None
        with trio.CancelScope() as scope:
            self.scope = scope
            try:
                # All in one coroutine: each further one costs every idle actor 200 bytes.
                actor = await self._begin(scope)
                asked = await self.handle_messages(actor, None)
                while asked is None:
                    with trio.CancelScope() as inner:
                        asked = await self.handle_messages(actor, inner)
                    self.end_given_up(inner)
                wish = await self._run_stopping(actor, asked)
            except BaseException as failure:  # noqa: BLE001  -- whatever an actor raises is its exit reason
                self.note(failure)
            if self.has_left_open_ones(scope) and (left := await self.leave_open_ones(scope)) is not None:
                self.note(left)
            self.over = True
            if self.nursery is not None:
                scope.cancel()
                # The exceptions of its tasks were noted. One that is raised here comes from trio: a task ended in
                # disorder, with a generator that has a nursery open. It must not end the tasks around this actor.
                try:
                    await close_nursery(self.nursery)
                except BaseException as failure:  # noqa: BLE001  -- as above
                    self.note(failure)
                self.nursery = None
        reason = self._verdict(wish, scope)
        if self._has_ended_well(reason) or is_cancelled():
            return reason
        return await self._clean_up(reason)

    def _verdict(self, wish: ExitReason | None, scope: trio.CancelScope) -> ExitReason:
        """Return the reason why the actor's code ended."""
        self_cancelled: BaseException | None = None
        if is_cancelled():
            if wish is None or self.cell.failures:
                self.cell.was_cut_off()
        elif scope.cancel_called:
            self_cancelled = RuntimeError(
                f"{self.cell.path} cancelled the scope of its own nursery, which is around its whole life: "
                "tasks that are to be cancelled need a scope of their own"
            )
        return self.cell.verdict(wish, self_cancelled, trio.current_time())

    def _has_ended_well(self, reason: ExitReason) -> bool:
        """Return whether the actor ended without a failure and needs no clean-up.

        An actor that was stopped during its start can still have children. In that case a clean-up is needed.
        """
        return is_graceful(reason) and (self.cell.was_up or (self.children is None and math.isinf(self.up_since)))

    async def _begin(self, scope: trio.CancelScope) -> Instance:
        """Make the actor's instance if there is none yet, run ``started()``, and return the instance."""
        cell = self.cell
        if cell.killed or (cell.stop_asked is not None and not cell.was_up):
            scope.cancel()
            await trio.lowlevel.checkpoint()
        actor = self.actor
        if actor is None:
            assert cell.make is not None  # noqa: S101  -- the actor has not ended
            actor = self.actor = make_instance(cell.make, self)
        if not cell.was_up:
            await actor.started()
            if self.is_restarted:
                await self.call_after_restart(actor)
            if self.has_left_open_ones(scope):
                raise RuntimeError(LEFT_OPEN)
            if scope.cancel_called and cell.stop_asked is not None:
                # The start shielded itself from a stop, and comes too late: the actor ends without having been up.
                self.up_since = trio.current_time()
                await trio.lowlevel.checkpoint()
            self.on_up()
        return actor

    async def call_after_restart(self, actor: Instance) -> None:
        """Call the hook ``after_restart`` of the new instance. The subclass for restarts does it."""

    def on_up(self) -> None:
        """Record that ``started()`` has returned, or that the actor has no ``started()``."""
        self.up_since = trio.current_time()
        self.cell.on_up()

    async def _run_stopping(self, actor: Instance, reason: ExitReason) -> ExitReason:
        """Stop the children, run ``stopping()``, and stop the children that ``stopping()`` has started.

        Return the exit reason.
        """
        self.is_leaving = True
        self.cell.on_stopping(busy=self._has_more_to_do(actor))
        await self._stop_children()
        self.stopping_begun = True
        # stopping() may start children, such as a helper to flush with. They end after it.
        self.is_leaving = False
        await actor.stopping(reason)
        self.is_leaving = True
        await self._stop_children()
        return reason

    async def _stop_children(self) -> None:
        if self.children is not None:
            await self.children.stop_all()
            self.children.reopen()  # not replaced: the restarts before count together with those in stopping()

    def _has_more_to_do(self, actor: Instance) -> bool:
        """Return whether the actor's end takes time: it has tasks, children or a ``stopping()``."""
        tasks = self.nursery is not None and self.nursery.child_tasks
        return bool(tasks) or self.children is not None or is_overridden(actor, "stopping")

    def end_at_once(self) -> ExitReason | None:
        """If the actor was stopped before any of its code ran, end it now and return the exit reason.

        In all other cases return None, and end nothing: for example if the actor has children or waiting messages.
        """
        cell = self.cell
        stop = cell.stop_asked
        has_news = self.watching is not None and self.watching.has_news
        if stop is None or cell.killed or cell.failures or has_news or not cell.was_up:
            return None
        if self.actor is None or self._has_more_to_do(self.actor) or (stop.drain and cell.mailbox.items):
            return None
        self.over = True
        self.cell.on_stopping(busy=False)
        reason: ExitReason = stop.reason
        return reason

    async def _clean_up(self, reason: ExitReason) -> ExitReason:
        """End the children, and after a failure run ``stopping()``. The actor's nursery is already closed.

        Return the exit reason.
        """
        children, brutal = self.children, isinstance(reason, Killed)
        with trio.CancelScope() as scope:
            self.scope = scope
            scope.deadline = self.cell.begin_to_end()
            try:
                if children is not None:
                    await children.stop_all(brutal=brutal)
                if self._may_run_stopping(reason) and self.actor is not None:
                    await self.actor.stopping(reason)
            except BaseException as failure:  # noqa: BLE001  -- it joins the failure that was the reason
                own = without(failure, trio.Cancelled)
                if own is not None:
                    reason = joined(reason, own)
                elif is_graceful(reason) and not math.isinf(self.up_since):
                    reason = KILLED  # as for each actor whose stop takes too long
            if self.has_left_open_ones(scope) and (left := await self.leave_open_ones(scope)) is not None:
                reason = joined(reason, left)
        return reason

    def _may_run_stopping(self, reason: ExitReason) -> bool:
        """Return whether ``stopping()`` must run: only if ``started()`` returned, perhaps too late, and not twice."""
        return not (isinstance(reason, Killed) or self.stopping_begun or math.isinf(self.up_since))

    async def leave_children(self, child_nursery: trio.Nursery) -> None:
        """End the remaining children, and wait until they have ended. A cancellation does not end this wait.

        The actor's task awaits this at each end of an actor with children, also before a restart. Children that are
        cancelled from outside together with this actor have one second to end by themselves.
        """
        if child_nursery.child_tasks:
            self.cell.system.enforcer.at(self, trio.current_time() + GRACE)
            if not is_cancelled():
                self.force()
        await close_around(child_nursery)
        self.child_nursery = None

    def force(self) -> None:
        """Cancel all tasks of the actor and of the actors below it, even shielded tasks."""
        if self.children is not None:
            self.children.condemn()
        if self.child_nursery is not None:
            cancel_with_force(self.child_nursery.cancel_scope)
        if self.scope is not None:
            cancel_with_force(self.scope)
        else:
            self.wake()

    # As its children and its context see it

    def crash(self, failure: Exception) -> None:
        """Make the actor fail with ``failure``, because the actor's children failed too often.

        The actor has the same time to end as for a stop. After that time, its running code is cancelled.
        """
        if self.cell.stop_asked is None:
            self.cell.note_failure(failure)

    def leave(self, reason: ExitReason) -> None:
        """Stop the actor after its current message, as if the actor itself had asked for the stop."""
        self.cell.leave(reason)

    def on_child_ended(self, child: Body, reason: ExitReason) -> None:
        """Do nothing: the permanent end of a child has no effect on its parent actor."""

    # Afterwards

    def close(self, error: Callable[[], Exception], cause: BaseException | None) -> Sequence[object]:
        """Release the parts of this life, after its end. Return the stashed messages.

        Asks that wait for an answer of this actor raise ``error()``. The actor's watches end. The message that was
        being handled becomes a dead letter. ``cause`` is the exception that ended the life, or None.
        """
        for item in self.take_unfinished():
            self.cell.drop_failed(item, error(), cause)
        asks, watching = self.asks, self.watching
        # The actor holds its incarnation: this frees all of it at once, and not when Python finds the cycle.
        self.asks = self.watching = self.timers = self.children = self.actor = None
        if watching is not None:
            watching.close()
        if asks is not None:
            asks.fail_all(error)
        if cause is not None:
            let_go_of_frames(cause)
        return () if asks is None else asks.take_stash()


def life_of(actor: Instance) -> Incarnation:
    """Return the incarnation (the current life) of an actor's instance.

    Raises RuntimeError in the actor's ``__init__``.
    """
    life: Incarnation | None = object.__getattribute__(actor, LIFE)
    if life is None:
        raise RuntimeError("an actor has ref, nursery and context from started() on, not when it is made")
    return life


def joined(reason: ExitReason, failure: BaseException) -> ExitReason:
    """Return an exit reason that combines ``reason`` with a failure that was raised while the actor ended."""
    if isinstance(reason, Killed):
        return Killed(failure)
    if isinstance(reason, Failure):
        text = "failed, and failed again while stopping"
        return Failure(BaseExceptionGroup(text, [reason.exception, failure]))
    return Failure(failure)
