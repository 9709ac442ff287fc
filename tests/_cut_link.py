"""The way of a node to its Valkey server, which a test can cut, mend, and lead to another server."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from _valkey import Server

_BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class CutLink:
    """A relay of connections to a Valkey server.

    While it is cut, connections stay open and carry nothing, as behind a firewall that drops packets. What the node has
    sent meanwhile arrives when the link is mended, even if the node has closed the connection.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        """The server that new connections lead to."""
        self.url = f"valkey+unix://{folder / 's'}"
        self.answers = b""
        """All that servers have answered."""
        self.is_deaf = False
        """Whether connections with a subscription carry no answers. What comes on them is lost."""
        self._mended = trio.Event()
        self._mended.set()
        self._subscribed: set[trio.SocketStream] = set()
        self._streams: set[trio.SocketStream] = set()

    def cut(self) -> None:
        """Carry nothing from now on."""
        self._mended = trio.Event()

    def mend(self) -> None:
        """Carry what has waited, and everything from now on."""
        self._mended.set()

    async def lead_to(self, server: Server) -> None:
        """End all connections. New ones lead to another server."""
        self.server = server
        for stream in tuple(self._streams):
            await trio.aclose_forcefully(stream)

    async def carry(self, node: trio.SocketStream) -> None:
        """Carry one connection until one of its ends is closed."""
        try:
            server = await trio.open_unix_socket(self.server.path)
        except OSError:
            await trio.aclose_forcefully(node)
            return
        self._streams |= {node, server}
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, node, server)
                await self._answer(server, node)
                nursery.cancel_scope.cancel()
        finally:
            self._streams -= {node, server}
            self._subscribed.discard(node)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(node)
                await trio.aclose_forcefully(server)

    async def _send(self, node: trio.SocketStream, server: trio.SocketStream) -> None:
        try:
            while data := bytes(await node.receive_some()):
                if b"SUBSCRIBE" in data:
                    self._subscribed.add(node)
                await self._mended.wait()
                await server.send_all(data)
            await self._mended.wait()
            await server.send_eof()
        except _BROKEN:
            await trio.aclose_forcefully(server)

    async def _answer(self, server: trio.SocketStream, node: trio.SocketStream) -> None:
        try:
            while data := bytes(await server.receive_some()):
                self.answers += data
                await self._mended.wait()
                if self.is_deaf and node in self._subscribed:
                    continue
                with suppress(*_BROKEN):  # the node has given up the connection
                    await node.send_all(data)
        except _BROKEN:
            return


@asynccontextmanager
async def link_to(server: Server) -> AsyncGenerator[CutLink]:
    """Run a link to a server inside the block."""
    folder = Path(tempfile.mkdtemp(prefix="link-"))
    try:
        link = CutLink(server, folder)
        with trio.socket.socket(trio.socket.AF_UNIX) as sock:
            await sock.bind(str(folder / "s"))
            sock.listen()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, link.carry, [trio.SocketListener(sock)])
                yield link
                nursery.cancel_scope.cancel()
    finally:
        shutil.rmtree(folder)
