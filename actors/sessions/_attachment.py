"""The attachment: a client's connection to a session."""

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


@attrs.define(eq=False)
class Attachment:
    """The connection of one client to a session, with a cursor by which the client reads the session's events.

    The other fields describe the session at the moment when the client attached. End the attachment by :meth:`detach`.
    """

    _sink: CommandSink = attrs.field(alias="sink")
    session: str
    """Name of the session."""
    connection: str
    cursor: Cursor
    epoch: str
    """Id of the session's log. The id changes when the log is lost or replaced. See :class:`~actors.Position`."""
    oldest: int
    """The lowest seq (event number) in the session's log, or ``latest + 1`` if the log has no events."""
    latest: int
    """The highest seq (event number) that was committed to the log when the client attached."""
    recovered: bool
    """Whether the client continues from its ``resume`` position without missing any event."""
    reset: str | None
    """Reason for which the client must drop its state: ``epoch_changed``, ``trimmed`` or ``ahead``.

    None if the client can keep its state.
    """
    runs: tuple[Open, ...]
    """The runs that are open after the event with the seq ``latest``."""
    queued: tuple[Queued, ...]
    """The requests to start a run that wait in the queue, in order."""
    typing: tuple[tuple[str, str], ...]
    """The users and agents that are typing now, as pairs: (``user``, connection id) or (``agent``, run id)."""

    def reroute(self, sink: CommandSink) -> CommandSink:
        """Send all later requests of the client through ``sink``. Return the sink that has got them until now."""
        self._sink, before = sink, self._sink
        return before

    def command(self, command: Command) -> None:
        """Let the session carry out a command: at once if the session has nothing to do, else from its mailbox.

        Never wait. An exception of the session's code is not raised here.

        Raises:
            MailboxFull: Too many messages wait for the session.
            ActorTerminated: The session has ended.
        """
        self._sink.post(command)

    def typing_changed(self, *, active: bool, by: str | None = None) -> None:
        """Tell the session that the user began or stopped typing. Never wait.

        Raise the same errors as :meth:`command`.

        Args:
            active: Whether the user types.
            by: The connection that is shown as typing, if not this one. Such typing goes on when this attachment ends,
                until it is ended or not renewed in time.
        """
        self._sink.post(Typing(by or self.connection, active, elsewhere=by is not None))

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Return committed events with a seq above ``after``, as JSON lines, and whether there are more events.

        Args:
            after: Seq after which the events begin. If the log has dropped the events after that seq, the result begins
                with the oldest event that is left.
            limit: Maximum number of events.
            size: Maximum number of bytes. If the first event is larger, it is returned alone.

        Raises:
            LogError: The log could not be read.

        Cancellation: safe, because nothing was changed.
        """
        return await self._sink.history(after, limit, size)

    def detach(self) -> None:
        """End the attachment: the listener gets no more events, and the user's typing ends. Never wait.

        This can be called more than once, and also after the session has ended.
        """
        self.cursor.detach()
        self._sink.detach(self.connection)
