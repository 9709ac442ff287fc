"""One actor, from its spawn to its permanent end. Users hold an ``ActorRef``, the actor itself its ``Context``.

The class is put together from base classes, one for each responsibility, rather than from objects: that saves memory
and time for each actor. From the bottom up: ``Course`` (the state machine), ``Body`` (position in the tree, mailbox,
dead letters), ``Control`` (stops and kills), ``Waits`` (for its start and its end), ``Cell`` (the task that runs the
actor).

The task of a Cell runs in the parent actor's nursery for children, from the spawn to the permanent end. So an actor
cannot outlive its parent. After each incarnation (the actor's life between two restarts), the task calls a method of
the parent, which decides whether the actor is restarted.
"""

from __future__ import annotations

import contextvars
import math
import weakref
from typing import TYPE_CHECKING, Any

import outcome
import trio

from actors.errors import ActorRestarted
from actors.loop.trio_internals import is_cancelled, start_protected
from actors.runtime._body import EndedOwner, Parent, cause_of, limits_in
from actors.runtime._dead_letters import Undelivered
from actors.runtime._deadlines import own_failure
from actors.runtime._incarnation import Incarnation
from actors.runtime._instance import make_instance
from actors.runtime._lifecycle import KILLED, ExitReason, Failure, Killed
from actors.runtime._messages import is_overridden
from actors.runtime._ref import ActorRef, ActorStatistics
from actors.runtime._restarting import Pause, Restarted
from actors.runtime._waits import Waits
from actors.runtime.topics._supervision import ChildFailed, ChildStopped, FailureEscalated

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runtime._instance import Instance
    from actors.runtime._spec import ChildSpec


