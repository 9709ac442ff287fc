"""Loopback addresses, which only programs on the same machine can reach."""

from __future__ import annotations

import ipaddress
from contextlib import suppress


def is_loopback(host: str) -> bool:
    """Return whether only the same machine can reach ``host``, a name or an address."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
