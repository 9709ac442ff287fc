"""The client behind trusted proxies: which entry of which header counts, for well-formed and hostile headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transport.protocol.addresses import plain_address
from transport.protocol.forwarded import MAX_FORWARDED, MAX_PROXIES, BadForwarding, Proxies, network_of

if TYPE_CHECKING:
    from collections.abc import Callable

PROXY, STRANGER = "10.0.0.9", "203.0.113.7"
TRUSTED = Proxies(("10.0.0.0/8", "2001:db8:ffff::/48"))
FOR, PROTO, FORWARDED = "x-forwarded-for", "x-forwarded-proto", "forwarded"


def client_of(proxies: Proxies, peer: str, fields: list[tuple[str, str]]) -> str:
    """Return the address of the client that sent a request."""
    return proxies.origin(peer, fields).client


@pytest.mark.parametrize(
    ("entries", "client"),
    [
        ("203.0.113.7", STRANGER),
        ("192.0.2.1, 203.0.113.7", STRANGER),
        ("203.0.113.7, 10.1.2.3,10.0.0.1", STRANGER),
        ("203.0.113.7:4711", STRANGER),
        (" ,, 203.0.113.7 ,\t,", STRANGER),
        ("::ffff:203.0.113.7", STRANGER),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("203.0.113.7, 2001:db8:ffff::2", STRANGER),
        ("unknown", PROXY),
        ("_hidden", PROXY),
        ("192.0.2.1, unknown", PROXY),
        ("unknown, 10.1.2.3", "10.1.2.3"),
        ("010.1.2.3", PROXY),
        ("fe80::1%eth0", PROXY),
        ("203.0.113.7:http", PROXY),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("", PROXY),
    ],
)
def test_x_forwarded_for(entries: str, client: str) -> None:
    """The rightmost address that is no trusted proxy's counts. An entry without an address hides what is left of it."""
    assert client_of(TRUSTED, PROXY, [("host", "x"), (FOR, entries)]) == client


@pytest.mark.parametrize(
    ("elements", "client"),
    [
        ("for=203.0.113.7", STRANGER),
        ('For="203.0.113.7:4711"; Proto=https;by=10.0.0.9', STRANGER),
        ('for=192.0.2.1, for="203.0.113.7"', STRANGER),
        ("for=203.0.113.7,for=10.1.2.3", STRANGER),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for="203.0.113.7\\:4711"', STRANGER),
        ('secret="a,b;\\"c", for=203.0.113.7;;', STRANGER),
        ("for=unknown", PROXY),
        ("for=192.0.2.1, for=_Hidden", PROXY),
        ("for=192.0.2.1, proto=https", PROXY),
        ("proto=https", PROXY),
        ("", PROXY),
    ],
)
def test_forwarded(elements: str, client: str) -> None:
    """The element of the rightmost client counts, in each form that RFC 7239 allows."""
    assert client_of(TRUSTED, PROXY, [(FORWARDED, elements)]) == client


@pytest.mark.parametrize(
    "elements",
    ["203.0.113.7", "for=", 'for="203.0.113.7', "for=[2001:db8::1]", "for=1.1.1.1;for=2.2.2.2", "for = 1.1.1.1", '"'],
)
def test_malformed_forwarded_is_refused(elements: str) -> None:
    """A request of a trusted proxy with a malformed header ``Forwarded`` is refused."""
    with pytest.raises(BadForwarding):
        client_of(TRUSTED, PROXY, [(FORWARDED, elements)])


def test_only_trusted_peers_are_asked() -> None:
    """The headers of a peer that is not trusted count for nothing, and are not even parsed."""
    fields = [(FOR, "192.0.2.1"), (FORWARDED, '"'), (PROTO, "https")]
    for proxies in (TRUSTED, Proxies(())):
        assert client_of(proxies, STRANGER, fields) == STRANGER
        assert proxies.origin(STRANGER, fields).is_https is None
        assert client_of(proxies, "", fields) == ""
    assert (bool(TRUSTED), bool(Proxies(()))) == (True, False)


