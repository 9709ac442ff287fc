"""Requests to the pages: only HTTP/1.1 in its plain form is served, and every other request gets a plain error 4xx."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
from _raw_http import GET, PATIENCE, request, running_site

from transport.protocol.request_head import MAX_FIELDS, MAX_HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_failure_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No request of this file is a failure of the server: there is no traceback, and no error, in the log."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


PADDING = MAX_HEAD_BYTES - len(request("/", b"X: "))
WRONG = {
    "byte above 127 in a field": request("/", b"X: \xff"),
    "byte above 127 in the path": b"GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL": request("/", b"X: a\0b"),
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2 without a question": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(60),
    "empty first line": b"\r\n" + GET,
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": request("/", b"Host: y"),
    "field on two lines": request("/", b"X: a", b" b"),
    "field without a colon": request("/", b"X"),
    "space before the colon": request("/", b"Content-Length : 5"),
    "bare LF": GET.replace(b"\r\n", b"\n", 1),
    "bare CR": request("/", b"X: a\rb"),
    "two lengths": request("/", b"Content-Length: 5", b"Content-Length: 6") + b"hello",
    "the same length twice": request("/", b"Content-Length: 5", b"Content-Length: 5") + b"hello",
    "lengths in a list": request("/", b"Content-Length: 5, 5") + b"hello",
    "length with a sign": request("/", b"Content-Length: +5") + b"hello",
    "length below 0": request("/", b"Content-Length: -5"),
    "length of 5,000 digits": request("/", b"Content-Length: " + b"9" * 5000),
    "length and chunks": request("/", b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "another coding": request("/", b"Transfer-Encoding: identity"),
    "two codings": request("/", b"Transfer-Encoding: gzip, chunked"),
    "coding twice": request("/", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "other URL": request("ftp://x/"),
    "no path": request("*", method="OPTIONS"),
    "tunnel": request("x:80", method="CONNECT"),
    "no method": b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "too many fields": request("/", *[b"X: y"] * MAX_FIELDS),
    "too large a head": request("/", b"X: " + b"x" * (PADDING + 1)),
    "too large a head without an end": b"G" * (MAX_HEAD_BYTES + 1),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
async def test_wrong_request(data: bytes) -> None:
    """A request that is not plain HTTP/1.1 gets 400 as one whole response, then the connection is closed.

    The application does not get the request, nor another request that stands behind it. The server serves others.
    """
    async with running_site() as site:
        client = await site.connect()
        await client.send(data + GET)
        with trio.fail_after(PATIENCE):
            answer = await client.answer()
        assert answer.status == 400
        assert answer.has(b"connection: close")
        assert b" " in answer.body  # a reason in words
        assert await client.rest() == b""
        assert (site.calls, site.server.statistics().bad_requests) == (0, 1)
        assert (await site.ask(GET)).status == 200


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
async def test_wrong_request_in_pieces(data: bytes) -> None:
    """A wrong request is refused in the same way if it comes byte by byte."""
    async with running_site() as site:
        client = await site.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_slowly, client.stream, data)
            with trio.fail_after(PATIENCE):
                assert (await client.answer()).status == 400
            nursery.cancel_scope.cancel()
        assert site.calls == 0


async def send_slowly(stream: trio.SocketStream, data: bytes) -> None:
    """Send data in many small pieces, most of them of one byte, until the server ends the connection."""
    stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
    size = 1 + len(data) // 500
    try:
        for start in range(0, len(data), size):
            await stream.send_all(data[start : start + size])
    except trio.BrokenResourceError:
        return


async def test_limits_of_a_head() -> None:
    """A head with the largest size or the largest number of fields is served."""
    async with running_site() as site:
        assert (await site.ask(request("/", b"X: " + b"x" * PADDING))).status == 200
        assert (await site.ask(request("/", *[b"X: y"] * (MAX_FIELDS - 1)))).status == 200


async def test_absolute_uri() -> None:
    """The target of a request may be an absolute URI, as proxies send it. Its path and query count."""
    async with running_site() as site:
        for target in ("http://x/?here", "HTTPS://x:80/?here", "http://x?here"):
            assert (await site.ask(request(target))).body == b"here"


async def test_body() -> None:
    """A body comes to the application as a whole, however it is cut on its way."""
    async with running_site() as site:
        body = bytes(range(256))
        assert (await site.ask(request("/echo", method="POST", body=body))).body == body
        client = await site.connect()
        data = request("/echo", method="POST", body=body) + GET
        for start in range(0, len(data), 7):
            await client.send(data[start : start + 7])
            await trio.lowlevel.checkpoint()
        assert [(await client.answer()).body, (await client.answer()).body] == [body, b"hello"]


async def test_size_of_a_body() -> None:
    """A body of ``http_body_bytes`` is served. A body with one byte more gets 413 before it is read."""
    async with running_site(http_body_bytes=1024) as site:
        assert (await site.ask(request("/echo", method="POST", body=b"x" * 1024))).body == b"x" * 1024
        for fields in ((), (b"Expect: 100-continue",)):
            client = await site.connect()
            answer = await client.ask(request("/echo", b"Content-Length: 1025", *fields, method="POST"))
            assert (answer.status, await client.rest()) == (413, b"")
        assert site.calls == 1


async def test_refused_body_that_is_sent() -> None:
    """A client that sends its whole body, although the body is too large, still gets the refusal as an answer."""
    async with running_site(http_body_bytes=1024) as site:
        for _ in range(10):
            client = await site.connect()
            with trio.fail_after(PATIENCE):
                assert (await client.ask(request("/echo", method="POST", body=b"x" * 300_000))).status == 413
                assert await client.rest() == b""


async def test_body_in_chunks() -> None:
    """A body without a length gets 411, and none of its bytes counts as a request."""
    async with running_site() as site:
        client = await site.connect()
        hidden = b"0\r\n\r\n" + GET
        answer = await client.ask(request("/", b"Transfer-Encoding: chunked", method="POST") + hidden)
        assert (answer.status, await client.rest(), site.calls) == (411, b"", 0)


async def test_request_inside_a_body() -> None:
    """A request that stands in the body of another request is not answered."""
    async with running_site() as site:
        client = await site.connect()
        answer = await client.ask(request("/echo", method="POST", body=GET) + request("/?last"))
        assert (answer.body, (await client.answer()).body, site.calls) == (GET, b"last", 2)


async def test_expected_continue() -> None:
    """If a client asks with ``Expect`` whether to send its body, it is told so, and then gets its response."""
    async with running_site() as site:
        client = await site.connect()
        await client.send(request("/echo", b"Expect: 100-continue", b"Content-Length: 5", method="POST"))
        assert (await client.answer()).status == 100
        assert (await client.ask(b"hello")).body == b"hello"


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
async def test_upgrade(protocol: bytes) -> None:
    """A request for another protocol gets an ordinary response, and the connection keeps its protocol."""
    fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol, b"HTTP2-Settings: AAMAAABkAAQAAP__")
    async with running_site() as site:
        client = await site.connect()
        for _ in range(2):
            assert (await client.ask(request("/", *fields))).body == b"hello"


async def test_pipelining() -> None:
    """Requests that are sent without waiting are answered completely, each once, and in their order."""
    async with running_site() as site:
        client = await site.connect()
        number = 500
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, b"".join(request(f"/?{each}") for each in range(number)))
            for each in range(number):
                assert (await client.answer()).body == b"%d" % each
        assert site.calls == number


async def test_pipelining_that_is_not_read() -> None:
    """If a client sends requests without a pause and leaves without reading, nothing is left of it."""
    async with running_site() as site:
        for _ in range(20):
            client = await site.connect()
            with trio.move_on_after(0.05):
                while True:
                    await client.send(request("/big") * 100)
            await trio.aclose_forcefully(client.stream)
        await site.wait_for_connections(0)
        assert (await site.ask(GET)).status == 200


async def test_kept_connection() -> None:
    """A connection carries many requests. It is closed after the response if the client asks for that."""
    async with running_site() as site:
        client = await site.connect()
        for _ in range(3):
            answer = await client.ask(GET)
            assert (answer.status, answer.has(b"connection: close")) == (200, False)
        answer = await client.ask(request("/", b"Connection: close"))
        assert (answer.body, answer.has(b"connection: close"), await client.rest()) == (b"hello", True, b"")
        assert site.server.statistics().accepted == 1


async def test_client_that_sends_no_more() -> None:
    """A client that closes its sending side after a request still gets the response."""
    async with running_site() as site:
        client = await site.connect()
        await client.send(GET)
        await client.stream.send_eof()
        assert (await client.answer()).body == b"hello"
        assert await client.rest() == b""
        await site.wait_for_connections(0)


async def test_responses_without_a_body() -> None:
    """A response to HEAD, and a response 204, have no body, and the next response on the connection is whole."""
    async with running_site() as site:
        client = await site.connect()
        await client.send(request("/", method="HEAD") + request("/big", method="HEAD"))
        for size in (b"5", b"%d" % (4 * 1024 * 1024)):
            assert (await client.answer(head_only=True)).has(b"content-length: " + size)
        assert (await client.ask(request("/empty"))).status == 204
        assert (await client.ask(GET)).body == b"hello"


async def test_response_without_a_length() -> None:
    """A response of unknown length is sent in chunks, and the connection can carry the next request."""
    async with running_site() as site:
        client = await site.connect()
        await client.send(request("/stream") + request("/", b"Connection: close"))
        data = await client.rest()
        assert b"\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\nHTTP/1.1 200" in data


async def test_date() -> None:
    """Each response of the application has a date (RFC 9110, section 6.6.1)."""
    async with running_site() as site:
        assert b"\r\ndate: " in (await site.ask(GET)).head.lower()


async def test_client_that_leaves() -> None:
    """The application learns that its client has left, and the connection ends without an error."""
    async with running_site() as site:
        client = await site.connect()
        await client.send(request("/left"))
        await site.answering.wait()
        assert site.server.statistics().connections == 1
        await trio.aclose_forcefully(client.stream)
        with trio.fail_after(PATIENCE):
            await site.left.wait()
        await site.wait_for_connections(0)


async def test_request_while_the_application_waits_for_the_end() -> None:
    """A request that arrives while the application waits for its client's end is answered after that."""
    async with running_site() as site:
        client = await site.connect()
        await client.send(request("/left"))
        await site.answering.wait()
        await client.send(GET)
        await client.stream.send_eof()
        assert [(await client.answer()).body for _ in range(2)] == [b"too late", b"hello"]
