"""A fuzz target: the requests to the port of the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from fuzz.target import Target, first_byte, in_pieces

from transport import Settings
from transport.http._request import Request, RequestReader
from transport.http._stream import ClientStream
from transport.http._turns import Turns
from transport.server.port import Port

if TYPE_CHECKING:
    from transport.protocol.handshake import Reject

_MAX_BODY = 100


def page_requests(data: bytes) -> None:
    """Check that any bytes are requests, then a refusal or the end, and that the pieces of the bytes change nothing.

    The first byte says in which pieces the bytes come. Each byte belongs to one request only: its head and its body.
    """
    size, data = first_byte(data)
    whole = trio.run(_results, [data])
    assert _summaries(whole) == _summaries(trio.run(_results, list(in_pieces(data, 1 + size))))
    rest = data
    for found in whole:
        if isinstance(found, Request):
            rest = _after(rest, found)
        elif found is not None:
            assert 400 <= found.status < 500
            assert " " in found.body


def _after(data: bytes, request: Request) -> bytes:
    """Check a request against the bytes that it was read from. Return the bytes behind it."""
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert first == b"%b %b HTTP/1.1" % (request.head.method, request.head.target)
    ours = [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
    assert list(request.head.headers) == ours
    length = int(dict(ours).get(b"content-length", b"0"))
    assert length <= _MAX_BODY
    assert request.body == rest[:length]
    assert len(request.body) == length
    scope = request.scope(("a", 1), ("b", 2), "http")
    assert scope["path"].startswith("/")
    return rest[length:]


async def _results(pieces: list[bytes]) -> list[Request | Reject | None]:
    """Send the pieces. Return all requests, up to the first refusal or the end."""
    client, server = trio.testing.memory_stream_pair()
    found: list[Request | Reject | None] = []

    async def send() -> None:
        for piece in pieces:
            await client.send_all(piece)
        await client.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        stream = ClientStream(server, Port[Any](Settings(), "the pages"))
        while True:
            found.append(result := await RequestReader(stream, Turns(), _MAX_BODY).read())
            if not isinstance(result, Request):
                return found
            stream.unread = result.parser.trailing_data[0]


def _summaries(found: list[Request | Reject | None]) -> list[object]:
    """Return results in a form that can be compared. The reason of a refusal may depend on the pieces."""
    return [
        (each.head.method, each.target, each.body)
        if isinstance(each, Request)
        else None
        if each is None
        else each.status
        for each in found
    ]


_SEEDS = (
    b"\xffGET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\nHEAD http://a/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    (
        b"\x03POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    ),
    b"\xffPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"\xffGET /%2e%2e/%00 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nUpgrade: h2c\r\n\r\n",
)
_WORDS = (
    b"\r\n", b"\r\n\r\n", b"\n", b" HTTP/1.1", b"HTTP/1.0", b"GET ", b"POST ", b"CONNECT ", b"OPTIONS * ", b"Host: a",
    b"Content-Length: ", b"Content-Length : 5", b"Transfer-Encoding: ", b"chunked", b"Expect: 100-continue", b"100",
    b"101",
    b"+5", b"0x5", b"-1", b"Connection: close", b"http://a", b"%", b"?", b"#",
)  # fmt: skip

TARGETS = (Target("page_requests", page_requests, _SEEDS, _WORDS, longest=2048, weight=2),)
