"""One connection: from the upgrade to the last goodbye."""

from __future__ import annotations

import logging
import math
import secrets
import time
from typing import TYPE_CHECKING

import trio
from trio_websocket import ConnectionClosed, wrap_server_stream

from actors import ActorTerminated, CommandRefused, GreenroomError, MailboxFull, SessionClosed, Trimmed
from actors.failures import is_a, log_failure, log_line
from actors.loop.weakly import weakly
from actors.presentable import is_presentable
from actors.spi import Attach, Command, CommandReply
from transport._border import called, leaves, passed_on, refusal_in
from transport.auth import Credentials, User
from transport.protocol import close_codes, frames
from transport.protocol.frames import Ack, BadFrame, ClientFrame, CommandFrame, Hello, HistoryFrame, TypingFrame
from transport.protocol.handshake import Accept, Conversation, Reject, upgrade
from transport.protocol.limits import Refusals, TokenBucket
from transport.server._greeting import decoded, identify, welcome
from transport.server._limit import Limit
from transport.server._signal_queue import SignalQueue
from transport.server._write_buffer import WriteBuffer
from transport.server._wsproto import forget_handshake

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from trio_websocket import WebSocketConnection, WebSocketRequest

    from actors.spi import Attachment, Cursor
    from transport.server.endpoint import Endpoint

logger = logging.getLogger("greenroom.connections")

UPGRADE_SECONDS = 5.0
"""How long a client has for its upgrade request."""
CLOSE_SECONDS = 2.0
"""How long a close handshake may take before the socket is closed under it."""
_ENDS = (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError)
"""What is raised where the peer or the network ended a connection."""
_DISCARD_BYTES = 4 * 1024 * 1024
_TOO_BIG = b"Exceeded maximum message size"
"""How trio-websocket begins its reason: a peer's own 1009 is echoed with the peer's reason."""
_ENDINGS = {
    "shutdown": (close_codes.GOING_AWAY, "the server is going away"),
    "crashed": (close_codes.INTERNAL_ERROR, "the session failed; come back"),
    "closed": (close_codes.SESSION_CLOSED, "the session was closed for good"),
}


