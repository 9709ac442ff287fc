"""The Python client, on asyncio: the same calls and the same promises as on trio.

    async with connect("ws://127.0.0.1:8765", session="s1", token=token) as client:
        run_id = await client.start("assistant", "hello")
        async for event in client.events():
            ...

The docstring of the module ``_connect.py`` says what an application can rely on. Only the event loop, the library of
the connection (websockets) and the argument ``open_socket`` are different.

All calls of a client belong to the event loop that connected it, with asyncio's rules: cancel a call with
``task.cancel()`` or ``asyncio.timeout``, and call it from a thread with ``asyncio.run_coroutine_threadsafe``. Several
clients can live in one loop. Any loop works that implements asyncio's interface, such as uvloop's.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import SystemRandom
from typing import TYPE_CHECKING

from transport._extras import import_extra
from transport.client._asyncio_loop import AsyncioLoop
from transport.client._buffer import Reset
from transport.client._client import Client
from transport.client._follower import Follower
from transport.client._options import From, Options, Token, make_hello
from transport.client._reconnect_delays import ReconnectDelays
from transport.client._target import make_target
from transport.protocol.server_frames import QueuedStart

import_extra("the client on asyncio", "asyncio-client", "websockets.asyncio.client")

from transport.client._asyncio_connection import AsyncioDialer, SocketFactory  # noqa: E402  it needs the extra

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator
    from random import Random

    from actors.events.types import Position

__all__ = ["Client", "QueuedStart", "Reset", "connect"]


@asynccontextmanager
async def connect(  # noqa: PLR0913  each has a default, and few programs set any
    url: str,
    session: str,
    token: Token = None,
    *,
    resume: Position | None = None,
    from_: From = "oldest",
    strict: bool = False,
    client: str = "greenroom-python",
    buffer_events: int = 1024,
    buffer_bytes: int = 16 * 1024 * 1024,
    max_commands: int = 32,
    signals: int = 64,
    patience: float = 5.0,
    connect_seconds: float = 10.0,
    token_seconds: float = 15.0,
    max_message_size: int = 4 * 1024 * 1024,
    compress: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    open_socket: SocketFactory | None = None,
    rng: Random | None = None,
) -> AsyncGenerator[Client]:
    """Follow ``session`` at ``url`` inside the ``async with`` block. The block begins before a connection exists.

    The arguments are those of :func:`transport.connect`. Only these two are different:

    Args:
        max_message_size: Maximum size of a message from the server, in bytes. (On trio, in characters.)
        open_socket: Opens the socket, for example through a proxy. The client adds TLS. If it raises ``OSError``, the
            client tries again.

    Raises:
        ValueError: An argument that no server would accept.
        RuntimeError: The caller is not an asyncio task.
        TokenUnavailable: At the end of the block, if the token callable failed and no task has got this error yet.
    """
    hello = make_hello(session, token, resume, from_, client, strict=bool(strict))
    options = Options(
        buffer_events, buffer_bytes, max_commands, signals, patience, connect_seconds, token_seconds, max_message_size
    )
    loop = AsyncioLoop()
    dialer = AsyncioDialer(loop, make_target(url, ssl_context), options.max_message_size, open_socket, bool(compress))
    delays = ReconnectDelays(rng or SystemRandom())
    follower = Follower(loop, dialer, hello, token=token, options=options, delays=delays)
    async with follower.running():
        yield Client(follower)
