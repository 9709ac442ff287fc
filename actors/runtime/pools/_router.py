"""A router: one handle for actors that exist already, which routes each message to one of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast

import attrs

from actors.checks import one_of
from actors.errors import ActorTerminated, SpecError
from actors.failures import shown
from actors.runtime._cell import Cell
from actors.runtime._dead_letters import Undelivered
from actors.runtime._incarnation import life_of
from actors.runtime._instance import Instance
from actors.runtime._ref import ActorRef, ActorStatistics, cell_of
from actors.runtime._spec import GroupSpec
from actors.runtime._typed import Defaults, Message_contra, Reply_co
from actors.runtime.pools._mailbox import RoutedMailbox
from actors.runtime.pools._members import MembersRef
from actors.runtime.pools._routing import Rule
from actors.runtime.pools._spec import Routing, check_key, routing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from actors.runtime._home import Home
    from actors.runtime._mailbox import Mailbox, Owner
    from actors.runtime._ref import Terminated
    from actors.runtime._spec import MailboxSpec
    from actors.runtime._typed import MessageT, ReplyT


def _refs(members: Iterable[ActorRef[Any, Any]]) -> tuple[ActorRef[Any, Any], ...]:
    try:
        refs = tuple(members)
    except TypeError:
        raise SpecError(f"members of a router must be ActorRefs, not {shown(members)}") from None
    for ref in refs:
        _member_of(ref)
    return refs


def _member_of(ref: ActorRef[Any, Any]) -> Cell:
    """Return the internal object of an actor that a router can have as a member.

    Raises SpecError if ``ref`` is no handle of a single actor, and RuntimeError if it belongs to another trio run.
    """
    cell = cell_of(ref)
    if isinstance(cell.spec.factory, GroupSpec):
        raise SpecError(f"members of a router must be single actors, not {shown(ref)}")
    cell.mailbox.home.check()
    return cast("Cell", cell)


@attrs.frozen
class RouterSpec(GroupSpec, Defaults, Generic[Message_contra, Reply_co]):
    """The spec of a router. :func:`router` makes it, and checks it.

    It can be spawned wherever an actor can: by ``spawn``, and as the factory of a ChildSpec.
    """

    has_children: ClassVar[bool] = False

    members: tuple[ActorRef[Message_contra, Reply_co], ...] = attrs.field(converter=_refs)
    """Handles of the actors that the router begins with."""
    routing: Routing = attrs.field(kw_only=True, converter=routing_of, validator=one_of(Routing))
    """Rule by which the member for a message is chosen."""
    key: Callable[[Any], Hashable] | None = attrs.field(kw_only=True)
    """Function that returns the key of a message, for ``consistent_hash``. None: the message is its own key."""

    if TYPE_CHECKING:  # for type checkers, a router is spawned like an actor of its members' type

        def __call__(self) -> Instance[Message_contra, Reply_co]: ...

    def __attrs_post_init__(self) -> None:
        """Raise SpecError if the key does not fit the rule."""
        check_key(self.key, self.routing)


def router(
    members: Iterable[ActorRef[MessageT, ReplyT]],
    *,
    routing: Routing | str = Routing.ROUND_ROBIN,
    key: Callable[[Any], Hashable] | None = None,
) -> RouterSpec[MessageT, ReplyT]:
    """Return the spec of a router: one handle, a RouterRef, for actors that exist already.

    ``await system.spawn(router([first, second]), name="both")`` starts it. A message to the router goes to one of its
    members, straight into that actor's mailbox. The members are no children of the router: the end of the router does
    not end them, and an actor can be in several routers. A member that ends leaves the router. More can be added by
    :meth:`RouterRef.add`. A router without members refuses messages with ActorTerminated.

    Args:
        members: Handles of single actors, of the same trio run. Actors that have ended are left out.
        routing: Rule by which the member for a message is chosen.
        key: Function that returns the key of a message, for ``consistent_hash``. None: the message is its own key.

    Raises:
        SpecError: An argument is invalid.
        RuntimeError: A member belongs to another trio run.
    """
    return RouterSpec(members, routing=routing, key=key)


class RouterMailbox(RoutedMailbox):
    """The mailbox of a router. It has no room of its own: a message is in the mailbox of a member, or is refused.

    It watches the members itself. So a member has left at the moment of its end, and not when an actor has handled a
    Terminated message. The members stay if the router is restarted.
    """

    __slots__ = ("_has_begun", "_numbers", "_taken")

    def __init__(self, owner: Owner, spec: MailboxSpec, home: Home | None = None) -> None:
        super().__init__(owner, spec, home)
        self._has_begun = False
        """Whether the router has started. Before that, messages wait."""
        self._taken: dict[Cell, int] = {}
        """Number of each member, in the order in which they were added."""
        self._numbers = itertools.count(1)

    def begin(self, spec: RouterSpec) -> None:
        """Route messages to the members of the spec from now on. If the router was restarted, do nothing."""
        if self._has_begun:
            return
        self._rule, self._has_begun = Rule(spec.routing, spec.key), True
        members = {cell.mailbox: cell for cell in map(_member_of, spec.members) if cell.reason is None}
        for cell in members.values():
            self._take(cell)
        self._set(members)
        self._route_waiting()
        while self._room.items:  # there is no member
            self._owner.discard(self._room.take(), Undelivered.TERMINATED)

    def add(self, cell: Cell) -> None:
        """Route messages to one more actor. If it is a member already, or has ended, do nothing."""
        if cell.mailbox not in self._members and cell.reason is None:
            self._take(cell)
            super().add(cell)

    def _take(self, cell: Cell) -> None:
        self._taken[cell] = next(self._numbers)
        cell.add_watcher(self)

    def _let_go(self, cell: Cell) -> None:
        super()._let_go(cell)
        cell.remove_watcher(self)
        self._taken.pop(cell, None)

    def _number(self, cell: Cell) -> int:
        return self._taken[cell]

    def on_terminated(self, event: Terminated) -> None:
        """Remove a member, because it has ended permanently."""
        self.remove(cast("Cell", cell_of(event.ref)))

    def _offer_to_room(self, item: object) -> bool:
        """Let an item wait only before the router has started. After that, a router without members refuses it."""
        return not self._has_begun and super()._offer_to_room(item)

    def _waiting_room(self) -> Mailbox:
        """Return the mailbox in which an item waits for the start. Raises ActorTerminated after the start."""
        if self._has_begun and not self.is_refusing:
            raise ActorTerminated(f"{self._owner.path} has no members")
        return super()._waiting_room()


class RouterCell(Cell):
    """A router as the runtime sees it: an actor with another kind of mailbox."""

    __slots__ = ()

    mailbox_kind: ClassVar[type[Mailbox]] = RouterMailbox


class Router(Instance):
    """The actor of a router. It handles no messages: its mailbox routes them."""

    def __init__(self, spec: RouterSpec) -> None:
        self._spec = spec

    async def started(self) -> None:
        """Route messages to the members from now on."""
        cast("RouterMailbox", life_of(self).cell.mailbox).begin(self._spec)


@attrs.frozen
class RouterStatistics(ActorStatistics):
    """The state of one router as an actor. The statistics of its mailbox are those of all members together."""

    members: int
    """Number of members that get messages now."""


class RouterRef(MembersRef[Message_contra, Reply_co]):
    """The handle on a router: the methods of any actor's handle, and methods for its members."""

    __slots__ = ()

    def add(self, ref: ActorRef[Message_contra, Reply_co]) -> None:
        """Add a member. If it is one already, or has ended, nothing happens.

        Raises:
            SpecError: ``ref`` is no handle of a single actor.
            ActorTerminated: The router has ended, or is stopping.
        """
        routes = self._open_routes()
        routes.add(_member_of(ref))

    def remove(self, ref: ActorRef[Any, Any]) -> bool:
        """Send no more messages to a member. Return False if it is none.

        The messages in its mailbox stay there. Raises ActorTerminated if the router has ended, or is stopping.
        """
        return self._open_routes().remove(_member_of(ref))

    def _open_routes(self) -> RouterMailbox:
        routes = cast("RouterMailbox", self._mailbox)
        routes.home.check()
        if routes.is_refusing:
            raise routes.refusal()
        return routes

    def statistics(self) -> RouterStatistics:
        """Return the current statistics of the router."""
        own = attrs.asdict(super().statistics(), recurse=False)
        return RouterStatistics(**own, members=len(self._routes.cells))
