"""The contract between the logic of a connection and the WebSocket that carries its messages.

The logic (``_connection``, ``_delivery``, ``_requests``) knows this module only. ``_trio_wire`` is the one wire today.
A wire over an ASGI server needs no more than the methods below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    import trio

    from transport.protocol.handshake import Accept, Reject


@attrs.frozen
class UpgradeRequest:
    """The request by which a client asks for a WebSocket."""

    path: str
    """The request target, with its query."""
    offered: Sequence[str]
    """The subprotocols that the client offers, in its order."""
    headers: Mapping[str, str]
    """The header fields, with names in lower case. If a field is repeated, its last value."""


class WireOwner(Protocol):
    """The connection that owns a wire, as the wire sees it. No method may wait or raise."""

    def on_upgrade(self, request: UpgradeRequest) -> Accept | Reject:
        """Return the answer to the upgrade request."""
        ...

    def on_drained(self) -> None:
        """Write on: the network has taken everything that was written."""

    def on_stuck(self) -> None:
        """Close the connection: nothing could be written for ``slow_seconds``, or too much waits to be written."""

    def on_too_big(self, code: int, reason: str) -> bool:
        """Note that the wire closes with ``code``, since a message of the client was too long.

        Return False if the connection is ending for another reason. The wire then sends no goodbye of its own.
        """
        ...


class Wire(Protocol):
    """A WebSocket that carries one connection's messages.

    The methods that are not ``async`` never wait and raise nothing on account of the network: they do nothing if the
    peer is gone. One task at a time may wait in each ``async`` method. Nothing is lost or cut if a waiting task is
    cancelled: a message that was written is sent whole, or not at all if the connection ends before.
    """

    gone: ClassVar[tuple[type[Exception], ...]]
    """The exceptions by which :meth:`receive` and the wire's own tasks say that the peer or the network is gone.

    Each wire names its library's own exceptions here. *To translate them, each wire would need a coroutine of its own
    between the connection and the library, which every idle connection would hold.*
    """
    address: str
    """The peer's address, without its port. Empty if it is not known."""
    blocked: bool
    """Whether something waits to be written that the network did not take yet. The logic writes events only if not."""

    @property
    def pending(self) -> int:
        """Number of bytes that the network did not take yet."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the peer is still there, as far as the wire knows. False before the upgrade and after a close."""
        ...

    async def upgrade(self, nursery: trio.Nursery, owner: WireOwner) -> Mapping[str, str] | None:
        """Answer the client's upgrade request as ``owner.on_upgrade`` decides.

        The wire runs its own tasks in ``nursery``, and calls ``owner`` until :meth:`forget`.

        Returns:
            The headers of the request; None if it was refused, or if the client hung up before.
        """
        ...

    def receive(self) -> Awaitable[str | bytes]:
        """Wait for the client's next message and return it: text as str, binary as bytes.

        Raises:
            Exception: One of :attr:`gone`, if the peer is gone or the WebSocket was closed.
        """
        ...

    def send(self, payload: bytes) -> None:
        """Write a text message. It leaves after everything that was written or posted before."""

    def send_events(self, lines: Sequence[bytes]) -> None:
        """Write one ``events`` message of ``lines`` as they are in the log. Copies them once."""

    def post(self, payload: bytes) -> None:
        """Write a text message together with the next :meth:`send` or :meth:`release`, in one system call."""

    def release(self) -> None:
        """Write the messages that were posted, if there are any."""

    async def drained(self) -> None:
        """Wait until nothing waits to be written.

        Raises:
            trio.BrokenResourceError: If the peer is gone.
        """

    def note_progress(self) -> None:
        """Note that the peer showed progress: the time until it counts as stuck begins anew."""

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame, wait for the peer's, and close the stream.

        Cancellation: the stream is closed without the peer's answer.
        """

    async def linger(self) -> None:
        """Read and drop the rest of the peer's bytes for a short time after a close of our own.

        *A socket that is closed with unread bytes is reset, and the reset can overtake our close frame: the client
        would never learn why.*
        """

    async def abort(self) -> None:
        """Close the stream at once, without waiting for the peer. Unwritten data is lost."""

    def forget(self) -> None:
        """Stop calling the owner, and hold neither it nor the library's objects. Called after :meth:`abort`."""
