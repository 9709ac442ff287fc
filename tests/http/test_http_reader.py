"""The reader of requests: whatever a client sends, the result is a request, a refusal or the client's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from transport import Settings
from transport.http._request import Request, RequestReader
from transport.http._stream import ClientStream
from transport.http._turns import Turns
from transport.server.port import Port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transport.protocol.handshake import Reject


MAX_BODY = 100
FIRSTS = st.one_of(
    st.sampled_from([b"GET / HTTP/1.1", b"POST /echo?a=%00 HTTP/1.1", b"GET http://x HTTP/1.1", b"PRI * HTTP/2.0"]),
    st.builds(
        lambda *parts: b" ".join(parts),
        st.sampled_from([b"GET", b"HEAD", b"CONNECT", b"OPTIONS", b"", b"a(b"]),
        st.one_of(st.sampled_from([b"/", b"*", b"x:80", b"https://:/", b"/%", b"//x"]), st.binary(max_size=20)),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.10", b"http/1.1", b""]),
    ),
)
FIELDS = st.one_of(
    st.just(b"Host: x"),
    st.builds(
        lambda name, value: name + b": " + value,
        st.sampled_from(
            [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"Content-Length "]
        ),
        st.one_of(
            st.sampled_from([b"0", b"5", b"00005", b"100", b"101", b"chunked", b"close", b"100-continue", b"h2c", b""]),
            st.integers().map(lambda number: b"%d" % number),
            st.binary(max_size=10),
        ),
    ),
    st.binary(max_size=20),
)


async def results(data: bytes, sizes: Sequence[int]) -> list[Request | Reject | None]:
    """Send the bytes in pieces of these sizes. Return all requests, up to the first refusal or the end."""
    client, server = trio.testing.memory_stream_pair()
    found: list[Request | Reject | None] = []

    async def send() -> None:
        rest = data
        for size in (*sizes, len(data)):
            await client.send_all(rest[:size])
            rest = rest[size:]
        await client.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        stream = ClientStream(server, Port[Any](Settings(), "the pages"))
        while True:
            found.append(result := await RequestReader(stream, Turns(), MAX_BODY).read())
            if not isinstance(result, Request):
                break
            stream.unread = result.parser.trailing_data[0]
    return found


@given(
    st.lists(st.tuples(FIRSTS, st.lists(FIELDS, max_size=4), st.binary(max_size=10)), min_size=1, max_size=3),
    st.lists(st.integers(1, 40), max_size=5),
)
@example([(b"POST / HTTP/1.1", [b"Host: x", b"Content-Length: 5"], b"hello")] * 2, [1, 2])
def test_any_bytes(requests: list[tuple[bytes, list[bytes], bytes]], sizes: list[int]) -> None:
    """Each result is a request within the limits, a refusal 4xx in words, or the end. The cut of the bytes is the same.

    A request has the method and the target of its first line, and its body has the length that it names.
    """
    data = b"".join(b"\r\n".join((first, *fields, b"", body)) for first, fields, body in requests)
    found = trio.run(results, data, [])
    cut = trio.run(results, data, sizes)
    assert [summary(each) for each in found] == [summary(each) for each in cut]
    for each in found:
        if isinstance(each, Request):
            assert each.target.startswith("/")
            assert len(each.body) == int(dict(each.head.headers).get(b"content-length", b"0")) <= MAX_BODY
            assert each.scope(("a", 1), ("b", 2), "http")["method"].encode() + b" " in data
        elif each is not None:
            assert 400 <= each.status < 500
            assert " " in each.body


def summary(result: Request | Reject | None) -> object:
    """Return a result in a form that can be compared. The reason of a refusal may depend on the cut of the bytes."""
    if isinstance(result, Request):
        return result.head.method, result.target, result.body
    return None if result is None else result.status
