"""RFC 6455, section 4: the request for a WebSocket, in all its forms, right ones and wrong ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rfc6455.frames import TEXT, frame
from rfc6455.handshakes import DEFLATE, FIRST, HEADERS, MAX_FIELDS, MAX_HEAD_BYTES, Accepted, Refused, Request, request
from rfc6455.rows import deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rfc6455.rows import Case


def first_lines() -> Iterator[Request]:
    """The method is GET, the version HTTP/1.1, and the target a path or an absolute URI (section 4.1, 1 and 2)."""
    yield Request("a good request", request(), Accepted())
    for method in (
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "get",
        "Get",
        "GET2",
        "PRI",
    ):
        yield Request(f"method {method}", request(first=f"{method} / HTTP/1.1"), Refused())
    for version in ("HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2", "HTTP/2.0", "HTTP/11", "http/1.1", "HTTP/1.1 ", "H"):
        yield Request(f"version {version!r}", request(first=f"GET / {version}"), Refused())
    for line in (
        "GET /",
        "GET HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        " GET / HTTP/1.1",
        "",
    ):
        yield Request(f"first line {line!r}", request(first=line), Refused())
    for target in ("/?", "/?a=b&c", "/?%00", "/?/../x", "/?" + "q" * 4000):
        yield Request(f"target {target[:20]}", request(first=f"GET {target} HTTP/1.1"), Accepted())
    for target in ("/x", "//", "/.", "/./", "/../", "/%2f", "/;a", "/#a", "*", "x", "127.0.0.1:80", "/\\"):
        yield Request(f"target {target}", request(first=f"GET {target} HTTP/1.1"), Refused(404))
    for target in (
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "HTTP://127.0.0.1:80/?a",
        "http://127.0.0.1",
        "http://a?b",
    ):
        yield Request(f"absolute target {target}", request(first=f"GET {target} HTTP/1.1"), Accepted())
    for target in ("http://127.0.0.1/x", "ws://127.0.0.1/", "http:/", "http://", "http:///", "ftp://127.0.0.1/"):
        yield Request(f"absolute target {target}", request(first=f"GET {target} HTTP/1.1"), Refused(404))


def headers_that_are_needed() -> Iterator[Request]:
    """Each of the five headers is needed (section 4.1), with any case of its name and in any order."""
    for name, line in HEADERS.items():
        yield Request(f"no {name}", request(without=name), Refused())
        key = name.replace("-", "_")
        yield Request(f"empty {name}", request(**{key: f"{name}:"}), Accepted() if name == "Host" else Refused())
        for changed in (name.lower(), name.upper(), name.swapcase()):
            yield Request(f"{changed}", request(**{key: line.replace(name, changed)}), Accepted())
        yield Request(f"{name} without a space", request(**{key: line.replace(": ", ":")}), Accepted())
        yield Request(f"{name} with spaces", request(**{key: line.replace(": ", ": \t ") + " \t"}), Accepted())
        yield Request(f"{name} with a space before the colon", request(**{key: line.replace(":", " :", 1)}), Refused())
        yield Request(f"{name} on two lines", request(**{key: line.replace(": ", ":\r\n ")}), Refused())
        yield Request(f"{name} last", request(line, without=name), Accepted())
    lines = list(HEADERS.values())
    lower = [name.lower() + line.removeprefix(name) for name, line in HEADERS.items()]
    yield Request("all names in lower case", "\r\n".join((FIRST, *lower, "", "")).encode(), Accepted())
    yield Request("the order reversed", "\r\n".join((FIRST, *reversed(lines), "", "")).encode(), Accepted())
    yield Request("no header", request().split(b"\r\n")[0] + b"\r\n\r\n", Refused())


def headers_that_come_twice() -> Iterator[Request]:
    """Headers that are lists may come twice; of the others, two would mean two things to two programs."""
    for name, line in HEADERS.items():
        outcome = Accepted() if name == "Connection" else Refused()
        yield Request(f"{name} twice", request(line), outcome)
    before = request(HEADERS["Connection"], Connection="Connection: keep-alive")
    yield Request("Connection: keep-alive before", before, Accepted())
    yield Request("Connection: keep-alive after", request("Connection: keep-alive"), Accepted())
    yield Request("two Hosts", request("Host: other"), Refused())
    yield Request("two keys", request("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA=="), Refused())
    yield Request("two versions", request("Sec-WebSocket-Version: 8"), Refused())
    yield Request("two Origins", request("Origin: null", "Origin: null"), Refused())
    protocols = request("Sec-WebSocket-Protocol: x", "Sec-WebSocket-Protocol: greenroom.v1")
    yield Request("two lines of subprotocols", protocols, Accepted("greenroom.v1"))
    extensions = request(f"Sec-WebSocket-Extensions: {DEFLATE}", "Sec-WebSocket-Extensions: x-other")
    yield Request("two lines of extensions", extensions, Accepted())
    yield Request("two cookies", request("Cookie: a=1", "Cookie: b=2"), Accepted())


def upgrade_and_connection() -> Iterator[Request]:
    """Upgrade is ``websocket``, and Connection a list with ``Upgrade``, both in any case (section 4.2.1, 3 and 4)."""
    for value in ("WebSocket", "WEBSOCKET", "wEbSoCkEt"):
        yield Request(f"Upgrade: {value}", request(Upgrade=f"Upgrade: {value}"), Accepted())
    # No client offers a choice of protocols beside a WebSocket, and other servers refuse such lists, too.
    for value in (
        "h2c",
        "websocket2",
        "web socket",
        "websocket/13",
        "h2c, websocket",
        "websocket, h2c",
        "websocket,",
        '"websocket"',
    ):
        yield Request(f"Upgrade: {value}", request(Upgrade=f"Upgrade: {value}"), Refused())
    for value in (
        "upgrade",
        "UPGRADE",
        "keep-alive, Upgrade",
        "Upgrade, keep-alive",
        "a,b ,\tupgrade,c",
        ", Upgrade,",
        "Upgrade,Upgrade",
    ):
        yield Request(f"Connection: {value}", request(Connection=f"Connection: {value}"), Accepted())
    for value in ("close", "keep-alive", "upgraded", "up grade", "keep-alive; Upgrade", '"Upgrade"'):
        yield Request(f"Connection: {value}", request(Connection=f"Connection: {value}"), Refused())


def keys_and_versions() -> Iterator[Request]:
    """The key is 16 bytes in base64 (section 4.1, 7); a version other than 13 gets 426 and the right one (4.2.2, 4)."""
    keys = {
        "15 bytes": "YWFhYWFhYWFhYWFhYWFh",
        "17 bytes": "YWFhYWFhYWFhYWFhYWFhYWE=",
        "no base64": "{}{}{}{}{}{}{}{}{}{}{}==",
        "base64 of URLs": "-_-_-_-_-_-_-_-_-_-_-_==",
        "no end": "dGhlIHNhbXBsZSBub25jZQ",
        "half an end": "dGhlIHNhbXBsZSBub25jZQ=",
        "too long an end": "dGhlIHNhbXBsZSBub25jZQ===",
        "a space inside": "dGhlIHNhbXBs ZSBub25jZQ==",
        "two in one": "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "quotes": '"dGhlIHNhbXBsZSBub25jZQ=="',
        "only an end": "==",
        "4 KB": "A" * 4096,
    }
    for name, key in keys.items():
        yield Request(f"key: {name}", request(Sec_WebSocket_Key=f"Sec-WebSocket-Key: {key}"), Refused())
    wrong = Refused(426, ("sec-websocket-version", "13"))
    for version in (
        "0",
        "7",
        "8",
        "12",
        "14",
        "25",
        "255",
        "256",
        "-13",
        "013",
        "13.0",
        "13, 8",
        "8, 13",
        "x",
        "0x0d",
        "1 3",
    ):
        line = f"Sec-WebSocket-Version: {version}"
        yield Request(f"version {version}", request(Sec_WebSocket_Version=line), wrong)
    old = request(
        "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5",
        "Sec-WebSocket-Key2: 12998 5 Y3 1  .P00",
        without="Sec-WebSocket-Key",
    )
    yield Request("keys of an old draft", old, Refused())


def subprotocols() -> Iterator[Request]:
    """The first subprotocol that is served is echoed (section 4.2.2, 5.5); without one in the list: 400."""
    good = (
        "greenroom.v1",
        "x, greenroom.v1",
        "greenroom.v1, x",
        "a,b,greenroom.v1,c",
        "greenroom.v1,greenroom.v1",
        ", greenroom.v1,",
        "\tgreenroom.v1 ",
    )
    for value in good:
        line = f"Sec-WebSocket-Protocol: {value}"
        yield Request(f"subprotocols {value!r}", request(line), Accepted("greenroom.v1"))
    for value in (
        "",
        ",",
        "x",
        "greenroom",
        "greenroom.v2",
        "GREENROOM.V1",
        '"greenroom.v1"',
        "greenroom.v1;q=1",
        "x greenroom.v1",
        "x" * 4000,
    ):
        line = f"Sec-WebSocket-Protocol: {value}"
        yield Request(f"subprotocols {value[:20]!r}", request(line), Refused())
    many = ", ".join(f"p{number}" for number in range(500))
    yield Request("500 subprotocols", request(f"Sec-WebSocket-Protocol: {many}"), Refused())
    served = request(f"Sec-WebSocket-Protocol: {many}, greenroom.v1")
    yield Request("500 subprotocols and the served one", served, Accepted("greenroom.v1"))


def extensions() -> Iterator[Request]:
    """Without ``compress_bytes`` no extension is negotiated, whatever a client offers (section 9.1)."""
    values = {
        "deflate": "permessage-deflate",
        "deflate with parameters": DEFLATE,
        "deflate of an old browser": "x-webkit-deflate-frame",
        "several": f"{DEFLATE}, permessage-bzip2, x-private; a=1; b",
        "quotes": 'x; a="1,2"',
        "an open quote": 'x; a="1',
        "nothing": "",
        "a comma": ",",
        "no token": "@;=",
        "wrong window bits": "permessage-deflate; server_max_window_bits=99",
        "4 KB": "x" * 4000,
    }
    for name, value in values.items():
        yield Request(f"extensions: {name}", request(f"Sec-WebSocket-Extensions: {value}"), Accepted())


def origins_and_hosts() -> Iterator[Request]:
    """A page of another origin gets 403. A host is a name or an address with or without a port (RFC 9110, 7.2)."""
    for origin in ("https://evil.example", "null", "", "http://127.0.0.1", "file://", "a b", "https://" + "x" * 4000):
        yield Request(f"Origin: {origin[:20]}", request(f"Origin: {origin}"), Refused(403))
    for host in (
        "a",
        "a.example:80",
        "A.Example",
        "[::1]",
        "[::1]:80",
        "127.0.0.1:65535",
        "xn--bcher-kva.example",
        "a_b",
        "a.",
    ):
        yield Request(f"Host: {host}", request(Host=f"Host: {host}"), Accepted())
    for host in (
        "a b",
        "a/b",
        "a@b",
        "a,b",
        "http://a",
        "a:b",
        "a:1:2",
        "[::1",
        "a?b",
        "a#b",
        "a\\b",
        '"a"',
        "xn--zzzzzzzzzzzz",
    ):
        yield Request(f"Host: {host}", request(Host=f"Host: {host}"), Refused())


def bodies() -> Iterator[Request]:
    """A request for a WebSocket has no body, and nothing follows it before its answer (section 4.1)."""
    yield Request("Content-Length: 0", request("Content-Length: 0"), Accepted())
    for value in ("1", "2", "-1", "+0", "0, 0", "x", "", "00", "1" * 30):
        yield Request(f"Content-Length: {value}", request(f"Content-Length: {value}"), Refused())
    yield Request("Content-Length: 0 twice", request("Content-Length: 0", "Content-Length: 0"), Refused())
    yield Request("Content-Length and a body", request("Content-Length: 2") + b"{}", Refused())
    for value in ("chunked", "identity", "gzip, chunked", "xchunked", ""):
        yield Request(f"Transfer-Encoding: {value}", request(f"Transfer-Encoding: {value}"), Refused())
    both = request("Content-Length: 0", "Transfer-Encoding: chunked") + b"0\r\n\r\n"
    yield Request("both", both, Refused())
    yield Request("Expect: 100-continue", request("Expect: 100-continue"), Accepted())


def pipelined() -> Iterator[Request]:
    """Bytes that come together with the request are refused: a client must wait for the answer (section 4.1)."""
    more = {
        "a frame": frame(TEXT, b"{}"),
        "a request": request(),
        "a body": b"{}",
        "a line end": b"\r\n",
        "one byte": b"\0",
        "noise": bytes(range(256)),
    }
    for name, data in more.items():
        yield Request(f"{name} behind", request() + data, Refused())
    for name, data in {"a line end": b"\r\n", "two line ends": b"\r\n\r\n", "a space": b" ", "NUL": b"\0"}.items():
        yield Request(f"{name} before", data + request(), Refused())
    yield Request("TLS", bytes.fromhex("16030102000100") + request(), Refused())
    yield Request("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused())
    yield Request("PROXY protocol", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + request(), Refused())


def bytes_of_a_head() -> Iterator[Request]:
    """A head is ASCII without control characters, each line ends with CR LF, and all of it has 16 KiB at most."""
    for byte in (0x00, 0x01, 0x08, 0x0B, 0x1B, 0x7F, 0x80, 0xC3, 0xFF):
        yield Request(f"byte {byte:#x} in a value", request(f"X: a{chr(byte)}b"), Refused())
        yield Request(f"byte {byte:#x} in a name", request(f"X{chr(byte)}: a"), Refused())
        yield Request(f"byte {byte:#x} in the target", request(first=f"GET /?{chr(byte)} HTTP/1.1"), Refused())
    for name in ("X Y", "X\t", "", "X[", "X(", "X/", '"X"', "X,"):
        yield Request(f"header name {name!r}", request(f"{name}: a"), Refused())
    yield Request("a line without a colon", request("X"), Refused())
    yield Request("only LF", request().replace(b"\r\n", b"\n"), Refused())
    yield Request("one LF", request().replace(b"\r\n", b"\n", 1), Refused())
    yield Request("CR alone", request("X: a\rb"), Refused())
    yield Request("CR CR LF", request("X: a\r"), Refused())
    yield Request("a header on two lines", request("X: a", " b"), Refused())
    yield Request("a header on two lines with a tab", request("X: a", "\tb"), Refused())
    for number in (MAX_FIELDS, MAX_FIELDS + 1, 1000):
        more = [f"X{at}: y" for at in range(number - len(HEADERS))]
        outcome: Accepted | Refused = Accepted() if number <= MAX_FIELDS else Refused()
        yield Request(f"{number} headers", request(*more), outcome)
    room = MAX_HEAD_BYTES - len(request("X: "))
    yield Request("a head of 16 KiB", request("X: " + "x" * room), Accepted())
    yield Request("a head of 16 KiB and a byte", request("X: " + "x" * (room + 1)), Refused())
    yield Request("a head without an end", b"GET /" + b"x" * MAX_HEAD_BYTES, Refused())
    yield Request("a head of 60 KB", request("X: " + "x" * 60_000), Refused())


TABLES = (
    first_lines,
    headers_that_are_needed,
    headers_that_come_twice,
    upgrade_and_connection,
    keys_and_versions,
    subprotocols,
    extensions,
    origins_and_hosts,
    bodies,
    pipelined,
    bytes_of_a_head,
)


@pytest.mark.parametrize("rows", deliveries(*TABLES))
def test_handshake(rows: Sequence[Case], play_all: Callable[[Sequence[Case]], None]) -> None:
    """Each request for a WebSocket is accepted or refused as RFC 6455 requires. The neighbour notices nothing.

    Each request comes as a whole, and each fourth (in ``make soak`` each) also byte by byte. The connection is gone
    afterwards.
    """
    play_all(rows)
