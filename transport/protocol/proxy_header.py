"""The header of the PROXY protocol, versions 1 and 2, by which a proxy names its client before any other byte (pure).

The protocol: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt. A header is read only where one must come. A
connection without it is not guessed to be direct: *a client could then write the header itself*.
"""

from __future__ import annotations

import ipaddress
import re

from transport.protocol.addresses import plain_address

MAX_V1 = 107
"""Maximum size of a header of version 1 with its line end, in bytes: the longest that the protocol allows."""
MAX_V2 = 16 * 1024
"""Maximum size of a header of version 2, in bytes. The largest part of it can be a client's TLS certificate."""

_V1, _V2 = b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"
_END = b"\r\n"
_V2_BYTES = 16  # the fixed part: signature, version and command, family and protocol, length
_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the high half
# The size of the addresses of each family and transport protocol. No TCP connection has datagrams (0x12, 0x22, 0x32).
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_SIZES = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}
_LENGTHS = {_TCP4: 4, _TCP6: 16}

_TCP = re.compile(rb"PROXY TCP(?P<kind>[46]) (?P<client>[0-9A-Fa-f:.]+) (?P<proxy>[0-9A-Fa-f:.]+) (?P<ports>[0-9 ]+)")
_PORTS = re.compile(rb"(0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_LARGEST_PORT = 65_535


class BadProxyHeader(ValueError):
    """The bytes are no header of the PROXY protocol. The connection must be closed."""


class ProxyHeader:
    """One header, which arrives in pieces."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.complete = False
        """Whether the header has arrived completely."""
        self.client: str | None = None
        """The client's address. None if the proxy speaks for itself, or does not know an address."""

    def feed(self, data: bytes) -> int:
        """Take the next bytes of the connection. Return how many of them belong to the header.

        The rest of the bytes is for the next protocol. Must not be called when the header is complete.

        Raises:
            BadProxyHeader: If the bytes cannot be a header, or its size or an address is not allowed.
        """
        seen = len(self._data)
        self._data += data
        size = self._size_of_v1() if self._data.startswith(_V1[:1]) else self._size_of_v2()
        if size is None:
            return len(data)
        self.complete = True
        head = bytes(self._data[:size])
        self.client = _client_in_v1(head[: -len(_END)]) if head.startswith(_V1) else _client_in_v2(head)
        self._data.clear()
        return size - seen

    def _size_of_v1(self) -> int | None:
        """Return the size of a header of version 1. Return None if more bytes must come."""
        if not self._data.startswith(_V1[: len(self._data)]):
            raise BadProxyHeader("there is no PROXY header")
        end = self._data.find(_END, 0, MAX_V1)
        if end >= 0:
            return end + len(_END)
        if len(self._data) >= MAX_V1:
            raise BadProxyHeader(f"a PROXY header of version 1 may have {MAX_V1} bytes")
        return None

    def _size_of_v2(self) -> int | None:
        """Return the size of a header of version 2. Return None if more bytes must come."""
        if not self._data.startswith(_V2[: len(self._data)]):
            raise BadProxyHeader("there is no PROXY header")
        if len(self._data) < _V2_BYTES:
            return None
        size = _V2_BYTES + int.from_bytes(self._data[_V2_BYTES - 2 : _V2_BYTES], "big")
        if size > MAX_V2:
            raise BadProxyHeader(f"a PROXY header of version 2 may have {MAX_V2} bytes")
        return size if len(self._data) >= size else None


def _client_in_v1(line: bytes) -> str | None:
    if re.match(rb"PROXY UNKNOWN(?: |\Z)", line):
        return None  # the rest of such a line must be ignored
    found = _TCP.fullmatch(line)
    if found is None or not _are_ports(found["ports"]):
        raise BadProxyHeader("a PROXY header of version 1 is malformed")
    version = int(found["kind"])
    client, _ = (_address(found[part].decode(), version) for part in ("client", "proxy"))
    return client


def _are_ports(text: bytes) -> bool:
    found = _PORTS.fullmatch(text)
    return found is not None and all(int(port) <= _LARGEST_PORT for port in found.groups())


def _address(text: str, version: int) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise BadProxyHeader("an address in a PROXY header is malformed") from None
    if address.version != version:
        raise BadProxyHeader("an address in a PROXY header is not of its family")
    return plain_address(text)


def _client_in_v2(head: bytes) -> str | None:
    command, family = head[12], head[13]
    if command not in {_LOCAL, _PROXY}:
        raise BadProxyHeader("a PROXY header has an unknown version or command")
    if command == _LOCAL:
        return None  # the proxy's own connection, such as a health check: the rest must be ignored
    if family not in _SIZES:
        raise BadProxyHeader("a PROXY header has an unknown family of addresses")
    if len(head) < _V2_BYTES + _SIZES[family]:
        raise BadProxyHeader("a PROXY header is too short for its addresses")
    length = _LENGTHS.get(family)
    if length is None:
        return None
    return plain_address(str(ipaddress.ip_address(head[_V2_BYTES : _V2_BYTES + length])))
