"""The attachment of a connection to a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.sessions._messages import Typing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.events.grammar import Open
    from actors.sessions._command_sink import CommandSink
    from actors.sessions._commands import Command
    from actors.sessions._messages import Queued
    from actors.streams._cursor import Cursor


@attrs.frozen(eq=False)
class Attachment:
    """A cursor, and the state of the session when the cursor was placed. End it by :meth:`detach`."""

    _sink: CommandSink = attrs.field(alias="sink")
    connection: str
    cursor: Cursor
    epoch: str
    """Identifies the session's log; see :class:`~actors.Position`."""
    oldest: int
    """The lowest seq in the log, or ``latest + 1`` if the log has no events."""
    latest: int
    """The highest committed seq."""
    recovered: bool
    """Whether the client continues from its ``resume`` position and misses no event."""
    reset: str | None
    """Reason for the client to drop its state: ``epoch_changed``, ``trimmed`` or ``ahead``. None if there is none."""
    runs: tuple[Open, ...]
    """The runs that are open after event ``latest``."""
    queued: tuple[Queued, ...]
    """The starts that wait for their turn, in order."""
    typing: tuple[tuple[str, str], ...]
    """Users and agents that are typing, as (``user``, connection) or (``agent``, run id)."""

    def command(self, command: Command) -> None:
        """Send a command to the session. Never wait.

        Raises:
            MailboxFull: Too many messages wait for the session.
            ActorTerminated: The session has ended.
        """
        self._sink.post(command)

    def typing_changed(self, *, active: bool) -> None:
        """Tell the session that the user began or stopped typing. Never wait. Raise the errors of :meth:`command`."""
        self._sink.post(Typing(self.connection, active))

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Return committed lines above ``after``, and whether there are more.

        Args:
            after: Seq after which the lines begin. If the log has trimmed these lines, its oldest line is the first.
            limit: Maximum number of lines.
            size: Maximum number of bytes. A first line that is larger is returned alone.

        Raises:
            LogError: The log could not be read.

        Cancellation: safe, since nothing was changed.
        """
        return await self._sink.history(after, limit, size)

    def detach(self) -> None:
        """Detach the cursor, and end the user's typing. Never wait. Idempotent, and allowed after the session's end."""
        self.cursor.detach()
        self._sink.detach(self.connection)
