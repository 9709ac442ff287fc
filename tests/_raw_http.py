"""A small site on the real HTTP server, and clients that send bytes to it and read bytes."""

from __future__ import annotations

import re
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from transport import Settings
from transport.http._server import PageServer, serve_http
from transport.server.listening import listen
from transport.server.tls import Certificate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

HOST = "127.0.0.1"
PATIENCE = 60
"""Time limit in seconds for something that a correct server does at once."""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = 4 * 1024 * 1024
"""Size of a response that no socket takes as a whole."""

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def request(path: str = "/", *fields: bytes, method: str = "GET", body: bytes = b"") -> bytes:
    """Return a request as bytes."""
    lengths = (b"Content-Length: %d" % len(body),) if body else ()
    return b"\r\n".join((f"{method} {path} HTTP/1.1".encode(), b"Host: x", *lengths, *fields, b"", body))


@attrs.define
class Answer:
    """A response: its head, and its body."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """The status of the response."""
        return int(self.head[9:12])

    def has(self, field: bytes) -> bool:
        """Return whether the response has a header field, given as a whole line in lower case."""
        return field in self.head.lower().split(b"\r\n")


class RawClient:
    """A client that sends bytes. It reads only when it is told to."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._data = b""

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await self.stream.send_all(data)

    async def answer(self, *, head_only: bool = False) -> Answer:
        """Read one response with a content-length, or without a body. Fail if the connection ends before."""
        while b"\r\n\r\n" not in self._data:
            await self._more()
        head, _, rest = self._data.partition(b"\r\n\r\n")
        head += b"\r\n"
        found = _LENGTH.search(head)
        size = int(found[1]) if found and not head_only else 0
        self._data = rest
        while len(self._data) < size:
            await self._more()
        body, self._data = self._data[:size], self._data[size:]
        return Answer(head, body)

    async def ask(self, data: bytes) -> Answer:
        """Send a request and return its response."""
        await self.send(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """Read until the server closes the connection. Return all bytes. A reset counts as a close."""
        with trio.fail_after(PATIENCE):
            try:
                while True:
                    await self._more()
            except (EOFError, trio.BrokenResourceError):
                return self._data

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError(f"the connection has ended after {self._data[-200:]!r}")
        self._data += data


class TurnCounter(trio.abc.Instrument):
    """Counts the turns of the event loop."""

    turn = 0

    def after_io_wait(self, timeout: float) -> None:
        """Count a turn."""
        self.turn += 1


@attrs.define
class Site:
    """A running HTTP server with the small application :meth:`app`, or with another one."""

    settings: Settings
    other: Any = None
    port: int = 0
    calls: int = 0
    """Number of requests that the application got."""
    ended: int = 0
    """Number of requests that have ended in the application."""
    _ends: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    answering: trio.Event = attrs.field(factory=trio.Event)
    """Set when a request to ``/wait`` has come."""
    go_on: trio.Event = attrs.field(factory=trio.Event)
    """Ends the requests to ``/wait``."""
    stop: Callable[[], None] = attrs.field(init=False)
    """Stops the server, as a signal does."""
    stopped: trio.Event = attrs.field(factory=trio.Event)
    """Set when the server has stopped."""
    left: trio.Event = attrs.field(factory=trio.Event)
    """Set when the client of a request to ``/left`` has left."""
    server: PageServer = attrs.field(init=False)
    clients: list[RawClient] = attrs.field(factory=list["RawClient"])
    """All clients that have connected. They are closed at the end."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request with the other application, or else with the method that has the name of the path."""
        self.calls += 1
        try:
            await (self.other or getattr(self, f"on_{scope['path'].strip('/') or 'root'}"))(scope, receive, send)
        finally:
            self.ended += 1
            self._ends.unpark_all()

    async def on_root(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with the query, or with ``hello``."""
        await reply(send, scope["query_string"] or b"hello")

    async def on_echo(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with the body of the request."""
        await reply(send, (await receive())["body"])

    async def on_big(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with many bytes."""
        await reply(send, b"x" * BIG)

    async def on_empty(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with 204."""
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def on_stream(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer in parts, without a length."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"a", b"b", b""):
            await send({"type": "http.response.body", "body": part, "more_body": bool(part)})

    async def on_wait(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer when the test says so."""
        self.answering.set()
        await self.go_on.wait()
        await reply(send, b"waited")

    async def on_left(self, scope: Any, receive: Any, send: Any) -> None:
        """Wait until the client has left."""
        await receive()
        self.answering.set()
        assert (await receive())["type"] == "http.disconnect"
        self.left.set()
        await reply(send, b"too late")

    async def on_raise(self, scope: Any, receive: Any, send: Any) -> None:
        """Fail before the response."""
        raise ValueError("a secret of the server")

    async def on_nothing(self, scope: Any, receive: Any, send: Any) -> None:
        """Return without a response."""

    async def on_start(self, scope: Any, receive: Any, send: Any) -> None:
        """Fail after the head of the response."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        raise ValueError("a secret of the server")

    async def on_half(self, scope: Any, receive: Any, send: Any) -> None:
        """Fail in the middle of the response."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("a secret of the server")

    async def on_long(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with more bytes than the response's length says."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"long"})

    async def on_late(self, scope: Any, receive: Any, send: Any) -> None:
        """Fail after the response."""
        await reply(send, b"whole")
        raise ValueError("a secret of the server")

    async def connect(self, source: str = HOST, *, receive_buffer: int | None = None) -> RawClient:
        """Connect from an address. With a small receive buffer, the system takes only a few bytes that are not read."""
        sock = trio.socket.socket()
        await sock.bind((source, 0))
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await sock.connect((HOST, self.port))
        except OSError:
            sock.close()
            raise
        self.clients.append(client := RawClient(trio.SocketStream(sock)))
        return client

    async def ask(self, data: bytes) -> Answer:
        """Return the response to one request on a new connection."""
        client = await self.connect()
        try:
            return await client.ask(data)
        finally:
            await client.stream.aclose()

    async def wait_for_connections(self, number: int = 0) -> None:
        """Wait until so many connections are open."""
        with trio.fail_after(PATIENCE):
            while self.server.statistics().connections != number:
                await trio.lowlevel.checkpoint()

    async def wait_for_ends(self, number: int = 1) -> None:
        """Wait until so many requests have ended in the application, with or without a whole response."""
        while self.ended < number:
            await self._ends.park()


async def reply(send: Any, body: bytes) -> None:
    """Send a whole response."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def running_site(app: Any = None, **settings: Any) -> AsyncGenerator[Site]:
    """Run the HTTP server with an application, or with the small one, and with these settings."""
    given = {"handshakes_per_address_per_second": 1000.0, **settings}
    site = Site(Settings(**given), app)
    site.server = PageServer(site.app, site.settings, Certificate.of(site.settings))
    listeners = listen(HOST, 0)
    site.port = listeners[0].getsockname()[1]

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as scope:
            site.stop = scope.cancel
            await serve_http(site.server, listeners, task_status=task_status)
        site.stopped.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        try:
            yield site
        finally:
            site.go_on.set()
            for client in site.clients:
                await trio.aclose_forcefully(client.stream)
        site.stop()
