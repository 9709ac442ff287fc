"""One life of an actor: the instance, its nursery, and everything that ends with them.

The control lane is made of flags and of one queue of lifecycle messages. It is looked at before every message, in the
order kill, stop, lifecycle, data; a kill, and a stop whose time is up, also cancel the nursery.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

import outcome
import trio

from actors._cancelling import GRACE, cancel_with_force, close_late, open_late
from actors._deadletters import Undelivered
from actors._frames import let_go_of_frames
from actors._instance import make_instance
from actors._lifecycle import KILLED, ExitReason, Failure, Killed, is_graceful
from actors._mailbox import NOTHING, Request
from actors._ref import Terminated, cell_of
from actors.errors import DeathPact, ReplyDropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._actor import Actor
    from actors._cell import Cell
    from actors._timers import Timers

BATCH = 64
"""Messages that one actor handles before the others get a turn."""


class Unhandled:
    """The type of UNHANDLED."""

    def __repr__(self) -> str:
        return "UNHANDLED"


UNHANDLED = Unhandled()
"""What ``receive`` returns for a message that it does not know."""

NO_MESSAGE: Final = object()
"""What is in hand between two messages."""

Method = TypeVar("Method", bound="Callable[..., object]")


def does_nothing(method: Method) -> Method:
    """Mark a method that is there to be overridden: where it was not, nobody needs to wait for it."""
    method.__dict__["does_nothing"] = True
    return method


def is_overridden(method: object) -> bool:
    """Whether there is anything to wait for."""
    return getattr(method, "does_nothing", False) is not True


class Incarnation:
    """One life. Its cell makes it, runs it, and asks it to end."""

    __slots__ = (
        "_attention",
        "_failure",
        "_handled_at_tick",
        "_killed",
        "_lifecycle",
        "_notice",
        "_watching",
        "actor",
        "cell",
        "current",
        "deferred",
        "leases",
        "nursery",
        "over",
        "said_goodbye",
        "scope",
        "stash",
        "timers",
        "up_since",
    )

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.actor: Actor | None = None
        """Made by who starts it for the first time, later in its own task."""
        self.nursery: trio.Nursery | None = None
        """Where its tasks are, since it was asked for: see :meth:`room`."""
        self.scope: trio.CancelScope | None = None
        """Around what runs now: the life with its nursery, and after a crash the cleaning up."""
        self.current: object = NO_MESSAGE
        """The message in hand, or the Request; None is a message too."""
        self.over = False
        """Whether it will handle nothing more: its nursery is being closed, or is."""
        self.leases = 0
        self.up_since = math.inf
        """When ``started()`` returned."""
        self.timers: Timers | None = None
        self.stash: list[object] | None = None
        self.deferred: dict[Request, int] | None = None
        """The asks that are answered later, with the number of their replies."""
        self._watching: dict[Cell, None] | None = None
        self._lifecycle: deque[Terminated] | None = None
        self._notice: object = NO_MESSAGE
        """The lifecycle message in hand."""
        self.said_goodbye = False
        """Whether ``stopping()`` was begun: it is run once."""
        self._failure: Exception | None = None
        self._attention = False
        self._killed = False
        self._handled_at_tick = -1
        """How many messages the actor had handled when it saw its last timer."""

    # From the first breath to the last

    async def run(self) -> ExitReason:
        """Live; all that began in this life has ended when it returns. Cancelled: the same, then it is raised."""
        reason: ExitReason = KILLED
        failures: list[Exception] = []
        try:
            with trio.CancelScope() as self.scope:
                try:
                    actor = await self._begin(self.scope)
                    wish = await self._handle(actor, None)
                    while wish is None:
                        with trio.CancelScope() as scope:
                            wish = await self._handle(actor, scope)
                        self._go_on_after(scope)
                    reason = await self._say_goodbye(actor, wish)
                except Exception as failure:  # noqa: BLE001  -- whatever an actor raises is its exit reason
                    failures.append(failure)
                except BaseException as outside:
                    self.over = True
                    if self.nursery is not None:
                        await close_late(self.nursery, outside)
                    raise
                self.over = True
                if self.nursery is not None:
                    self.scope.cancel()
                    await close_late(self.nursery, None)
        except BaseExceptionGroup as group:
            raised = group if self.nursery is not None else BaseExceptionGroup("actor failed", [group])
            failures += _failures_of(raised, failures)
        finally:
            self.nursery = None
        reason = self._verdict(reason, failures)
        return reason if is_graceful(reason) else await self._clean_up(reason)

    async def _begin(self, scope: trio.CancelScope) -> Actor:
        cell = self.cell
        if self._killed or (cell.stop_asked is not None and self.up_since == math.inf):
            scope.cancel()
            await trio.lowlevel.checkpoint()
        actor = self.actor
        if actor is None:
            actor = self.actor = make_instance(cell.make, self)
        if self.up_since == math.inf:
            await actor.started()
            self.is_up()
        return actor

    async def _say_goodbye(self, actor: Actor, reason: ExitReason) -> ExitReason:
        self.cell.is_stopping(busy=self._has_more_to_do(actor))
        if self.cell.family is not None:
            await self.cell.family.stop_all()
        self.said_goodbye = True
        await actor.stopping(reason)
        return reason

    def is_up(self) -> None:
        """Note that ``started()`` has returned, or that there is none."""
        self.up_since = trio.current_time()
        self.cell.is_up()

    def _has_more_to_do(self, actor: Actor) -> bool:
        """Whether it does not end at once when it is to."""
        tasks = self.nursery is not None and self.nursery.child_tasks
        return bool(tasks) or self.cell.family is not None or is_overridden(actor.stopping)

    @property
    def is_idle(self) -> bool:
        """Whether it is up without having run, since there is no ``started()``, and has nothing to do yet."""
        return self.up_since < math.inf and not (self._attention or self.cell.mailbox.items)

    def end_at_once(self) -> ExitReason | None:
        """End without having run; the reason, or None when there is more to do than that."""
        stop = self.cell.stop_asked
        if stop is None or self.up_since == math.inf or self._killed or self._failure is not None or self._lifecycle:
            return None
        if self.actor is None or self._has_more_to_do(self.actor) or (stop.drain and self.cell.mailbox.items):
            return None
        self.over = True
        self.cell.is_stopping(busy=False)
        return stop.reason

    def room(self) -> trio.Nursery | None:
        """Open the nursery, if this is the first to ask for it; None when the life has none any more."""
        if self.nursery is None and not self.over and self.scope is not None and self.cell.task is not None:
            self.nursery = open_late(self.cell.task, self.scope)
        return self.nursery

    def _verdict(self, reason: ExitReason, failures: list[Exception]) -> ExitReason:
        if self._failure is not None and self._failure not in failures:
            failures.insert(0, self._failure)
        if self._killed:
            return Killed(_one_of(failures)) if failures else KILLED
        if failures:
            return Failure(_one_of(failures))
        if self.up_since == math.inf and self.cell.stop_asked is not None:
            return self.cell.stop_asked.reason
        return reason

    async def _clean_up(self, reason: ExitReason) -> ExitReason:
        """End the children after a failure or a kill, when the nursery is gone; then an actor that failed tidies up."""
        family, brutal = self.cell.family, isinstance(reason, Killed)
        with trio.CancelScope() as scope:
            self.scope = scope
            scope.deadline = self.cell.begin_to_end()
            try:
                if family is not None:
                    await family.stop_all(brutal=brutal)
                if not (brutal or self.actor is None or self.up_since == math.inf or self.said_goodbye):
                    await self.actor.stopping(reason)
            except Exception as failure:  # noqa: BLE001  -- it joins the failure that was the reason
                reason = _joined(reason, failure)
        if family is not None and scope.cancelled_caught:
            with trio.CancelScope(shield=True):
                await family.stop_all(brutal=True)
        return reason

    # Messages

    async def _handle(self, actor: Actor, scope: trio.CancelScope | None) -> ExitReason | None:
        """Handle messages until it is to stop.

        None when another scope is needed to go on: that in which the work for asks is cancelled when they are given up.
        """
        cell = self.cell
        mailbox, task = cell.mailbox, cell.task
        assert task is not None  # noqa: S101  -- it is the one that runs this
        item: object = None
        left = BATCH
        while True:
            if self._attention and (reason := await self._attend(actor)) is not None:
                break
            items = mailbox.items
            if not items:
                if (stop := cell.stop_asked) is not None and not (stop.drain and self.deferred):
                    reason = stop.reason
                    break
                items, item = NOTHING, None  # held by nobody while it waits
                await mailbox.wait(task)
                left = BATCH
                continue
            if not left:
                await trio.lowlevel.checkpoint()
                left = BATCH
                continue
            left -= 1
            item = items[0]
            if type(item) is not Request:
                self.current = mailbox.take()
                if await actor.receive(item) is UNHANDLED:
                    cell.discard(item, Undelivered.UNHANDLED)
            elif scope is None or await self._answer(actor, item, scope):
                return None
            cell.handled += 1
            self.current = NO_MESSAGE
        if left < BATCH:  # who was answered just now is to know it before anybody knows of the end
            await trio.lowlevel.cancel_shielded_checkpoint()
        return reason

    async def _answer(self, actor: Actor, request: Request, scope: trio.CancelScope) -> bool:
        """Handle a request, which is next in the mailbox. Whether its caller gave up: then the scope is cancelled."""
        self.current = self.cell.mailbox.take()
        request.keeper, request.kept = None, False
        request.scope = scope
        try:
            reply = await actor.receive(request.message)
        finally:
            request.scope = None
        gave_up = request.done and request.result is None
        if request.kept:
            if self.current is request:  # it was deferred: what is left to do for it is the actor's own
                request.message = None
            return gave_up
        if reply is UNHANDLED:
            self.cell.discard(request, Undelivered.UNHANDLED)
        elif not request.settle(outcome.Value(reply)):
            self.cell.late(reply)
        return gave_up

    def _go_on_after(self, scope: trio.CancelScope) -> None:
        """Be done with the ask that was given up in that scope, if one was."""
        if scope.cancel_called:
            self.cell.handled += 1
            self.current = NO_MESSAGE

    async def _attend(self, actor: Actor) -> ExitReason | None:
        """Empty the control lane; the reason when it is to stop now."""
        for turn in itertools.count(1):
            if not self._attention:
                break
            if self._killed or turn % BATCH == 0:
                await trio.lowlevel.checkpoint()
            self._attention = False
            if self._failure is not None:
                raise self._failure
            stop = self.cell.stop_asked
            if stop is not None:
                if not stop.drain:
                    return stop.reason
                self.cell.time()
            if self._lifecycle:
                self._attention = True
                await self._notify(actor, self._lifecycle.popleft())
            elif self.timers is not None and self.timers.are_due:
                self._attention = True
                if self._is_turn_of_data():
                    break
                await self._tick(actor, self.timers)
        return None

    def _is_turn_of_data(self) -> bool:
        """Whether a message waits and none was handled since the last timer: timers never starve the mailbox."""
        return bool(self.cell.mailbox.items) and self._handled_at_tick == self.cell.handled

    async def _notify(self, actor: Actor, event: Terminated) -> None:
        """Let the actor see the end of an actor that it watches."""
        self._notice = event
        if self._watching is not None:
            self._watching.pop(cell_of(event.ref), None)
        if await actor.receive(event) is UNHANDLED:
            raise DeathPact(f"{self.cell.path} does not handle the end of {event.ref.path}, which it watched")
        self._notice = NO_MESSAGE

    async def _tick(self, actor: Actor, timers: Timers) -> None:
        """Let the actor see the message of the timer that is due longest."""
        self._handled_at_tick = self.cell.handled
        self._notice = message = timers.collect()
        if await actor.receive(message) is UNHANDLED:
            self.cell.discard(message, Undelivered.UNHANDLED)
        self._notice = NO_MESSAGE

    # Asks that are answered later

    def keep(self, request: Request) -> None:
        """Note that the request in hand is answered later than by what ``receive`` returns."""
        request.kept = True
        request.keeper = self

    def defer(self, request: Request) -> None:
        """Note that the request in hand has one reply more."""
        self.keep(request)
        if self.deferred is None:
            self.deferred = {}
        self.deferred[request] = self.deferred.get(request, 0) + 1

    def forget(self, request: Request) -> None:
        """Hold a deferred request no longer; a draining stop that waited for the last one goes on."""
        if self.deferred is not None and self.deferred.pop(request, None) is not None and not self.deferred:
            self.deferred = None
            if self.cell.stop_asked is not None:
                self.wake()

    def give_up(self, request: Request) -> None:
        """Hold a request whose caller gave up no longer, in the stash or deferred."""
        self.forget(request)
        if self.stash:
            self.stash = [item for item in self.stash if item is not request]
        if self.current is not request:
            request.message = None

    def lost_reply(self, request: Request) -> None:
        """Answer a request with ReplyDropped if the reply that was lost was its last."""
        deferred = self.deferred
        if request.done or deferred is None or request not in deferred:
            return
        deferred[request] -= 1
        if deferred[request] == 0:
            self.forget(request)
            if not any(item is request for item in self.stash or ()):
                request.settle(outcome.Error(ReplyDropped(f"{self.cell.path} lost its reply to this message")))

    # The control lane

    def wake(self) -> None:
        """Let the actor look at its control lane."""
        self._attention = True
        self.cell.mailbox.wake()

    def post(self, event: Terminated) -> None:
        """Put a lifecycle message before all data."""
        if self._lifecycle is None:
            self._lifecycle = deque()
        self._lifecycle.append(event)
        self.wake()

    def fail(self, failure: Exception) -> None:
        """Let it fail between two messages; at once when it has not started yet."""
        self._failure = failure
        if self.up_since == math.inf and self.scope is not None:
            self.scope.cancel()
        self.wake()

    def kill(self) -> None:
        """End it now, without ``stopping()``; it handles nothing more."""
        self._killed = self._attention = True
        self.cell.system.enforcer.at(self, trio.current_time() + GRACE)
        self.force()

    def force(self) -> None:
        """Cancel everything in it, shielded or not."""
        if self.scope is not None:
            cancel_with_force(self.scope)
        else:
            self.wake()

    # Watching

    def watch(self, target: Cell) -> None:
        """Ask for one Terminated of the target; at once when it is dead already."""
        if self._watching is None:
            self._watching = {}
        if target in self._watching:
            return
        self._watching[target] = None
        if target.reason is None:
            target.add_watcher(self)
        else:
            self.post(Terminated(target.ref, target.reason))

    def unwatch(self, target: Cell) -> None:
        """Take no Terminated of the target from now on, not even one that waits already."""
        if self._watching is not None:
            self._watching.pop(target, None)
        target.remove_watcher(self)
        if self._lifecycle:
            self._lifecycle = deque(event for event in self._lifecycle if event.ref is not target.ref)

    def saw_end(self, target: Cell, reason: ExitReason) -> None:
        """Post the news that a watched actor ended; it stays watched until they are handled."""
        self.post(Terminated(target.ref, reason))

    # Afterwards

    def close(self, error: Callable[[], Exception], cause: BaseException | None) -> None:
        """Settle what is left: who asked gets an ``error``, the message in hand is a dead letter, the watches end."""
        for item in (self._notice, self.current):
            if item is not NO_MESSAGE:
                self.cell.drop_failed(item, error(), cause)
        self._notice = self.current = NO_MESSAGE
        for request in self.deferred or ():
            request.settle(outcome.Error(error()))
        for target in self._watching or ():
            target.remove_watcher(self)
        self.deferred = self._watching = self._lifecycle = self.timers = None
        self.actor = None  # it holds this life: what it has is freed at once, not when Python finds the cycle
        if cause is not None:
            let_go_of_frames(cause)


def _one_of(failures: list[Exception]) -> Exception:
    return failures[0] if len(failures) == 1 else ExceptionGroup("actor and tasks failed", failures)


def _failures_of(group: BaseExceptionGroup[BaseException], known: list[Exception]) -> list[Exception]:
    """Take what the tasks raised; what comes from outside (Cancelled, KeyboardInterrupt) goes on its way.

    With it goes whatever else was raised: the actor has no reason to carry it any more.
    """
    if group.split(lambda error: not isinstance(error, (Exception, BaseExceptionGroup)))[0] is not None:
        raise BaseExceptionGroup("ended from outside", [*known, *group.exceptions]) if known else group
    return [error for error in group.exceptions if isinstance(error, Exception)]


def _joined(reason: ExitReason, failure: Exception) -> Failure:
    if isinstance(reason, Failure) and isinstance(reason.exception, Exception):
        return Failure(ExceptionGroup("failed, and failed again while stopping", [reason.exception, failure]))
    return Failure(failure)
