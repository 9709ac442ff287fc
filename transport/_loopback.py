"""Loopback addresses, which only programs on the same machine can reach."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

from actors import ConfigError


def is_loopback(host: str) -> bool:
    """Return whether only the same machine can reach ``host``, a name or an address."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def require_auth(host: str, auth: object) -> None:
    """Raise ConfigError if other machines can reach ``host``, and there is no ``auth``, because it is None."""
    if auth is None and not is_loopback(host):
        raise ConfigError(f"auth is required to listen on {host}: without it only loopback addresses are served")
