"""The mailbox of a pool: it puts each message into the mailbox of a member."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import trio

from actors.errors import ActorTerminated
from actors.runtime._mailbox import Mailbox, MailboxStatistics, append, least_loaded
from actors.runtime._request import PendingAsk
from actors.runtime._spec import Overflow
from actors.runtime.pools._routing import Random, RoundRobin, Rule, route
from actors.runtime.pools._spec import Routing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors.runtime._cell import Cell
    from actors.runtime._home import Home
    from actors.runtime._lifecycle import ExitReason
    from actors.runtime._mailbox import Owner
    from actors.runtime._spec import MailboxSpec
    from actors.runtime.pools._spec import PoolSpec


class Routes(Mailbox):
    """The members behind one handle, and the rule that chooses one for each message."""

    __slots__ = ("_accepted_before", "_dropped_before", "_grow_at", "_members", "_rule", "limit", "order", "pick")

    def __init__(self, owner: Owner, spec: MailboxSpec, home: Home | None = None) -> None:
        super().__init__(owner, spec, home)
        self._members: dict[Mailbox, Cell] = {}
        self._rule: Rule | None = None
        """Rule of routing; None before the first start."""
        self.pick: Callable[[object], Mailbox] | None = None
        """Function that returns the mailbox of the member for a message; None without members."""
        self.order: Iterator[Mailbox] | None = None
        """The next members, if they do not depend on the message. An iterator in C saves a call for each message."""
        self.limit = 0
        """Number of messages in a member's mailbox below which one more needs neither room nor a further member."""
        self._grow_at = sys.maxsize
        """Number of messages in a member's mailbox from which one more member is started, if there can be more."""
        self._accepted_before = self._dropped_before = 0
        """Numbers of messages of members that have left."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Members, in the order in which they were added."""
        return tuple(self._members.values())

    def remove(self, cell: Cell) -> bool:
        """Route no more messages to a member. Return False if it is none."""
        mailbox = cell.mailbox
        if mailbox not in self._members:
            return False
        self._let_go(cell)
        self._set({each: other for each, other in self._members.items() if each is not mailbox})
        return True

    def end(self) -> None:
        """Route no more messages to any member."""
        for cell in self.cells:
            self._let_go(cell)
        self._set({})

    def _let_go(self, cell: Cell) -> None:
        """Keep the counts of a member that leaves, and leave the asks in its mailbox to that mailbox."""
        mailbox = cell.mailbox
        self._accepted_before += mailbox.accepted
        self._dropped_before += mailbox.dropped
        for item in mailbox.items:
            if isinstance(item, PendingAsk) and item.keeper is self:
                item.keeper = mailbox

    def _number(self, cell: Cell) -> int:
        """Return the number of a member. A ring of hashes gives it the same points again."""
        raise NotImplementedError

    def _set(self, members: dict[Mailbox, Cell]) -> None:
        self._members = members
        self.limit = min([self._grow_at, *(member._spec.size for member in members)])  # noqa: SLF001  -- of the base class
        self.pick = self.order = None
        if members and self._rule is not None:
            rule = route(self._rule, {self._number(cell): mailbox for mailbox, cell in members.items()})
            self.pick = rule.pick
            self.order = rule.turns if isinstance(rule, (RoundRobin, Random)) else None

    def _open(self) -> list[Mailbox]:
        """Return the mailboxes of the members that accept messages."""
        return [member for member in self._members if not member.is_refusing]


