"""The state machine of a client, without a socket or a clock: messages go in, frames and decisions come out.

A connection's life, as the core sees it::

    on_opened(token) ── next_frame() returns hello ── on_message(welcome) ── live ── on_closed(code, reason, lived)
                                                                                        │
                          a Retry: wait that long, with a fresh token if it says so ────┴── or the error that ends
                                                                                            the client

The caller must call :meth:`ClientCore.next_frame` until it returns None, after every call that can queue a frame.
Frames of unknown types are ignored. If the server breaks the protocol in any other way, the client ends with
:class:`~transport.errors.ServerBrokeProtocol`: reconnecting would not help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from actors.errors import CommandRefused
from transport.errors import (
    ConnectionClosedForGood,
    HandshakeRejected,
    OutcomeUnknown,
    PositionLost,
    ServerBrokeProtocol,
)
from transport.protocol import server_frame_parser
from transport.protocol.client_frames import BadFrame, Hello, Pong, TokenFrame, TypingFrame
from transport.protocol.close_codes import ABNORMAL, NO_STATUS, TOKEN_EXPIRED, UNRECOVERABLE_POSITION, comes_back
from transport.protocol.limits import DEFAULT_PING_MS
from transport.protocol.names import ErrorCode, ServerFrameType, SignalName
from transport.protocol.server_frames import (
    ErrorFrame,
    Events,
    Goodbye,
    HistoryReply,
    Ping,
    QueuedStart,
    Renewed,
    Reply,
    ServerFrame,
    Signal,
    Welcome,
)

if TYPE_CHECKING:
    from transport.client._buffer import EventBuffer
    from transport.client._commands import Commands
    from transport.client._reconnect_delays import ReconnectDelays

# HTTP answers to an upgrade that may pass by themselves: timeout, too early, too many requests, and all of 5xx.
_TEMPORARY_STATUS = frozenset({408, 425, 429})
_SERVER_ERRORS = range(500, 600)
_AFTER_WELCOME = frozenset(ServerFrameType) - {ServerFrameType.WELCOME, ServerFrameType.PING, ServerFrameType.GOODBYE}
"""Types of frames that a server must not send before its welcome."""


@attrs.frozen
class Retry:
    """The decision to connect again after ``delay`` seconds. If ``renew`` is True, ask for a new token first."""

    delay: float
    renew: bool = False


@attrs.frozen
class Answer:
    """The outcome of the command ``id``: its result, or the exception that says why there is none."""

    id: str
    outcome: Any


Output: TypeAlias = Welcome | Renewed | Answer | Signal
"""Type of the results of a server's message, for waiting tasks. Events go into the buffer instead."""


@attrs.define
class _Attempt:
    """The state of one connection. Each connection gets a new object, so no state of an earlier connection is left."""

    hello_due: bytes | None = None
    live: bool = False
    pong_due: bool = False
    typing_due: bool | None = None
    token_due: str | None = attrs.field(default=None, repr=False)
    goodbye: Goodbye | None = None


