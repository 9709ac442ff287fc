"""The beginning of a connection: which upgrade requests are accepted, and which frame may come first."""

from __future__ import annotations

import pytest

from transport.protocol.client_frames import BadFrame, Hello, Pong
from transport.protocol.handshake import SUBPROTOCOL, Accept, AllowedOrigins, Conversation, normal_origin, upgrade

PAGE = "https://chat.example"
HELLO, PONG = '{"type":"hello","session":"s"}', '{"type":"pong"}'


@pytest.mark.parametrize(
    ("path", "offered", "origin", "expected"),
    [
        ("/", [], None, None),
        ("/?token=x", [SUBPROTOCOL], None, SUBPROTOCOL),
        ("/", ["other", SUBPROTOCOL], PAGE, SUBPROTOCOL),
        ("/", [SUBPROTOCOL], "HTTPS://Chat.Example:443", SUBPROTOCOL),
        ("/other", [SUBPROTOCOL], None, 404),
        ("", [SUBPROTOCOL], None, 404),
        ("//", [SUBPROTOCOL], None, 404),
        ("http://chat.example/", [SUBPROTOCOL], None, SUBPROTOCOL),
        ("HTTPS://chat.example?a", [SUBPROTOCOL], None, SUBPROTOCOL),
        ("http://chat.example/other", [SUBPROTOCOL], None, 404),
        ("/http://chat.example/", [SUBPROTOCOL], None, 404),
        ("/", ["other"], None, 400),
        ("/", ["GREENROOM.V1"], None, 400),
        ("/", [SUBPROTOCOL], "https://evil.example", 403),
        ("/", [SUBPROTOCOL], "http://chat.example", 403),
        ("/", [SUBPROTOCOL], "https://chat.example:8443", 403),
        ("/", [SUBPROTOCOL], "https://chat.example.evil.example", 403),
        ("/", [SUBPROTOCOL], "null", 403),
        ("/", [SUBPROTOCOL], "", 403),
        ("/", [SUBPROTOCOL], "https://[", 403),
    ],
)
def test_upgrade(path: str, offered: list[str], origin: str | None, expected: str | int | None) -> None:
    """The path, the origin and the offered subprotocols of an upgrade request decide whether it is accepted.

    They also decide the HTTP status of a refusal.
    """
    answer = upgrade(path=path, offered=offered, origin=origin, host="x", allowed=AllowedOrigins([PAGE]))
    assert (answer.subprotocol if isinstance(answer, Accept) else answer.status) == expected


@pytest.mark.parametrize(
    ("origin", "written"),
    [
        ("HTTP://A.Example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("https://a.example:443/", "https://a.example"),
        ("http://[::1]:8766", "http://[::1]:8766"),
        ("null", "null"),
        ("a.example", "a.example"),
        ("http://a.example:port", "http://a.example:port"),
        ("http://a.example:65536", "http://a.example:65536"),
        ("https://a.example/x", "https://a.example/x"),
        ("https://user@a.example", "https://user@a.example"),
        ("https://a[::1]", "https://a[::1]"),
        ("https://[:::1]", "https://[:::1]"),
        ("https://[0:0::1]", "https://[::1]"),
    ],
)
def test_normal_origin(origin: str, written: str) -> None:
    """Origins count as equal if they differ only in upper and lower case, or in a default port.

    A text that is not an origin equals no origin.
    """
    assert normal_origin(origin) == written


EVERYWHERE = ["http://0.0.0.0:8766", "http://[::]:8766", "http://box:8766"]


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://192.168.0.7:8766", "192.168.0.7:8765", True),
        ("http://192.168.0.7:8766", "192.168.0.7", True),
        ("HTTP://[FD00::7]:8766", "[fd00:0::7]:8765", True),
        ("http://0.0.0.0:8766", "0.0.0.0:8765", True),
        ("http://box:8766", "anything", True),
        ("http://6.6.6.6:8766", "192.168.0.7:8765", False),
        ("http://192.168.0.7:8767", "192.168.0.7:8765", False),
        ("http://192.168.0.7", "192.168.0.7:8765", False),
        ("https://192.168.0.7:8766", "192.168.0.7:8765", False),
        ("http://evil.example:8766", "evil.example:8765", False),
        ("http://evil.example:8766", "192.168.0.7:8765", False),
        ("http://192.168.0.7.evil.example:8766", "192.168.0.7.evil.example:8765", False),
        ("http://192.168.0.7@evil.example:8766", "192.168.0.7:8765", False),
        ("http://0xc0a80007:8766", "0xc0a80007:8765", False),
        ("http://300.0.0.7:8766", "300.0.0.7:8765", False),
        ("null", "null", False),
        ("", "", False),
    ],
)
def test_pages_at_every_address(origin: str, host: str, allowed: bool) -> None:
    """A wildcard address in the allowed origins stands for the IP address at which the client reached the endpoint.

    A name is never allowed by it, also if the client reached the endpoint by this name, nor any other address.
    """
    assert AllowedOrigins(EVERYWHERE).allow(origin, host) == allowed


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example", "192.168.0.7"])
def test_no_more_pages_on_loopback(host: str) -> None:
    """Without a wildcard address in the allowed origins, the address of the request allows nothing."""
    assert not AllowedOrigins(["http://127.0.0.1:8766"]).allow(f"http://{host}:8767", f"{host}:8765")
    assert AllowedOrigins(["http://127.0.0.1:8766"]).allow(f"http://{host}:8766", f"{host}:8765") == (
        host == "127.0.0.1"
    )


def test_hello_comes_first_and_once() -> None:
    """The first frame of a client must be a hello, and a second hello is refused."""
    conversation = Conversation()
    with pytest.raises(BadFrame, match="before hello"):
        conversation.receive(PONG)
    assert not conversation.greeted
    assert isinstance(conversation.receive(HELLO), Hello)
    assert conversation.receive(PONG) == Pong()
    with pytest.raises(BadFrame, match="second hello"):
        conversation.receive(HELLO)
