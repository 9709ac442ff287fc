"""The handle on several actors, as pools and routers have it in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio

from actors.errors import ActorTerminated, MailboxFull
from actors.runtime._ref import ActorRef, cell_of
from actors.runtime._typed import Message_contra, Reply_co

if TYPE_CHECKING:
    from actors.runtime.pools._mailbox import RoutedMailbox


class MembersRef(ActorRef[Message_contra, Reply_co]):
    """The base class of the handles on several actors: the methods of any actor's handle, and methods for members."""

    __slots__ = ()

    def _routes(self) -> RoutedMailbox:
        return cast("RoutedMailbox", self._mailbox)

    def members(self) -> tuple[ActorRef[Message_contra, Reply_co], ...]:
        """Return the handles of the members that get messages now. A pool that is restarted has none."""
        return tuple(cell.ref for cell in self._routes().cells)

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
        routes = self._routes()
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