def test_several_lines_are_one_list() -> None:
    """Several lines of a header are one list, in their order."""
    assert client_of(TRUSTED, PROXY, [(FOR, "192.0.2.1"), ("host", "x"), (FOR, "203.0.113.7, 10.1.1.1")]) == STRANGER
    assert client_of(TRUSTED, PROXY, [(FOR, "203.0.113.7"), (FOR, "10.1.1.1")]) == STRANGER
    assert client_of(TRUSTED, PROXY, [(FORWARDED, "for=203.0.113.7"), (FORWARDED, "for=10.1.1.1")]) == STRANGER


def test_both_headers() -> None:
    """If both headers name the same client, that client counts. If they name different clients, the request is refused.

    A header that names no client does not count.
    """
    same = [(FOR, STRANGER), (FORWARDED, f"for={STRANGER}")]
    assert client_of(TRUSTED, PROXY, same) == STRANGER
    assert client_of(TRUSTED, PROXY, [(FOR, STRANGER), (FORWARDED, "proto=https")]) == STRANGER
    assert client_of(TRUSTED, PROXY, [(FOR, ","), (FORWARDED, f"for={STRANGER}")]) == STRANGER
    for other in ("for=192.0.2.1", "for=unknown"):
        with pytest.raises(BadForwarding, match="different clients"):
            client_of(TRUSTED, PROXY, [(FOR, STRANGER), (FORWARDED, other)])


def test_many_entries() -> None:
    """At most ``MAX_PROXIES`` entries are read, from the right. A longer ``Forwarded`` is refused."""
    proxies = ["10.0.0.1"] * (MAX_PROXIES - 1)
    assert client_of(TRUSTED, PROXY, [(FOR, ", ".join([STRANGER, *proxies]))]) == STRANGER
    assert client_of(TRUSTED, PROXY, [(FOR, ", ".join([STRANGER, *proxies, "10.0.0.1"]))]) == "10.0.0.1"
    assert client_of(TRUSTED, PROXY, [(FOR, STRANGER), *((FOR, each) for each in [*proxies, "10.0.0.1"])]) == "10.0.0.1"
    assert client_of(TRUSTED, PROXY, [(FOR, "192.0.2.1," * 10_000 + STRANGER)]) == STRANGER
    longest = f"for={STRANGER}".rjust(MAX_FORWARDED, ",")
    assert client_of(TRUSTED, PROXY, [(FORWARDED, longest)]) == STRANGER
    with pytest.raises(BadForwarding, match="4096 characters"):
        client_of(TRUSTED, PROXY, [(FORWARDED, "," + longest)])


@pytest.mark.parametrize(
    ("fields", "secure"),
    [
        ([(PROTO, "https")], True),
        ([(PROTO, "HTTPS")], True),
        ([(PROTO, "wss")], True),
        ([(PROTO, "http")], False),
        ([(PROTO, "https, http")], False),
        ([(PROTO, "http"), (PROTO, "https")], True),
        ([(FORWARDED, "for=1.1.1.1;proto=https")], True),
        ([(FORWARDED, "proto=https, for=1.1.1.1")], None),
        ([(PROTO, "http"), (FORWARDED, "proto=https")], False),
        ([(PROTO, "nonsense")], False),
        ([], None),
    ],
)
def test_scheme(fields: list[tuple[str, str]], secure: bool | None) -> None:
    """The nearest proxy's word counts for the scheme, first that of ``X-Forwarded-Proto``."""
    assert TRUSTED.origin(PROXY, fields).is_https is secure


# One trusted proxy, and a stranger who sends any headers. A proxy appends to one header and passes on the other.

