"""A link: all TCP connections on one way, which a test can cut, stall, make a black hole, or hold at chosen bytes.

``up`` is the direction of the side that connects. A *stalled* direction keeps its bytes until the stall ends, even if
the connecting side has gone meanwhile, as a network does with packets that are on their way. A *black hole* drops
bytes. Its connections are broken then, so they are closed when the hole ends. A *cut* link refuses connections.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
    """The bytes at which this direction stalls by itself. Empty if there are none."""
    held: trio.Event = attrs.Factory(trio.Event)
    """Set when the marker has come."""

    def __attrs_post_init__(self) -> None:
        self.open.set()

    def stall(self) -> None:
        """Keep all bytes from now on."""
        if self.open.is_set():
            self.open = trio.Event()


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
        self.address = ("", 0)
        """The host and port, after :meth:`listen`."""

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

    def cut(self) -> None:
        """Close all connections, and refuse new ones until :meth:`heal`."""
        self._cut = True
        self._drop()

    def stall(self, *directions: Direction) -> None:
        """Keep the bytes in these directions until :meth:`heal`."""
        for direction in directions:
            self._ways[direction].stall()

    def hole(self, *directions: Direction) -> None:
        """Drop the bytes in these directions until :meth:`heal`."""
        for direction in directions:
            self._ways[direction].dropping = True

    def hold_at(self, marker: bytes, direction: Direction = "up") -> trio.Event:
        """Stall a direction when these bytes come, before they are passed on. Return an event that is set then."""
        way = self._ways[direction]
        way.marker, way.held = marker, trio.Event()
        return way.held

    def heal(self) -> None:
        """Pass everything again. Connections that have lost bytes are closed."""
        self._cut = False
        if any(way.dropping for way in self._ways.values()):
            self._drop()
        for way in self._ways.values():
            way.dropping, way.marker = False, b""
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
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, near, far, self._ways["up"])
                    nursery.start_soon(self._pump, far, near, self._ways["down"])
        except OSError:
            pass  # the target does not listen
        finally:
            self._scopes.discard(scope)
            with trio.CancelScope(shield=True):
                for stream in (near, far):
                    if stream is not None:
                        await trio.aclose_forcefully(stream)

    async def _pump(self, source: trio.abc.HalfCloseableStream, sink: trio.abc.HalfCloseableStream, way: _Way) -> None:
        before = b""
        with suppress(*BROKEN):
            while data := bytes(await source.receive_some(65_536)):
                if way.marker and way.marker in before + data:
                    way.marker = b""
                    way.stall()
                    way.held.set()
                before = data[-64:]
                await way.open.wait()
                if not way.dropping:
                    await sink.send_all(data)
        await way.open.wait()
        with suppress(*BROKEN):
            await sink.send_eof()
