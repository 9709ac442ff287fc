"""One connection of a client: dial, upgrade, read, write, close. Nothing of it outlives :meth:`Link.run`.

Whatever is raised in it, by the network, by the WebSocket library, by the application's ``open_stream``, becomes a way
to end (:class:`Ended`): :meth:`Link.run` is the one boundary, and no ``Exception`` passes it.

What trio-websocket leaves to its user is done here: a time limit on the upgrade and an end to it where the peer hangs
up, one writer, no message after a send that was cut off, and the raw stream closed by force at the end.
"""

from __future__ import annotations

import logging
import re
import ssl
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

import attrs
import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError

from actors.failures import describe, is_a, leaves, led_to, log_failure, text_of, without
from transport.client._buffer import GapError
from transport.errors import ServerBrokeProtocol
from transport.protocol.close_codes import ABNORMAL, NO_STATUS, truncate_reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transport.client._core import ClientCore, Output

logger = logging.getLogger("greenroom.client")

SUBPROTOCOL = "greenroom.v1"
_NORMAL = 1000
_CLOSE_SECONDS = 2.0
_GRACE_SECONDS = 10.0
_LATE_SECONDS = 1.0
"""Lateness of a deadline from which on the event loop stood still: the server is not judged by that time."""
_RECEIVE_BYTES = 64 * 1024
_UPGRADE_BYTES = 1024 * 1024
"""The largest answer to an upgrade, in bytes: the library keeps the body of a refusal as long as it comes."""
_PATH = re.compile(r"[\x21-\x7e]+")
_MAX_PORT = 65_535
_EXPECTED = (ConnectionRejected, ConnectionClosed, ProtocolError, h11.ProtocolError, OSError, trio.BrokenResourceError)
"""What a network, or a peer that is no server of this protocol, makes of an attempt. Anything else is a fault in code,
of the application's ``open_stream`` or in here, and is logged with its traceback."""

StreamFactory: TypeAlias = "Callable[[str, int, ssl.SSLContext | None], Awaitable[trio.abc.Stream]]"
"""Opens the byte stream to (host, port), with TLS where there is a context. Raises ``OSError`` when it cannot."""


@attrs.frozen
class Target:
    """Where a ``ws:`` or ``wss:`` URL points."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.tls) else f"{host}:{self.port}"


def parse_url(url: str, context: ssl.SSLContext | None) -> Target:
    """Take ``url`` apart; ``context`` replaces the default one of ``wss:``. Raises ``ValueError``."""
    try:
        parts = urlsplit(url)
        host, port = _checked_host(parts.hostname or ""), parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {url!r} ({error})") from error
    if parts.scheme not in {"ws", "wss"} or not host or port == 0:
        raise ValueError(f"the URL must be ws://HOST… or wss://HOST…, not {url!r}")
    if parts.scheme == "ws" and context is not None:
        raise ValueError("an ssl_context needs a wss: URL")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _PATH.fullmatch(path):
        raise ValueError(f"the path of a URL is printable ASCII, the rest percent-encoded: {path!r}")
    tls = (context or ssl.create_default_context()) if parts.scheme == "wss" else None
    return Target(host, port or _default_port(tls), path, tls)


def _checked_host(host: str) -> str:
    """Return ``host``. Raise ``ValueError`` for a name that no resolver takes: they fail in ways of their own."""
    if not all(character.isprintable() and character not in " /\\" for character in host):
        raise ValueError("a host has no spaces")
    host.encode("idna")
    return host


def _default_port(tls: ssl.SSLContext | None) -> int:
    return 80 if tls is None else 443


async def open_stream(host: str, port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """Open a TCP stream, and do the TLS handshake, so that its error says what is wrong."""
    if tls is None:
        return await trio.open_tcp_stream(host, port)
    stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=tls, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


@attrs.frozen
class Ended:
    """How a connection ended: a close code, or the HTTP ``status`` that the upgrade got instead."""

    code: int
    reason: str
    status: int | None = None
    lived: float = 0.0
    catching_up: bool = False
    """Whether the client itself ended it, to come back with a resume at once."""


@attrs.define(eq=False)
class Interrupt:
    """What a client can be called away from: whatever waits inside :attr:`scope` at the moment."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    leaving: bool = attrs.field(default=False, init=False)
    catching_up: bool = attrs.field(default=False, init=False)

    def begin(self, *, deadline: float = float("inf")) -> trio.CancelScope:
        """Make the scope for the next thing to wait for; it is cancelled already if the client is leaving."""
        self.scope = trio.CancelScope(deadline=deadline)
        if self.leaving:
            self.scope.cancel()
        return self.scope

    def leave(self) -> None:
        """End it all."""
        self.leaving = True
        self.scope.cancel()

    def catch_up(self) -> None:
        """End the present connection, to come back with a resume at once."""
        self.catching_up = True
        self.scope.cancel()


