"""The contract between the logic of a connection and the WebSocket that carries its messages.

The logic (``_connection``, ``_delivery``, ``_requests``) uses only this module. A wire is a WebSocket under a
connection. There are two kinds: ``_trio_wire`` on a socket of this server, and ``transport.hosting._wire_asgi`` through
an ASGI server. A third, ``transport.adapters.stream_wire``, is the response to a plain HTTP request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    import trio

    from transport.protocol.handshake import Accept, Reject
    from transport.protocol.health import Health


@attrs.frozen
class UpgradeRequest:
    """The HTTP request by which a client asks for a WebSocket."""

    path: str
    """The path in the request's URL, with the query."""
    offered: Sequence[str]
    """The subprotocols that the client offers, in the client's order."""
    fields: Sequence[tuple[str, str]]
    """The header fields in their order, with names in lower case."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields by name. If a field is repeated, the last value counts."""
        return dict(self.fields)


class WireOwner(Protocol):
    """The interface of a connection that its wire (its WebSocket) calls. The methods must not wait or raise."""

    def on_client(self, address: str) -> bool:
        """Count the connection for ``address``, its client's. Return False if they come too fast."""
        ...

    def on_upgrade(self, request: UpgradeRequest) -> Accept | Reject:
        """Return the answer to the client's request for a WebSocket."""
        ...

    def on_bad_request(self, fault: str) -> None:
        """Record that the wire (the WebSocket) refuses the client's request with HTTP 400, for the reason ``fault``."""

    def health(self) -> Health:
        """Return the health of the server, for a client that asks for it by plain HTTP."""
        ...

    def on_drained(self) -> None:
        """Continue to write, since the network has taken all data."""

    def on_stuck(self) -> None:
        """Close the connection: no data could be written for ``slow_seconds``, or too much data waits to be written."""

    def on_frames(self, controls: int, fragments: int) -> bool:
        """Count control frames and fragments of messages that have arrived.

        Return False if the client has sent too many. Then the connection ends, and the wire hands on nothing more.
        """
        ...

    def close(self, code: int, reason: str) -> None:
        """Close the connection with ``code``, after a goodbye: a web server under the wire is about to end it."""

    def on_message(self, message: str) -> bool:
        """Handle a text message of the client now. Return False if :meth:`Wire.receive` must return it.

        A wire may call this only while a task waits in :meth:`Wire.receive`. *Then the message would have to wake this
        task, which is a turn of the scheduler.*
        """
        ...

    def on_too_many_fragments(self) -> None:
        """Close the connection: a message of the client has too many fragments. The wire hands on nothing more."""

    def on_too_big(self, code: int, reason: str) -> bool:
        """Record that the WebSocket closes with ``code``, because a message of the client was too large.

        Return False if the connection is already ending for another reason. In that case no goodbye frame is sent.
        """
        ...


class Wire(Protocol):
    """A WebSocket that carries the messages of one connection.

    The methods that are not ``async`` never wait. If the peer is gone, these methods do nothing: a network error is
    never raised by them. In each ``async`` method, only one task at a time is allowed to wait. If an ``async`` method
    is cancelled, no message is lost or cut: each written message is sent completely, or not at all if the connection
    ends before.
    """

    gone: ClassVar[tuple[type[Exception], ...]]
    """The exceptions that :meth:`receive` and this object's own tasks raise if the peer or the network is gone.

    Each kind of wire lists the exceptions of its library here. *Translating them into common exceptions would take one
    more coroutine in memory for each idle connection.*
    """
    address: str
    """The network address of the client, without the port. Empty if the address is not known."""

    @property
    def blocked(self) -> bool:
        """Whether the network has not taken all data yet. Events are written only while this is False."""
        ...

    @property
    def pending(self) -> int:
        """Number of bytes that the network did not take yet."""
        ...

    @property
    def blocked_seconds(self) -> float:
        """Seconds for which the peer has taken nothing, although data waits to be sent. 0 if nothing waits."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the WebSocket is open, as far as is known. False before the upgrade and after a close."""
        ...

    async def upgrade(self, nursery: trio.Nursery, owner: WireOwner) -> Mapping[str, str] | None:
        """Answer the client's request for a WebSocket as ``owner.on_upgrade`` decides.

        The tasks of this WebSocket run in ``nursery``. Methods of ``owner`` are called until :meth:`forget`.

        Returns:
            The headers of the request. None if the request was refused, or the client disconnected before.
        """
        ...

    def receive(self) -> Awaitable[str | bytes]:
        """Wait for the client's next message and return it: a text message as str, a binary message as bytes.

        Raises:
            Exception: One of :attr:`gone`, if the peer is gone or the WebSocket was closed.
        """
        ...

    def send(self, payload: bytes) -> None:
        """Write a text message. The message is sent after all messages that were written or posted before.

        After the close frame no message may follow (RFC 6455, section 5.5.1): this method, :meth:`send_events` and
        :meth:`post` then do nothing.
        """

    def send_events(self, lines: Sequence[bytes]) -> None:
        """Write one ``events`` message. Each of the ``lines`` is an event as it is stored in the log.

        The lines are copied only once.
        """

    def post(self, payload: bytes) -> None:
        """Keep a text message. The next :meth:`send` or :meth:`release` writes it too, in the same system call."""

    def release(self) -> None:
        """Write the messages that :meth:`post` has kept, if there are any."""

    async def drained(self) -> None:
        """Wait until the network has taken all data.

        Raises:
            trio.BrokenResourceError: If the peer is gone.
        """

    def note_progress(self) -> None:
        """Record that the peer still reads, so that the time limit for a peer that takes no data starts again."""

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame, wait for the peer's close frame, and close the stream.

        Cancellation: the stream is closed without waiting for the peer's answer.
        """

    def finish(self) -> bool:
        """Write the last words, if the client's bytes were not WebSocket frames: a goodbye and a close frame.

        Return whether :meth:`linger` must be called before :meth:`abort`: the client was refused, and may still send.
        """
        ...

    async def linger(self) -> None:
        """Let the client read the last words, and wait until it closes its side. The wire limits the time.

        Nothing more is written, and the client's bytes are discarded. *If a socket is closed while it has unread bytes,
        the system resets the connection. Then it can happen that the client never gets the reason.*
        """

    async def abort(self) -> None:
        """Close the stream at once, without waiting for the peer. Unwritten data is lost."""

    def forget(self) -> None:
        """Drop the references to the owner and to the library's objects, and call the owner no more.

        This is called after :meth:`abort`.
        """
