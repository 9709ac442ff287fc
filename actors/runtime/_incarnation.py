"""One life of an actor: the instance, its two nurseries, and everything that ends with them.

::

    the hearth: the tasks of its children ────────────────────────────────────────────────┐
    │ the life's scope, with the nursery of its own tasks ──────┐  then, after a failure, │
    │ │ started() · messages · children stop · stopping()       │  children · stopping()  │
    │ └─────────────────────────────────────────────────────────┘                         │
    └─────────────────────────────────────────────────────────────────────────────────────┘

A failing task of its own cancels the inside; its children are not in it, and are stopped by their specs. No way leads
out of the hearth, however the life ends, before every child is gone. Both nurseries are opened when first needed.

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

from actors.errors import ActorTerminated, DeathPact, ReplyDropped
from actors.failures import members, without
from actors.loop.trio_internals import (
    LEFT_OPEN,
    cancel_with_force,
    close_around,
    close_nursery,
    footing,
    has_left_open,
    is_cancelled,
    leave_open_ones,
    open_around,
    open_inside,
    place_of,
    require_place,
)
from actors.runtime._dead_letters import Undelivered
from actors.runtime._deadlines import GRACE, own_failure
from actors.runtime._frames import let_go_of_frames
from actors.runtime._lifecycle import ExitReason, Failure, Killed, is_graceful
from actors.runtime._mailbox import NOTHING, Request
from actors.runtime._ref import Terminated, cell_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runtime._actor import Actor
    from actors.runtime._cell import Cell
    from actors.runtime._children import Children
    from actors.runtime._timers import Timers

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


@trio.lowlevel.enable_ki_protection
def is_overridden(actor: Actor, name: str) -> bool:
    """Whether there is anything to wait for in the method of that name. Never raises.

    An attribute that raises counts: it raises again where it is called, and there that is a failure of the actor.
    """
    try:
        return getattr(getattr(actor, name), "does_nothing", False) is not True
    except BaseException:  # noqa: BLE001  -- a class may define how its attributes are found
        return True


class Incarnation:
    """One life. Its cell makes it, runs it, and asks it to end."""

    __slots__ = (
        "_attention",
        "_handled_at_tick",
        "_is_leaving",
        "_lifecycle",
        "_notice",
        "_watching",
        "actor",
        "cell",
        "current",
        "deferred",
        "family",
        "hearth",
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
        self.family: Children | None = None
        """Its children, since it had the first."""
        self.hearth: trio.Nursery | None = None
        """Where the tasks of its children are, since it had the first: see :meth:`room_for_children`."""
        self.scope: trio.CancelScope | None = None
        """Around what runs now: the life with its nursery, and after a crash the cleaning up."""
        self.current: object = NO_MESSAGE
        """The message in hand, or the Request; None is a message too."""
        self.over = False
        """Whether its nursery is closed, or is being closed."""
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
        self._is_leaving = False
        """Whether its children are being stopped, before ``stopping()`` and after it: none may be started meanwhile."""
        self.said_goodbye = False
        """Whether ``stopping()`` was begun: it is run once."""
        self._attention = False
        self._handled_at_tick = -1
        """How many messages the actor had handled when it saw its last timer."""

    # From the first breath to the last

    async def run(self) -> ExitReason:
        """Live; all that began in this life has ended when it returns, except children.

        Whatever it raises, and whatever its tasks raise, is in the reason; a cancellation from outside is as well.
        """
        wish: ExitReason | None = None
        with trio.CancelScope() as scope:
            self.scope = scope
            try:
                # One frame for all of it: each coroutine more is 200 bytes of every idle actor.
                actor = await self._begin(scope)
                asked = await self._handle(actor, None)
                while asked is None:
                    with trio.CancelScope() as inner:
                        asked = await self._handle(actor, inner)
                    self._go_on_after(inner)
                wish = await self._say_goodbye(actor, asked)
            except BaseException as failure:  # noqa: BLE001  -- whatever an actor raises is its exit reason
                self.note(failure)
            if has_left_open(scope, footing(self._rooms)) and (left := await self._leave_open_ones(scope)) is not None:
                self.note(left)
            self.over = True
            if self.nursery is not None:
                scope.cancel()
                # Its tasks' failures were noted; what is raised here is trio's, of a task that ended in disorder: a
                # generator was left behind with a nursery open. It must not end the tasks around this actor.
                try:
                    await close_nursery(self.nursery)
                except BaseException as failure:  # noqa: BLE001  -- as above
                    self.note(failure)
                self.nursery = None
        reason = self._verdict(wish, scope)
        if self._has_ended_well(reason) or is_cancelled():
            return reason
        return await self._clean_up(reason)

    def note(self, failure: BaseException) -> None:
        """Note what was raised by the actor, or by a task in its nursery; the rest of its life is cancelled."""
        own = own_failure(self.cell.path, failure)
        if own is not None:
            self.cell.note_failure(own)
            if self.scope is not None:
                self.scope.cancel()

    def _verdict(self, wish: ExitReason | None, scope: trio.CancelScope) -> ExitReason:
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
        """Whether nothing is left to be done: one that was stopped while it started may have children."""
        return is_graceful(reason) and (self.cell.was_up or self.family is None)

    async def _begin(self, scope: trio.CancelScope) -> Actor:
        cell = self.cell
        if cell.killed or (cell.stop_asked is not None and not cell.was_up):
            scope.cancel()
            await trio.lowlevel.checkpoint()
        actor = self.actor
        if actor is None:
            actor = self.actor = cell.instance(self)
        if not cell.was_up:
            await actor.started()
            if has_left_open(scope, footing(self._rooms)):
                raise RuntimeError(LEFT_OPEN)
            self.is_up()
        return actor

    async def _say_goodbye(self, actor: Actor, reason: ExitReason) -> ExitReason:
        self._is_leaving = True
        self.cell.is_stopping(busy=self._has_more_to_do(actor))
        await self._stop_children()
        self.said_goodbye = True
        # stopping() may start helpers, to flush with, say: they are children like others, and end after it.
        self._is_leaving = False
        await actor.stopping(reason)
        self._is_leaving = True
        await self._stop_children()
        return reason

    async def _stop_children(self) -> None:
        if self.family is not None:
            await self.family.stop_all()
            self.family = None

    def is_up(self) -> None:
        """Note that ``started()`` has returned, or that there is none."""
        self.up_since = trio.current_time()
        self.cell.is_up()

    def _has_more_to_do(self, actor: Actor) -> bool:
        """Whether it does not end at once when it is to."""
        tasks = self.nursery is not None and self.nursery.child_tasks
        return bool(tasks) or self.family is not None or is_overridden(actor, "stopping")

    @property
    def is_idle(self) -> bool:
        """Whether it is up without having run, since there is no ``started()``, and has nothing to do yet."""
        return self.cell.was_up and not (self._attention or self.cell.mailbox.items)

    def end_at_once(self) -> ExitReason | None:
        """End without having run; the reason, or None when there is more to do than that."""
        cell = self.cell
        stop = cell.stop_asked
        if stop is None or cell.killed or cell.failures or self._lifecycle or not cell.was_up:
            return None
        if self.actor is None or self._has_more_to_do(self.actor) or (stop.drain and cell.mailbox.items):
            return None
        self.over = True
        self.cell.is_stopping(busy=False)
        return stop.reason

    def room(self) -> trio.Nursery | None:
        """Open the nursery, if this is the first to ask for it; None when the life has none any more.

        It is there until ``stopping()`` has returned.
        """
        if self.nursery is None and self.scope is not None and self.cell.task is not None and not self.over:
            self.nursery = open_inside(self.cell.task, self.scope, 0 if self.hearth is None else 1, self)
        return self.nursery

    # ChildTable

    @property
    def takes_children(self) -> bool:
        """Whether a child may be started: not while the children are stopped, nor after a failure or a kill."""
        cell = self.cell
        is_stopped_at_start = cell.stop_asked is not None and not cell.was_up
        return not (self._is_leaving or self.over or cell.killed or cell.failures or is_stopped_at_start)

    def room_for_children(self) -> trio.Nursery:
        """Return the nursery for the tasks of its children. Raises ActorTerminated when it takes no children."""
        if self.hearth is None:
            task = self.cell.task
            if task is None or not self.takes_children:
                raise ActorTerminated(f"{self.cell.path} takes no children: it is {self.cell.state}", self.cell.reason)
            self.hearth = open_around(task)
        return self.hearth

    async def leave_children(self) -> None:
        """End whatever is left of its children, now, and wait until all of it is gone. A cancellation changes nothing.

        To be awaited in the cell's task at the end of the life, whatever ended it. ChildTable that are cancelled from
        outside together with this one have a second to go by themselves.
        """
        self.over = True
        hearth = self.hearth
        if hearth is None:
            return
        if hearth.child_tasks:
            self.cell.system.enforcer.at(self, trio.current_time() + GRACE)
            if not is_cancelled():
                self.force()
        await close_around(hearth)
        self.hearth = None

    def _may_say_goodbye(self, reason: ExitReason) -> bool:
        """Whether an actor that failed runs ``stopping()`` now: once, and only if it had come up."""
        return isinstance(reason, Failure) and self.cell.was_up and not self.said_goodbye

    async def _clean_up(self, reason: ExitReason) -> ExitReason:
        """End the children, when the nursery is gone; then an actor that failed tidies up."""
        family, brutal = self.family, isinstance(reason, Killed)
        with trio.CancelScope() as scope:
            self.scope = scope
            scope.deadline = self.cell.begin_to_end()
            try:
                if family is not None:
                    await family.stop_all(brutal=brutal)
                if self._may_say_goodbye(reason) and self.actor is not None:
                    await self.actor.stopping(reason)
            except BaseException as failure:  # noqa: BLE001  -- it joins the failure that was the reason
                own = without(failure, trio.Cancelled)
                reason = reason if own is None else _joined(reason, own)
            if has_left_open(scope, footing(self._rooms)) and (left := await self._leave_open_ones(scope)) is not None:
                reason = _joined(reason, left)
        return reason

    @property
    def _rooms(self) -> int:
        """How many nurseries of its own it has."""
        return (self.hearth is not None) + (self.nursery is not None)

    async def _leave_open_ones(self, scope: trio.CancelScope) -> BaseException | None:
        """Leave the nurseries and scopes that the actor's code left open inside ``scope``; return its failure, if any.

        Code that was cancelled has left them for that reason: only what their tasks raised is a failure then.
        """
        left = await leave_open_ones(scope, footing(self._rooms), None)
        return left if members(left) or not is_cancelled() else None

    @property
    def has_ended(self) -> bool:
        """Whether it is over for good: its cell has let go of it, and has another one or none."""
        return self.cell.life is not self

    # Messages

    async def _handle(self, actor: Actor, scope: trio.CancelScope | None) -> ExitReason | None:
        """Handle messages until it is to stop.

        None when another scope is needed to go on: that in which the work for asks is cancelled when they are given up.
        """
        cell = self.cell
        mailbox, task = cell.mailbox, cell.task
        assert task is not None  # noqa: S101  -- it is the one that runs this
        item: object = None
        left, place = BATCH, place_of(task)
        while True:
            if self._attention and (reason := await self._attend(actor)) is not None:
                break
            items = mailbox.items
            if not items:
                if (stop := cell.stop_asked) is not None and not (stop.drain and self.deferred):
                    reason = stop.reason
                    break
                require_place(task, place)
                items, item = NOTHING, None  # held by nobody while it waits
                await mailbox.wait(task)
                left = BATCH
                continue
            if not left:
                require_place(task, place)
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
            if turn % BATCH == 0:
                await trio.lowlevel.checkpoint()
            self._attention = False
            if (self.cell.killed or self.cell.failures) and self.scope is not None:
                self.scope.cancel()
                await trio.lowlevel.checkpoint()
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

    def take_stash(self) -> list[object]:
        """Return what is stashed, oldest first, and hold it no longer."""
        stashed, self.stash = self.stash or [], None
        return stashed

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
        # When all of it is cancelled the work for the reply is too: then the asker is told of the end, not of the loss.
        is_cancelled_as_a_whole = self.over or (self.scope is not None and self.scope.cancel_called)
        if request.done or is_cancelled_as_a_whole or deferred is None or request not in deferred:
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

    def force(self) -> None:
        """Cancel everything in it and below it, shielded or not."""
        if self.family is not None:
            self.family.condemn()
        if self.hearth is not None:
            cancel_with_force(self.hearth.cancel_scope)
        if self.scope is not None:
            cancel_with_force(self.scope)
        else:
            self.wake()

    # As its children see it

    @property
    def path(self) -> str:
        """Its actor's place in the tree."""
        return self.cell.path

    def crash(self, failure: Exception) -> None:
        """Let it end with this failure of its children; what it does now is cancelled when its time is up."""
        if self.cell.stop_asked is None:
            self.cell.note_failure(failure)

    def child_ended(self, path: str, reason: ExitReason) -> None:
        """Do nothing: what follows the end of a child is decided by its restart type."""

    def leave(self, reason: ExitReason) -> None:
        """Let it end as if it had wished to."""
        self.cell.leave(reason)

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
        self.deferred = self._watching = self._lifecycle = self.timers = self.family = None
        self.actor = None  # it holds this life: what it has is freed at once, not when Python finds the cycle
        if cause is not None:
            let_go_of_frames(cause)


def _joined(reason: ExitReason, failure: BaseException) -> ExitReason:
    if isinstance(reason, Killed):
        return Killed(failure)
    if isinstance(reason, Failure):
        text = "failed, and failed again while stopping"
        return Failure(BaseExceptionGroup(text, [reason.exception, failure]))
    return Failure(failure)
