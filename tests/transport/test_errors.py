"""Errors of connections: their texts and their base classes."""

from __future__ import annotations

import pytest

from actors import GreenroomError
from transport.errors import (
    ConnectionClosedForGood,
    HandshakeRejected,
    NotAuthenticated,
    PositionLost,
    ServerBrokeProtocol,
    TokenExpired,
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionClosedForGood(4505, "flooding"), "closed permanently with 4505: flooding"),
        (ConnectionClosedForGood(4505, ""), "closed permanently with 4505: no reason given"),
        (HandshakeRejected(403, ""), "the server answered HTTP 403: no reason given"),
        (PositionLost(), "closed permanently with 4410: unrecoverable position"),
        (ServerBrokeProtocol(), "closed permanently with 1002: the server broke the protocol"),
    ],
)
def test_text_of_an_ended_connection(error: ConnectionClosedForGood, said: str) -> None:
    """The text of ConnectionClosedForGood, and of its subclasses, has the code and the reason of the end."""
    assert str(error) == said
    assert isinstance(error, GreenroomError)


def test_expired_is_not_authenticated() -> None:
    """TokenExpired is a subclass of NotAuthenticated, so ``except NotAuthenticated`` catches it too."""
    assert issubclass(TokenExpired, NotAuthenticated)
