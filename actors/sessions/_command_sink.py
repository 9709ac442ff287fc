"""The interface through which an attachment sends commands to its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.sessions._commands import Command
    from actors.sessions._messages import Typing


class CommandSink(Protocol):
    """The receiver of a client's commands: the session itself, or a link to a server that has the session."""

    def post(self, message: Command | Typing) -> None:
        """Let the session handle a command or a typing notice: at once, or from its mailbox. Never wait.

        Raises:
            MailboxFull: Too many messages wait for the session.
            ActorTerminated: The session has ended.
        """

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Return committed events with a seq above ``after``, as JSON lines; see :meth:`Attachment.history`."""
        ...

    def detach(self, connection: str) -> None:
        """Tell the session that a client's connection has ended, so the client's user no longer types. Never wait.

        This can be called more than once, and also after the session has ended.
        """
