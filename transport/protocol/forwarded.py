"""The client behind trusted proxies: the address and the scheme that their headers name (pure).

Each proxy appends the address of its own client to ``X-Forwarded-For``, or to ``Forwarded`` (RFC 7239). Everything to
the left of that address came from the client, which can write anything. So the addresses are read from the right, and
the first address that is not a trusted proxy counts. The headers of a peer that is not trusted count for nothing.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, TypeAlias

import attrs

from transport.protocol.addresses import plain_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
Fields: TypeAlias = "Sequence[tuple[str, str]]"
"""The header fields of a request, in order: names in lower case, and values."""

MAX_PROXIES = 32
"""Maximum number of entries of a header that are read, from the right. Every entry to the left came from a client."""
MAX_FORWARDED = 4096
"""Maximum length of the header ``Forwarded``, in characters. It is parsed completely: 4,096 take about 1 ms."""

_X_FOR, _X_PROTO, _FORWARDED = "x-forwarded-for", "x-forwarded-proto", "forwarded"
_SECURE = ("https", "wss")
_WITH_PORT = re.compile(r"\[(?P<v6>[^\]]*)\](?::[0-9]+)?|(?P<v4>[0-9.]+):[0-9]+")

# Forwarded: elements between commas, pairs between semicolons. A value is a token or a quoted string.
_PAIR = re.compile(
    r"[ \t]*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z-]+)"
    r'|"(?P<quoted>(?:[^"\\]|\\.)*)")[ \t]*(?P<end>[;,]|\Z)'
)
_EMPTY = re.compile(r"[ \t]*(?P<end>[;,]|\Z)")
_ESCAPED = re.compile(r"\\(.)")


class BadForwarding(ValueError):
    """A request that trusted proxies forwarded has headers with which its client cannot be known.

    The text is the answer to the request.
    """


def network_of(text: str) -> Network:
    """Return the network that ``text`` names: an address, or an address with the length of its prefix.

    Raises:
        ValueError: If the text is neither. The message says what to write.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write addresses such as 10.0.0.5, or networks such as 10.0.0.0/8") from None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError("write an IPv4 address in its own form, such as 10.0.0.5")
    if ipaddress.ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"it is an address inside a network: write {network}")
    return network


@attrs.frozen
class Origin:
    """The origin of a request."""

    client: str
    """The address of the client."""
    is_https: bool | None = None
    """Whether the client has used HTTPS, as the nearest proxy says. None if no trusted proxy says it."""


class Proxies:
    """The trusted proxies of a server, and the clients that they name.

    Args:
        allowed: Addresses and networks of the proxies, as :func:`network_of` reads them.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._networks = tuple(map(network_of, allowed))

    def __bool__(self) -> bool:
        """Return whether there are any trusted proxies."""
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Return whether ``address`` is a trusted proxy's. A text that is no address is never trusted."""
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def origin(self, peer: str, fields: Fields) -> Origin:
        """Return the client that sent a request, and its scheme.

        The client is the rightmost address that is not a trusted proxy's. If a proxy hides its client (``unknown``,
        ``_hidden``), or names no address, the client is this proxy. If the peer is not trusted, the client is the peer.

        Args:
            peer: The address from which the connection came.
            fields: The header fields of the request.

        Raises:
            BadForwarding: If ``Forwarded`` is not what RFC 7239 allows, or if the two headers name different clients.
                *A proxy writes one of the two headers, and passes on the other one as its client has sent it.*
        """
        if not self.trusts(peer):
            return Origin(peer)
        elements = _elements_of(fields)
        named: list[list[str | None]] = [list(_last_of(fields, _X_FOR)), [each.get("for") for each in elements]]
        found = {self._rightmost(peer, nodes) for nodes in named if any(node is not None for node in nodes)}
        if len(found) > 1:
            raise BadForwarding("the headers x-forwarded-for and forwarded name different clients")
        return Origin(found.pop() if found else peer, _is_https(fields, elements))

    def _rightmost(self, peer: str, nodes: Sequence[str | None]) -> str:
        """Return the address of the first node that is not a trusted proxy. The ``nodes`` come from right to left."""
        address = peer
        for node in nodes:
            named = None if node is None else _address_in(node)
            if named is None:
                return address
            address = named
            if not self.trusts(address):
                break
        return address


def _is_https(fields: Fields, elements: Sequence[dict[str, str]]) -> bool | None:
    """Return whether the nearest proxy says that its client has used HTTPS. None if it says nothing."""
    scheme = next(_last_of(fields, _X_PROTO), None)
    if scheme is None:
        scheme = next((each["proto"] for each in elements[:1] if "proto" in each), None)
    return None if scheme is None else scheme.lower() in _SECURE


def _last_of(fields: Fields, name: str) -> Iterator[str]:
    """Yield the last entries of a header that is a list, from right to left. The header may be on several lines."""
    left = MAX_PROXIES
    for field, value in reversed(fields):
        if field != name:
            continue
        for part in reversed(value.rsplit(",", left)[-left:]):
            if left == 0:
                return
            if entry := part.strip():
                left -= 1
                yield entry


def _elements_of(fields: Fields) -> list[dict[str, str]]:
    """Return the last elements of the header ``Forwarded``, from right to left, each as its names and values.

    Raises:
        BadForwarding: If the header is malformed.
    """
    lines = [value for name, value in fields if name == _FORWARDED]
    if sum(map(len, lines)) > MAX_FORWARDED:
        raise BadForwarding(f"the header forwarded may have {MAX_FORWARDED} characters")
    elements = [element for line in lines for element in _elements_in(line)]
    return elements[: -MAX_PROXIES - 1 : -1]


def _elements_in(line: str) -> Iterator[dict[str, str]]:
    # From the left, although the end counts: a quoted string may hold a comma. A client that leaves a quote open makes
    # the whole line malformed: what a proxy has appended to it does not fit any more.
    element: dict[str, str] = {}
    place, end = 0, ","
    while place < len(line) or end == ";":
        if (found := _PAIR.match(line, place)) is not None:
            name = found["name"].lower()
            if name in element:
                raise BadForwarding(f"an element of the header forwarded has {name} more than once")
            token = found["token"]
            element[name] = _ESCAPED.sub(r"\1", found["quoted"]) if token is None else token
        elif (found := _EMPTY.match(line, place)) is None:
            raise BadForwarding("the header forwarded is malformed")
        place, end = found.end(), found["end"]
        if end != ";":
            if element:
                yield element
            element = {}


def _address_in(node: str) -> str | None:
    """Return the address of an entry, without its port. Return None if the entry hides it, or has none."""
    found = _WITH_PORT.fullmatch(node)
    return plain_address(node if found is None else found["v6"] or found["v4"] or "")
