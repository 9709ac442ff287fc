"""What a client does, without a socket or a clock: messages in, frames and decisions out.

A connection's life, seen from here::

    opened(token) ── next_frame() gives hello ── received(welcome) ── live ── closed(code, reason, lived)
                                                                                 │
                           a Retry: wait that long, bring a fresh token if asked ┴ or the error that ends it for good

The shell calls :meth:`ClientCore.next_frame` until it gives None after everything that may have queued one. Frames of
types that are not known are ignored; anything else that is not as the protocol says ends the client for good with
:class:`~transport.errors.ServerBrokeProtocol`, because coming back to such a server would not help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from actors.errors import CommandRefused
from transport.client import _frames as frames
from transport.client._buffer import EventBuffer, decode_all
from transport.client._frames import History, QueuedStart, Signal, Welcome
from transport.errors import (
    ConnectionClosedForGood,
    HandshakeRejected,
    OutcomeUnknown,
    PositionLost,
    ServerBrokeProtocol,
)
from transport.protocol.close_codes import ABNORMAL, NO_STATUS, TOKEN_EXPIRED, UNRECOVERABLE_POSITION, comes_back

if TYPE_CHECKING:
    from transport.client._commands import Commands
    from transport.client._reconnect_delays import ReconnectDelays

_TEMPORARY_STATUS = frozenset({408, 425, 429})
_SERVER_ERRORS = range(500, 600)
_PONG = b'{"type":"pong"}'
_AFTER_WELCOME = frozenset({"events", "signal", "reply", "history", "error"})
_MAX_RETRY_MS = 3_600_000
_DEFAULT_PING_MS = 25_000


@attrs.frozen
class Retry:
    """Come back after ``delay`` seconds; ``renew``: with a token that was asked for anew."""

    delay: float
    renew: bool = False


@attrs.frozen
class Answer:
    """The reply to command ``id``: what it returned, or why it was refused."""

    id: str
    outcome: Any


Output: TypeAlias = Welcome | Answer | Signal
"""What a message may mean to the shell; events wait in the buffer."""


@attrs.define
class _Attempt:
    """What belongs to one connection, and is gone with it: nothing of an old one can reach the next."""

    hello_due: bytes | None = None
    live: bool = False
    pong_due: bool = False
    typing_due: bool | None = None
    goodbye: tuple[int, str] | None = None
    retry_ms: int | None = None


@attrs.define
class ClientCore:
    """The state of one client across all its connections.

    ``hello`` holds the fields of that frame that never change: from, strict, client. ``renewable`` is whether a fresh
    token can be asked for.
    """

    session: str
    hello: dict[str, Any]
    buffer: EventBuffer
    commands: Commands
    delays: ReconnectDelays
    renewable: bool
    welcome: Welcome | None = attrs.field(default=None, init=False)
    queued: dict[str, QueuedStart] = attrs.field(factory=dict[str, QueuedStart], init=False)
    """Starts that wait for their turn, by command id: as the newest connection had them."""
    pings: int = attrs.field(default=0, init=False)
    resets: int = attrs.field(default=0, init=False)
    errors: int = attrs.field(default=0, init=False)
    unknown_frames: int = attrs.field(default=0, init=False)
    _now: _Attempt = attrs.field(factory=_Attempt, init=False)

    @property
    def live(self) -> bool:
        """Whether there is a connection that was welcomed."""
        return self._now.live

    @property
    def ping_ms(self) -> int:
        """How often the server pings, as far as is known."""
        return self.welcome.ping_ms if self.welcome is not None else _DEFAULT_PING_MS

    def opened(self, token: str | None) -> None:
        """Begin a connection: ``hello`` is the next frame."""
        self._now = _Attempt(frames.hello(self.session, token, self.buffer.received, self.hello))

    def next_frame(self) -> str | None:
        """Take the next frame to send, None if there is none now."""
        frame = self._take_frame()
        return None if frame is None else frame.decode()

    def _take_frame(self) -> bytes | None:
        now = self._now
        if now.hello_due is not None:
            frame, now.hello_due = now.hello_due, None
            return frame
        if now.pong_due:
            now.pong_due = False
            return _PONG
        if not now.live:
            return None
        return self.commands.next_frame() or self._take_typing()

    def forgotten(self) -> list[Output]:
        """Answer the commands that may not be sent again. To be called before frames are taken, and while offline."""
        return [Answer(id_, OutcomeUnknown()) for id_ in self.commands.drop_forgotten()]

    def _take_typing(self) -> bytes | None:
        active, self._now.typing_due = self._now.typing_due, None
        return None if active is None else b'{"type":"typing","active":%s}' % (b"true" if active else b"false")

    def typing(self, *, active: bool) -> None:
        """Say whether the user types: the newest word only, and only while there is a connection."""
        if self.live:
            self._now.typing_due = active

    def received(self, message: str | bytes) -> list[Output]:
        """Take in one message. Raises :class:`~transport.client._buffer.GapError` or :class:`ServerBrokeProtocol`."""
        frame = frames.parse(message)
        kind = frame["type"]
        if kind == "ping":
            self.pings += 1
            self._now.pong_due = True
        elif kind == "goodbye":
            self._part(frame)
        elif kind == "welcome":
            return self._attach(frames.parse_welcome(frame))
        elif kind not in _AFTER_WELCOME:
            self.unknown_frames += 1
        elif not self.live:
            raise ServerBrokeProtocol(reason=f"{kind} before a welcome")
        else:
            return self._when_live(kind, frame, len(message))
        return []

    def _when_live(self, kind: str, frame: dict[str, Any], size: int) -> list[Output]:
        match kind:
            case "events":
                self.buffer.add(frames.field(frame, "events", list), size)
                return []
            case "signal":
                return [self._signal(Signal(frames.field(frame, "name", str), frame.get("data")))]
            case "reply":
                return self._reply(frame)
            case "history":
                events = decode_all(frames.field(frame, "events", list))
                return self._answer(frame, History(events, frames.field(frame, "more", bool)))
            case _:
                return self._error(frame)

    def _signal(self, signal: Signal) -> Signal:
        match signal:
            case Signal("queued", {"command_id": str(id_), "agent": str(agent), "waiting": True}):
                self.queued.setdefault(id_, QueuedStart(id_, agent))
            case Signal("queued", {"command_id": str(id_)}):
                self.queued.pop(id_, None)
            case _:  # not of the server: an agent may choose any name and data
                pass
        return signal

    def _part(self, frame: dict[str, Any]) -> None:
        self._now.goodbye = (frames.field(frame, "code", int), frames.field(frame, "reason", str))
        retry_ms = frame.get("retry_ms")
        if type(retry_ms) is int and 0 <= retry_ms <= _MAX_RETRY_MS:
            self._now.retry_ms = retry_ms

    def _attach(self, welcome: Welcome) -> list[Output]:
        if self.live:
            raise ServerBrokeProtocol(reason="a second welcome")
        reset = self.buffer.attach(welcome, latest=self.hello.get("from") == "latest")
        self.resets += reset is not None
        self.welcome, self._now.live = welcome, True
        self.queued = {start.command_id: start for start in welcome.queued}
        refused = CommandRefused("bad_args", f"larger than the {welcome.max_frame_bytes} bytes that the server takes")
        large = self.commands.attached(welcome.max_frame_bytes, welcome.command_memory_ms / 1000)
        return [welcome, *(Answer(id_, refused) for id_ in large), *self.forgotten()]

    def _reply(self, frame: dict[str, Any]) -> list[Output]:
        if frames.field(frame, "ok", bool):
            return self._answer(frame, frame.get("result"))
        error = frames.field(frame, "error", dict)
        return self._answer(frame, CommandRefused(str(error.get("code")), str(error.get("message"))))

    def _error(self, frame: dict[str, Any]) -> list[Output]:
        """Refuse the history request that it can only mean: an error frame has no id, a command gets a reply."""
        self.errors += 1
        id_ = self.commands.oldest_history()
        if id_ is None:
            return []
        return self._answer({**frame, "id": id_}, CommandRefused(str(frame.get("code")), str(frame.get("message"))))

    def _answer(self, frame: dict[str, Any], outcome: object) -> list[Output]:
        id_ = cast("str", frames.field(frame, "id", str))
        return [Answer(id_, outcome)] if self.commands.answered(id_) else []

    def closed(self, code: int, reason: str, lived: float) -> Retry | ConnectionClosedForGood:
        """Decide what follows a connection that was live for ``lived`` seconds and ended with ``code``.

        Where the close frame got lost, the goodbye before it counts.
        """
        ended = self.left()
        if code in (NO_STATUS, ABNORMAL) and ended.goodbye is not None:
            code, reason = ended.goodbye
        self.delays.lived(lived)
        if code == UNRECOVERABLE_POSITION:
            return PositionLost(code, reason)
        if not comes_back(code):
            return ConnectionClosedForGood(code, reason)
        if code == TOKEN_EXPIRED and not self.renewable:
            return ConnectionClosedForGood(code, f"{reason or 'token expired'} (and no callable to ask for another)")
        delay = self.delays.next() if ended.retry_ms is None else ended.retry_ms / 1000
        return Retry(delay, renew=code == TOKEN_EXPIRED)

    def left(self) -> _Attempt:
        """Note that the connection, or the attempt, is over, and return what belonged to it.

        Nothing of it counts for the next: a goodbye was said once, whatever becomes of the attempts after it.
        """
        ended, self._now = self._now, _Attempt()
        self.commands.detached()
        return ended

    def rejected(self, status: int, reason: str) -> Retry | ConnectionClosedForGood:
        """Decide what follows an upgrade that got HTTP ``status``: only what may pass by itself is tried again."""
        self.left()
        if status in _TEMPORARY_STATUS or status in _SERVER_ERRORS:
            return Retry(self.delays.next())
        return HandshakeRejected(status, reason)
