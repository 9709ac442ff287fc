"""A link: all connections on one way, which a test can cut, stall, make deaf or a black hole, or hold at chosen bytes.

``up`` is the direction of the side that connects. A *stalled* direction keeps its bytes until the stall ends, even if
the connecting side has gone meanwhile, as a network does with packets that are on their way. A *black hole* drops
bytes. Its connections are broken then, so they are closed when the hole ends. A *cut* link refuses connections.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from _valkey import Server

Direction: TypeAlias = Literal["up", "down"]

BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
DIRECTIONS: tuple[Direction, Direction] = ("up", "down")


@attrs.define(eq=False)
class _Way:
    """One direction of a link."""

    open: trio.Event = attrs.Factory(trio.Event)
    """Set while bytes pass."""
    dropping: bool = False
    marker: bytes = b""
    """The bytes that are waited for. Empty if there are none."""
    stalls: bool = False
    """Whether this direction stalls by itself when the marker comes."""
    came: trio.Event = attrs.Factory(trio.Event)
    """Set when the marker has come."""

    def __attrs_post_init__(self) -> None:
        self.open.set()

    def stall(self) -> None:
        """Keep all bytes from now on."""
        if self.open.is_set():
            self.open = trio.Event()

    def wait_for(self, marker: bytes, *, stalls: bool) -> trio.Event:
        """Look for a marker. Return an event that is set when it comes."""
        self.marker, self.stalls, self.came = marker, stalls, trio.Event()
        return self.came

    def look(self, data: bytes) -> None:
        """Look for the marker in bytes that have come."""
        if self.marker and self.marker in data:
            self.marker = b""
            self.came.set()
            if self.stalls:
                self.stall()


@attrs.define(eq=False)
class _Connection:
    """One connection over a link."""

    near: trio.abc.HalfCloseableStream
    far: trio.abc.HalfCloseableStream
    subscribed: bool = False
    """Whether it has carried a ``SUBSCRIBE`` to Valkey."""


class Link:
    """A way to a target. :meth:`listen` gives it an address, or :meth:`connect` opens connections in this process.

    The tasks of the connections run in ``nursery``.
    """

    def __init__(self, nursery: trio.Nursery, dial: Callable[[], Awaitable[trio.abc.HalfCloseableStream]]) -> None:
        self._nursery = nursery
        self._dial = dial
        self._ways: dict[Direction, _Way] = {direction: _Way() for direction in DIRECTIONS}
        self._scopes: set[trio.CancelScope] = set()
        self._cut = False
        self.is_deaf = False
        """Whether connections with a subscription to Valkey carry nothing down. What comes on them is lost."""
        self.address = ("", 0)
        """The host and port, after :meth:`listen`."""

    @property
    def url(self) -> str:
        """The URL of a log in the Valkey server behind this link, after :meth:`listen`."""
        return f"valkey://{self.address[0]}:{self.address[1]}"

    async def listen(self) -> None:
        """Accept connections on a port of 127.0.0.1."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.address = listeners[0].socket.getsockname()[:2]
        await self._nursery.start(partial(trio.serve_listeners, self._carry, listeners))

    async def connect(self) -> trio.SocketStream:
        """Open a connection to the target over the link. Raise OSError while the link is cut."""
        await trio.lowlevel.checkpoint()
        if self._cut:
            raise ConnectionRefusedError("the link is cut")
        ours, theirs = (trio.socket.from_stdlib_socket(each) for each in socket.socketpair())
        self._nursery.start_soon(self._carry, trio.SocketStream(theirs))
        return trio.SocketStream(ours)

    def lead_to(self, server: Server) -> None:
        """End all connections. New ones lead to this Valkey server."""
        self._dial = partial(trio.open_unix_socket, server.path)
        self._drop()

    def cut(self) -> None:
        """Close all connections, and refuse new ones until :meth:`heal`."""
        self._cut = True
        self._drop()

    def stall(self, *directions: Direction) -> None:
        """Keep the bytes in these directions until :meth:`heal`. Without a direction: in both."""
        for direction in directions or DIRECTIONS:
            self._ways[direction].stall()

    def hole(self, *directions: Direction) -> None:
        """Drop the bytes in these directions until :meth:`heal`."""
        for direction in directions:
            self._ways[direction].dropping = True

    def hold_at(self, marker: bytes, direction: Direction = "up") -> trio.Event:
        """Stall a direction when these bytes come, before they are passed on. Return an event that is set then."""
        return self._ways[direction].wait_for(marker, stalls=True)

    def seen(self, marker: bytes, direction: Direction = "down") -> trio.Event:
        """Return an event that is set when these bytes come."""
        return self._ways[direction].wait_for(marker, stalls=False)

    def heal(self) -> None:
        """Pass everything again. Connections that have lost bytes are closed."""
        self._cut = False
        if any(way.dropping for way in self._ways.values()):
            self._drop()
        for way in self._ways.values():
            way.dropping = False
            if way.stalls:
                way.marker = b""
            way.open.set()

    def _drop(self) -> None:
        for scope in self._scopes:
            scope.cancel()

    async def _carry(self, near: trio.abc.HalfCloseableStream) -> None:
        """Carry one connection until both of its directions have ended."""
        far: trio.abc.HalfCloseableStream | None = None
        try:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                if self._cut:
                    return
                far = await self._dial()
                connection = _Connection(near, far)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, connection, "up")
                    nursery.start_soon(self._pump, connection, "down")
        except OSError:
            pass  # the target does not listen
        finally:
            self._scopes.discard(scope)
            with trio.CancelScope(shield=True):
                for stream in (near, far):
                    if stream is not None:
                        await trio.aclose_forcefully(stream)

    async def _pump(self, connection: _Connection, direction: Direction) -> None:
        ends = connection.near, connection.far
        (source, sink), way = ends if direction == "up" else ends[::-1], self._ways[direction]
        before = b""
        with suppress(*BROKEN):
            while data := bytes(await source.receive_some(65_536)):
                if way.marker:
                    way.look(before + data)
                connection.subscribed = connection.subscribed or b"SUBSCRIBE" in data
                before = data[-64:]
                await way.open.wait()
                if not (way.dropping or (self.is_deaf and connection.subscribed and direction == "down")):
                    await sink.send_all(data)
        await way.open.wait()
        with suppress(*BROKEN):
            await sink.send_eof()


@asynccontextmanager
async def link_to(server: Server) -> AsyncGenerator[Link]:
    """Run a link to a Valkey server inside the block. It has an address."""
    async with trio.open_nursery() as nursery:
        link = Link(nursery, partial(trio.open_unix_socket, server.path))
        await link.listen()
        yield link
        nursery.cancel_scope.cancel()