@attrs.define
class ClientCore:
    """The state of one client across all its connections.

    ``hello`` is the first frame of every connection. For each connection, the present token and position are put into
    the ``hello``. ``renewable`` is True if the application can be asked for a new token.
    """

    hello: Hello
    buffer: EventBuffer
    commands: Commands
    delays: ReconnectDelays
    renewable: bool
    welcome: Welcome | None = attrs.field(default=None, init=False)
    queued: dict[str, QueuedStart] = attrs.field(factory=dict[str, QueuedStart], init=False)
    """The requests to start a run that wait in the session's queue, by command id.

    A welcome replaces the whole dict, and ``queued`` signals add and remove entries.
    """
    pings: int = attrs.field(default=0, init=False)
    resets: int = attrs.field(default=0, init=False)
    expires_ms: int | None = attrs.field(default=None, init=False)
    """Time from the newest welcome or confirmation until the token expires, in ms. None if it never expires."""
    errors: int = attrs.field(default=0, init=False)
    unknown_frames: int = attrs.field(default=0, init=False)
    _attempt: _Attempt = attrs.field(factory=_Attempt, init=False)

    @property
    def live(self) -> bool:
        """Whether there is a connection on which the welcome has arrived."""
        return self._attempt.live

    @property
    def ping_ms(self) -> int:
        """Interval of the server's pings in ms: from the newest welcome, or the default before any welcome."""
        return self.welcome.ping_ms if self.welcome is not None else DEFAULT_PING_MS

    # Frames to send

    def next_frame(self) -> str | None:
        """Take the next frame to send. Return None if there is none now."""
        frame = self._take_frame()
        return None if frame is None else frame.decode()

    def _take_frame(self) -> bytes | None:
        attempt = self._attempt
        if attempt.hello_due is not None:
            frame, attempt.hello_due = attempt.hello_due, None
            return frame
        # A pong goes before everything else, so that a queue of commands cannot cost the connection its heartbeat.
        if attempt.pong_due:
            attempt.pong_due = False
            return Pong().encode()
        if not attempt.live:
            return None
        if attempt.token_due is not None:
            token, attempt.token_due = attempt.token_due, None
            return TokenFrame(token).encode()
        return self.commands.next_frame() or self._take_typing()

    def _take_typing(self) -> bytes | None:
        active, self._attempt.typing_due = self._attempt.typing_due, None
        return None if active is None else TypingFrame(active).encode()

    def typing(self, *, active: bool) -> None:
        """Queue a ``typing`` frame in place of an older ``typing`` frame. Do nothing if there is no live connection."""
        if self.live:
            self._attempt.typing_due = active

    def renew(self, token: str) -> None:
        """Queue a ``token`` frame with a fresh token. Do nothing if there is no live connection."""
        if self.live:
            self._attempt.token_due = token

    def expire_commands(self) -> list[Output]:
        """Return an ``OutcomeUnknown`` answer for each command that must not be sent again.

        Call this before each call of :meth:`next_frame`, and regularly while the client is offline.
        """
        return [Answer(id_, OutcomeUnknown()) for id_ in self.commands.drop_expired()]

    # Messages that arrive

    def on_message(self, message: str | bytes) -> list[Output]:
        """Process one message of the server. Return its outputs, for the tasks that wait for them.

        Raise :class:`~transport.client._buffer.GapError` if an event is missing, and
        :class:`~transport.errors.ServerBrokeProtocol` for anything that the protocol does not allow.
        """
        try:
            fields = server_frame_parser.decode(message)
            if fields.type in _AFTER_WELCOME and not self.live:
                raise ServerBrokeProtocol(reason=f"{fields.type} before a welcome")
            frame = server_frame_parser.parse(fields)
            return self._on_frame(frame, len(message))
        except BadFrame as bad:
            raise ServerBrokeProtocol(reason=str(bad)) from bad

    def _on_frame(self, frame: ServerFrame | None, size: int) -> list[Output]:
        match frame:
            case Events():
                self.buffer.add(frame.events, size)
            case Signal() | Renewed():
                self._note(frame)
                return [frame]
            case Reply():
                return self._on_reply(frame)
            case HistoryReply():
                return self._answer(frame.id, frame.page)
            case ErrorFrame():
                return self._on_error(frame)
            case Ping():
                self.pings += 1
                self._attempt.pong_due = True
            case Goodbye():
                self._attempt.goodbye = frame
            case Welcome():
                return self._on_welcome(frame)
            case None:
                self.unknown_frames += 1
        return []

    def _note(self, frame: Signal | Renewed) -> None:
        match frame:
            case Renewed():
                self.expires_ms = frame.expires_ms
            case Signal(SignalName.QUEUED, {"command_id": str(id_), "agent": str(agent), "waiting": True}):
                self.queued.setdefault(id_, QueuedStart(id_, agent))
            case Signal(SignalName.QUEUED, {"command_id": str(id_)}):
                self.queued.pop(id_, None)
            case _:  # a signal of an agent, which may choose any name and data
                pass

    def _on_welcome(self, welcome: Welcome) -> list[Output]:
        if self.live:
            raise ServerBrokeProtocol(reason="a second welcome")
        reset = self.buffer.attach(welcome, from_latest=self.hello.from_latest)
        self.resets += reset is not None
        self.welcome, self._attempt.live = welcome, True
        self.expires_ms = welcome.expires_ms
        # The welcome is the present state: signals that were sent while this client was away are in it.
        self.queued = {start.command_id: start for start in welcome.queued}
        message = f"larger than the {welcome.max_frame_bytes} bytes that the server takes"
        too_large = self.commands.on_attached(welcome.max_frame_bytes, welcome.command_memory_ms / 1000)
        refused = (Answer(id_, CommandRefused(ErrorCode.BAD_ARGS, message)) for id_ in too_large)
        return [welcome, *refused, *self.expire_commands()]

    def _on_error(self, frame: ErrorFrame) -> list[Output]:
        """Refuse the oldest history request with the error in ``frame``.

        An error frame has no id. The frame cannot be about a command, since a refused command gets a reply.
        """
        self.errors += 1
        id_ = self.commands.oldest_history()
        return [] if id_ is None else self._answer(id_, CommandRefused(frame.code, frame.message))

    def _on_reply(self, reply: Reply) -> list[Output]:
        # The session moves to another server, which may have done the command already: its id tells.
        if reply.code == ErrorCode.OWNER_UNREACHABLE and self.commands.on_unreachable(reply.id):
            return []
        return self._answer(reply.id, _outcome(reply))

    def _answer(self, id_: str, outcome: object) -> list[Output]:
        return [Answer(id_, outcome)] if self.commands.on_reply(id_) else []

    # Connections that begin and end

    def on_opened(self, token: str | None) -> None:
        """Begin a connection. The hello, with ``token`` and the position, is the next frame to send."""
        hello = attrs.evolve(self.hello, token=token, resume=self.buffer.received)
        self._attempt = _Attempt(hello.encode())

    def on_closed(self, code: int, reason: str, lived: float) -> Retry | ConnectionClosedForGood:
        """Decide the next step after a connection that was live for ``lived`` seconds and ended with ``code``.

        Return a :class:`Retry`, or the error that ends the client. If no close frame arrived, use the code and reason
        of the goodbye frame.
        """
        goodbye = self._attempt.goodbye  # read before `on_left` drops it with the attempt
        self.on_left()
        if code in (NO_STATUS, ABNORMAL) and goodbye is not None:
            code, reason = goodbye.code, goodbye.reason
        self.delays.lived(lived)
        if code == UNRECOVERABLE_POSITION:
            return PositionLost(code, reason)
        if not comes_back(code):
            return ConnectionClosedForGood(code, reason)
        if code == TOKEN_EXPIRED and not self.renewable:
            ended = ConnectionClosedForGood(code, reason or "the token has expired")
            # A note, shown under a traceback: a command line that prints the error has a person, and no function.
            ended.add_note("The client has one fixed token; give a function as `token` to get new ones.")
            return ended
        retry_ms = None if goodbye is None else goodbye.retry_ms
        # The server spreads its clients by `retry_ms`. Without it, the client's own jitter does.
        delay = self.delays.next() if retry_ms is None else retry_ms / 1000
        return Retry(delay, renew=code == TOKEN_EXPIRED)

    def on_rejected(self, status: int, reason: str) -> Retry | ConnectionClosedForGood:
        """Decide the next step after the server refused the upgrade with HTTP ``status``.

        Return a :class:`Retry` if the error is perhaps temporary, else the error that ends the client.
        """
        self.on_left()
        if status in _TEMPORARY_STATUS or status in _SERVER_ERRORS:
            return Retry(self.delays.next())
        return HandshakeRejected(status, reason)

    def on_left(self) -> None:
        """Forget the state of the connection, or of the attempt to connect, after its end.

        So the goodbye of one connection has no effect on a later connection.
        """
        self._attempt = _Attempt()
        self.commands.on_detached()


def _outcome(reply: Reply) -> object:
    return reply.result if reply.code is None else CommandRefused(reply.code, reply.message)
