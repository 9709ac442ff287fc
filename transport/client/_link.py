"""One connection of a client: connect, upgrade, read, write, close. All its tasks end with :meth:`Link.run`.

An exception of the network, of the WebSocket library or of the application's own function that opens the socket becomes
a value that describes the end of the connection (:class:`~transport.client._ended.Ended`). :meth:`Link.run` raises no
``Exception``.

Only one task writes. After a message that was cut, the link sends no other message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from actors.failures import without
from transport.client._buffer import GapError
from transport.client._ended import NO_ANSWER, ConnectionEnded, Ended
from transport.errors import ServerBrokeProtocol
from transport.protocol.close_codes import ABNORMAL, truncate_reason
from transport.protocol.limits import HEARTBEAT_GRACE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transport.client._connection import Connection, Dialer
    from transport.client._core import ClientCore, Output
    from transport.client._interrupt import Interrupt
    from transport.client._items import Wakeups
    from transport.client._loop import EventLoop, Scope
    from transport.client._options import Options

_NORMAL = 1000
_LATE_SECONDS = 1.0
"""Maximum seconds by which a deadline normally fires too late. If it fires even later, the event loop was blocked.

In that case perhaps the server's messages are unread, so the server's silence does not end the connection.
"""
_SHORTEST_WAIT = 1.0
"""Minimum time between two fresh tokens, in seconds."""
RENEW_SECONDS = 90.0
"""Time before the expiry of a token at which the client sends a fresh token, in seconds.

If the token lives for less than twice this time, the client sends a fresh token after half of the token's life.
"""


@attrs.define(eq=False)
class Link:
    """One connection of a client. The link calls ``deliver`` with the results of each message that arrives."""

    loop: EventLoop
    dialer: Dialer
    core: ClientCore
    interrupt: Interrupt
    deliver: Callable[[list[Output]], None]
    wakeups: Wakeups
    options: Options
    fresh_token: Callable[[], Awaitable[str | None]]
    """Function that gets a fresh token from the application. It returns None if the application has none."""
    _ended: Ended | ServerBrokeProtocol | None = attrs.field(default=None, init=False)
    """The end of the connection that the reading task has seen. This end counts more than exceptions of other tasks."""
    _live_since: float | None = attrs.field(default=None, init=False)
    _upgraded: bool = attrs.field(default=False, init=False)
    _sending: bool = attrs.field(default=False, init=False)

    async def run(self, token: str | None) -> Ended | ServerBrokeProtocol:
        """Connect, and exchange messages until the connection ends. Return how it ended. Never raises an ``Exception``.

        If the call is cancelled, the connection is closed without a close frame.
        """
        failure: Ended | None = None
        try:
            await self._attempt(token)
        except BaseException as raised:  # the boundary: the library's tasks and ``open_stream`` may raise anything
            # Not ``except*``: it fails for a group that is too deep, or of a class that does not let it be divided.
            rest = without(raised, Exception)
            if rest is raised:
                raise
            if rest is not None:
                raise rest from None
            failure = self.dialer.ended_by(raised, upgraded=self._upgraded)
        return self._with_lifetime(self._ended or failure or NO_ANSWER)

    def _with_lifetime(self, ended: Ended | ServerBrokeProtocol) -> Ended | ServerBrokeProtocol:
        if isinstance(ended, ServerBrokeProtocol) or self._live_since is None:
            return ended
        return attrs.evolve(ended, lived=self.loop.now() - self._live_since)

    # Connecting

    async def _attempt(self, token: str | None) -> None:
        async with self.dialer.dial(self.interrupt, self.loop.now() + self.options.connect_seconds) as connection:
            if isinstance(connection, Ended):
                self._ended = connection
                return
            self._upgraded = True
            async with self.loop.tasks() as tasks:
                self.core.on_opened(token)
                tasks.start(lambda: self._write(connection))
                tasks.start(self._renew)
                await self._converse(connection)
                tasks.cancel()

    async def _converse(self, connection: Connection) -> None:
        self._ended = await self._read(connection)
        if not self._sending:  # in the middle of a message, the close frame would land inside it
            code = self._ended.code if isinstance(self._ended, ServerBrokeProtocol) else _NORMAL
            await connection.close(code, truncate_reason(self._ended.reason))

    # Writing

    async def _write(self, connection: Connection) -> None:
        while True:
            while (frame := self._next_frame()) is not None:
                self._sending = True
                try:
                    await connection.send(frame)
                except ConnectionEnded:
                    return  # the reader gets the same exception, and handles its code
                self._sending = False
            await self.wakeups.outgoing.park()

    def _next_frame(self) -> str | None:
        """Return the next frame to send, or None if there is none.

        Before that, answer commands that expired before the client could send them.
        """
        self.deliver(self.core.expire_commands())
        return self.core.next_frame()

    async def _renew(self) -> None:
        """Send a fresh token some time before each expiry of the token.

        If the application has none, the connection goes on until the token expires, and the client reconnects then.
        """
        while True:
            await self.wakeups.expiry.park()
            if self.core.expires_ms is None:
                continue
            seconds = self.core.expires_ms / 1000
            await self.loop.sleep(max(_SHORTEST_WAIT, seconds / 2, seconds - RENEW_SECONDS))
            token = await self.fresh_token()
            if token is not None:
                self.core.renew(token)
                self.wakeups.outgoing.unpark_all()

    # Reading

    async def _read(self, connection: Connection) -> Ended | ServerBrokeProtocol:
        while True:
            async with self.interrupt.begin() as scope:
                return await self._read_messages(connection, scope)
            if self.interrupt.leaving:
                return Ended(_NORMAL, "")
            if self.interrupt.catching_up:
                return Ended(ABNORMAL, "catching up", catching_up=True)
            if self.loop.now() - scope.deadline < _LATE_SECONDS:
                return Ended(ABNORMAL, "nothing heard for longer than a ping takes")
            # The application's own code held up the loop. Deadlines fire before the socket is read, so read once
            # more: the server's pings may be in the socket.

    async def _read_messages(self, connection: Connection, scope: Scope) -> Ended | ServerBrokeProtocol:
        while True:
            await self._wait_for_room()
            # The deadline of silence. It starts again with each message, and not while the client itself holds off.
            scope.deadline = self.loop.now() + self.core.ping_ms / 1000 + HEARTBEAT_GRACE_SECONDS
            try:
                self._process(await connection.receive())
            except ConnectionEnded as end:
                return end.ended
            except GapError as gap:
                return Ended(ABNORMAL, f"gap: {gap}")
            except ServerBrokeProtocol as error:
                return error

    def _process(self, message: str | bytes) -> None:
        outputs: list[Any] = []
        try:
            outputs = self.core.on_message(message)
        finally:  # a message with a gap may have brought events before it
            if self.core.live and self._live_since is None:
                self._live_since = self.loop.now()
            self.deliver(outputs)
            self.wakeups.outgoing.unpark_all()

    async def _wait_for_room(self) -> None:
        """Wait until the buffer has room, at most for ``patience`` seconds.

        The wait is limited, because the server cannot send while the client does not read. After the wait the client
        reads again: if the buffer is still full, it skips events, but handles pings, replies and signals. Do not wait
        at all while a command has no reply, since the client must read to get the reply.
        """
        buffer = self.core.buffer
        if not buffer.full or buffer.skipping:
            return
        async with self.loop.scope(self.loop.now() + self.options.patience):
            while buffer.full and not len(self.core.commands):
                await self.wakeups.room.park()
        buffer.skipping = buffer.full
