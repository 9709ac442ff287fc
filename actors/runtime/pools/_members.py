"""The handle on several actors, as pools and routers have it in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio

from actors.errors import ActorTerminated, MailboxFull
from actors.runtime._ref import ActorRef, cell_of
from actors.runtime._typed import Message_contra, Reply_co

if TYPE_CHECKING:
    from actors.runtime._ref import Target
    from actors.runtime.pools._mailbox import RoutedMailbox


class MembersRef(ActorRef[Message_contra, Reply_co]):
    """The base class of the handles on several actors: the methods of any actor's handle, and methods for members."""

    __slots__ = ("_routes",)

    def __init__(self, cell: Target) -> None:
        super().__init__(cell)
        self._routes = cast("RoutedMailbox", cell.mailbox)

    async def tell(self, message: Message_contra) -> None:
        """Put a message into the mailbox of a member. If all are full, wait, or do as their overflow policy says.

        By key, only the member for the key counts.

        Raises:
            ActorTerminated: The pool or router has ended, is stopping, or ends while this waits.
            MailboxFull: The mailboxes are full and their policy is ``reject``.
            RuntimeError: The mailboxes are full and this would wait for ever: the caller is the only member, or the
                pool waits for the start of the caller.

        Cancellation:
            The message was not sent.
        """
        routes = self._routes
        if next(routes.turns):
            await trio.lowlevel.checkpoint()
        pick = routes.pick
        if pick is None or routes._refusal is not None:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- a property would cost a call
            is_in = routes.offer(message)
        else:
            member = pick(message) if routes.order is None else next(routes.order)
            items = member.items
            # What the member's mailbox does while its actor is busy, without a call for each message of a burst.
            if 0 < len(items) < routes.limit and member._refusal is None:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- as above
                items.append(message)
                member.accepted += 1
                return
            is_in = routes.offer_to(member, message)
        if not is_in:
            await self._put(message)

    def members(self) -> tuple[ActorRef[Message_contra, Reply_co], ...]:
        """Return the handles of the members that get messages now. A pool that is restarted has none."""
        return tuple(cell.ref for cell in self._routes.cells)

    async def broadcast(self, message: Message_contra) -> int:
        """Put a message into the mailbox of each member, and return the number of these members.

        Full mailboxes come last: this waits for room in one after the other, or does as their overflow policy says.
        A pool that is restarted has no members, and no message is sent.

        Args:
            message: The message. All members receive the same object.

        Raises:
            ActorTerminated: The pool or router has ended, or is stopping.
            MailboxFull: The mailbox of a member is full, and its policy is ``reject``. The other members have the
                message.

        Cancellation:
            Some members have the message.
        """
        routes = self._routes
        if routes.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        if routes.is_refusing:
            raise routes.refusal()
        members = self.members()
        full = [ref for ref in members if not cell_of(ref).mailbox.offer(message)]
        reached, refused = len(members) - len(full), None
        for ref in full:
            try:
                await ref.tell(message)
                reached += 1
            except ActorTerminated:
                continue
            except MailboxFull as error:
                refused = error
        if refused is not None:
            raise refused
        return reached
