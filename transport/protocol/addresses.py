"""IP addresses as texts: in one form for each, and as the limits per address count them (pure)."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

# The first 64 bits of an IPv6 address. *One customer of a provider has the rest to choose from: 2^64 addresses.*
_NETWORK_BYTES = 8


def plain_address(text: str) -> str | None:
    """Return an IP address in its shortest form, or None if ``text`` is none. An IPv4 address in IPv6 becomes IPv4."""
    if "%" in text:  # an interface of some machine: no address by itself
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def counted_as(address: str) -> str:
    """Return the name under which limits count an address: of an IPv6 address, its network of 64 bits.

    An IPv4 address counts by itself, also if it is written as an IPv6 address. So does any text that is no address.
    """
    return _network_of(address) if ":" in address else address


@lru_cache(1024)
def _network_of(address: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    scope = "" if parsed.scope_id is None else f"%{parsed.scope_id}"  # the same network on each interface
    return f"{ipaddress.IPv6Address(parsed.packed[:_NETWORK_BYTES].ljust(16, bytes(1)))}{scope}/64"
