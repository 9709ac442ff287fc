"""One connection of a client: connect, upgrade, read, write, close. All its tasks end with :meth:`Link.run`.

An exception of the network, of the WebSocket library or of the application's ``open_stream`` becomes a value that
describes the end of the connection (:class:`~transport.client._ended.Ended`). :meth:`Link.run` raises no ``Exception``.

This module does some things that trio-websocket does not. It ends an upgrade that takes too long, or whose peer closes
the stream. It lets only one task write. After a message that was cut, it sends no other message. It closes the stream
by force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from actors.failures import without
from transport.client._buffer import GapError
from transport.client._ended import Ended, ended_by_close, ended_by_failure, ended_by_stream
from transport.client._watched_stream import WatchedStream
from transport.errors import ServerBrokeProtocol
from transport.protocol.close_codes import ABNORMAL, truncate_reason
from transport.protocol.handshake import SUBPROTOCOL
from transport.protocol.limits import HEARTBEAT_GRACE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transport.client._core import ClientCore, Output
    from transport.client._items import Wakeups
    from transport.client._options import Options
    from transport.client._target import Target

_NORMAL = 1000
_CLOSE_SECONDS = 2.0
"""Time limit of the close handshake, in seconds. After this time the stream is closed by force."""
_LATE_SECONDS = 1.0
"""Maximum seconds by which a deadline normally fires too late. If it fires even later, the event loop was blocked.

In that case perhaps the server's messages are unread, so the server's silence does not end the connection.
"""
_SHORTEST_WAIT = 1.0
"""Minimum time between two fresh tokens, in seconds."""
_RECEIVE_BYTES = 64 * 1024
RENEW_SECONDS = 90.0
"""Time before the expiry of a token at which the client sends a fresh token, in seconds.

If the token lives for less than twice this time, the client sends a fresh token after half of the token's life.
"""


@attrs.define(eq=False)
class Interrupt:
    """A way to end the client's present wait. The client waits for the network or a delay only inside :attr:`scope`."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    leaving: bool = attrs.field(default=False, init=False)
    catching_up: bool = attrs.field(default=False, init=False)

    def begin(self, *, deadline: float = float("inf")) -> trio.CancelScope:
        """Return a cancel scope for the client's next wait.

        The scope is cancelled already if the application has left the client's ``async with`` block.
        """
        self.scope = trio.CancelScope(deadline=deadline)
        if self.leaving:
            self.scope.cancel()
        return self.scope

    def leave(self) -> None:
        """Stop the client permanently, and end the client's present wait."""
        self.leaving = True
        self.scope.cancel()

    def catch_up(self) -> None:
        """End the present connection, so that the client reconnects at once and fetches the events that it skipped."""
        self.catching_up = True
        self.scope.cancel()


@attrs.define(eq=False)
class Link:
    """One connection of a client. The link calls ``deliver`` with the results of each message that arrives."""

    target: Target
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

        If the call is cancelled, the stream is closed without a close frame.
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
            failure = ended_by_failure(raised, upgraded=self._upgraded)
        return self._with_lifetime(self._ended or failure or Ended(ABNORMAL, "no answer to the upgrade"))

    def _with_lifetime(self, ended: Ended | ServerBrokeProtocol) -> Ended | ServerBrokeProtocol:
        if isinstance(ended, ServerBrokeProtocol) or self._live_since is None:
            return ended
        return attrs.evolve(ended, lived=trio.current_time() - self._live_since)

    # Connecting

    async def _attempt(self, token: str | None) -> None:
        deadline = trio.current_time() + self.options.connect_seconds
        stream = None
        with self.interrupt.begin(deadline=deadline):
            try:
                stream = await self.target.open()
            except (OSError, trio.BrokenResourceError) as error:
                self._ended = ended_by_stream(error)
                return
        if stream is None:
            self._ended = Ended(ABNORMAL, "cannot connect: no answer in time")
            return
        try:
            await self._use(stream, token, deadline)
        finally:
            await trio.aclose_forcefully(stream)

    async def _use(self, stream: trio.abc.Stream, token: str | None, deadline: float) -> None:
        async with trio.open_nursery() as nursery:
            websocket = await self._upgrade(nursery, stream, deadline)
            if websocket is not None:
                self._upgraded = True
                await self._converse(nursery, websocket, token)
            nursery.cancel_scope.cancel()

    async def _upgrade(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, deadline: float
    ) -> WebSocketConnection | None:
        with self.interrupt.begin(deadline=deadline) as scope:
            # Any stream works. The library's annotation names only the two kinds that it opens itself.
            watched = WatchedStream(stream, scope.cancel)
            websocket = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", watched),
                self.target.authority,
                self.target.path,
                subprotocols=[SUBPROTOCOL],
                max_message_size=self.options.max_message_size,
                receive_buffer_size=_RECEIVE_BYTES,
            )
            watched.on_upgraded()
            return websocket
        return None

    async def _converse(self, nursery: trio.Nursery, websocket: WebSocketConnection, token: str | None) -> None:
        self.core.on_opened(token)
        nursery.start_soon(self._write, websocket)
        nursery.start_soon(self._renew)
        self._ended = await self._read(websocket)
        if not self._sending:  # in the middle of a message, the close frame would land inside it
            code = self._ended.code if isinstance(self._ended, ServerBrokeProtocol) else _NORMAL
            with trio.move_on_after(_CLOSE_SECONDS):
                await websocket.aclose(code, truncate_reason(self._ended.reason))

    # Writing

    async def _write(self, websocket: WebSocketConnection) -> None:
        while True:
            while (frame := self._next_frame()) is not None:
                self._sending = True
                try:
                    await websocket.send_message(frame)
                except ConnectionClosed:
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
            await trio.sleep(max(_SHORTEST_WAIT, seconds / 2, seconds - RENEW_SECONDS))
            token = await self.fresh_token()
            if token is not None:
                self.core.renew(token)
                self.wakeups.outgoing.unpark_all()

    # Reading

    async def _read(self, websocket: WebSocketConnection) -> Ended | ServerBrokeProtocol:
        while True:
            with self.interrupt.begin() as scope:
                return await self._read_messages(websocket, scope)
            if self.interrupt.leaving:
                return Ended(_NORMAL, "")
            if self.interrupt.catching_up:
                return Ended(ABNORMAL, "catching up", catching_up=True)
            if trio.current_time() - scope.deadline < _LATE_SECONDS:
                return Ended(ABNORMAL, "nothing heard for longer than a ping takes")
            # The application's own code held up the loop. Trio fires deadlines before it reads, so read once more:
            # the server's pings may be in the socket.

    async def _read_messages(
        self, websocket: WebSocketConnection, scope: trio.CancelScope
    ) -> Ended | ServerBrokeProtocol:
        while True:
            await self._wait_for_room()
            # The deadline of silence. It starts again with each message, and not while the client itself holds off.
            scope.deadline = trio.current_time() + self.core.ping_ms / 1000 + HEARTBEAT_GRACE_SECONDS
            try:
                self._process(await websocket.get_message())
            except ConnectionClosed as closed:
                return ended_by_close(closed)
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
                self._live_since = trio.current_time()
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
        with trio.move_on_after(self.options.patience):
            while buffer.full and not len(self.core.commands):
                await self.wakeups.room.park()
        buffer.skipping = buffer.full