class RoutedMailbox(Routes):
    """A mailbox for several actors: senders put a message in, and it is in the mailbox of a member.

    So a message is queued once, and the handle is like any other. Only before there are members, messages wait here, as
    many as a mailbox holds, and are routed when the members are up.
    """

    __slots__ = ("_room", "on_pressure")

    def __init__(self, owner: Owner, spec: MailboxSpec, home: Home | None = None) -> None:
        super().__init__(owner, spec, home)
        self._room = Mailbox(owner, spec, home)
        """Messages that wait until there is a member. The actor's own task does not read them."""
        self.on_pressure: Callable[[], None] | None = None
        """Function that starts one more member; None if there can be no more."""

    def add(self, cell: Cell) -> None:
        """Route messages to one more member."""
        self._set(self._members | {cell.mailbox: cell})
        self._route_waiting()

    def _route_waiting(self) -> None:
        """Put the messages that waited for a member into the mailboxes of members, although these may be full."""
        while self._room.items and self._open():
            self._room.accepted -= 1
            self._route(self._room.take())

    def offer(self, item: object) -> bool:
        """Put an item into the mailbox of a member, if there is room. Return whether it was put in. Never waits."""
        if self._refusal is not None:
            return False
        if self.pick is None:
            return self._offer_to_room(item)
        if type(item) is PendingAsk:
            member = self._pick_for(item)
        else:
            member = self.pick(item) if self.order is None else next(self.order)
        return self.offer_to(member, item)

    def offer_to(self, member: Mailbox, item: object) -> bool:
        """Put an item into the mailbox of the member that was chosen, or of another one. Return whether it was put in.

        If many messages wait at the member, start one more member.
        """
        if self.on_pressure is not None and len(member.items) >= self._grow_at:
            self.on_pressure()  # before the item is put in, since this may raise
        return member.offer(item) or self._offer_elsewhere(item, member)

    def _pick_for(self, item: PendingAsk) -> Mailbox:
        """Return the member for an ask. An ask of a member goes to another member, since no actor can ask itself."""
        assert self.pick is not None  # noqa: S101  -- the caller has looked
        member = self.pick(item.message) if self.order is None else next(self.order)
        if self._members[member].task is trio.lowlevel.current_task():
            others = [each for each in self._open() if each is not member]
            if self._is_by_key or not others:
                raise RuntimeError(f"{self._members[member].path} asks its pool, and is the member for it")
            member.home.mark = None  # the rule of routing has counted the message for it
            member = least_loaded(others)
        return member

    def _offer_elsewhere(self, item: object, picked: Mailbox) -> bool:
        """Put an item into any other member that has room."""
        picked.home.mark = None  # the rule of routing has counted the item for it
        is_ask = isinstance(item, PendingAsk)
        members = self._open()
        for member in () if self._is_by_key and picked in members else members:
            if member is not picked and not (is_ask and self._is_own(member)) and member.offer(item):
                return True
        if not members:  # all are being stopped, one by one: the pool replaces them
            return self._offer_to_room(item)
        return False

    def _offer_to_room(self, item: object) -> bool:
        """Let an item wait for a member, if there is room. Return False if there is none."""
        return self._room.offer(item)

    def _waiting_room(self) -> Mailbox:
        """Return the mailbox in which an item waits for a member."""
        return self._room

    @property
    def _is_by_key(self) -> bool:
        return self._rule is not None and self._rule.routing is Routing.CONSISTENT_HASH

    def _is_own(self, member: Mailbox) -> bool:
        """Return whether the caller is the task of a member."""
        return trio.lowlevel.in_trio_task() and self._members[member].task is trio.lowlevel.current_task()

    @property
    def blocks(self) -> bool:
        """Whether a sender would have to wait for room. It is asked after an offer has failed."""
        return self._refusal is None and self._spec.overflow is Overflow.WAIT

    async def put(self, item: object) -> None:
        """Put an item into the mailbox of a member. If no member has room, apply the overflow policy to one of them.

        A sender waits at the member with the fewest messages. If that member ends meanwhile, another one takes its
        place.
        """
        while not self.offer(item):
            member = self._crowded(item)
            if member is None:
                await self._waiting_room().put(item)
                return
            try:
                await member.put(item)
            except ActorTerminated:
                if not member.is_refusing:
                    raise
            else:
                if isinstance(item, PendingAsk):
                    self._settle_in(item, member)
                return

    def _settle_in(self, request: PendingAsk, member: Mailbox) -> None:
        """Look after an ask that has waited for room at a member, and is in its mailbox now."""
        if not any(each is request for each in member.items):
            return  # it is handled already
        if request.is_abandoned:  # its caller gave up while an actor that forwards it waited for room
            member.give_up(request)
        else:
            request.keeper = member  # the member may have left meanwhile

    def give_up(self, request: PendingAsk) -> None:
        """Free the room of an ask, in the mailbox that has it, because its caller no longer waits."""
        for mailbox in (*self._members, self._room):
            if any(each is request for each in mailbox.items):
                mailbox.give_up(request)
                return

    def _crowded(self, item: object) -> Mailbox | None:
        """Return the full member at which an item waits for room, or is dropped. Return None without members."""
        members = self._open()
        if self._refusal is not None or self.pick is None or not members:
            return None
        if self._is_by_key:
            picked = self.pick(item.message if isinstance(item, PendingAsk) else item)
            members = [picked] if picked in members else members
        others = [each for each in members if not self._is_own(each)]
        if not others and members[0]._spec.overflow is Overflow.WAIT:  # noqa: SLF001  -- of the base class
            raise RuntimeError(f"a member of {self._owner.path} would wait for ever, for room in its own mailbox")
        return least_loaded(others or members)

    def _overflowed(self, item: object) -> bool:
        member = self._crowded(item)
        member = self._waiting_room() if member is None else member
        return member._overflowed(item)  # noqa: SLF001  -- of the base class

    def _route(self, item: object) -> None:
        """Put an item that waited for a member into the mailbox of one.

        If the key function raises, the item becomes a dead letter, and the caller of an ask gets the exception.
        """
        assert self.pick is not None  # noqa: S101  -- there are members
        if isinstance(item, PendingAsk) and item.done:
            return  # its caller no longer waits
        try:
            member = self.pick(item.message if isinstance(item, PendingAsk) else item)
        except Exception as error:  # noqa: BLE001  -- whatever the key function of a user raises
            self._drop_unroutable(item, error)
            return
        member = least_loaded(self._open()) if member.is_refusing else member
        append(member, item)

    def _drop_unroutable(self, item: object, error: Exception) -> None:
        cell = next(iter(self._members.values()))
        cell.drop_failed(item, error, error)

    def refuse(self, state: str, reason: ExitReason | None = None) -> None:
        """Refuse all further items. When the pool has ended, let go of its members."""
        super().refuse(state, reason)
        self._room.refuse(state, reason)
        if reason is not None:
            self.end()
            self.put_back(self._room.empty())  # they become dead letters, like those of any mailbox

    def set_owner(self, owner: Owner) -> None:
        """Replace the owner after the pool has ended."""
        super().set_owner(owner)
        self._room.set_owner(owner)

    def statistics(self) -> MailboxStatistics:
        """Return the statistics of all members' mailboxes together."""
        own = self._room.statistics()
        members = [each.statistics() for each in self._members]
        return MailboxStatistics(
            sum(each.size for each in members) or own.size,
            own.depth + sum(each.depth for each in members),
            own.senders_waiting + sum(each.senders_waiting for each in members),
            own.accepted + self._accepted_before + sum(each.accepted for each in members),
            own.dropped + self.dropped + self._dropped_before + sum(each.dropped for each in members),
        )


class PoolMailbox(RoutedMailbox):
    """The mailbox of a pool. It has no members while the pool is restarted."""

    __slots__ = ()

    def begin(self, pool: PoolSpec, members: list[Cell]) -> None:
        """Route messages to ``members`` from now on. Begin with the messages that waited here."""
        self._rule = Rule(pool.routing, pool.key)
        if pool.max_size > pool.size:
            self._grow_at = pool.grow_at
        self._set({each.mailbox: each for each in members})
        self._route_waiting()

    def end(self) -> None:
        """Route no more messages: the members are being stopped."""
        self.on_pressure = None
        super().end()

    def _number(self, cell: Cell) -> int:
        return int(cell.spec.id)  # its name

    @property
    def is_crowded(self) -> bool:
        """Whether so many messages wait that one more member is worth its start."""
        waiting = sum(len(mailbox.items) for mailbox in self._members)
        return self._rule is not None and waiting >= self._grow_at * len(self._members)

    def idle(self) -> Cell | None:
        """Return the idle member that was started last. Return None if there is none, or if messages wait."""
        if any(mailbox.items for mailbox in self._members):
            return None
        return next((cell for cell in reversed(self.cells) if cell.mailbox.is_awaited), None)
