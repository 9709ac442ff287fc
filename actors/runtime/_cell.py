"""One actor over all its incarnations. Users hold an ``ActorRef``, actors their ``Context``.

The task of a cell lives in its parent's nursery for children, from the spawn to the final end: it cannot outlive the
parent's incarnation. Whether another incarnation follows is decided by the family (the supervisor's book-keeping) that
the cell belongs to: a plain call. Races are decided by :class:`~actors.runtime._course.Course`.
"""

from __future__ import annotations

import contextvars
import logging
import math
import weakref
from typing import TYPE_CHECKING

import outcome
import trio

from actors.errors import ActorRestarted, MailboxFull, MessageUnhandled
from actors.failures import log_failure, shown
from actors.loop.stack import STOP_FRAMES, require_room
from actors.loop.trio_internals import is_cancelled, protect_from_interrupts
from actors.runtime._course import Course, Do
from actors.runtime._dead_letters import Undelivered
from actors.runtime._deadlines import GRACE, own_failure
from actors.runtime._incarnation import Incarnation, is_overridden
from actors.runtime._instance import make_instance
from actors.runtime._lifecycle import HALT, KILL, KILLED, STOP, ExitReason, Failure, Killed, State, Stop
from actors.runtime._mailbox import Mailbox, Request
from actors.runtime._ref import ActorRef, ActorStatistics
from actors.runtime._restart import should_restart

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runtime._actor import Actor
    from actors.runtime._children import Children
    from actors.runtime._spec import ChildSpec
    from actors.runtime._system import ActorSystem

logger = logging.getLogger("actors")


