"""The Python client: one session, followed across reconnects.

    async with connect("ws://127.0.0.1:8765", session="s1", token=token) as client:
        run_id = await client.start("assistant", "hello")
        async for event in client.events():
            ...

**Events.** Each event arrives once and in order, whatever happens to the connection. A :class:`Reset` among them means
that the position was lost: drop everything that was built from earlier events. A duplicate is dropped. A gap drops the
connection, and the resume brings the missing events.

**A slow application.** The buffer between socket and application holds ``buffer_events`` events (and about
``buffer_bytes``), and at most one message more. When the buffer is full, the client stops reading, so that the server
slows down. The client stops for at most ``patience`` seconds, and not while a command waits for its reply. After that
time the client continues to read, answers pings and takes replies, but skips events: they are in the server's log. When
the application has emptied half of the buffer, the client drops the connection and resumes after the newest event in
the buffer. No event is lost.

**Commands.** Each command has an id. While the client is offline, the command is queued. It is sent again on each new
connection until its reply comes. The server does a command with one id once, but it remembers ids only for
``Welcome.command_memory_ms``. A command that was first sent longer ago, by a clock that also counts the machine's
sleep, is not sent again, and raises :class:`~transport.errors.OutcomeUnknown`. At most ``max_commands`` commands can
wait for a reply; one more command is refused with ``overloaded``. The default is below the burst that a server accepts,
so that commands that were queued while offline are not refused for being too many.

**The end.** The client reconnects after every failure that is perhaps temporary. It does not reconnect after: a close
code with that meaning, an upgrade refused with an HTTP status other than 408, 425, 429 and 5xx, an expired token
without a callable to ask for another, a strict client's lost position, a server that breaks the protocol. Then
:meth:`Client.events` returns the events that had arrived and raises :class:`~transport.errors.ConnectionClosedForGood`,
as commands do.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import SystemRandom
from typing import TYPE_CHECKING

from transport.client._client import Client
from transport.client._follower import Follower
from transport.client._options import From, Options, Token, make_hello
from transport.client._reconnect_delays import ReconnectDelays
from transport.client._target import make_target
from transport.client._trio_connection import StreamFactory, TrioDialer, open_tcp_stream
from transport.client._trio_loop import TrioLoop

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator
    from random import Random

    from actors.events.types import Position


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
    open_stream: StreamFactory | None = None,
    rng: Random | None = None,
) -> AsyncGenerator[Client]:
    """Follow ``session`` at ``url`` inside the ``async with`` block. The block begins before a connection exists.

    Args:
        url, session: The server's URL (``ws://…``, or ``wss://…`` with ``ssl_context``), and the session's name.
        token: A token as a string, or a callable that returns a token. The callable is called at the start, some time
            before the token expires, so that the connection goes on with a fresh token, and when the token has expired.
        resume: A stored :attr:`Client.position`. The first item is the event after this position, or a :class:`Reset`.
        from_: Where to begin without ``resume``: at the oldest kept event, or with new events only.
        strict: End with :class:`~transport.errors.PositionLost` if the position cannot be recovered.
        client: Name of this program, sent to the server for debugging.
        compress: Offer compression to the server. Large messages take less of a slow network, and more CPU time.
        open_stream: Opens the byte stream, such as through a proxy. After an ``OSError`` of it the client tries again.
        rng: Source of the random delays. All other arguments: see :class:`~transport.client._options.Options`.

    Raises:
        ValueError: An argument that no server would accept.
        RuntimeError: The caller is not a trio task.
        TokenUnavailable: At the end of the block, if the token callable failed and no task has got this error yet.
    """
    hello = make_hello(session, token, resume, from_, client, strict=bool(strict))
    options = Options(
        buffer_events, buffer_bytes, max_commands, signals, patience, connect_seconds, token_seconds, max_message_size
    )
    dialer = TrioDialer(make_target(url, ssl_context), max_message_size, open_stream or open_tcp_stream, bool(compress))
    delays = ReconnectDelays(rng or SystemRandom())
    follower = Follower(TrioLoop(), dialer, hello, token=token, options=options, delays=delays)
    async with follower.running():
        yield Client(follower)
