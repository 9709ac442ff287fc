"""The check of a request's head: the WebSocket library answers every request that passes, and never crashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request
from wsproto.utilities import RemoteProtocolError

from transport.protocol.request_head import MAX_FIELDS, MAX_HEAD_BYTES, PlainHead, RequestHead

FIRST = b"GET / HTTP/1.1"
HEADERS = (
    b"Host: example",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def head(*headers: bytes, first: bytes = FIRST) -> bytes:
    """Return a request with these headers."""
    return b"\r\n".join((first, *headers, b"", b""))


GOOD = head(*HEADERS)
WRONG = {
    "byte above 127": head(*HEADERS, b"Sec-WebSocket-Protocol: \xff"),
    "NUL": head(*HEADERS, b"X: a\0b"),
    "HTTP/1.0": head(*HEADERS, first=b"GET / HTTP/1.0"),
    "HTTP/2": head(*HEADERS, first=b"GET / HTTP/2"),
    "no version": head(*HEADERS, first=b"GET /"),
    "key of 15 bytes": head(*HEADERS[:-1], b"Sec-WebSocket-Key: YWFhYWFhYWFhYWFhYWFh"),
    "key without its end": head(*HEADERS[:-1], b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
    "key that is not base64": head(*HEADERS[:-1], b"Sec-WebSocket-Key: {}"),
    "two keys": head(*HEADERS, HEADERS[-1]),
    "two hosts": head(*HEADERS, b"host: other"),
    "two origins": head(*HEADERS, b"Origin: null", b"Origin: null"),
    "host with a path": head(*HEADERS[1:], b"Host: a/b"),
    "two hosts in one": head(*HEADERS[1:], b"Host: a,b"),
    "host without its end": head(*HEADERS[1:], b"Host: [::1"),
    "host that is not IDNA": head(*HEADERS[1:], b"Host: xn--zzzzzzzzzzzz"),
    "frame behind the request": GOOD + b"\x81\x80mask",
    "second request": GOOD + GOOD,
    "body": head(*HEADERS, b"Content-Length: 2") + b"{}",
    "body that comes later": head(*HEADERS, b"Content-Length: 2"),
    "body of no number": head(*HEADERS, b"Content-Length: 0, 0"),
    "chunked body": head(*HEADERS, b"Transfer-Encoding: chunked"),
    "header on two lines": head(*HEADERS, b"X: a", b" b"),
    "bare LF": GOOD.replace(b"\r\n", b"\n", 1),
    "bare CR": head(*HEADERS, b"X: a\rb"),
    "empty first line": b"\r\n" + GOOD,
}


def verdict(data: bytes, size: int) -> str | None:
    """Feed the bytes in pieces of ``size``. Return the first fault."""
    request = RequestHead()
    for start in range(0, len(data), size):
        assert not request.complete or start >= len(GOOD)
        if (fault := request.feed(data[start : start + size])) is not None:
            return fault
    assert request.complete
    return None


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_wrong_head(data: bytes) -> None:
    """Each kind of wrong request is refused, and the refusal has a reason in words, not only a code."""
    fault = verdict(data, len(data))
    assert fault is not None
    assert " " in fault


def test_wrong_bytes_are_refused_before_the_end() -> None:
    """A wrong byte and a wrong line end are refused at once, even if the rest of the head has not arrived."""
    for data in (b"GET \xff", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\rX"):
        assert RequestHead().feed(data) is not None


def test_size_of_head() -> None:
    """A request head of the maximum size is accepted. A head with one byte more is refused.

    It is refused even if the rest of the head has not arrived.
    """
    padding = MAX_HEAD_BYTES - len(head(*HEADERS, b"X: "))
    assert verdict(head(*HEADERS, b"X: " + b"x" * padding), 4096) is None
    assert verdict(head(*HEADERS, b"X: " + b"x" * (padding + 1)), 4096) is not None
    assert verdict(b"G" * (MAX_HEAD_BYTES + 1), 4096) is not None


def test_number_of_fields() -> None:
    """A head with ``MAX_FIELDS`` header fields is accepted. A head with one more is refused."""
    more = [b"X: y"] * (MAX_FIELDS - len(HEADERS))
    assert verdict(head(*HEADERS, *more), 4096) is None
    assert verdict(head(*HEADERS, *more, b"X: y"), 4096) is not None


@given(st.binary(max_size=40), st.integers(1, 200))
def test_bytes_behind_a_head(body: bytes, size: int) -> None:
    """A head that may have a body is complete at its end. Any bytes may follow: they are no part of the head."""
    data = head(b"Host: x", b"Content-Length: 9") + body
    request = PlainHead()
    for start in range(0, len(data), size):
        if request.complete:
            return
        assert request.feed(data[start : start + size]) is None
    assert request.complete


def test_length_that_is_given_twice() -> None:
    """A head with a length and chunks, or with two lengths, is refused, whatever the order and the spelling."""
    for fields in (
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"transfer-encoding: chunked", b"CONTENT-LENGTH: 5"),
        (b"Content-Length: 5", b"content-length:5"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked"),
    ):
        assert PlainHead().feed(head(b"Host: x", *fields)) is not None
    assert PlainHead().feed(head(b"Host: x", b"Content-Length: 5")) is None
    assert PlainHead().feed(head(b"Host: x", b"Transfer-Encoding: chunked")) is None


@given(st.integers(1, len(GOOD)))
def test_pieces(size: int) -> None:
    """A good request is accepted, even if it arrives in pieces of any size. Before its last byte it is not complete."""
    assert verdict(GOOD, size) is None
    request = RequestHead()
    assert request.feed(GOOD[:-1]) is None
    assert not request.complete


def test_connection_headers_are_joined() -> None:
    """Several Connection headers are handed on as one list, in their order. Other headers stay as they are."""
    request = RequestHead()
    assert request.feed(head(b"connection: keep-alive", *HEADERS, b"CONNECTION:close")) is None
    others = [line for line in HEADERS if not line.startswith(b"Connection")]
    assert request.joined() == head(*others, b"connection: keep-alive, Upgrade, close")


LINES = st.one_of(
    st.sampled_from(HEADERS),
    st.binary(max_size=40),
    st.builds(
        lambda name, value: name + (b"" if b":" in name else b": ") + value,
        st.sampled_from(
            [
                b"Host: xn--",
                b"Host",
                b"Connection",
                b"Upgrade",
                b"Sec-WebSocket-Version",
                b"Sec-WebSocket-Key",
                b"Sec-WebSocket-Protocol",
                b"Sec-WebSocket-Extensions",
                b"Content-Length",
                b"Transfer-Encoding",
                b"Expect",
            ]
        ),
        st.one_of(st.text("abnx.-,;= 019/[]:@", max_size=80).map(str.encode), st.binary(max_size=20)),
    ),
)
FIRSTS = st.one_of(st.just(FIRST), st.sampled_from([b"POST / HTTP/1.1", b"GET  HTTP/1.1", b"CONNECT a:1 HTTP/1.1"]))


@given(FIRSTS, st.lists(LINES, max_size=4), st.sets(st.sampled_from(HEADERS)))
def test_library_answers_all_that_passes(first: bytes, lines: list[bytes], headers: set[bytes]) -> None:
    """If our check accepts a request, the WebSocket library accepts it too, or answers it with an HTTP error 4xx."""
    data = head(*headers, *lines, first=first)
    request = RequestHead()
    if request.feed(data) is not None or not request.complete:
        return
    connection = WSConnection(ConnectionType.SERVER)
    refusal = None
    try:
        connection.receive_data(data)
    except RemoteProtocolError as error:
        refusal = error.event_hint
    if refusal is None:
        assert [type(event) for event in connection.events()] == [Request]
    else:
        assert connection.send(refusal).startswith(b"HTTP/1.1 4")