class _WatchedStream(trio.abc.Stream):
    """A stream that tells when its peer hung up, or sends more than an upgrade takes.

    trio-websocket's upgrade would wait for ever after the one, and keep everything of the other.
    """

    def __init__(self, inner: trio.abc.Stream, hung_up: Callable[[], None]) -> None:
        self._inner = inner
        self._hung_up = hung_up
        self._left: int | None = _UPGRADE_BYTES

    def upgraded(self) -> None:
        """Let everything pass from now on."""
        self._left = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._inner.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._hung_up()
            raise
        if self._left is not None:
            self._left -= len(data)
        if not data or (self._left is not None and self._left < 0):
            self._hung_up()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._inner.send_all(data)
        except trio.BrokenResourceError:
            self._hung_up()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()


@attrs.define(eq=False)
class Link:
    """One connection. ``deliver`` gets what messages mean, right after the core took them in.

    ``outgoing`` is unparked when there may be a frame to send, ``room`` when the reader that waits for the application
    may look again.
    """

    target: Target
    core: ClientCore
    interrupt: Interrupt
    open_stream: StreamFactory
    deliver: Callable[[list[Output]], None]
    outgoing: trio.lowlevel.ParkingLot
    room: trio.lowlevel.ParkingLot
    connect_seconds: float
    patience: float
    max_message_size: int
    _ended: Ended | ServerBrokeProtocol | None = attrs.field(default=None, init=False)
    """How it ended, as far as its own reader knows: what crossed that in other tasks does not count."""
    _live_since: float | None = attrs.field(default=None, init=False)
    _upgraded: bool = attrs.field(default=False, init=False)
    _sending: bool = attrs.field(default=False, init=False)

    async def run(self, token: str | None) -> Ended | ServerBrokeProtocol:
        """Connect and converse until it ends, and return how. No ``Exception`` passes.

        Cancelled: the stream is closed without a close frame.
        """
        failure: Ended | None = None
        try:
            await self._attempt(token)
        except BaseException as raised:  # the boundary: the library's tasks and ``open_stream`` may raise anything
            # No ``except*``: it fails where a group is too deep, or of a class that does not let it be divided.
            rest = without(raised, Exception)
            if rest is raised:
                raise
            if rest is not None:
                raise rest from None
            failure = _failure(raised, upgraded=self._upgraded)
        return self._with_life(self._ended or failure or Ended(ABNORMAL, "no answer to the upgrade"))

    async def _attempt(self, token: str | None) -> None:
        deadline = trio.current_time() + self.connect_seconds
        stream = None
        with self.interrupt.begin(deadline=deadline):
            try:
                stream = await self.open_stream(self.target.host, self.target.port, self.target.tls)
            except (OSError, trio.BrokenResourceError) as error:
                self._ended = Ended(ABNORMAL, f"cannot connect: {text_of(led_to(error)[0] or error)}")
                return
        if stream is None:
            self._ended = Ended(ABNORMAL, "cannot connect: no answer in time")
            return
        try:
            await self._with(stream, token, deadline)
        finally:
            await trio.aclose_forcefully(stream)

    async def _with(self, stream: trio.abc.Stream, token: str | None, deadline: float) -> None:
        async with trio.open_nursery() as nursery:
            websocket = await self._upgrade(nursery, stream, deadline)
            if websocket is not None:
                self._upgraded = True
                await self._converse(nursery, websocket, token)
            nursery.cancel_scope.cancel()

    def _with_life(self, ended: Ended | ServerBrokeProtocol) -> Ended | ServerBrokeProtocol:
        if isinstance(ended, ServerBrokeProtocol) or self._live_since is None:
            return ended
        return attrs.evolve(ended, lived=trio.current_time() - self._live_since)

    async def _converse(self, nursery: trio.Nursery, websocket: WebSocketConnection, token: str | None) -> None:
        self.core.opened(token)
        nursery.start_soon(self._write, websocket)
        self._ended = await self._read(websocket)
        if not self._sending:  # else half a message is on the way, and a close frame would land inside it
            code = self._ended.code if isinstance(self._ended, ServerBrokeProtocol) else _NORMAL
            with trio.move_on_after(_CLOSE_SECONDS):
                await websocket.aclose(code, truncate_reason(self._ended.reason))

    async def _upgrade(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, deadline: float
    ) -> WebSocketConnection | None:
        with self.interrupt.begin(deadline=deadline) as scope:
            # Any stream does; the annotation names only the two that the library opens itself.
            watched = _WatchedStream(stream, scope.cancel)
            websocket = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", watched),
                self.target.authority,
                self.target.path,
                subprotocols=[SUBPROTOCOL],
                max_message_size=self.max_message_size,
                receive_buffer_size=_RECEIVE_BYTES,
            )
            watched.upgraded()
            return websocket
        return None

    async def _write(self, websocket: WebSocketConnection) -> None:
        while True:
            while (frame := self._next_frame()) is not None:
                self._sending = True
                try:
                    await websocket.send_message(frame)
                except ConnectionClosed:
                    return  # the reader hears of it too, with the code
                self._sending = False
            await self.outgoing.park()

    def _next_frame(self) -> str | None:
        """Return the next frame to send, once the commands are answered whose time passed while they waited here."""
        self.deliver(self.core.forgotten())
        return self.core.next_frame()

    async def _read(self, websocket: WebSocketConnection) -> Ended | ServerBrokeProtocol:
        while True:
            with self.interrupt.begin() as scope:
                return await self._read_on(websocket, scope)
            if self.interrupt.leaving:
                return Ended(_NORMAL, "")
            if self.interrupt.catching_up:
                return Ended(ABNORMAL, "catching up", catching_up=True)
            if trio.current_time() - scope.deadline < _LATE_SECONDS:
                return Ended(ABNORMAL, "nothing heard for longer than a ping takes")
            # The application's own code held the loop, and trio's deadlines fire before anything is read.

    async def _read_on(self, websocket: WebSocketConnection, scope: trio.CancelScope) -> Ended | ServerBrokeProtocol:
        while True:
            await self._wait_for_room()
            scope.deadline = trio.current_time() + self.core.ping_ms / 1000 + _GRACE_SECONDS
            try:
                self._take_in(await websocket.get_message())
            except ConnectionClosed as closed:
                return _close_of(closed)
            except GapError as gap:
                return Ended(ABNORMAL, f"gap: {gap}")
            except ServerBrokeProtocol as error:
                return error

    def _take_in(self, message: str | bytes) -> None:
        outputs: list[Any] = []
        try:
            outputs = self.core.received(message)
        finally:  # a message with a gap may have brought events before it
            if self.core.live and self._live_since is None:
                self._live_since = trio.current_time()
            self.deliver(outputs)
            self.outgoing.unpark_all()

    async def _wait_for_room(self) -> None:
        """Wait while the buffer is full, but not for long, and not while a command waits for its reply.

        The socket's own back-pressure slows the server down meanwhile. When that was not enough, events are no longer
        kept but everything else is read: pings, replies, signals.
        """
        buffer = self.core.buffer
        if not buffer.full or buffer.skipping:
            return
        with trio.move_on_after(self.patience):
            while buffer.full and not len(self.core.commands):
                await self.room.park()
        buffer.skipping = buffer.full


