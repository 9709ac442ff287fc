"""What trio-websocket and wsproto held for the handshake is freed, and the WebSocket works on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request

from transport.server._wsproto import forget_handshake


def opened() -> WSConnection:
    """Return the server's side of a WebSocket after its handshake."""
    client, server = WSConnection(ConnectionType.CLIENT), WSConnection(ConnectionType.SERVER)
    server.receive_data(client.send(Request(host="localhost", target="/")))
    assert [type(event) for event in server.events()] == [Request]
    server.send(AcceptConnection())
    return server


def test_events_after_the_handshake() -> None:
    """An event that wsproto puts into its queue after the handshake is handed on, once."""
    server = opened()
    socket: Any = SimpleNamespace(_wsproto=server)
    forget_handshake(socket)
    assert list(server.events()) == []
    server.receive_data(None)
    assert list(server.events()) == [CloseConnection(code=1006)]
    assert list(server.events()) == []
