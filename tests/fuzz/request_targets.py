"""Fuzz targets: a request for a WebSocket before its upgrade."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from urllib.parse import urlsplit

import h11
from fuzz.target import Target, first_byte, in_pieces
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request
from wsproto.utilities import RemoteProtocolError

from transport.protocol.handshake import (
    SERVED,
    Accept,
    AllowedOrigins,
    Reject,
    is_origin,
    normal_origin,
    origin_like,
    path_of,
    plain_answer,
    upgrade,
)
from transport.protocol.health import HEALTHZ, READYZ, Health, probe_in, whole_answer
from transport.protocol.request_head import MAX_HEAD_BYTES, RequestHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def request_head(data: bytes) -> None:
    """Check that a head which passes has one meaning only: our own, h11's and that of the WebSocket library.

    *A proxy that reads another request than the server lets a client smuggle a request past it.* The first byte says
    in which pieces the head arrives: the pieces change nothing.
    """
    size, data = first_byte(data)
    fault, complete = _verdict([data])
    in_parts = _verdict(list(in_pieces(data, 1 + size)))
    if fault is None:
        assert in_parts == (fault, complete)
    elif in_parts == (None, True):  # the rest comes after the head, and is not looked at
        assert data[data.index(b"\r\n\r\n") + 4 :]
    else:
        assert in_parts[0] is not None
        _check_answer(plain_answer(Reject(400, fault)), 400)
    if fault is None and complete:
        _check_meaning(data)
        head = RequestHead()
        head.feed(data)
        _check_upgrade(head)
        _check_probe(head)


def _verdict(pieces: list[bytes]) -> tuple[str | None, bool]:
    """Feed the pieces until the head is complete or refused. Return the fault, and whether the head is complete."""
    head = RequestHead()
    for piece in pieces:
        if (fault := head.feed(piece)) is not None:
            assert " " in fault
            return fault, False
        if head.complete:
            break
    assert len(head.data) <= MAX_HEAD_BYTES
    return None, head.complete


def _check_meaning(data: bytes) -> None:
    """Check that h11 sees the same request line and headers, and no body and no second request."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return  # stricter than ours: refused with an answer
    assert isinstance(event, h11.Request)
    first, *lines = data[:-4].split(b"\r\n")
    assert first == b"%b %b HTTP/1.1" % (event.method, event.target)
    ours = [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
    assert list(event.headers) == ours
    assert event.http_version == b"1.1"
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.trailing_data == (b"", False)


def _check_upgrade(head: RequestHead) -> None:
    """Check that the WebSocket library accepts the head, or answers it with an error; and our decision about it."""
    connection = WSConnection(ConnectionType.SERVER)
    try:
        connection.receive_data(head.joined())
    except RemoteProtocolError as error:
        refusal = error.event_hint
    else:
        refusal = None
    if refusal is not None:
        _check_answer(connection.send(refusal), None)
        return
    (request,) = connection.events()
    assert isinstance(request, Request)
    headers = {name.lower(): value.decode("latin-1") for name, value in request.extra_headers}
    origin = headers.get(b"origin")
    answer = upgrade(
        path=request.target,
        offered=request.subprotocols,
        origin=origin,
        host=head.host.decode(),
        allowed=AllowedOrigins(["https://a.example"]),
    )
    if isinstance(answer, Reject):
        _check_answer(plain_answer(answer), answer.status)
        return
    assert isinstance(answer, Accept)
    assert urlsplit(request.target).path in {"", "/"}
    assert head.host.decode() == request.host
    assert origin is None or origin.strip().lower().rstrip("/").removesuffix(":443") == "https://a.example"
    assert (answer.subprotocol in SERVED) if request.subprotocols else (answer.subprotocol is None)
    _check_accepted(connection.send(AcceptConnection(subprotocol=answer.subprotocol)), head.data, answer.subprotocol)


def _check_probe(head: RequestHead) -> None:
    """Check that only a plain request for the health is taken for one, and that an HTTP client reads the answer."""
    probe = probe_in(head.data)
    words = head.data.split(b"\r\n")[0].split(b" ")
    if len(words) != 3:
        assert probe is None
        return
    method, target, _ = words
    asks = method in {b"GET", b"HEAD"} and path_of(target.decode()) in {HEALTHZ, READYZ}
    upgrade = any(line.lower().partition(b":")[0].strip() == b"upgrade" for line in head.data.split(b"\r\n"))
    assert (probe is not None) == (asks and not upgrade)
    if probe is not None:
        assert probe.path == path_of(target.decode())
        answer = whole_answer(probe, Health(unready="it drains"))
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target=target, headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(answer)
        response = client.next_event()
        assert isinstance(response, h11.Response)
        assert response.status_code == (503 if probe.path == READYZ else 200)


def _check_answer(answer: bytes, status: int | None) -> None:
    """Check that an HTTP client reads the refusal, and nothing behind it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == status if status else 400 <= response.status_code < 500
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:  # the library announces no length: the end of the connection ends its answer
            assert status is None
            return
        assert isinstance(event, h11.Data)
    assert client.trailing_data == (b"", False)


def _check_accepted(answer: bytes, data: bytes, subprotocol: str | None) -> None:
    """Check the answer to an accepted request: RFC 6455, section 4.2.2."""
    first, *lines = answer.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert first.startswith(b"HTTP/1.1 101")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    asked = [line.partition(b":") for line in data.split(b"\r\n")]
    (key,) = [value.strip() for name, _, value in asked if name.strip().lower() == b"sec-websocket-key"]
    assert headers[b"sec-websocket-accept"] == base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - RFC
    assert headers.get(b"sec-websocket-protocol") == (subprotocol.encode() if subprotocol else None)
    assert b"sec-websocket-extensions" not in headers
    assert len(headers) == len(lines)


def origins(data: bytes) -> None:
    """Check that an origin's normal form is stable, and that the origin which an error message advises is allowed."""
    text = data.decode(errors="replace")
    normal = normal_origin(text)
    assert normal_origin(normal) == normal
    assert is_origin(origin_like(text)), f"advised for {text!r}: {origin_like(text)!r}"
    if not is_origin(text):
        return
    assert is_origin(normal)
    parts = urlsplit(text)
    host = str(parts.hostname)
    host = f"[{ipaddress.ip_address(host)}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    assert normal == f"{parts.scheme}://{host}" + ("" if parts.port in {None, default} else f":{parts.port}")
    allowed = AllowedOrigins([normal])
    assert allowed.allow(text, "other.example")
    for other in (
        f"{parts.scheme}://x{parts.netloc}",
        f"{parts.scheme}://x@{parts.netloc}",
        f"{normal}/x",
        f"{normal}?",
    ):
        assert not allowed.allow(other, "other.example")


_HEAD = (
    b"GET / HTTP/1.1\r\nHost: example.com:8765\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_HEAD_SEEDS = (
    b"\xff" + _HEAD + b"\r\n",
    b"\x03" + _HEAD + b"Origin: https://a.example\r\nSec-WebSocket-Protocol: other, greenroom.v1\r\n\r\n",
    b"\xff" + _HEAD.replace(b"GET / ", b"GET /?a=b ") + b"Content-Length: 0\r\nSec-WebSocket-Extensions: x\r\n\r\n",
    b"\xffGET /readyz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\xff" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
)
_HEAD_WORDS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b":", b" HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"GET ", b"POST ",
    b"CONNECT ", b"OPTIONS * ", b"Host: ", b"Host: xn--", b"Origin: ", b"https://a.example", b"http://", b":443",
    b"/healthz", b"Upgrade: websocket", b"Connection: ", b"keep-alive, Upgrade", b"Sec-WebSocket-Version: 13",
    b"Content-Length: ",
    b"Transfer-Encoding: ", b"chunked", b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Protocol: ", b"greenroom.v1", b",",
    b"Sec-WebSocket-Extensions: permessage-deflate", b"Expect: 100-continue", b"Content-Length : 5", b"%00", b"//",
)  # fmt: skip
_ORIGINS = (
    b"https://a.example", b"http://localhost:8766/", b"null", b"https://[::1]:443", b"a.example",
    b"https://a.example/x",
    b"HTTPS://A.EXAMPLE:0443", b"http://127.0.0.1:80", b"https://xn--bcher-kva.example",
)  # fmt: skip
_ORIGIN_WORDS = (
    b"://",
    b":",
    b"[",
    b"]",
    b"@",
    b"/",
    b"?",
    b"#",
    b"65535",
    b"65536",
    b":80",
    b":443",
    b"\xc2\xa0",
    b"null",
)

TARGETS = (
    Target("request_head", request_head, _HEAD_SEEDS, _HEAD_WORDS, weight=2),
    Target("origins", origins, _ORIGINS, _ORIGIN_WORDS, longest=256),
)
