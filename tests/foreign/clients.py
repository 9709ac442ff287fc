"""One interface for WebSocket clients that others wrote, so that each goes through the same tests."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import aiohttp
from protocol.threaded import PATIENCE
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_asyncio
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection as SyncConnection
from websockets.sync.client import connect as connect_sync
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

SUBPROTOCOL = "greenroom.v1"
OPTIONS: dict[str, Any] = {
    "subprotocols": [Subprotocol(SUBPROTOCOL)],
    "open_timeout": None,
    "proxy": None,
    "max_size": None,
}

T = TypeVar("T")


class Connection(Protocol):
    """One connection of a client. Each method waits until it is done."""

    @property
    def agreed(self) -> tuple[str | None, str]:
        """The subprotocol that was agreed on, and the extensions as text."""

    def send(self, message: str | bytes) -> None:
        """Send a message: text or binary."""

    def receive(self) -> str:
        """Return the next message."""

    def ping(self) -> None:
        """Send a ping, and wait for its pong."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection."""

    def ended(self) -> tuple[int, str]:
        """Wait for the end of the connection, and return the code and reason that the client saw."""


class Foreign(Protocol):
    """A kind of client. It offers the subprotocol, and compression if it can."""

    sees_the_answer: bool
    """Whether its users see what was agreed on, and the code of a close."""

    def connect(self, url: str) -> Connection:
        """Connect to a server."""


# websockets, with blocking calls


class OfWebsocketsSync:
    """A connection of ``websockets.sync``."""

    def __init__(self, url: str) -> None:
        self._block = ExitStack()  # it takes its users for a `with` block
        self._raw: SyncConnection = self._block.enter_context(connect_sync(url, **OPTIONS))

    @property
    def agreed(self) -> tuple[str | None, str]:
        return self._raw.subprotocol, ", ".join(map(str, self._raw.protocol.extensions))

    def send(self, message: str | bytes) -> None:
        self._raw.send(message)

    def receive(self) -> str:
        return str(self._raw.recv(PATIENCE))

    def ping(self) -> None:
        assert self._raw.ping().wait(PATIENCE)

    def close(self, code: int, reason: str) -> None:
        self._raw.close(code, reason)
        self._block.close()

    def ended(self) -> tuple[int, str]:
        try:
            while True:
                self._raw.recv(PATIENCE)
        except ConnectionClosed:
            self._block.close()
        assert self._raw.close_code is not None
        return self._raw.close_code, self._raw.close_reason or ""


class WebsocketsSync:
    """The client of ``websockets`` with blocking calls."""

    sees_the_answer = True

    def connect(self, url: str) -> Connection:
        return OfWebsocketsSync(url)


# Clients on asyncio


class Loop:
    """An event loop of asyncio in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    @contextmanager
    def running(self) -> Generator[Loop]:
        """Run the loop in the block."""
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(PATIENCE)
            self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


class OfWebsocketsAsyncio:
    """A connection of ``websockets.asyncio``."""

    def __init__(self, loop: Loop, url: str) -> None:
        self._loop = loop
        self._raw: ClientConnection = loop.run(self._connect(url))

    @staticmethod
    async def _connect(url: str) -> ClientConnection:
        return await connect_asyncio(url, **OPTIONS)

    @property
    def agreed(self) -> tuple[str | None, str]:
        return self._raw.subprotocol, ", ".join(map(str, self._raw.protocol.extensions))

    def send(self, message: str | bytes) -> None:
        self._loop.run(self._raw.send(message))

    def receive(self) -> str:
        return str(self._loop.run(self._raw.recv()))

    def ping(self) -> None:
        self._loop.run(self._ping())

    async def _ping(self) -> None:
        await (await self._raw.ping())

    def close(self, code: int, reason: str) -> None:
        self._loop.run(self._raw.close(code, reason))

    def ended(self) -> tuple[int, str]:
        try:
            while True:
                self._loop.run(self._raw.recv())
        except ConnectionClosed:
            pass
        assert self._raw.close_code is not None
        return self._raw.close_code, self._raw.close_reason or ""


class WebsocketsAsyncio:
    """The client of ``websockets`` on asyncio."""

    sees_the_answer = True

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def connect(self, url: str) -> Connection:
        return OfWebsocketsAsyncio(self._loop, url)


class OfAiohttp:
    """A connection of ``aiohttp``, with a session of its own."""

    def __init__(self, loop: Loop, url: str) -> None:
        self._loop = loop
        self._reason = ""
        self._session, self._raw = loop.run(self._connect(url))

    @staticmethod
    async def _connect(url: str) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse[Any]]:
        session = aiohttp.ClientSession()
        # Without `autoping`, a pong is a message: this is how its users see one. 15 offers compression.
        raw = await session.ws_connect(url, protocols=[SUBPROTOCOL], compress=15, autoping=False)
        return session, raw

    @property
    def agreed(self) -> tuple[str | None, str]:
        return self._raw.protocol, "permessage-deflate" if self._raw.compress else ""

    def send(self, message: str | bytes) -> None:
        self._loop.run(self._raw.send_str(message) if isinstance(message, str) else self._raw.send_bytes(message))

    def receive(self) -> str:
        text: str = self._loop.run(self._raw.receive_str())
        return text

    def ping(self) -> None:
        self._loop.run(self._raw.ping(b"ping"))
        pong = self._loop.run(self._raw.receive())
        assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"ping")

    def close(self, code: int, reason: str) -> None:
        self._loop.run(self._raw.close(code=code, message=reason.encode()))
        self._reason = reason
        self._loop.run(self._session.close())

    def ended(self) -> tuple[int, str]:
        seen: int | None = None
        while not self._raw.closed:
            message = self._loop.run(self._raw.receive())
            if message.type is aiohttp.WSMsgType.CLOSE:
                # Of the close frame: aiohttp's `close_code` is 1006 if the server has gone before aiohttp's answer.
                seen, self._reason = message.data, message.extra or ""
        self._loop.run(self._session.close())
        code = self._raw.close_code if seen is None else seen
        assert code is not None
        return code, self._reason


class Aiohttp:
    """The client of ``aiohttp``."""

    sees_the_answer = True

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def connect(self, url: str) -> Connection:
        return OfAiohttp(self._loop, url)
