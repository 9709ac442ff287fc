"""The limits on new connections per second: of all clients together, and of each address."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import trio

from transport.protocol.addresses import counted_as
from transport.protocol.forwarded import Proxies
from transport.protocol.limits import TokenBucket

if TYPE_CHECKING:
    from actors.loop.clock import LoopTime
    from transport.settings import Settings


class HandshakeRates:
    """The rate limits on new connections: one limit for all addresses together, and one limit for each address.

    Each limit saves the tokens of one second at most. After a second without a new connection, an address has all its
    tokens again, so the address is forgotten. So about ``handshakes_per_second`` addresses are remembered at most.

    An IPv6 address counts by its network of 64 bits. A trusted proxy (``forwarded_allow``) has no limit of its own:
    :meth:`allow_client` counts the clients behind it.
    """

    def __init__(self, settings: Settings, time: LoopTime) -> None:
        self._settings = settings
        self._time = time
        self._proxies = Proxies(settings.forwarded_allow or ())
        self._all: TokenBucket | None = None
        self._by_address: OrderedDict[str, tuple[TokenBucket, float]] = OrderedDict()
        """The bucket of each address, and the time of the address's newest connection. The oldest time comes first."""

    def __len__(self) -> int:
        """Return the number of remembered addresses."""
        return len(self._by_address)

    def allow(self, address: str) -> bool:
        """Count a new connection from ``address``. Return False if the connection must be closed at once."""
        now, lost = trio.current_time(), self._time.lost
        if self._all is None:
            self._all = _bucket(self._settings.handshakes_per_second, now, lost)
        if self._proxies.trusts(address):
            return self._all.take(now, lost)
        address = counted_as(address)
        known, bucket = self._bucket_of(address, now, lost)
        # The address comes first: one that is beyond its limit takes nothing from the others.
        allowed = bucket.take(now, lost) and self._all.take(now, lost)
        # A new address that the limit of all refuses is not kept: there is no end to addresses.
        if allowed or known is not None:
            self._by_address[address] = (bucket, now)
        return allowed

    def allow_client(self, address: str) -> bool:
        """Count a connection from a trusted proxy for its client. Return False if it must not be served.

        The limit of all has counted this connection when the proxy opened it.
        """
        address = counted_as(address)
        now, lost = trio.current_time(), self._time.lost
        _, bucket = self._bucket_of(address, now, lost)
        self._by_address[address] = (bucket, now)
        return bucket.take(now, lost)

    def _bucket_of(self, address: str, now: float, lost: float) -> tuple[TokenBucket | None, TokenBucket]:
        """Take the bucket of an address out of the remembered ones. Return it, or None, and the bucket to use."""
        self._forget(now)
        known, _ = self._by_address.pop(address, (None, 0.0))
        return known, known or _bucket(self._settings.handshakes_per_address_per_second, now, lost)

    def _forget(self, now: float) -> None:
        while self._by_address:
            address, (_, newest) = next(iter(self._by_address.items()))
            if newest + 1 > now:
                return
            del self._by_address[address]


def _bucket(rate: float, now: float, lost: float) -> TokenBucket:
    return TokenBucket(rate, max(1.0, rate), now, lost)
