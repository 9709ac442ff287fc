"""IP addresses as texts: in one form for each, and as the limits per address count them."""

from __future__ import annotations

import pytest

from transport.protocol.addresses import counted_as


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::%eth0/64"),
        ("fe80::2%eth1", "fe80::%eth1/64"),
        ("", ""),
        ("a:b", "a:b"),
    ],
)
def test_counted_as(address: str, counted: str) -> None:
    """An IPv6 address counts by its network of 64 bits, and an IPv4 address by itself, in whatever form."""
    assert counted_as(address) == counted