class Connection:
    """A client's connection, served by :meth:`run`. What flusher, heartbeat and session call never waits.

    There are as many of these as clients, most of them idle: what only some connections need is made when they need it,
    and what only the beginning needs is not held beyond it.
    """

    __slots__ = (
        "__weakref__",
        "_acked",
        "_attachment",
        "_bucket",
        "_catching_up",
        "_closing",
        "_cursor",
        "_endpoint",
        "_expires_at",
        "_greeted",
        "_headers",
        "_heard",
        "_heard_at",
        "_nursery",
        "_one_history",
        "_over",
        "_ping_at",
        "_refusals",
        "_scope",
        "_settings",
        "_signals",
        "_socket",
        "_stream",
        "_websocket",
        "_write_buffer",
        "address",
        "id",
        "user",
    )

    def __init__(self, endpoint: Endpoint, stream: trio.abc.Stream, sock: socket.socket | None, address: str) -> None:
        self.id = f"c-{secrets.token_hex(8)}"
        self.address = address
        self.user: User | None = None
        self._endpoint = endpoint
        self._settings = endpoint.settings
        self._stream = stream
        self._socket = sock
        self._scope = trio.CancelScope()
        self._closing: tuple[int, str, int | None] | None = None
        self._over = False
        """Whether :meth:`run` has let go of everything: from then on nothing that others call has any effect."""
        self._websocket: WebSocketConnection | None = None
        """Once there is one, until a close frame was sent on it."""
        self._attachment: Attachment | None = None
        self._catching_up = False
        self._signals = SignalQueue()
        self._greeted = False
        self._acked = 0
        self._expires_at = math.inf
        self._one_history: trio.Lock | None = None
        self._headers: dict[str, str] | None = None
        """Of the upgrade request, until the hello was answered."""
        self._cursor: Cursor
        self._write_buffer: WriteBuffer
        self._nursery: trio.Nursery
        self._heard_at = self._endpoint.time.now()
        """When the last frame came, in the loop's time; the other times are trio's."""
        self._heard: Callable[[], None] | None = None
        """Told of the next frame that comes."""
        self._ping_at = trio.current_time() + self._settings.ping_seconds
        self._bucket: TokenBucket | None = None
        self._refusals: Refusals | None = None

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Serve the connection to its end, and close its stream. Whatever happens in it stays in it.

        Raises nothing but ``trio.Cancelled``, when the endpoint is cancelled. A Ctrl-C is the main task's.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._write_buffer = WriteBuffer(
                    self._stream, self._socket, self._nursery, slow_seconds=self._settings.slow_seconds
                )
                self._write_buffer.before_close = self._before_close
                try:
                    await self._serve()
                except BaseException as raised:
                    if is_presentable(raised):
                        raise
                    # A log raises what it likes as a session is made; trio would show it as the nursery closes.
                    self._note_end(passed_on(raised))
                finally:
                    self._let_go()
                    await trio.aclose_forcefully(self._write_buffer)
                    self._write_buffer.forget()
                    self._nursery.cancel_scope.cancel()
        except BaseException as raised:  # noqa: BLE001 - the border: nothing of a connection passes
            self._note_end(passed_on(raised))
            await trio.lowlevel.checkpoint_if_cancelled()

    def _note_end(self, raised: BaseException) -> None:
        # trio-websocket lets exceptions of its reader through: LocalProtocolError for a pong in mid-close, for one.
        if all(is_a(error, (*_ENDS, trio.Cancelled)) for error in leaves(raised)):
            log_line(logger, logging.DEBUG, "connection %s has ended", self.id)
        else:
            log_failure(logger, "connection %s failed", self.id, error=raised)

    def close(self, code: int, reason: str) -> None:
        """End the connection with ``code``, after a goodbye where it can. Never waits; the first call counts."""
        if self._closing is None:
            self._closing = (code, close_codes.truncate_reason(reason), self._endpoint.retry_ms(code))
            self._scope.cancel()

    @property
    def waiting_bytes(self) -> int:
        """How much is kept for the peer beside the session's events: what its socket did not take, and signals."""
        return self._signals.size + (self._write_buffer.pending if self._greeted else 0)

    # What others call

    # Each of these may come after the end: from a session that had it on its list, a reply that was long in coming, a
    # pump in mid-round. There is nothing left then that it could do, and much that it could break.

    def on_events(self) -> None:
        """Have what the session committed written, when the commit has told everybody."""
        if not self._over:
            self._endpoint.flusher.schedule_with_commit(self)

    def _schedule(self) -> None:
        if not self._over:
            self._endpoint.flusher.schedule(self)

    def on_signal(self, name: str, data: bytes) -> None:
        """Have a signal written, unless too many wait already."""
        if self._over or self._closing is not None:
            return
        self._endpoint.signals_dropped += self._signals.put(name, data, frames.signal(name, data))
        self._endpoint.flusher.schedule(self)

    def on_ended(self, reason: str) -> None:
        """Close as the session has ended."""
        self.close(*_ENDINGS[reason])

    def flush(self) -> None:
        """Write what there is, as few messages and in one go; the rest next time."""
        if self._over:
            return
        self._take_events()
        self._write_buffer.release()

    def failed(self, error: BaseException) -> None:
        """Close as what was to be done for this connection has failed."""
        if self._over:
            return
        end = self._internal(error, "the delivery failed")
        self.close(end.code, end.reason)

    def _take_events(self) -> None:
        write_buffer = self._write_buffer
        if write_buffer.blocked or not self._greeted or self._catching_up or self._closing is not None:
            return
        cursor = self._cursor
        lines = cursor.take(frames.MAX_BATCH_EVENTS, frames.EVENTS_ROOM)
        if lines:
            write_buffer.write(frames.events_message(lines))
        elif cursor.behind:
            self._catching_up = True
            self._nursery.start_soon(self._beside, self._catch_up)
            return
        while self._signals.size and not write_buffer.blocked:
            write_buffer.write(frames.text_message(self._signals.take()))
        if cursor.waiting and not write_buffer.blocked:
            self._endpoint.flusher.schedule(self)

    def beat(self, now: float) -> float | None:
        """Ping when it is time, close when nothing was heard for too long or the token's time is over."""
        if self._over:
            return None
        if self._closing is not None:
            return None
        silent_in = (
            self._heard_at + self._settings.ping_seconds + self._settings.pong_seconds - self._endpoint.time.now()
        )
        if silent_in <= 0:
            self.close(close_codes.HEARTBEAT_LOST, "nothing was heard for too long")
            return None
        if now >= self._expires_at:
            self.close(close_codes.TOKEN_EXPIRED, "the token has expired")
            return None
        if now >= self._ping_at:
            self._ping(now)
        return min(now + silent_in, self._ping_at, self._expires_at)

    def _ping(self, now: float) -> None:
        self._ping_at = now + self._settings.ping_seconds
        self._write_buffer.write(frames.text_message(frames.PING))

    def probe(self, heard: Callable[[], None]) -> bool:
        """Ping at once, and call ``heard`` when the next frame comes. False: it is not welcomed yet, so not judged."""
        if not self._greeted:
            return False
        self._heard = heard
        if self._closing is None:
            self._ping(trio.current_time())
        return True

    def waits(self) -> bool:
        """Return whether the client still waits for a place."""
        return self._closing is None and self._websocket is not None and self._websocket.closed is None

    def give_way(self) -> None:
        """Close, as the client said nothing while a newer connection of the user waited for a place."""
        self.close(close_codes.HEARTBEAT_LOST, "nothing was heard while a newer connection waited")

    # The connection's own task

    async def _serve(self) -> None:
        socket = None
        try:
            with self._scope:
                socket = await self._upgrade()
                if socket is not None:
                    conversation = Conversation()
                    going = await self._greet(socket, conversation)
                    while going:
                        # Here, and not a coroutine deeper: this is where an idle connection waits.
                        going = self._receive(await socket.get_message(), conversation)
        except ConnectionClosed:
            if self._closing is not None:
                await self._linger()
            return
        if socket is not None:
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._say_goodbye(socket)

    async def _upgrade(self) -> WebSocketConnection | None:
        """Answer the upgrade request; None when it was refused, or none came in time."""
        with self._within(UPGRADE_SECONDS) as scope:
            self._write_buffer.on_closed = scope.cancel
            request = await wrap_server_stream(
                self._nursery,
                self._write_buffer,
                max_message_size=self._settings.max_frame_bytes,
                receive_buffer_size=None,
            )
            answer = self._endpoint.refuse(self) or self._judge(request)
            if isinstance(answer, Reject):
                headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Connection", b"close")]
                await request.reject(answer.status, extra_headers=headers, body=answer.body.encode() + b"\n")
                return None
            self._headers = dict(decoded(request.headers))
            socket = await request.accept(subprotocol=answer.subprotocol)
            self._write_buffer.on_closed = _nothing
            forget_handshake(socket)
            self._websocket = socket
            return socket
        return None

    def _judge(self, request: WebSocketRequest) -> Accept | Reject:
        headers = dict(decoded(request.headers))
        return upgrade(
            path=request.path,
            offered=request.proposed_subprotocols,
            origin=headers.get("origin"),
            allowed=self._endpoint.allowed_origins,
        )

    async def _greet(self, socket: WebSocketConnection, conversation: Conversation) -> bool:
        """Answer the hello; False: the connection is to be closed. Raises ConnectionClosed when the peer has."""
        try:
            hello = await self._await_hello(socket, conversation)
            await self._attach(hello, await self._authenticate(hello))
        except _End as end:
            self.close(end.code, end.reason)
            return False
        return True

    def _receive(self, message: str | bytes, conversation: Conversation) -> bool:
        """Do what a message asks for; False: the connection is to be closed."""
        try:
            self._take(self._frame(message, conversation))
        except _End as end:
            self.close(end.code, end.reason)
            return False
        return True

    def _frame(self, message: str | bytes, conversation: Conversation) -> ClientFrame:
        self._heard_at = self._endpoint.time.now()
        if (heard := self._heard) is not None:
            self._heard = None
            heard()
        if isinstance(message, bytes):
            raise _End(close_codes.UNSUPPORTED_DATA, "binary messages are not served")
        limit = self._settings.max_frame_bytes
        if len(message.encode()) > limit:
            raise _End(close_codes.MESSAGE_TOO_BIG, f"a message may have {limit} bytes")
        try:
            return conversation.receive(message)
        except BadFrame as bad:
            raise _End(close_codes.BAD_FRAME, str(bad)) from None

    async def _await_hello(self, socket: WebSocketConnection, conversation: Conversation) -> Hello:
        with self._within(self._settings.hello_seconds):
            hello = self._frame(await socket.get_message(), conversation)
            assert isinstance(hello, Hello)  # noqa: S101 - the conversation lets nothing else through
            return hello
        raise _End(close_codes.NO_HELLO, "no hello came in time")

    async def _authenticate(self, hello: Hello) -> User:
        user = await self._ask_who(hello)
        if user.expires is not None and user.expires <= time.time():
            raise _End(close_codes.TOKEN_EXPIRED, "the token has expired")
        if not await self._endpoint.admit(user.id, self):
            raise _End(close_codes.TOO_MANY_CONNECTIONS, "this user has too many connections")
        self.user = user
        if user.expires is not None:
            self._expires_at = trio.current_time() + user.expires - time.time()
        return user

    async def _ask_who(self, hello: Hello) -> User:
        """Return the user, as the application's auth function says. Whatever it raises instead ends this connection."""
        headers, self._headers = self._headers, None
        credentials = Credentials(hello.token, hello.session, headers or {}, self.address)
        answer: object = TimeoutError(f"no answer within auth_seconds, {self._settings.auth_seconds:g} s")
        with self._within(self._settings.auth_seconds):
            answer = await called(identify, self._endpoint.authenticate, credentials)
        if isinstance(answer, User):
            return answer
        assert isinstance(answer, BaseException)  # noqa: S101 - all that a border returns beside the result
        refused = refusal_in(answer)
        raise self._internal(answer, "authentication failed") if refused is None else _End(*refused)

    def _within(self, seconds: float) -> Limit:
        return Limit(self._endpoint.heartbeat, self._endpoint.time, seconds)

    async def _attach(self, hello: Hello, user: User) -> None:
        attach = Attach(self.id, self, hello.resume, hello.from_latest)
        try:
            attachment = self._attachment = await self._endpoint.sessions.attach(user.id, hello.session, attach)
        except CommandRefused as refusal:
            raise _End(close_codes.OVERLOADED, refusal.message) from None
        except SessionClosed as closed:
            raise _End(close_codes.SESSION_CLOSED, str(closed)) from None
        except Exception as error:
            raise self._internal(error, "the session could not be opened") from error
        if hello.strict and attachment.reset is not None:
            raise _End(close_codes.UNRECOVERABLE_POSITION, attachment.reset)
        self._write_buffer.write(frames.text_message(welcome(self.id, hello, attachment, self._settings)))
        self._write_buffer.on_drained = self._schedule
        self._write_buffer.on_stuck = self._stuck
        self._cursor = attachment.cursor
        self._greeted = True
        self._endpoint.heartbeat.add(self, min(self._ping_at, self._expires_at))
        self._schedule()

    def _take(self, frame: ClientFrame) -> None:
        match frame:
            case Ack():
                self._acknowledged(frame.seq)
            case CommandFrame():
                if self._within_rate(frame.id):
                    self._command(frame)
            case TypingFrame():
                if self._within_rate(None):
                    self._tell(lambda attachment: attachment.typing_changed(active=frame.active))
            case HistoryFrame():
                if self._within_rate(None):
                    self._nursery.start_soon(self._beside, self._history, frame)
            case _:
                pass

    def _acknowledged(self, seq: int) -> None:
        if self._acked < seq <= self._cursor.position:
            self._acked = seq
            self._write_buffer.progressed()

    def _within_rate(self, command_id: str | None) -> bool:
        """Whether the client may ask for something now; one that may not is told, one that goes on is closed."""
        now, settings = trio.current_time(), self._settings
        if self._bucket is None:
            self._bucket = TokenBucket(
                settings.commands_per_second, settings.commands_burst, now, self._endpoint.time.lost
            )
        if self._bucket.take(now, self._endpoint.time.lost):
            return True
        message = f"more than {settings.commands_per_second:g} a second"
        if command_id is None:
            self._write_buffer.write(frames.text_message(frames.error("rate_limited", message)))
        else:
            self._reply(CommandReply(command_id, code="rate_limited", message=message))
        if self._refusals is None:
            self._refusals = Refusals()
        if self._refusals.flooding(now):
            raise _End(close_codes.FLOODING, "the rate limit was ignored")
        return False

    def _command(self, frame: CommandFrame) -> None:
        # A session may reply long after the connection has ended, which it does not keep.
        command = Command(frame.id, frame.name, frame.args, self.id, weakly(self._reply))
        if not self._tell(lambda attachment: attachment.command(command)):
            self._reply(CommandReply(frame.id, code="overloaded", message="the session has too much to do"))

    def _tell(self, send: Callable[[Attachment], None]) -> bool:
        """Hand something to the session; False when its mailbox is full. One that has ended says so by itself."""
        try:
            if self._attachment is not None:
                send(self._attachment)
        except MailboxFull:
            return False
        except ActorTerminated:
            log_line(logger, logging.DEBUG, "connection %s sent something to a session that has ended", self.id)
        return True

    def _reply(self, reply: CommandReply) -> None:
        """Have a reply written; called by the session, whose business it is not where this fails."""
        if self._over or self._closing is not None:
            return
        try:
            self._write_buffer.post(frames.text_message(frames.reply(reply)))
            self._endpoint.flusher.schedule(self)
        except BaseException as error:  # noqa: BLE001 - as said
            self.failed(error)

    async def _beside(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Do ``work`` beside the conversation. Where it fails the connection ends: nothing is left for trio to show."""
        try:
            await work(*arguments)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - a log may raise anything
            self.failed(error)

    async def _history(self, frame: HistoryFrame) -> None:
        attachment = self._attachment
        if frame.fault is not None or attachment is None:
            self._write_buffer.write(frames.text_message(frames.error("bad_history", str(frame.fault))))
            return
        if self._one_history is None:
            self._one_history = trio.Lock()
        try:
            async with self._one_history:
                await self._write_buffer.drained()
                limit = min(frame.limit, frames.MAX_BATCH_EVENTS)
                lines, more = await attachment.history(frame.after, limit, frames.history_room(frame.id, limit))
                if self._closing is None:
                    self._write_buffer.write(frames.text_message(frames.history(frame.id, lines, more=more)))
        except GreenroomError as error:
            end = self._internal(error, "the log could not be read")
            self.close(end.code, end.reason)

    async def _catch_up(self) -> None:
        """Send what is in the log and no longer in memory, until the cursor is back in the ring."""
        cursor = self._cursor
        try:
            while cursor.behind:
                await self._write_buffer.drained()
                lines = await cursor.fetch(frames.MAX_BATCH_EVENTS, frames.EVENTS_ROOM)
                if self._closing is not None:
                    return
                self._write_buffer.write(frames.events_message(lines))
        except Trimmed:
            self.close(close_codes.SLOW_CONSUMER, "the position fell behind what the log keeps")
        except GreenroomError as error:
            end = self._internal(error, "the log could not be read")
            self.close(end.code, end.reason)
        finally:
            self._catching_up = False
        self._schedule()

    def _internal(self, error: BaseException, what: str) -> _End:
        """Make an end that tells the client a reference, and the server's log everything else under it."""
        reference = secrets.token_hex(4)
        log_failure(logger, "%s on connection %s, reference %s", what, self.id, reference, error=error)
        return _End(close_codes.INTERNAL_ERROR, f"{what}, reference {reference}")

    # The end

    async def _say_goodbye(self, socket: WebSocketConnection) -> None:
        if self._closing is None:
            return
        code, reason, retry_ms = self._closing
        if self._greeted:
            await self._send_rest()
        self._write_buffer.write(frames.text_message(frames.goodbye(code, reason, retry_ms)))
        await socket.aclose(code, reason)

    async def _send_rest(self) -> None:
        """Send what was committed before the end and is in memory: the last words of a session that was stopped."""
        if self._write_buffer.blocked:
            return
        cursor = self._cursor
        while lines := cursor.take(frames.MAX_BATCH_EVENTS, frames.EVENTS_ROOM):
            self._write_buffer.write(frames.events_message(lines))
            await self._write_buffer.drained()

    async def _linger(self) -> None:
        """Read what the peer still sends, so that closing resets nothing before the peer has read our close."""
        left = _DISCARD_BYTES
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            while left > 0 and (data := await self._write_buffer.receive_some()):
                left -= len(data)

    def _stuck(self) -> None:
        self.close(close_codes.SLOW_CONSUMER, "nothing could be written for too long")

    def _let_go(self) -> None:
        """Be on nobody's list any more, and hold nothing. Never raises: the count of connections hangs on it."""
        self._over = True
        attachment, self._attachment = self._attachment, None
        if self._greeted:
            self._greeted = False
            del self._cursor
        self._endpoint.heartbeat.remove(self)
        self._endpoint.flusher.forget(self)
        self._endpoint.forget(self)
        try:
            if attachment is not None:
                attachment.detach()
        except Exception as error:  # noqa: BLE001 - the session's failure: nothing is left here that could end by it
            log_failure(logger, "connection %s could not be detached", self.id, error=error)

    def _before_close(self, data: bytes) -> bytes:
        """Put a goodbye before the close frame that trio-websocket sends by itself for a message that is too big."""
        if not data:
            return self._last_words()
        if not data.startswith(b"\x88"):
            return data
        self._websocket = None
        code = close_codes.MESSAGE_TOO_BIG
        if self._closing is not None or data[2:4] != code.to_bytes(2, "big") or not data.startswith(_TOO_BIG, 4):
            return data
        reason = f"a message may have {self._settings.max_frame_bytes} bytes"
        self._closing = (code, reason, None)
        return frames.text_message(frames.goodbye(code, reason)) + data

    def _last_words(self) -> bytes:
        """Say goodbye to a peer that sent what is no WebSocket frame: trio-websocket hangs up on it without a word."""
        end = self._websocket.closed if self._websocket is not None else None
        if end is None or end.code not in close_codes.NO_WEBSOCKET:
            return b""
        self._websocket = None
        code, reason = int(end.code), close_codes.truncate_reason(end.reason or "")
        return frames.text_message(frames.goodbye(code, reason)) + frames.close_message(code, reason)


class _End(Exception):
    """How the conversation ends."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def _nothing() -> None:
    """Nothing is to be done any more."""
