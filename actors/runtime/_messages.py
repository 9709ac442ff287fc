"""The loop in which an actor handles its messages, between two restarts.

The control lane (the requests that come before messages) is looked at before every message: first kill, then stop, then
the Terminated messages of watched actors, then the messages of due timers and the events of subscriptions, in turn. The
mailbox comes last. Kill and stop are flags of the actor; Terminated messages, due timers and events have a queue each.
A kill also cancels the running code, and so does a stop when its time is up.
"""

from __future__ import annotations

import itertools
from threading import get_ident
from typing import TYPE_CHECKING, TypeVar

import outcome
import trio

from actors.errors import DeathPact
from actors.loop.stack import is_shallow
from actors.loop.trio_internals import go_back, place_of, require_place
from actors.runtime._dead_letters import Undelivered
from actors.runtime._mailbox import NOTHING
from actors.runtime._occupation import NO_MESSAGE, Occupation
from actors.runtime._request import PendingAsk
from actors.runtime._typed import UNHANDLED

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runtime._instance import Instance
    from actors.runtime._lifecycle import ExitReason, Stop
    from actors.runtime._ref import Terminated
    from actors.runtime._timers import Timers
    from actors.runtime._watching import Watching
    from actors.runtime.topics._lane import EventLane

Message = TypeVar("Message")

BATCH = 64
"""Number of messages that an actor handles without a pause, before it lets other tasks run."""


@trio.lowlevel.enable_ki_protection
def is_overridden(actor: Instance, name: str) -> bool:
    """Return whether the actor's class has overridden the method of that name. Never raises.

    An attribute that raises counts as overridden: when the runtime then calls the method, the attribute raises again,
    and the actor fails.
    """
    try:
        return getattr(getattr(actor, name), "does_nothing", False) is not True
    except BaseException:  # noqa: BLE001  -- a class may define how its attributes are found
        return True


