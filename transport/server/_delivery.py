"""The way of data from a session to its client: events, signals and replies become WebSocket messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import GreenroomError, Trimmed
from actors.spi import SessionEnding, SignalQueue
from transport.protocol import close_codes, server_frames
from transport.protocol.limits import MAX_BATCH_EVENTS

if TYPE_CHECKING:
    from actors.spi import CommandReply, Cursor
    from transport.server._context import ServerContext
    from transport.server._lifetime import Lifetime
    from transport.server._refusals import Reason
    from transport.server._wire import Wire

ENDINGS = {
    SessionEnding.SHUTDOWN: (close_codes.GOING_AWAY, "the server is going away"),
    SessionEnding.CRASHED: (close_codes.INTERNAL_ERROR, "the session failed; come back"),
    SessionEnding.CLOSED: (close_codes.SESSION_CLOSED, "the session was closed for good"),
    SessionEnding.MOVED: (close_codes.SESSION_MOVED, "another server has the session now"),
    SessionEnding.SUSPENDED: (close_codes.OVERLOADED, "the server is cut off from its cluster"),
}
"""The close code and the reason with which the end of a session ends its clients."""


class Delivery:
    """The part of one connection that writes to the client. The session notifies it of new data.

    Events are not queued here. The cursor is the client's position in the session's stream of events, and :meth:`flush`
    takes events from the stream only when the wire (the WebSocket under the connection) can send them. Signals are
    queued, up to a limit.

    Only :meth:`send_rest` waits. The other methods can be called after the connection has ended, and then do nothing:
    perhaps the session or the flusher (the task that writes to all connections) does not know yet that the connection
    has ended.
    """

    __slots__ = (
        "__weakref__",
        "_acked",
        "_catching_up",
        "_context",
        "_cursor",
        "_life",
        "_replied",
        "_signals",
        "_wire",
    )

    def __init__(self, context: ServerContext, life: Lifetime, wire: Wire) -> None:
        self._context = context
        self._life = life
        self._wire = wire
        self._cursor: Cursor | None = None
        """The client's position in the session's events. None before the welcome and after the end."""
        self._signals: SignalQueue | None = None
        """The queue of signals. None until the first signal, since most idle connections never get one."""
        self._catching_up = False
        """Whether a task now sends old events from the log.

        Meanwhile :meth:`flush` writes no events, so that no new event arrives before an old one.
        """
        self._replied = False
        """Whether a reply was written to the WebSocket since the last flush."""
        self._acked = 0

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that wait for this client: signals, and data that the network did not take."""
        signals = self._signals.size if self._signals is not None else 0
        return signals + (self._wire.pending if self._cursor is not None else 0)

    @property
    def position(self) -> int | None:
        """Seq of the newest event that was sent. None before the welcome and after the end."""
        return None if self._cursor is None else self._cursor.position

    @property
    def lag_events(self) -> int:
        """Number of committed events that were not sent yet."""
        return 0 if self._cursor is None else self._cursor.waiting

    def begin(self, cursor: Cursor) -> None:
        """Start to deliver the events after the position of ``cursor``. Called once, after the welcome was written."""
        self._cursor = cursor
        self.schedule()

    def stop(self) -> None:
        """Stop all deliveries, and release the cursor and the signals."""
        self._cursor = self._signals = None
        self._context.flusher.forget(self)

    # Notifications of the session (a Listener)

    def on_events(self) -> None:
        """Schedule the new events of the session, to be sent to the client at the end of the present commit."""
        if not self._life.over:
            self._context.flusher.schedule_with_commit(self)

    def on_signal(self, name: str, data: bytes) -> None:
        """Queue a signal. If too many are queued, drop and count the least important signals."""
        if self._life.over or self._life.closing is not None:
            return
        if self._signals is None:
            self._signals = SignalQueue()
        dropped = self._signals.put(name, data, server_frames.signal(name, data))
        self._context.connections.signals_dropped += dropped
        self._context.flusher.schedule(self)

    def on_ended(self, reason: SessionEnding) -> None:
        """Close the connection, because its session has ended. The close code depends on ``reason``."""
        self._life.close(*ENDINGS[reason])

    # Requests

    def reply(self, reply: CommandReply, refusal: Reason | None = None) -> None:
        """Send the reply to a command together with the next data. Never raises: an error ends only this connection.

        Args:
            reply: The reply.
            refusal: The reason why the command is refused. If None, the reply's code decides the reason.
        """
        if self._life.over or self._life.closing is not None:
            return
        try:
            # While the server ends, all commands are refused as overloaded, and no limit is to blame.
            if reply.code is not None and not self._context.connections.going_away:
                self._context.refusals.note_reply(reply.code, reply.message, refusal)
            self._wire.post(server_frames.reply(reply))
            self._replied = True
            self._context.flusher.schedule(self)
        except BaseException as error:  # noqa: BLE001 - the session that calls is not at fault
            self.on_failed(error)

    def acknowledge(self, seq: int) -> None:
        """Record that the client has processed all events up to ``seq``.

        If ``seq`` is higher than before, the client has shown that it still reads.
        """
        # An ack above what was sent is no sign that the client reads.
        if self._cursor is not None and self._acked < seq <= self._cursor.position:
            self._acked = seq
            self._wire.note_progress()

    # The flusher

    def schedule(self) -> None:
        """Ask the flusher (the task that writes to all connections) to call :meth:`flush` soon."""
        if not self._life.over:
            self._context.flusher.schedule(self)

    def flush(self) -> None:
        """Write all new data in few messages: one message with events, then signals, then replies.

        If more events wait than fit into one message, the next flush writes the rest. So a client that has missed many
        events does not delay other clients.
        """
        # The hot path: every call in here is one for each event and each client. Its budget is tested.
        life, wire, cursor = self._life, self._wire, self._cursor
        if life.over:
            return
        if cursor is not None and not (wire.blocked or self._catching_up or life.closing is not None):
            lines = cursor.take(MAX_BATCH_EVENTS, server_frames.EVENTS_ROOM)
            if lines:
                wire.send_events(lines)
            # No longer in memory: a task reads the log, since a flush must not wait. Signals wait behind it.
            if not lines and cursor.behind:
                self._catching_up = True
                life.start(self._catch_up, cursor)
            else:
                if self._signals is not None:
                    self._send_signals(self._signals)
                if cursor.waiting and not wire.blocked:
                    self._context.flusher.schedule(self)
        # The first message above took the posted replies with it. Without one, they leave here.
        if self._replied:
            self._replied = False
            wire.release()

    def on_failed(self, error: BaseException) -> None:
        """Close the connection with 4006, because one of this object's methods raised ``error``."""
        self._life.fail(error, "the delivery failed")

    def _send_signals(self, signals: SignalQueue) -> None:
        while signals.size and not self._wire.blocked:
            self._wire.send(signals.take())

    async def _catch_up(self, cursor: Cursor) -> None:
        """Send old events from the log, as fast as the client takes them.

        End when the client's next event is still in memory, so that no read from the log is needed.
        """
        try:
            while cursor.behind:
                try:
                    await self._wire.drained()
                except self._wire.gone:
                    return  # the client left: the task that reads from it ends the connection
                lines = await cursor.fetch(MAX_BATCH_EVENTS, server_frames.EVENTS_ROOM)
                if self._life.closing is not None:
                    return
                self._wire.send_events(lines)
        except Trimmed:
            self._life.close(close_codes.SLOW_CONSUMER, "the position fell behind what the log keeps")
        except GreenroomError as error:
            self._life.fail(error, "the log could not be read")
        finally:
            self._catching_up = False
        # Flushes wrote no events and signals meanwhile: what has gathered is written now.
        self.schedule()

    async def send_rest(self) -> None:
        """Send the committed events that are still in memory, as the last events before the connection closes.

        Sends nothing if the client is slow at this moment: the client will get the events after a reconnect.
        """
        cursor = self._cursor
        if cursor is None or self._wire.blocked:
            return
        while lines := cursor.take(MAX_BATCH_EVENTS, server_frames.EVENTS_ROOM):
            self._wire.send_events(lines)
            await self._wire.drained()