def _failure(raised: BaseException, *, upgraded: bool) -> Ended:
    """Return the end that an attempt came to by what its tasks raised."""
    errors = list(leaves(raised))
    rejection = next((error for error in errors if is_a(error, ConnectionRejected)), None)
    if rejection is not None:
        return _rejection(cast("ConnectionRejected", rejection))
    if not all(is_a(error, _EXPECTED) for error in errors):
        log_failure(logger, "a connection attempt failed in code, and is tried again", error=raised)
    told = "; ".join(describe(_original(error)) for error in errors)
    return Ended(ABNORMAL, truncate_reason(f"the connection failed: {told}" if upgraded else f"no WebSocket: {told}"))


def _original(error: BaseException) -> BaseException:
    """Return what was wrong with the peer's bytes, where the library raised because it could not answer them."""
    _, context = led_to(error)
    return context if context is not None and is_a(context, ProtocolError) else error


def _rejection(rejection: ConnectionRejected) -> Ended:
    body = (rejection.body or b"").decode(errors="replace").strip()
    return Ended(ABNORMAL, truncate_reason(body), status=rejection.status_code)


def _close_of(closed: ConnectionClosed) -> Ended:
    if closed.reason is None:
        return Ended(NO_STATUS, "")
    return Ended(int(closed.reason.code), closed.reason.reason or "")
