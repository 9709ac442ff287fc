"""The limits on new connections per second: of one address, of all, and the addresses that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.loop.clock import LoopTime
from transport import Settings
from transport.server._handshake_rates import HandshakeRates

if TYPE_CHECKING:
    from trio.testing import MockClock


def rates(in_all: float, per_address: float) -> HandshakeRates:
    """Return limits of new connections."""
    settings = Settings(handshakes_per_second=in_all, handshakes_per_address_per_second=per_address)
    return HandshakeRates(settings, LoopTime())


async def test_one_address(autojump_clock: MockClock) -> None:
    """An address may open a given number of connections at once, and then the same number in each second.

    The connections of other addresses are not affected.
    """
    limits = rates(1000, 3)
    assert [limits.allow("a") for _ in range(4)] == [True, True, True, False]
    assert limits.allow("b")
    await trio.sleep(0.5)
    assert [limits.allow("a") for _ in range(2)] == [True, False]


async def test_ipv6_network_is_one_address(autojump_clock: MockClock) -> None:
    """The addresses of an IPv6 network of 64 bits share one rate, also behind a proxy."""
    limits = rates(1000, 2)
    answers = [limits.allow("2001:db8::1"), limits.allow_client("2001:db8::2"), limits.allow("2001:db8::3")]
    assert (answers, limits.allow_client("2001:db8::4")) == ([True, True, False], False)
    assert limits.allow("2001:db8:0:1::1")
    assert [limits.allow(address) for address in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1")] == [True, True, False]


async def test_all_addresses(autojump_clock: MockClock) -> None:
    """All addresses together may open a given number of connections at once.

    After that they may open the same number in each second.
    """
    limits = rates(4, 3)
    assert [limits.allow(address) for address in "abcdef"] == [True] * 4 + [False] * 2
    await trio.sleep(0.25)
    assert [limits.allow(address) for address in "gh"] == [True, False]


async def test_address_beyond_its_limit_takes_nothing_from_others(autojump_clock: MockClock) -> None:
    """The refused connections of one address do not count against the limit of all."""
    limits = rates(4, 1)
    for _ in range(100):
        limits.allow("a")
    assert [limits.allow(address) for address in "bcde"] == [True, True, True, False]


async def test_kept_addresses(autojump_clock: MockClock) -> None:
    """If an address has not tried to connect for a second, it is forgotten.

    If an address tries again and again, it is remembered, so its limit still holds.
    """
    limits = rates(50, 1)
    for number in range(200):
        limits.allow(str(number))
    assert len(limits) == 50
    await trio.sleep(1)
    limits.allow("a")
    assert len(limits) == 1
    for _ in range(8):
        await trio.sleep(0.75)
        assert not (limits.allow("a") and limits.allow("a"))
    assert len(limits) == 1


async def test_proxy_has_only_the_limit_of_all(autojump_clock: MockClock) -> None:
    """A trusted proxy may open connections up to the limit of all. Each client that it names has the limit of its own.

    The proxy itself has such a limit, too, for connections without a client. A client whose connections are refused
    takes nothing from other clients.
    """
    settings = Settings(handshakes_per_second=5, handshakes_per_address_per_second=2, forwarded_allow=("10.0.0.0/8",))
    limits = HandshakeRates(settings, LoopTime())
    assert [limits.allow("10.0.0.1") for _ in range(6)] == [True] * 5 + [False]
    assert [limits.allow_client("a") for _ in range(3)] == [True, True, False]
    assert limits.allow_client("b")
    assert [limits.allow_client("10.0.0.2") for _ in range(3)] == [True, True, False]
    assert len(limits) == 3
    await trio.sleep(0.5)
    assert limits.allow_client("a")
    assert limits.allow("c")
    await trio.sleep(1)
    assert limits.allow("d")
    assert len(limits) == 1