class Cell(Waits[Incarnation]):
    """One actor: its task and, while the actor runs, its incarnation (the actor's life since its last start)."""

    __slots__ = ("_kind", "_ref")

    def __init__(
        self,
        parent: Parent,
        spec: ChildSpec,
        make: Callable[[], Instance],
        kind: type[ActorRef[Any, Any]] = ActorRef,
    ) -> None:
        super().__init__(parent, spec, make)
        self.life = self._pause = self._starter = self._ended = self._halted = None
        self._kind = kind
        self._ref: ActorRef[Any, Any] | weakref.ref[ActorRef[Any, Any]] = kind(self)

    @property
    def ref(self) -> ActorRef[Any, Any]:
        """Handle of the actor. Until the actor has ended, this is always the same object."""
        ref = self._ref() if isinstance(self._ref, weakref.ref) else self._ref
        if ref is None:
            ref = self._kind(self)
            self._ref = weakref.ref(ref)
        return ref

    def statistics(self) -> ActorStatistics:
        """Return the current statistics of the actor."""
        life = self.life
        return ActorStatistics(
            path=self.path,
            state=self.state.value,
            handled=self.handled,
            failed=self.failed,
            restarts=self.restarts,
            tasks=len(life.nursery.child_tasks) if life is not None and life.nursery is not None else 0,
            children=life.children.count() if life is not None and life.children is not None else 0,
            timers=life.timers.count() if life is not None and life.timers is not None else 0,
            stashed=len(life.asks.stash) if life is not None and life.asks is not None else 0,
            leases=life.leases if life is not None else 0,
            watchers=self.watchers,
            mailbox=self.mailbox.statistics(),
            subscriptions=len(life.watching.lane or ()) if life is not None and life.watching is not None else 0,
        )

    # The task

    def begin_first(self, nursery: trio.Nursery) -> bool:
        """Make the actor's first instance and start its task.

        Return True if the actor is up already, because it has no method ``started()`` to wait for.

        If the factory raises, this raises the same exception, and nothing of the actor is left.
        """
        self.system.living += 1
        context = contextvars.copy_context()
        life, actor = context.run(self._make_first)
        # The name of the task is how a deadlock is found: see Waits.check_not_awaited().
        start_protected(nursery, self._run, self.spec.id, context)
        if is_overridden(actor, "started"):
            return False
        life.on_up()
        return True

    def _make_first(self) -> tuple[Incarnation, Instance]:
        """Make the first incarnation and its instance. If the factory raises, end the actor and raise its exception."""
        assert self.make is not None  # noqa: S101  -- the actor has not ended
        try:
            self.life = life = Incarnation(self)
            life.actor = actor = make_instance(self.make, life)
        except BaseException as raised:
            # A factory waits for nothing, so a Cancelled that it raises is not a cancellation of the spawning task.
            failure = own_failure(f"the factory of {self.path}", raised) or raised
            reason = Failure(failure)
            if self.system.supervision.exists:
                self._publish_failure(reason, failure)
            self._conclude(reason)
            if failure is raised:
                raise
            raise failure from raised
        return life, actor

    async def _run(self) -> None:
        """Run the actor, again after each restart, until its permanent end.

        This never raises: an exception of the actor becomes its exit reason.
        """
        self.task = task = trio.lowlevel.current_task()
        reason: ExitReason = KILLED
        life: Incarnation | None = None
        pause: Pause | None = None
        try:
            # All in one coroutine: each further one costs every idle actor 200 bytes.
            while True:
                life = self.life = self.life or Incarnation(self)
                try:
                    # An idle actor waits here, before most parts of its incarnation are made.
                    if life.is_idle:
                        await self.mailbox.wait(task)
                    reason = life.end_at_once() or await life.run()
                except trio.Cancelled:
                    reason = KILLED
                finally:
                    life.over = True
                    if life.child_nursery is not None:
                        await life.leave_children(life.child_nursery)
                    self.system.enforcer.withdraw(life)
                self._report(reason)
                pause = self._end_life(reason)
                if pause is None:
                    return
                reason, life = KILLED, None
                if not await self._wait(pause):
                    if self.stop_asked is not None:
                        reason = self.stop_asked.reason
                    return
                pause = None
        finally:
            self._conclude(reason)
            # From Python 3.12 on the traceback of a failure leads to this frame, which would hold the actor.
            del self, task, reason, life, pause

    def _report(self, reason: ExitReason) -> None:
        """Report the exception with which the actor ended.

        If a task waits for the start of the actor, that task raises the exception instead.
        """
        error = cause_of(reason)
        reference = ""
        if error is not None and self._starter is None:
            reference = self.system.crashes.note(self.path, self.restarts + 1, error)
        if self.system.supervision.exists:
            self._publish_failure(reason, error, reference)

    def _publish_failure(self, reason: ExitReason, error: BaseException | None, reference: str = "") -> None:
        """Publish the failure of an incarnation. If the actor gave up as a supervisor, publish that it escalated."""
        # A stop whose time was over ends in Killed, too: it is no failure.
        if error is not None or (isinstance(reason, Killed) and not self.ends_for_good):
            self.system.events.deliver(ChildFailed(self.path, self.restarts + 1, error, reference))
        for each in limits_in(reason):
            if each in self.system.limits and each.path == self.path:
                above = self.path.rpartition("/")[0] or "/"
                self.system.events.deliver(FailureEscalated(self.path, self.restarts + 1, above, each))

    def _end_life(self, reason: ExitReason) -> Pause | None:
        """Close the incarnation that has ended. Return the wait before the restart; None if there is no restart."""
        # The parent decides before the incarnation is closed, which resets the state that it looks at.
        if self.ends_for_good or self.parent is None or is_cancelled():
            return None
        life, now = self.life, trio.current_time()
        delay = self.parent.on_exit(self, reason, max(0.0, now - (math.inf if life is None else life.up_since)))
        if delay is None:
            return None
        pause = Pause(reason, now + delay)
        actor = None if life is None else life.actor
        # As stopping(): not for a killed actor, nor after started() failed.
        ended = None if isinstance(reason, Killed) or not self.was_up else actor
        if ended is not None and is_overridden(ended, "before_restart"):
            pause.set_hook(ended, min(self.stop_at, now + self.spec.seconds), self.system.enforcer)
        self._close_life(reason, delay)
        return pause

    def _close_life(self, reason: ExitReason, delay: float) -> None:
        """Prepare a restart: drop the incarnation (the actor's life so far).

        The ref and the mailbox of the actor stay.
        """
        self.pause(delay)
        self.restarts += 1
        self.system.restarts += 1
        life, self.life = self.life, None
        if life is not None:
            self.mailbox.put_back(life.close(self._restarted, cause_of(reason)))
        if self._starter is not None:
            error = cause_of(reason) or ActorRestarted(f"{self.path} did not start: {reason}")
            self._notify_starter(outcome.Error(error))

    def _restarted(self) -> ActorRestarted:
        return ActorRestarted(f"{self.path} ended while it handled this and is restarted")

    async def _wait(self, pause: Pause) -> bool:
        """Call the hook of the old instance, if it has one. Then wait until the time of the restart.

        If the actor must wait for its supervisor (in the restart of a group), wait for :meth:`begin_again`.

        Return whether the actor is restarted. It is not restarted if it was stopped or cancelled meanwhile.
        """
        self._pause = pause
        try:
            if pause.has_hook:
                await pause.call_before_restart(self.path)
            while not self.ends_for_good:
                if self.held:
                    self._notify_halted()
                with trio.CancelScope(deadline=math.inf if self.held else pause.until) as pause.scope:
                    await trio.sleep_forever()
                if not (self.held or self.ends_for_good):
                    self.begin()
                    self.life = Restarted(self, pause.reason)
                    return True
        except trio.Cancelled:
            return False
        finally:
            self._pause = None
        return False

    def _conclude(self, reason: ExitReason) -> None:
        """End the actor permanently. Nothing here waits, so other tasks see the actor either alive or ended."""
        cause, path, parent = cause_of(reason), self.path, self.parent
        self.end(reason)
        self.mailbox.refuse("terminated", reason)
        life, self.life = self.life, None
        if life is not None and (stash := life.close(self.mailbox.refusal, cause)):
            self.mailbox.put_back(stash)
        # The stash comes first, as it would in the mailbox of the next incarnation.
        if self.mailbox.items:
            for item in self.mailbox.empty():
                self.discard(item, Undelivered.TERMINATED)
        self.notify_watchers(reason)
        self.system.living -= 1
        if self.system.supervision.exists and (self.was_up or self.restarts):
            self.system.events.deliver(ChildStopped(path, self.restarts + 1, reason))
        if parent is not None:
            parent.on_ended(self, reason)
        if self._starter is not None:
            self._notify_starter(outcome.Error(cause or self.mailbox.refusal()))
        self._notify_ended()
        self._notify_halted()
        self.mailbox.wake()
        self._let_go(path)

    def _let_go(self, path: str) -> None:
        """Drop the references to other objects. Otherwise a handle in use would keep these objects in memory."""
        self.final_path = path
        self.parent = self.task = self.make = None
        self.mailbox.set_owner(EndedOwner(path))
        if not isinstance(self._ref, weakref.ref):
            self._ref = weakref.ref(self._ref)
