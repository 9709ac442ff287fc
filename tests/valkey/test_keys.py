"""The names of keys in a Valkey server, and the URLs of servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ConfigError
from actors.valkey.address import Address, is_valkey, parse_address, without_password
from actors.valkey.keys import Keyspace, member_of, parse_member, parse_stream_name, partition_of, stream_name
from transport import Settings
from transport.cli.settings import lines_of

NAMES = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\0\1\2/%{}"), max_size=6)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=8))
def test_members_sort_as_their_streams(keys: list[tuple[str, str]]) -> None:
    """Members of an index sort in the order of user and session, and can be read back."""
    assert [parse_member(member) for member in sorted(member_of(*key) for key in keys)] == sorted(keys)


@given(NAMES, NAMES)
def test_all_keys_of_a_user_are_in_one_partition(user: str, session: str) -> None:
    """All keys of a user have the same partition in braces, and no other braces. Names can be read back."""
    keys = Keyspace().of_stream(user, session)
    tag = f"{{{partition_of(user)}}}"
    every = (keys.meta, keys.lines, keys.user.token, keys.user.index, keys.user.opened)
    assert [(name.count("{"), name.count(tag)) for name in every] == [(1, 1)] * 5
    assert parse_stream_name(stream_name(user, session)) == (user, session)


def test_lone_surrogate() -> None:
    """A name that UTF-8 cannot encode has no keys."""
    with pytest.raises(ValueError, match="surrogates not allowed"):
        Keyspace().of_stream("\ud800", "s")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("valkey://host", Address("host", 6379)),
        ("valkey://me:p%40ss@host:7000/3", Address("host", 7000, user="me", password="p@ss", database=3)),
        ("valkeys://:secret@[::1]:7000", Address("::1", 7000, password="secret", tls=True)),
        ("valkey+unix:///run/a%20b.sock", Address(path="/run/a b.sock")),
        ("valkey+unix://:secret@/run/s", Address(path="/run/s", password="secret")),
        ("valkey+cluster://host:7000", Address("host", 7000, cluster=True)),
        ("valkeys+cluster://me:s@host", Address("host", user="me", password="s", tls=True, cluster=True)),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    """A URL has a host and port or the path of a socket, a user, a password and a database."""
    assert is_valkey(url)
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("valkey://", "the host is missing"),
        ("valkey:///0", "the host is missing"),
        ("valkey://host:port", "Port could not be cast"),
        ("valkey://host:70000", "Port out of range"),
        ("valkey://host/x", "the number of a database"),
        ("valkey://host?db=1", "nothing can follow"),
        ("valkey+unix://s", "absolute path"),
        ("valkey+cluster://host/1", "only database 0"),
        ("valkeys+cluster://host/1", "only database 0"),
        ("valkey+udp://host", "the scheme is unknown"),
    ],
)
def test_wrong_addresses(url: str, reason: str) -> None:
    """A wrong URL is refused with the reason and the right forms, without its password."""
    secret = url.replace("://", "://me:secret@", 1)
    with pytest.raises(ConfigError, match=f"{reason}.*give valkey://HOST:PORT") as caught:
        parse_address(secret)
    assert "secret" not in str(caught.value)


def test_settings_show_no_password() -> None:
    """The command ``settings`` shows the URL of the log without its user and password. A path is shown as it is."""
    (line,) = [line for line in lines_of(Settings(log="valkey://me:secret@host:1/0")) if line.name == "log"]
    assert line.value == "valkey://***@host:1/0"
    assert without_password("sqlite:/a//b@c") == "sqlite:/a//b@c"


def test_messages_show_no_password() -> None:
    """The text and the ``repr`` of an address have no credentials."""
    address = Address("host", user="me", password="secret")
    assert "secret" not in f"{address} {address!r}"
    assert (str(address), str(Address("::1")), str(Address(path="/s"))) == ("host:6379", "[::1]:6379", "/s")