class MessageLoop(Occupation):
    """The loop over the messages of one incarnation (an actor's life between two restarts), and its current message."""

    __slots__ = ("_handled_at_tick", "actor")

    # Set by the constructor of ``Incarnation``.
    actor: Instance | None
    """Instance of the actor's class.

    The task that spawns the actor makes the first instance. The actor's own task makes one for each restart.
    """
    _handled_at_tick: int
    """Number of messages handled before the actor's last timer message or event; -1 before the first one."""

    async def handle_messages(  # noqa: C901  -- one loop: a function for a part of it would cost a call
        self, actor: Instance, scope: trio.CancelScope | None
    ) -> ExitReason | None:
        """Handle messages until the actor must stop, and return the reason.

        An ask must be handled inside a cancel scope, which is cancelled when the caller of the ask gives up. If a new
        scope is needed, this returns None, and must be called again with that scope. There are two such cases: the next
        message is an ask and ``scope`` is None, or the caller of an ask gave up and so cancelled ``scope``.
        """
        cell = self.cell
        mailbox, task = cell.mailbox, cell.task
        assert task is not None  # noqa: S101  -- it runs this
        item: object = None
        left, place = BATCH, place_of(task)
        while True:
            if self._attention and (reason := await self._attend(actor)) is not None:
                break
            items = mailbox.items
            if not items:
                # A draining stop waits for the replies to deferred asks.
                if (stop := cell.stop_asked) is not None and not (stop.drain and self.has_deferred()):
                    reason = stop.reason
                    break
                require_place(task, place)
                items, item = NOTHING, None  # the message must not be held while the actor waits
                if (timers := self.timers) is not None and timers.idle is not None:
                    timers.idle.on_wait()
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
            if type(item) is not PendingAsk:
                # A tell needs no scope of its own: no caller can give it up.
                self.current = mailbox.take()
                if await actor.receive(item) is UNHANDLED:
                    cell.discard(item, Undelivered.UNHANDLED)
            elif scope is None or await self._answer(actor, item, scope):
                return None
            cell.handled += 1
            self.current = NO_MESSAGE
        if left < BATCH:  # a caller that was answered just now runs before any task sees the end of the actor
            await trio.lowlevel.cancel_shielded_checkpoint()
        return reason

    async def _answer(self, actor: Instance, request: PendingAsk, scope: trio.CancelScope) -> bool:
        """Handle the next ask in the mailbox. Return True if the ask's caller gave up, and so cancelled ``scope``."""
        self.current = self.cell.mailbox.take()
        request.keeper, request.kept = None, False
        request.scope = scope
        try:
            reply = await actor.receive(request.message)
        finally:
            if request.scope is scope:  # else it was forwarded, and another actor works on it
                request.scope = None
        if self.current is not request:  # stashed or forwarded
            return scope.cancel_called
        gave_up = request.done and request.result is None
        if request.kept:  # deferred: only the answer is needed from here on
            request.message = None
            return gave_up
        if reply is UNHANDLED:
            self.cell.discard(request, Undelivered.UNHANDLED)
        elif not request.settle(outcome.Value(reply)):
            self.cell.late(reply)
        return gave_up

    @trio.lowlevel.enable_ki_protection
    def handle_at_once(self, handle: Callable[[Message], None], message: Message) -> bool:
        """Handle a message in the caller's task, without waiting. Return False if the caller must tell it instead.

        That is so unless the actor waits for a message and the caller is a task with much room on the stack. Then no
        other message is being handled or comes before this one. ``handle`` is a method of the actor that never waits.
        It runs with the context variables of the actor's task. If it raises, or leaves a cancel scope open, the actor
        fails as it would in its own task, and nothing is raised here.
        """
        mailbox, task, scope = self.cell.mailbox, self.cell.task, self.scope
        # A stop or kill wakes the actor at once: an actor that waits has got none.
        if task is None or scope is None or self.current is not NO_MESSAGE or not mailbox.is_awaited:
            return False
        if get_ident() != mailbox.home.thread or not is_shallow() or not trio.lowlevel.in_trio_task():
            return False
        caller = trio.lowlevel.current_task()
        place = place_of(caller)
        mailbox.accepted += 1
        self.current = message
        try:
            task.context.run(handle, message)
            require_place(caller, place)
        except BaseException as failure:  # noqa: BLE001  -- whatever an actor raises is its exit reason
            go_back(caller, place)
            self.note(failure)
            scope.cancel()
        else:
            self.cell.handled += 1
            self.current = NO_MESSAGE
            if (idle := self.idle) is not None:
                idle.on_wait()
        return True

    def end_given_up(self, scope: trio.CancelScope) -> None:
        """If the caller of the ask that was handled in ``scope`` gave up, and so cancelled ``scope``, end that ask.

        The ask counts as handled.
        """
        if scope.cancel_called:
            self.cell.handled += 1
            self.current = NO_MESSAGE

    async def _attend(self, actor: Instance) -> ExitReason | None:
        """Handle stops, kills, Terminated messages and timers until a message of the mailbox is next.

        Return the exit reason if the actor must stop.
        """
        for turn in itertools.count(1):
            if not self._attention:
                break
            if turn % BATCH == 0:
                await trio.lowlevel.checkpoint()
            self._attention = False
            # A failure of the children cancels nothing at once: the current message was finished first.
            if (self.cell.killed or self.cell.failures) and self.scope is not None:
                self.scope.cancel()
                await trio.lowlevel.checkpoint()
            stop = self.cell.stop_asked
            if stop is not None:
                if not stop.drain:
                    reason: ExitReason = stop.reason
                    return reason
                self.cell.enforce_stop_at()
            # One message in each turn of this loop: a stop or kill that comes meanwhile is seen before the next one.
            if self.watching is not None and self.watching.has_news:
                self._attention = True
                await self._handle_terminated(actor, self.watching.take())
            elif self._has_notice(stop):
                self._attention = True
                if self._is_turn_of_data():
                    break
                await self._handle_notice(actor, stop)
        return None

    def _has_notice(self, stop: Stop | None) -> bool:
        """Return whether a due timer or an event waits to be handled."""
        return (self.timers is not None and self.timers.are_due) or _lane_with_events(self.watching, stop) is not None

    async def _handle_notice(self, actor: Instance, stop: Stop | None) -> None:
        """Let the actor handle the message of a due timer, or an event. If there are both, they take turns."""
        lane, timers = _lane_with_events(self.watching, stop), self.timers
        if timers is not None and timers.are_due and not (lane is not None and lane.is_next):
            if lane is not None:
                lane.is_next = True
            await self._handle_timer(actor, timers)
        elif lane is not None:
            lane.is_next = False
            await self._handle_event(actor, lane)

    def _is_turn_of_data(self) -> bool:
        """Return whether the next message must come from the mailbox, not from a timer or a subscription.

        This is so if a message waits in the mailbox and the last message was a timer or an event. So these cannot keep
        the mailbox waiting for ever.
        """
        return bool(self.cell.mailbox.items) and self._handled_at_tick == self.cell.handled

    async def _handle_terminated(self, actor: Instance, event: Terminated) -> None:
        """Let the actor handle a Terminated message. Raises DeathPact if the actor returns UNHANDLED for it."""
        self._notice = event
        if await actor.receive(event) is UNHANDLED:
            raise DeathPact(f"{self.cell.path} does not handle the end of {event.ref.path}, which it watched")
        self._end_notice(counts=True)

    async def _handle_timer(self, actor: Instance, timers: Timers) -> None:
        """Let the actor handle the message of the timer that became due first."""
        self._handled_at_tick = self.cell.handled
        self._notice = message = timers.collect()
        if await actor.receive(message) is UNHANDLED:
            self.cell.discard(message, Undelivered.UNHANDLED)
        self._end_notice(counts=False)

    async def _handle_event(self, actor: Instance, lane: EventLane) -> None:
        """Let the actor handle the next event. UNHANDLED is ignored: the event was not sent to this actor alone."""
        self._handled_at_tick = self.cell.handled
        self._notice = event = lane.take()
        await actor.receive(event)
        self._end_notice(counts=True)

    def _end_notice(self, *, counts: bool) -> None:
        self._notice = NO_MESSAGE
        if (idle := self.idle) is not None:
            idle.on_notice(counts=counts)


def _lane_with_events(watching: Watching | None, stop: Stop | None) -> EventLane | None:
    """Return the lane of an actor's events if an event waits there.

    An actor that drains its mailbox for a stop handles no events, of which there may be no end.
    """
    lane = None if watching is None or stop is not None else watching.lane
    return lane if lane is not None and lane.has_events else None
