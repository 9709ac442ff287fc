"""Fuzz targets: what proxies say about their clients."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

from fuzz.target import Target, first_byte, in_pieces

from transport.protocol.addresses import plain_address
from transport.protocol.forwarded import BadForwarding, Origin, Proxies
from transport.protocol.proxy_header import MAX_V1, MAX_V2, BadProxyHeader, ProxyHeader

_PROXIES = Proxies(("10.0.0.0/8", "2001:db8::/32"))
_PROXY, _STRANGER = "10.1.2.3", "203.0.113.9"
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


# The PROXY protocol


def proxy_header(data: bytes) -> None:
    """Check that a header is read in any pieces alike, that no byte behind it counts, and that the client is right.

    The first byte says in which pieces the header comes.
    """
    size, data = first_byte(data)
    whole = _read(data, len(data) or 1)
    assert _read(data, 1 + size) == whole
    if whole is None:
        return
    taken, complete, client = whole
    if not complete:
        assert taken == len(data) < MAX_V2
        return
    head = data[:taken]
    assert _read(head, len(head)) == whole
    assert client == (_client_in_v2(head) if head.startswith(_SIGNATURE) else _client_in_v1(head))


def _read(data: bytes, size: int) -> tuple[int, bool, str | None] | None:
    """Return how many bytes belong to the header, whether it is complete, and the client. None for a refusal."""
    header, taken = ProxyHeader(), 0
    for piece in in_pieces(data, size):
        try:
            step = header.feed(piece)
        except BadProxyHeader:
            return None
        assert 0 <= step <= len(piece)
        taken += step
        if header.complete:
            break
        assert step == len(piece)
    return taken, header.complete, header.client


def _client_in_v1(head: bytes) -> str | None:
    """Return the client in a header of version 1, read word by word."""
    assert len(head) <= MAX_V1
    assert head.endswith(b"\r\n")
    words = head[:-2].decode("latin-1").split(" ")
    assert words[0] == "PROXY"
    if words[1] == "UNKNOWN":
        return None
    family, client, proxy, port, other_port = words[1:]
    version = {"TCP4": 4, "TCP6": 6}[family]
    assert ipaddress.ip_address(client).version == ipaddress.ip_address(proxy).version == version
    assert 0 <= int(port) <= 65535
    assert 0 <= int(other_port) <= 65535
    return plain_address(client)


def _client_in_v2(head: bytes) -> str | None:
    """Return the client in a header of version 2, by the functions of the operating system."""
    assert 16 + int.from_bytes(head[14:16], "big") == len(head) <= MAX_V2
    assert head[12] in {0x20, 0x21}
    if head[12] == 0x20 or head[13] not in {0x11, 0x21}:
        return None
    family, length = (socket.AF_INET, 4) if head[13] == 0x11 else (socket.AF_INET6, 16)
    return plain_address(socket.inet_ntop(family, head[16 : 16 + length]))


# The headers of HTTP


def forwarded(data: bytes) -> None:
    """Check that a stranger cannot choose its address: neither without a proxy, nor through one.

    The input is the header lines that the stranger sends.
    """
    lines = [line.partition(":") for line in data.decode("latin-1").split("\n")]
    fields = [(name.strip().lower(), value) for name, _, value in lines]
    assert _PROXIES.origin(_STRANGER, fields) == Origin(_STRANGER, None)
    with suppress(BadForwarding):
        found = _PROXIES.origin(_PROXY, fields).client
        assert found == plain_address(found)
    for name, entry in (("x-forwarded-for", _STRANGER), ("forwarded", f"for={_STRANGER}")):
        for passed_on in (_appended(fields, name, entry), [*fields, (name, entry)]):
            with suppress(BadForwarding):
                assert _PROXIES.origin(_PROXY, passed_on).client == _STRANGER, passed_on


def _appended(fields: list[tuple[str, str]], name: str, entry: str) -> list[tuple[str, str]]:
    """Return the fields as a proxy passes them on that joins all lines of a header and appends its own entry."""
    own = [value for field, value in fields if field == name]
    return [*(each for each in fields if each[0] != name), (name, ", ".join((*own, entry)))]


_V1 = b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET /"
_V2 = _SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 3, 4])
_HEADERS = (
    b"\xff" + _V1,
    b"\x01PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 1 65535\r\n",
    b"\xffPROXY UNKNOWN anything\r\n",
    b"\x02" + _V2 + b"GET",
    b"\xff" + _SIGNATURE + b"\x21\x21\x00\x24" + bytes(range(36)),
    b"\xff" + _SIGNATURE + b"\x20\x00\x00\x03abc",
    b"\xff" + _SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
)
_HEADER_WORDS = (
    b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"\r\n", _SIGNATURE, b"\x21\x11\x00\x0c", b"\x21\x21\x00\x24",
    b"\x20\x00\x00\x00",
    b"192.0.2.1", b"::1", b"::ffff:1.2.3.4", b"65536", b" 0", b"%1",
)  # fmt: skip
_LINES = (
    b"X-Forwarded-For: 198.51.100.7, 10.0.0.2\nX-Forwarded-Proto: https",
    b'Forwarded: for="[2001:db8::1]:4711";proto=https;by=10.0.0.1, for=192.0.2.60',
    b'Forwarded: for="_hidden, for=1.2.3.4";host="a\\"b"\nForwarded: for=unknown',
    b"X-Forwarded-For: [::1]:80\nX-Forwarded-For: ,,1.2.3.4:5,\nForwarded: For=1.2.3.4",
)
_LINE_WORDS = (
    b"X-Forwarded-For: ", b"X-Forwarded-Proto: ", b"Forwarded: ", b"for=", b"proto=", b"by=", b"host=", b'"', b"\\",
    b",", b";",
    b"\n", b"unknown", b"_hidden", b"10.0.0.1", b"2001:db8::1", b"[::ffff:10.0.0.1]", b"1.2.3.4", b":80", b"https",
    b"\t",
)  # fmt: skip

TARGETS = (
    Target("proxy_header", proxy_header, _HEADERS, _HEADER_WORDS, longest=512),
    Target("forwarded", forwarded, _LINES, _LINE_WORDS, longest=1024),
)