PIECES = ["for=", '"', ",", ";", "192.0.2.1", "10.0.0.1", "[::1]", "\\", "unknown", "_x", ":80", " ", "by=", "proto="]
HOSTILE = st.one_of(
    st.text(alphabet='for=FOR",; \\[]:.1a%_\t{}\x80', max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
)
LINES = st.lists(st.tuples(st.sampled_from([FOR, FORWARDED]), HOSTILE), max_size=4)


def joined(name: str, lines: list[tuple[str, str]], own: str) -> list[tuple[str, str]]:
    """Return the lines of a proxy that joins all lines of its header and appends its own entry to them."""
    sent = [value for each, value in lines if each == name]
    return [*(line for line in lines if line[0] != name), (name, ", ".join([*sent, own]))]


def added(name: str, lines: list[tuple[str, str]], own: str) -> list[tuple[str, str]]:
    """Return the lines of a proxy that adds its own entry as a new line."""
    return [*lines, (name, own)]


def replaced(name: str, lines: list[tuple[str, str]], own: str) -> list[tuple[str, str]]:
    """Return the lines of a proxy that replaces its header."""
    return [*(line for line in lines if line[0] != name), (name, own)]


@given(
    LINES,
    st.sampled_from([joined, added, replaced]),
    st.sampled_from(
        [
            (FOR, STRANGER),
            (FOR, f"{STRANGER}:80"),
            (FORWARDED, f"for={STRANGER}"),
            (FORWARDED, f'for="{STRANGER}:80"'),
            (FORWARDED, f'by="[::1]";for="{STRANGER}";proto="https"'),
            (FORWARDED, f'proto=https;for={STRANGER};by=""'),
        ]
    ),
)
@example([(FORWARDED, 'for=192.0.2.1;x="')], joined, (FORWARDED, f'for="{STRANGER}"'))
@example([(FORWARDED, 'for=192.0.2.1;x="')], joined, (FORWARDED, f'proto=https;for={STRANGER};by=""'))
@example([(FORWARDED, "for=192.0.2.1")], joined, (FOR, STRANGER))
@example([(FOR, "192.0.2.1")], joined, (FORWARDED, f"for={STRANGER}"))
def test_stranger_cannot_choose_an_address(
    lines: list[tuple[str, str]],
    write: Callable[[str, list[tuple[str, str]], str], list[tuple[str, str]]],
    own: tuple[str, str],
) -> None:
    """Whatever a stranger sends through one trusted proxy, the stranger's own address counts, or none (refused)."""
    try:
        client = client_of(TRUSTED, PROXY, write(own[0], lines, own[1]))
    except BadForwarding:
        return
    assert client == STRANGER


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=9))
@example("", "\n", "")
@example("", "for=192.0.2.1\n", "")
def test_any_header_is_answered(first: str, second: str, third: str) -> None:
    """Any text in the headers gives an address or :class:`BadForwarding`, and no other exception."""
    fields = [(FOR, first), (FORWARDED, second), (PROTO, third)]
    try:
        client = client_of(TRUSTED, PROXY, fields)
    except BadForwarding:
        client = PROXY
    assert plain_address(client) == client


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("localhost", "write addresses such as"),
        ("*", "write addresses such as"),
        ("", "write addresses such as"),
        ("10.0.0.0/33", "write addresses such as"),
        ("::ffff:10.0.0.1", "in its own form"),
    ],
)
def test_wrong_networks(text: str, reason: str) -> None:
    """A text that is no address and no network is refused, and the error says what to write."""
    with pytest.raises(ValueError, match=reason):
        network_of(text)


def test_networks() -> None:
    """An address stands for itself alone, and a network for all its addresses. IPv4 and IPv6 differ."""
    proxies = Proxies(("192.0.2.1", "10.0.0.0/8", "2001:db8::/32"))
    trusted = ["192.0.2.1", "10.255.0.1", "2001:db8:1::1"]
    assert all(map(proxies.trusts, trusted))
    assert not any(map(proxies.trusts, ["192.0.2.2", "11.0.0.1", "2001:db9::1", "::1", "", "x"]))
    assert Proxies(("0.0.0.0/0",)).trusts("1.2.3.4")