class Grave:
    """What owns the mailbox of an actor that has ended."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def discard(self, item: object, why: Undelivered) -> None:
        """Do nothing: the mailbox of an ended actor takes nothing, and so drops nothing."""


class Cell(Course):
    """One actor's body: its task, its mailbox, and its life while it has one."""

    __slots__ = (
        "_halted",
        "_kind",
        "_mourners",
        "_pause",
        "_ref",
        "_starter",
        "_watchers",
        "failed",
        "handled",
        "life",
        "mailbox",
        "make",
        "parent",
        "place",
        "restarts",
        "spec",
        "system",
        "task",
    )

    def __init__(
        self,
        parent: Children,
        spec: ChildSpec,
        make: Callable[[], Actor],
        kind: type[ActorRef] = ActorRef,
    ) -> None:
        super().__init__()
        self.system: ActorSystem = parent.system
        self.parent: Children | None = parent
        """The children that it is one of; None when it has ended for good."""
        self.spec = spec
        self.make: Callable[[], Actor] | None = make
        """Makes the instance of each incarnation."""
        self.mailbox = Mailbox(self, spec.mailbox, self.system.home)
        self._kind = kind
        self._ref: ActorRef | weakref.ref[ActorRef] = kind(self)
        self.life: Incarnation | None = None
        self.task: trio.lowlevel.Task | None = None
        self.handled = self.failed = self.restarts = 0
        self.place = ""
        """Its path, when it has ended and knows nothing of a parent any more."""
        self._pause: trio.CancelScope | None = None
        self._starter: trio.lowlevel.Task | None = None
        self._watchers: dict[Incarnation, None] | None = None
        self._mourners: dict[trio.lowlevel.Task, None] | None = None
        """The tasks that wait for its end."""
        self._halted: trio.Event | None = None

    @property
    def path(self) -> str:
        """Its place in the tree."""
        names: list[str] = []
        cell: Cell | None = self
        while cell is not None and cell.parent is not None:
            names.append(cell.spec.id)
            cell = cell.parent.owner.cell
        above = "" if cell is None else cell.place
        return "/".join([above, *reversed(names)])

    @property
    def ref(self) -> ActorRef:
        """The handle on it. When the actor has ended the handle holds the cell, and no more the other way round."""
        ref = self._ref() if isinstance(self._ref, weakref.ref) else self._ref
        if ref is None:
            ref = self._kind(self)
            self._ref = weakref.ref(ref)
        return ref

    @property
    def family(self) -> Children | None:
        """The children of its incarnation, if that has had any."""
        return None if self.life is None else self.life.family

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

    def begin_first(self, nursery: trio.Nursery) -> bool:
        """Make the first instance and start the task. Whether it is up, since there is no ``started()`` to wait for.

        Raises what making it raised; then nothing of it is left.
        """
        self.system.living += 1
        return contextvars.copy_context().run(self._begin_first, nursery)

    def _begin_first(self, nursery: trio.Nursery) -> bool:
        try:
            self.life = life = Incarnation(self)
            life.actor = actor = self.instance(life)
        except BaseException as raised:
            # A factory waits for nothing, so a Cancelled that it raises is none of the task's that spawns.
            failure = own_failure(f"the factory of {self.path}", raised) or raised
            self._conclude(Failure(failure))
            if failure is raised:
                raise
            raise failure from raised
        nursery.start_soon(self._run, name=self.spec.id)
        if is_overridden(actor, "started"):
            return False
        life.is_up()
        return True

    def instance(self, life: Incarnation) -> Actor:
        """Make the instance of a life."""
        assert self.make is not None  # noqa: S101  -- it has not ended for good
        return make_instance(self.make, life)

    async def begin_again(self) -> None:
        """Begin the next incarnation of a halted cell; return when it is up, or raise why it is not.

        Cancelled: it goes on starting.
        """
        do = self.resume()
        if do:
            self._act(do)
            await self._wait_up()

    async def _wait_up(self) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self._starter = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._starter = task = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(abort)
        except BaseException:
            if self._starter is task:  # the stack ended before it waited: it may not be woken for this any more
                self._starter = None
            raise

    def _tell_starter(self, result: outcome.Outcome[None]) -> None:
        if self._starter is not None:
            trio.lowlevel.reschedule(self._starter, result)
            self._starter = None

    def is_up(self) -> None:
        """Note that ``started()`` has returned."""
        self.came_up()
        if self.parent is not None:
            self.parent.came_up(self)
        if self._starter is not None:
            self._tell_starter(outcome.Value(None))

    def is_stopping(self, *, busy: bool) -> None:
        """Note that no message is handled any more; if it is ``busy`` still, that is timed from now on."""
        if busy:
            self.begins_to_end(self.spec.seconds, trio.current_time())
            self.time()
        else:
            self.state = State.STOPPING

    def time(self) -> None:
        """Have what still runs cancelled when a stop's time is up."""
        life = self.life
        if life is not None:
            if life.scope is not None:
                life.scope.deadline = min(life.scope.deadline, self.stop_at)
            self.system.enforcer.at(life, self.stop_at + GRACE)

    # The task

    async def _run(self) -> None:
        """Live, incarnation after incarnation. Nothing leaves it: whatever is raised in a life is its reason."""
        self.task = task = trio.lowlevel.current_task()
        protect_from_interrupts(task)
        reason: ExitReason = KILLED
        life: Incarnation | None = None
        try:
            # One frame for all of it: each coroutine more is 200 bytes of every idle actor.
            while True:
                life = self.life = self.life or Incarnation(self)
                try:
                    # Most of what a life needs is made when there is something to do.
                    if life.is_idle:
                        await self.mailbox.wait(task)
                    reason = life.end_at_once() or await life.run()
                except trio.Cancelled:
                    reason = KILLED
                finally:
                    await life.leave_children()
                    self.system.enforcer.withdraw(life)
                self._report(reason)
                delay = self._delay(reason)
                if delay is None:
                    return
                self._close_life(reason, delay)
                reason, life = KILLED, None
                if not await self._wait(delay):
                    if self.stop_asked is not None:
                        reason = self.stop_asked.reason
                    return
        finally:
            self._conclude(reason)
            # From Python 3.12 on the traceback of a failure leads here too, since this called the code that failed.
            del self, task, reason, life

    def _delay(self, reason: ExitReason) -> float | None:
        """Decide what follows an incarnation: seconds until the next one, None for none."""
        if self.ends_for_good or self.parent is None or is_cancelled():
            return None
        return self.parent.exited(self, reason)

    def _report(self, reason: ExitReason) -> None:
        """Log what it raised, with its place in the tree, unless somebody waits for its start: they get it raised."""
        error = _cause(reason)
        if error is not None and self._starter is None:
            log_failure(logger, "%s failed: %s", self.path, shown(error), error=error)

    def _close_life(self, reason: ExitReason, delay: float) -> None:
        """Clear away what belonged to the incarnation; ref and mailbox stay."""
        self.pause(delay)
        self.restarts += 1
        life, self.life = self.life, None
        if life is not None:
            life.close(self._restarted, _cause(reason))
            self.mailbox.put_back(life.take_stash())
        if self._starter is not None:
            error = _cause(reason) or ActorRestarted(f"{self.path} did not start: {reason}")
            self._tell_starter(outcome.Error(error))

    def _restarted(self) -> ActorRestarted:
        return ActorRestarted(f"{self.path} ended while it handled this and is restarted")

    async def _wait(self, delay: float) -> bool:
        """Wait before the next incarnation; while it is held, until :meth:`begin_again`. Whether one follows."""
        until = trio.current_time() + delay
        try:
            while not self.ends_for_good:
                if self.held:
                    self._set(self._halted)
                    self._halted = None
                with trio.CancelScope(deadline=math.inf if self.held else until) as self._pause:
                    await trio.sleep_forever()
                if not (self.held or self.ends_for_good):
                    self.begin()
                    return True
        except trio.Cancelled:
            return False
        finally:
            self._pause = None
        return False

    def _conclude(self, reason: ExitReason) -> None:
        """End for good. Nothing here waits, so nobody sees half of it."""
        cause, path, parent = _cause(reason), self.path, self.parent
        self.end(reason)
        self.mailbox.refuse("terminated", reason)
        life, self.life = self.life, None
        if life is not None:
            life.close(self.mailbox.refusal, cause)
            self.mailbox.put_back(life.take_stash())
        if self.mailbox.items:
            for item in self.mailbox.empty():
                self.discard(item, Undelivered.TERMINATED)
        watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            watcher.saw_end(self, reason)
        self.system.living -= 1
        if parent is not None:
            parent.ended(self, reason)
        if self._starter is not None:
            self._tell_starter(outcome.Error(cause or self.mailbox.refusal()))
        mourners, self._mourners = self._mourners, None
        for task in mourners or ():
            trio.lowlevel.reschedule(task)
        self._set(self._halted)
        self.mailbox.wake()
        self._let_go(path)

    def _let_go(self, path: str) -> None:
        """Hold nothing any more: what still has the handle keeps this cell, and not what was around it."""
        self.place = path
        self.parent = self.task = self.make = self._halted = None
        self.mailbox.outlive(Grave(path))
        if not isinstance(self._ref, weakref.ref):
            self._ref = weakref.ref(self._ref)

    @staticmethod
    def _set(event: trio.Event | None) -> None:
        if event is not None:
            event.set()

    # Ending it from outside

    def _act(self, do: int) -> None:
        """Do what follows an event of its course."""
        if do & Do.REFUSE:
            self.mailbox.refuse("stopping")
        if do & Do.GO_ON and self._pause is not None:
            self._pause.cancel()
        life = self.life
        if life is None:
            return
        if do & Do.CANCEL and life.scope is not None:
            life.scope.cancel()
        # One that waits for a message looks at its control lane next; most have nothing more to do then.
        if do & Do.TIME and life.scope is not None and not self.mailbox.is_awaited:
            self.time()
        if do & Do.FORCE:
            self.system.enforcer.at(life, trio.current_time() + GRACE)
            life.force()
        if do & Do.WAKE:
            life.wake()

    def note_failure(self, failure: BaseException) -> None:
        """Note what was raised in its incarnation, or that its children failed too often: its time begins to run."""
        self._act(self.fail(failure, self.spec.seconds, trio.current_time()))

    def was_cut_off(self) -> None:
        """Note that everything around was cancelled. What was raised then is for who cancelled it."""
        if not self.killed:
            self.system.raised.extend(self.failures)
        super().was_cut_off()

    def kill_soon(self) -> None:
        """End the incarnation now, shielded work too. Whether another follows is the supervisor's choice.

        Raises RecursionError near the end of the stack; then nothing has happened. The other ways to end it do, too.
        """
        require_room(STOP_FRAMES)
        self._act(self.kill())

    def is_condemned(self) -> None:
        """Note that what is above it is ended by force, and it with that."""
        self.stop_asked = STOP if self.stop_asked is None else self.stop_asked.joined(STOP)
        self.killed = True

    def leave(self, reason: ExitReason) -> None:
        """Stop by its own wish after what is in hand; whether it comes back is decided by its restart type."""
        require_room(STOP_FRAMES)
        self._act(self.wish_to_stop(Stop(reason, final=not should_restart(self.spec.restart, reason), own=True)))

    def stop_soon(self, stop: Stop, seconds: float) -> None:
        """Begin a stop: refuse messages (if it is final), cancel after ``seconds``; at once what is not up yet.

        Later stops can only hurry an earlier one: a shorter time, no draining, for good.
        """
        require_room(STOP_FRAMES)
        self._act(self.ask_to_stop(stop, seconds, trio.current_time()))

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

        try:
            await trio.lowlevel.wait_task_rescheduled(abort)
        finally:
            if task in mourners:  # the stack ended before it waited; no call here, for the same reason
                del mourners[task]
        assert self.reason is not None  # noqa: S101  -- it ended, or this was left by raising
        return self.reason

    async def halt(self, seconds: float) -> None:
        """End its incarnation as a stop does; return when it waits for :meth:`begin_again`, or has ended for good."""
        if self.reason is not None or (self.held and self.state is State.RESTARTING):
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

    def awaits_start_in(self, task: trio.lowlevel.Task) -> Cell | None:
        """Return the child whose task that is, if this actor's own task waits for its start."""
        child = None if self.family is None else self.family.cell(task.name)
        if child is None or child.task is not task or self.task is None:
            return None
        return child if child._starter is self.task else None  # noqa: SLF001  -- another of this class

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
