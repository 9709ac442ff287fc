"""One connection of a client: its task, from the upgrade request to the close."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from actors.failures import is_a, log_failure, log_line
from actors.presentable import is_presentable
from transport._border import leaves, passed_on
from transport.auth import Credentials
from transport.protocol import close_codes, server_frames
from transport.protocol.client_frames import Ack, Hello, Pong, TypingFrame
from transport.protocol.handshake import AFTER_HELLO, Conversation
from transport.protocol.limits import CONTROL_CHARACTERS
from transport.server._connection_statistics import ConnectionStatistics, statistics_of
from transport.server._connections import code_of
from transport.server._delivery import Delivery
from transport.server._frame_limits import FrameLimits
from transport.server._frames import read_frame
from transport.server._greeting import admit, answer_upgrade, attach, authenticate, expires_ms, welcome
from transport.server._lifetime import End, Lifetime
from transport.server._limit import within
from transport.server._liveness import Liveness
from transport.server._refusals import Reason
from transport.server._requests import Requests
from transport.server.clients import learn_client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from actors.spi import Attachment
    from transport.auth import User
    from transport.protocol.client_frames import ClientFrame
    from transport.protocol.handshake import Accept, Reject
    from transport.protocol.health import Health
    from transport.server._context import ServerContext
    from transport.server._lifetime import Closing
    from transport.server._wire import UpgradeRequest, Wire

logger = logging.getLogger("greenroom.connections")

_SMALL_FRAMES = frozenset((Ack, Pong, TypingFrame))
UPGRADE_SECONDS = 5.0
"""Time limit in seconds for a new client to send its request for a WebSocket."""
CLOSE_SECONDS = 2.0
"""Time limit in seconds of the goodbye and the close handshake together. After this time the socket is closed."""


class Connection:
    """A client's connection, served by :meth:`run`. Other tasks call the other public methods, which never wait.

    There can be very many connections, most of them idle, so each connection must be small. An object that only some
    connections need is made when it is needed. Objects that only the handshake needs are freed after the welcome.
    """

    __slots__ = (
        "__weakref__",
        "_attachment",
        "_context",
        "_delivery",
        "_greeted",
        "_life",
        "_limits",
        "_liveness",
        "_requests",
        "_wire",
        "user",
    )

    def __init__(self, context: ServerContext, wire: Wire) -> None:
        self._context = context
        self._wire = wire
        self._life = Lifetime(context.sessions.failures)
        self._delivery = Delivery(context, self._life, wire)
        self._liveness = Liveness(context, self._life, wire)
        self._limits: FrameLimits | None = None
        """The rate limits for control frames and fragments. None until the first such frame."""
        self._requests: Requests | None = None
        """The handler of the client's requests. None until the first frame after the hello that is not a pong."""
        self.user: User | None = None
        """The authenticated user, with the values of the newest token. None until the auth function has returned."""
        self._attachment: Attachment | None = None
        self._greeted = False
        """Whether the welcome frame was written."""

    @property
    def address(self) -> str:
        """Network address of the client."""
        return self._wire.address

    @address.setter
    def address(self, address: str) -> None:
        self._wire.address = address

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that wait to be sent to this client. Events are not counted, since they are not queued."""
        return self._delivery.waiting_bytes

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Serve the connection until it ends, then close its stream. An error in the connection is logged, not raised.

        Raises only ``trio.Cancelled``, if the endpoint is cancelled. A Ctrl-C goes to the main task.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._life.nursery = nursery
                try:
                    await self._serve()
                except BaseException as raised:
                    if is_presentable(raised):
                        raise
                    # A log may raise anything while a session is made. Trio would show it as the nursery closes.
                    _note_end(self._life.id, self._wire.gone, passed_on(raised))
                finally:
                    self._let_go()
                    await _end(self._wire, self._life, self._context.connections.lingering(self))
        except BaseException as raised:  # noqa: BLE001 - the border: nothing of a connection passes
            _note_end(self._life.id, self._wire.gone, passed_on(raised))
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _serve(self) -> None:
        # None before the upgrade. One name for both: an idle connection keeps the room of each name.
        going: bool | None = None
        try:
            with self._life.scope:
                headers: Mapping[str, str] | None = None
                with within(self._context, UPGRADE_SECONDS):
                    headers = await self._wire.upgrade(self._life.nursery, self)
                if headers is not None:
                    going = True
                    going = await self._greet(headers)
                    del headers  # an idle connection holds no request
                    while going:
                        # Here, and not a coroutine deeper: this is where an idle connection waits.
                        going = self.on_message(await self._wire.receive())
        except self._wire.gone as end:
            _note_left(self._context, self._life, end, is_upgraded=going is not None)
            return
        if going is not None:
            with trio.CancelScope(
                deadline=self._context.connections.closed_by(CLOSE_SECONDS), shield=True
            ) as self._life.scope:
                await _say_goodbye(
                    self._life.closing, self._wire, self._delivery if self._greeted else None, self._detach
                )

    # The greeting

    async def _greet(self, headers: Mapping[str, str]) -> bool:
        """Answer the client's hello with a welcome. Return False if the connection must be closed instead."""
        context, life = self._context, self._life
        try:
            hello = await self._await_hello()
            credentials = Credentials(hello.token, hello.session, headers, self.address)
            # Stored at once, so that a revocation finds this connection from now on.
            user = self.user = await authenticate(context, life, credentials)
            await admit(context, user, self)
            attachment = self._attachment = await attach(context, life, user, hello, self._delivery)
            if hello.strict and attachment.reset is not None:
                raise End(close_codes.UNRECOVERABLE_POSITION, attachment.reset)  # noqa: TRY301 - as from the others
        except End as end:
            life.close(end.code, end.reason)
            return False
        self._wire.send(welcome(life.id, user, hello, attachment, context.settings))
        self._greeted = True
        self._liveness.begin(user.expires)
        self._delivery.begin(attachment.cursor)
        return True

    async def _await_hello(self) -> Hello:
        with within(self._context, self._context.settings.hello_seconds):
            hello = self._frame(await self._wire.receive(), Conversation())
            assert isinstance(hello, Hello)  # noqa: S101 - the conversation lets nothing else through
            return hello
        raise End(close_codes.NO_HELLO, "no hello came in time")

    # Frames of the client

    def on_message(self, message: str | bytes) -> bool:
        """Handle a message of the client. Return False if the connection closes, or waits for the hello."""
        if not self._greeted or self._life.closing is not None:
            return False
        try:
            self._take(self._frame(message, AFTER_HELLO), len(message))
        except End as end:
            self._life.close(end.code, end.reason)
        except BaseException as error:  # noqa: BLE001 - the failure of this connection, not of its wire
            self._life.fail(error, "a frame could not be handled")
        return True

    def _frame(self, message: str | bytes, conversation: Conversation) -> ClientFrame:
        """Return the frame in ``message``. Raise ``End`` if the frame is invalid, or not allowed at this point."""
        self._liveness.note_frame()
        return read_frame(message, conversation, self._context.settings.max_frame_bytes)

    def _take(self, frame: ClientFrame, size: int) -> None:
        kind = type(frame)
        if kind in _SMALL_FRAMES and (not self.on_frames(1 + size // CONTROL_CHARACTERS, 0) or kind is Pong):
            return
        if self._requests is None:
            assert self._attachment is not None  # noqa: S101 - called after the welcome only
            self._requests = Requests(self._context, self._life, self._wire, self._delivery, self._attachment, self)
        self._requests.take(frame)

    def on_renewed(self, user: User) -> None:
        """Continue with a fresh token, which has the values of ``user``, and confirm it to the client."""
        self.user = user
        self._liveness.begin(user.expires)
        self._wire.send(server_frames.renewed(expires_ms(user)))

    # The end

    def close(self, code: int, reason: str) -> None:
        """Close the connection with ``code``, after a goodbye frame if possible. See :meth:`.Lifetime.close`."""
        self._life.close(code, reason)

    def drop(self) -> None:
        """Close the socket without an answer. Never waits."""
        self._life.scope.cancel()

    def _detach(self) -> None:
        """Leave the session, if the connection is attached to it. Never raises."""
        attachment, self._attachment = self._attachment, None
        _leave(attachment, self._life.id)

    def _let_go(self) -> None:
        """Remove the connection from all lists, and release everything that it holds.

        Never raises: if a connection stayed on a list, it would permanently count against the limit of its user.
        """
        self._life.over = True
        greeted, self._greeted = self._greeted, False
        self._requests = None
        self._liveness.stop()
        self._delivery.stop()
        self._context.connections.remove(self)
        self._detach()
        self._context.note_closing(self._life.closing, greeted=greeted)

    # Calls of the wire (a WireOwner)

    def on_client(self, address: str) -> bool:
        """Count the connection for ``address``. Return False if connections of this client come too fast."""
        return learn_client(self._context.stage, self._context.connections, self, address, is_final=False)

    def on_upgrade(self, request: UpgradeRequest) -> Accept | Reject:
        """Return the answer to the request for a WebSocket. The number of connections is checked first."""
        return answer_upgrade(self._context, self, request)

    def on_bad_request(self, fault: str) -> None:
        """Record that the WebSocket library refuses the client's request, for the reason ``fault``."""
        self._context.refusals.note(Reason.BAD_REQUEST, fault)

    def health(self) -> Health:
        """Return the health of the server."""
        return self._context.health()

    def on_drained(self) -> None:
        """Continue to write, since the network has taken all data."""
        if self._greeted:
            self._delivery.schedule()

    def on_stuck(self) -> None:
        """Close the connection, since the client takes no data. Before the welcome other time limits apply."""
        if self._greeted:
            self.close(close_codes.SLOW_CONSUMER, "nothing could be written for too long")

    def on_frames(self, controls: int, fragments: int) -> bool:
        """Count control frames and message fragments. If there are too many, end the connection and return False."""
        if self._limits is None:
            self._limits = FrameLimits(self._context, self._life)
        return self._limits.allow(controls, fragments, greeted=self._greeted)

    def on_too_many_fragments(self) -> None:
        """Close the connection, since a message of the client has too many fragments."""
        self.close(close_codes.MESSAGE_TOO_BIG, f"a message may have {self._context.settings.max_fragments} fragments")

    def on_too_big(self, code: int, reason: str) -> bool:
        """Record that the WebSocket closes because a message was too large. Return False if another close has begun."""
        return self._life.note_closed(code, reason)

    # Calls of Places, the limit for each user (a Holder)

    def probe(self, on_frame: Callable[[], None]) -> bool:
        """Ping the client, and call ``on_frame`` at its next frame. Before the welcome, only return False."""
        if self._greeted:
            self._liveness.probe(on_frame)
        return self._greeted

    def waits(self) -> bool:
        """Return whether the client of this new connection is still there, so that the connection can be admitted."""
        return self._life.closing is None and self._wire.is_open

    def give_way(self) -> None:
        """Close this silent connection, to make room for a newer connection of the same user."""
        self.close(close_codes.HEARTBEAT_LOST, "nothing was heard while a newer connection waited")


def _note_left(context: ServerContext, life: Lifetime, end: BaseException, *, is_upgraded: bool) -> None:
    """Count a WebSocket that its client has ended. An end that the server had decided before is counted elsewhere."""
    if is_upgraded and life.closing is None:
        context.connections.closes[code_of(end)] += 1


async def _say_goodbye(
    closing: Closing | None, wire: Wire, delivery: Delivery | None, detach: Callable[[], None]
) -> None:
    """Write the rest of the events and a goodbye, and close the WebSocket. ``delivery`` is None before the welcome."""
    if closing is None:
        return
    if delivery is not None and not closing.is_refusal:
        await delivery.send_rest()
    # *A client that is slow to answer the close frame would otherwise stay in its session, and still be typing.*
    detach()
    wire.send(server_frames.goodbye(closing.code, closing.reason, closing.retry_ms))
    await wire.close(closing.code, closing.reason)


async def _end(wire: Wire, life: Lifetime, lingering: AbstractContextManager[None]) -> None:
    """Close the wire, after a short time in which a refused client can read the reason. End the other tasks."""
    try:
        if wire.finish():
            # Shielded: a task of the wire's library may fail meanwhile. `Connection.drop` ends this.
            with trio.CancelScope(shield=True) as life.scope, lingering:
                await wire.linger()
    finally:
        await wire.abort()
        wire.forget()
        life.nursery.cancel_scope.cancel()


def _note_end(connection: str, gone: tuple[type[Exception], ...], raised: BaseException) -> None:
    """Log the end of a connection by the exception ``raised``.

    The exceptions ``gone`` mean that the peer has left, which is no failure.
    """
    if all(is_a(error, (*gone, trio.Cancelled)) for error in leaves(raised)):
        log_line(logger, logging.DEBUG, "connection %s has ended", connection, fields={"connection": connection})
    else:
        log_failure(logger, "connection %s failed", connection, error=raised, fields={"connection": connection})


def _leave(attachment: Attachment | None, connection: str) -> None:
    """Detach a connection from its session, if it has one. Never raises."""
    try:
        if attachment is not None:
            attachment.detach()
    except Exception as error:  # noqa: BLE001 - the session's failure: nothing is left here that could end by it
        fields = {"connection": connection}
        log_failure(logger, "connection %s could not be detached", connection, error=error, fields=fields)


# Functions for the private names of a connection: methods would make the class too long.


def life_of(connection: Connection) -> Lifetime:
    """Return the part of a connection that has its id and its end."""
    return connection._life  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said


def statistics_of_connection(connection: Connection) -> ConnectionStatistics:
    """Return the state of a connection, for operators."""
    life, wire = connection._life, connection._wire  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
    delivery, attachment = connection._delivery, connection._attachment  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
    return statistics_of(life, wire, delivery, connection.user, attachment)


def waits_of_connection(connection: Connection) -> tuple[int, float]:
    """Return the waiting bytes of a connection, and the seconds for which its client has taken nothing."""
    wire = connection._wire  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
    return connection.waiting_bytes, wire.blocked_seconds if wire.blocked else 0.0
