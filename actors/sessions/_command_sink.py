"""The interface through which an attachment sends commands to its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.sessions._commands import Command
    from actors.sessions._messages import Typing


class CommandSink(Protocol):
    """The receiver of a client's requests to its session: the session itself, or a link to the session's node."""

    def post(self, message: Command | Typing) -> None:
        """Put a message into the session's mailbox. Never wait.

        Raises:
            MailboxFull: Too many messages wait for the session.
            ActorTerminated: The session has ended.
        """

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Return committed lines above ``after``; see :meth:`Attachment.history`."""
        ...

    def detach(self, connection: str) -> None:
        """Forget a connection, and end its user's typing. Never wait. Idempotent, allowed after the session's end."""
