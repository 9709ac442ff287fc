"""One actor over all its incarnations. Users hold an ``ActorRef``, actors their ``Context``.

The task of a cell lives in the system's nursery, from the spawn to the final end. Whether another incarnation follows
is decided by the family (the supervisor's book-keeping) that the cell belongs to: a plain call.
"""

from __future__ import annotations

import contextvars
import logging
import math
from typing import TYPE_CHECKING

import outcome
import trio

from actors._cancelling import GRACE
from actors._deadletters import Undelivered
from actors._incarnation import Incarnation, is_overridden
from actors._instance import make_instance
from actors._lifecycle import HALT, KILL, KILLED, ExitReason, Failure, Killed, State, Stop
from actors._mailbox import Mailbox, Request
from actors._ref import ActorRef, ActorStatistics
from actors._restart import should_restart
from actors.errors import ActorRestarted, MailboxFull, MessageUnhandled
from actors.failures import log_failure, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._actor import Actor
    from actors._family import Family
    from actors._spec import ChildSpec
    from actors._system import ActorSystem

logger = logging.getLogger("actors")


class Cell:
    """One actor's body: its task, its mailbox, and its life while it has one."""

    __slots__ = (
        "_halted",
        "_mourners",
        "_pause",
        "_resumed",
        "_starter",
        "_watchers",
        "failed",
        "family",
        "handled",
        "life",
        "mailbox",
        "make",
        "parent",
        "reason",
        "ref",
        "restarts",
        "spec",
        "state",
        "stop_asked",
        "stop_at",
        "system",
        "task",
    )

    def __init__(
        self,
        parent: Family,
        spec: ChildSpec,
        make: Callable[[], Actor],
        ref: Callable[[Cell], ActorRef] = ActorRef,
    ) -> None:
        self.system: ActorSystem = parent.system
        self.parent = parent
        self.spec = spec
        self.make = make
        """Makes the instance of each incarnation."""
        self.mailbox = Mailbox(self, spec.mailbox, self.system.home)
        self.ref = ref(self)
        self.state = State.STARTING
        self.life: Incarnation | None = None
        self.task: trio.lowlevel.Task | None = None
        self.family: Family | None = None
        self.reason: ExitReason | None = None
        """Why it ended; None until then."""
        self.handled = self.failed = self.restarts = 0
        self.stop_asked: Stop | None = None
        self.stop_at = math.inf
        """When a stop is to cancel what still runs."""
        self._pause: trio.CancelScope | None = None
        self._starter: trio.lowlevel.Task | None = None
        self._watchers: dict[Incarnation, None] | None = None
        self._mourners: dict[trio.lowlevel.Task, None] | None = None
        """The tasks that wait for its end."""
        self._halted: trio.Event | None = None
        self._resumed: trio.Event | None = None

    @property
    def path(self) -> str:
        """Its place in the tree."""
        names, owner = [self.spec.id], self.parent.owner
        while isinstance(owner, Cell):
            names.append(owner.spec.id)
            owner = owner.parent.owner
        return "/" + "/".join(reversed(names))

    @property
    def ends_for_good(self) -> bool:
        """Whether no further incarnation may follow."""
        return self.stop_asked is not None and self.stop_asked.final

    # Starting

    async def start(self) -> None:
        """Return when ``started()`` has returned, or raise what it raised, when nothing of it is left.

        Cancelled: it is killed, and is gone when Cancelled is raised.
        """
        try:
            await self._wait_up()
        except trio.Cancelled:
            self.stop_soon(KILL, 0.0)
            with trio.CancelScope(shield=True):
                await self.gone()
            raise

    def begin(self) -> bool:
        """Make the first instance and start the task. Whether it is up, since there is no ``started()`` to wait for.

        Raises what making it raised; then nothing of it is left.
        """
        self.system.living += 1
        return contextvars.copy_context().run(self._begin)

    def _begin(self) -> bool:
        try:
            self.life = life = Incarnation(self)
            life.actor = actor = make_instance(self.make, life)
        except BaseException as failure:
            self._conclude(Failure(failure) if isinstance(failure, Exception) else KILLED)
            raise
        self.system.nursery.start_soon(self._run, name=self.spec.id)
        if is_overridden(actor.started):
            return False
        life.is_up()
        return True

    async def begin_again(self) -> None:
        """Begin the next incarnation of a halted cell; return when it is up, or raise why it is not.

        Cancelled: it goes on starting.
        """
        if self._resumed is not None:
            self._resumed.set()
            await self._wait_up()

    async def _wait_up(self) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self._starter = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._starter = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    def _tell_starter(self, result: outcome.Outcome[None]) -> None:
        if self._starter is not None:
            trio.lowlevel.reschedule(self._starter, result)
            self._starter = None

    def is_up(self) -> None:
        """Note that ``started()`` has returned."""
        if self.stop_asked is None:
            self.state = State.RUNNING
        if self._starter is not None:
            self._tell_starter(outcome.Value(None))

    def is_stopping(self, *, busy: bool) -> None:
        """Note that no message is handled any more; if it is ``busy`` still, that is timed from now on."""
        self.state = State.STOPPING
        if busy and self.stop_asked is not None and self.stop_asked.own:
            self.begin_to_end()
        if busy:
            self.time()

    def time(self) -> None:
        """Have what still runs cancelled when a stop's time is up."""
        life = self.life
        if life is not None and life.scope is not None:
            life.scope.deadline = min(life.scope.deadline, self.stop_at)
            self.system.enforcer.at(life, self.stop_at + GRACE)

    # The task

    async def _run(self) -> None:
        """Live, incarnation after incarnation. Only what comes from outside leaves it: Cancelled, KeyboardInterrupt."""
        self.task = task = trio.lowlevel.current_task()
        reason: ExitReason = KILLED
        try:
            while True:
                reason = KILLED
                life = self.life
                if life is None:
                    life = self.life = Incarnation(self)
                try:
                    # Most of what a life needs is made when there is something to do.
                    if life.is_idle:
                        await self.mailbox.wait(task)
                    reason = life.end_at_once() or await life.run()
                finally:
                    self.system.enforcer.withdraw(life)
                self._report(reason)
                delay = None if self.ends_for_good else self.parent.exited(self, reason)
                if delay is None:
                    return
                self._close_life(reason)
                reason = KILLED
                await self._wait(delay)
                if self.stop_asked is not None and self.stop_asked.final:
                    reason = self.stop_asked.reason
                    return
        finally:
            self._conclude(reason)

    def _report(self, reason: ExitReason) -> None:
        """Log what it raised, with its place in the tree, unless somebody waits for its start: they get it raised."""
        error = _cause(reason)
        if error is not None and self._starter is None:
            log_failure(logger, "%s failed: %s", self.path, shown(error), error=error)

    def _close_life(self, reason: ExitReason) -> None:
        """Clear away what belonged to the incarnation; ref and mailbox stay."""
        self.state = State.RESTARTING
        self.restarts += 1
        self.family = None
        life, self.life = self.life, None
        if life is not None:
            life.close(self._restarted, _cause(reason))
            if life.stash:
                self.mailbox.put_back(life.stash)
        if not self.ends_for_good:
            self.stop_asked, self.stop_at = None, math.inf
        if self._starter is not None:
            error = _cause(reason) or ActorRestarted(f"{self.path} did not start: {reason}")
            self._tell_starter(outcome.Error(error))

    def _restarted(self) -> ActorRestarted:
        return ActorRestarted(f"{self.path} ended while it handled this and is restarted")

    async def _wait(self, delay: float) -> None:
        """Wait before the next incarnation; until :meth:`begin_again` when the delay is infinite."""
        with trio.CancelScope() as self._pause:
            if delay == math.inf:
                self._resumed = trio.Event()
                self._set(self._halted)
                self._halted = None
                await self._resumed.wait()
            else:
                await trio.sleep(delay)
        self._pause = self._resumed = None
        if self.stop_asked is None:
            self.state = State.STARTING

    def _conclude(self, reason: ExitReason) -> None:
        """End for good. Nothing here waits, so nobody sees half of it."""
        self.state, self.reason = State.TERMINATED, reason
        cause = _cause(reason)
        self.mailbox.refuse("terminated", reason)
        life, self.life = self.life, None
        if life is not None:
            life.close(self.mailbox.refusal, cause)
            if life.stash:
                self.mailbox.put_back(life.stash)
        if self.mailbox.items:
            for item in self.mailbox.empty():
                self.discard(item, Undelivered.TERMINATED)
        watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            watcher.saw_end(self, reason)
        self.system.living -= 1
        self.parent.ended(self, reason)
        if self._starter is not None:
            self._tell_starter(outcome.Error(cause or self.mailbox.refusal()))
        mourners, self._mourners = self._mourners, None
        for task in mourners or ():
            trio.lowlevel.reschedule(task)
        self._set(self._halted)
        self.mailbox.wake()
        self.task = self.family = None

    @staticmethod
    def _set(event: trio.Event | None) -> None:
        if event is not None:
            event.set()

    # Ending it from outside

    def crash(self, failure: Exception) -> None:
        """Let it end with this failure, as if it had raised it between two messages."""
        if self.life is not None and self.state in {State.STARTING, State.RUNNING}:
            self.life.fail(failure)

    def kill(self) -> None:
        """End the incarnation now, shielded work too. Whether another follows is the supervisor's choice."""
        if self.life is not None:
            self.life.kill()

    def leave(self, reason: ExitReason) -> None:
        """Stop by its own wish after what is in hand; whether it comes back is decided by its restart type."""
        if self.stop_asked is None and self.life is not None:
            self.stop_asked = stop = Stop(reason, final=not should_restart(self.spec.restart, reason), own=True)
            if stop.final:
                self.mailbox.refuse("stopping")
            self.life.wake()

    def stop_soon(self, stop: Stop, seconds: float) -> None:
        """Begin a stop: refuse messages (if it is final), cancel after ``seconds``; at once what is not up yet.

        Later stops can only hurry an earlier one: a shorter time, no draining, for good.
        """
        if self.reason is not None:
            return
        asked = self.stop_asked
        if asked is None or (stop.final and not asked.final) or (asked.drain and not stop.drain):
            self.stop_asked = stop
        if stop.final:
            self.mailbox.refuse("stopping")
        self.stop_at = min(self.stop_at, trio.current_time() + seconds)
        if self._pause is not None and stop.final:
            self._pause.cancel()
        if self.life is not None:
            self._hurry(self.life, seconds)

    def _hurry(self, life: Incarnation, seconds: float) -> None:
        if self.state is State.STARTING and life.scope is not None:
            life.scope.cancel()
        if self.state is State.RUNNING:
            self.state = State.STOPPING
        # One that waits for a message looks at its control lane next; most have nothing more to do then.
        if life.scope is not None and not self.mailbox.is_awaited:
            self.time()
        if seconds <= 0:
            life.kill()
        life.wake()

    def begin_to_end(self) -> float:
        """Let the time of an end that nobody asked for begin; when what still runs is to be cancelled."""
        self.stop_at = min(self.stop_at, trio.current_time() + self.spec.seconds)
        if self.life is not None:
            self.system.enforcer.at(self.life, self.stop_at + GRACE)
        return self.stop_at

    async def stop(self, stop: Stop, seconds: float) -> ExitReason:
        """Stop it and wait until nothing of it is left. Cancelled: the stop goes on, with its deadlines."""
        self.stop_soon(stop, seconds)
        return await self.gone()

    async def gone(self) -> ExitReason:
        """Wait for its end; the reason. Cancelled: nothing happened."""
        if self.reason is not None:
            await trio.lowlevel.checkpoint()
            return self.reason
        mourners = self._mourners = {} if self._mourners is None else self._mourners
        task = trio.lowlevel.current_task()
        mourners[task] = None

        def abort(_: object) -> trio.lowlevel.Abort:
            del mourners[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        assert self.reason is not None  # noqa: S101  -- it ended, or this was left by raising
        return self.reason

    async def halt(self, seconds: float) -> None:
        """End its incarnation as a stop does; return when it waits for :meth:`begin_again`, or has ended for good."""
        waits = self._resumed is not None and not self._resumed.is_set()
        if waits or self.reason is not None:
            return
        self._halted = halted = trio.Event()
        self.stop_soon(HALT, seconds)
        await halted.wait()

    # Messages that were not handled

    def drop_failed(self, item: object, error: Exception, cause: BaseException | None) -> None:
        """Make the message in hand a dead letter: the actor ended on it. Who asked gets ``error``."""
        self.failed += 1
        if isinstance(item, Request):
            item.settle(outcome.Error(error))
            item = item.message
        self.system.office.publish(item, self.path, Undelivered.FAILED, cause)

    def discard(self, item: object, why: Undelivered) -> None:
        """Make an item a dead letter; who asked gets an error. A request that was given up is nobody's letter."""
        if isinstance(item, Request):
            if not item.settle(outcome.Error(self._refusal(why))):
                return
            item = item.message
        self.system.office.publish(item, self.path, why)

    def _refusal(self, why: Undelivered) -> Exception:
        match why:
            case Undelivered.OVERFLOW:
                return MailboxFull(f"the mailbox of {self.path} was full: the message was dropped")
            case Undelivered.UNHANDLED:
                return MessageUnhandled(f"{self.path} does not handle this message")
            case _:
                return self.mailbox.refusal()

    def late(self, reply: object) -> None:
        """Make a reply that nobody waits for any more a dead letter."""
        self.system.office.publish(reply, self.path, Undelivered.LATE_REPLY)

    # Looking at it

    def add_watcher(self, watcher: Incarnation) -> None:
        """Remember who is to hear of its end."""
        if self._watchers is None:
            self._watchers = {}
        self._watchers[watcher] = None

    def remove_watcher(self, watcher: Incarnation) -> None:
        """Forget who was to hear of its end."""
        if self._watchers is not None:
            self._watchers.pop(watcher, None)

    def tells_itself(self) -> bool:
        """Whether the current task is the actor's or lives in its nursery, and others asked the actor to stop.

        After its own ``context.stop()`` it knows that it takes no messages; a stop from outside may come at any time.
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

    def statistics(self) -> ActorStatistics:
        """How it stands now."""
        life = self.life
        return ActorStatistics(
            path=self.path,
            state=self.state.value,
            handled=self.handled,
            failed=self.failed,
            restarts=self.restarts,
            tasks=len(life.nursery.child_tasks) if life is not None and life.nursery is not None else 0,
            children=self.family.count() if self.family is not None else 0,
            timers=len(life.timers or ()) if life is not None else 0,
            stashed=len(life.stash or ()) if life is not None else 0,
            leases=life.leases if life is not None else 0,
            watchers=len(self._watchers or ()),
            mailbox=self.mailbox.statistics(),
        )


def _cause(reason: ExitReason) -> BaseException | None:
    return reason.exception if isinstance(reason, (Failure, Killed)) else None
