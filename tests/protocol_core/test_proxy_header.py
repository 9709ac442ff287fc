"""The header of the PROXY protocol: both versions, in any pieces, and everything that is none."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.protocol.proxy_header import MAX_V1, MAX_V2, BadProxyHeader, ProxyHeader

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, TCP6, UNIX = 0x00, 0x11, 0x21, 0x31
ENDS4 = bytes((203, 0, 113, 7, 10, 0, 0, 1, 0x1F, 0x90, 0, 80))
ENDS6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("::1").packed + bytes(4)
ENDS_UNIX = b"/run/a.sock".ljust(108, b"\0") * 2
TLV = b"\x04\x00\x03abc"


def v2(command: int, family: int, rest: bytes, size: int | None = None) -> bytes:
    """Return a header of version 2."""
    return SIGNATURE + bytes((command, family)) + (len(rest) if size is None else size).to_bytes(2, "big") + rest


GOOD: list[tuple[bytes, str | None]] = [
    (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n", "203.0.113.7"),
    (b"PROXY TCP4 203.0.113.7 10.0.0.1 0 65535\r\n", "203.0.113.7"),
    (b"PROXY TCP6 2001:DB8:0::7 ::1 4711 80\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 80\r\n", "203.0.113.7"),
    (b"PROXY TCP6 " + b" ".join([b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] * 2) + b" 65535 65535\r\n", "f" * 4),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 any thing at all\r\n", None),
    (b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 16) + b"\r\n", None),
    (v2(PROXY, TCP4, ENDS4), "203.0.113.7"),
    (v2(PROXY, TCP4, ENDS4 + TLV * 3), "203.0.113.7"),
    (v2(PROXY, TCP6, ENDS6 + TLV), "2001:db8::7"),
    (v2(PROXY, TCP6, ipaddress.ip_address("::ffff:203.0.113.7").packed + ENDS6[16:]), "203.0.113.7"),
    (v2(PROXY, UNIX, ENDS_UNIX), None),
    (v2(PROXY, UNSPEC, b""), None),
    (v2(PROXY, UNSPEC, TLV), None),
    (v2(LOCAL, UNSPEC, b""), None),
    (v2(LOCAL, TCP4, ENDS4), None),
    (v2(LOCAL, 0xFF, b"x"), None),
    (v2(PROXY, TCP4, ENDS4.ljust(MAX_V2 - 16, b"\0")), "203.0.113.7"),
]
BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"\0",
    b"PROXY\r\n",
    b"PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
    b"PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n",
    b"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP6 1.1.1.1 ::1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n\r\n",
    b"proxy UNKNOWN\r\n",
    b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 15) + b"\r\n",
    b"\r\n\r\n\x00\r\nQUIZ",
    v2(0x11, TCP4, ENDS4),
    v2(0x22, TCP4, ENDS4),
    v2(0x31, TCP4, ENDS4),
    v2(PROXY, 0x12, ENDS4),
    v2(PROXY, 0x22, ENDS6),
    v2(PROXY, 0x32, ENDS_UNIX),
    v2(PROXY, 0x41, ENDS_UNIX),
    v2(PROXY, TCP4, ENDS4[:-1]),
    v2(PROXY, TCP6, ENDS4),
    v2(PROXY, UNIX, ENDS_UNIX[:-1]),
    v2(PROXY, TCP4, b"", size=MAX_V2 - 15),
    v2(PROXY, TCP4, b"", size=0xFFFF),
]


def read(data: bytes, sizes: list[int]) -> tuple[str | None, int]:
    """Feed ``data`` in pieces of these sizes. Return the client, and how many bytes the header has taken."""
    header, taken = ProxyHeader(), 0
    for size in [*sizes, len(data)]:
        piece = data[taken : taken + size]
        if piece and not header.complete:
            used = header.feed(piece)
            assert used == len(piece) or header.complete
            taken += used
    assert header.complete
    return header.client, taken


SIZES = st.lists(st.integers(1, 40), max_size=60)


@given(st.sampled_from(GOOD), st.binary(max_size=20), SIZES)
def test_header_is_read(case: tuple[bytes, str | None], rest: bytes, sizes: list[int]) -> None:
    """A header names its client, in whatever pieces it arrives. The bytes after it are left for the next protocol."""
    data, client = case
    found, taken = read(data + rest, sizes)
    assert taken == len(data)
    assert found == client or (client is not None and str(found).startswith(client))


@given(st.sampled_from(BAD), SIZES)
def test_wrong_header_is_refused(data: bytes, sizes: list[int]) -> None:
    """Bytes that are no header are refused as soon as this is certain, in whatever pieces they arrive."""
    with pytest.raises(BadProxyHeader):
        read(data, sizes)


@given(st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda rest: SIGNATURE + rest)), SIZES)
def test_any_bytes(data: bytes, sizes: list[int]) -> None:
    """Any bytes are a header, the beginning of one, or refused."""
    header, taken = ProxyHeader(), 0
    try:
        for size in sizes:
            if not header.complete and (piece := data[taken : taken + size]):
                taken += header.feed(piece)
    except BadProxyHeader:
        return
    assert taken <= len(data)


def test_first_wrong_byte() -> None:
    """A first byte of another protocol is refused at once, without waiting for more."""
    for first in b"G", b"\x16", b"p", b"\n":
        with pytest.raises(BadProxyHeader, match="there is no PROXY header"):
            ProxyHeader().feed(first)


def test_largest_header_is_not_stored_beyond_its_limit() -> None:
    """A header of version 2 that announces too much is refused from its fixed part, before the rest arrives."""
    with pytest.raises(BadProxyHeader, match="16384 bytes"):
        ProxyHeader().feed(v2(PROXY, TCP4, b"", size=MAX_V2 - 15))
    assert ProxyHeader().feed(v2(PROXY, TCP4, b"", size=MAX_V2 - 16)) == 16
