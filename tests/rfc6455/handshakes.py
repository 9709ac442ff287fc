"""The request for a WebSocket: a good one, changes of it, and the two outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from rfc6455.frames import TEXT, frame, question
from rfc6455.rows import BYTE_BY_BYTE
from rfc6455.target import EVERYWHERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfc6455.peer import Peer
    from rfc6455.target import Target

MAX_HEAD_BYTES = 16 * 1024
MAX_FIELDS = 100
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The answer to the key of the example in RFC 6455, section 1.3."""
FIRST = "GET / HTTP/1.1"
HEADERS = {
    "Host": "Host: 127.0.0.1",
    "Upgrade": "Upgrade: websocket",
    "Connection": "Connection: Upgrade",
    "Sec-WebSocket-Key": "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "Sec-WebSocket-Version: 13",
}
DEFLATE = "permessage-deflate; client_max_window_bits"


@attrs.frozen
class Accepted:
    """The request is accepted: the answer has the accept value and this subprotocol, and no extension. It works."""

    subprotocol: str | None = None

    def check(self, peer: Peer) -> None:
        status, headers, _ = peer.answer()
        assert (status, headers.get("sec-websocket-protocol")) == (101, self.subprotocol)
        assert headers["sec-websocket-accept"] == ACCEPT
        assert (headers["upgrade"].lower(), headers["connection"].lower()) == ("websocket", "upgrade")
        assert "sec-websocket-extensions" not in headers
        peer.hello()
        peer.send(frame(TEXT, question()))
        assert peer.hear() == ("reply", "q")
        assert peer.finish() == []


@attrs.frozen
class Refused:
    """The request gets an HTTP error, and the connection ends."""

    status: int = 400
    header: tuple[str, str] | None = None

    def check(self, peer: Peer) -> None:
        status, headers, _ = peer.answer()
        assert status == self.status
        if self.header is not None:
            assert headers[self.header[0]] == self.header[1]


@attrs.frozen
class Request:
    """One case."""

    id: str
    data: bytes
    outcome: Accepted | Refused
    cuts: Sequence[int] = ()
    """Numbers of bytes of the data at which a read of the server ends."""

    def byte_by_byte(self) -> Request | None:
        """Return the same request with its bytes delivered byte by byte. None if that is another case.

        A byte that follows a complete head on its own comes after the answer, and is the first byte of a frame.
        """
        if len(self.data) > BYTE_BY_BYTE or self.data.partition(b"\r\n\r\n")[2]:
            return None
        return attrs.evolve(self, id=f"{self.id}, byte by byte", cuts=EVERYWHERE)

    def play(self, target: Target) -> None:
        """Send the request on a new connection, and check the answer and the state of the server."""
        with target.connect(self.cuts) as peer:
            peer.send(self.data)
            self.outcome.check(peer)
            target.check_no_connection_is_left()
        target.check_neighbour()


def request(*more: str, first: str = FIRST, without: str = "", **replaced: str) -> bytes:
    """Return a good request, but with another first line, without a header, with some replaced, and with more."""
    headers = {name: line for name, line in HEADERS.items() if name != without}
    headers |= {name.replace("_", "-"): line for name, line in replaced.items()}
    return "\r\n".join((first, *headers.values(), *more, "", "")).encode("latin-1")
