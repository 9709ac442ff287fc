"""The WebSocket endpoint, its clients, and ``Greenroom``, which puts an agent server together."""

from transport.app import Greenroom, Server
from transport.auth import Credentials, TokenAuth, User
from transport.client import Client, Reset, connect
from transport.errors import Forbidden, NotAuthenticated, TokenExpired
from transport.server.endpoint import Endpoint, EndpointStatistics
from transport.settings import Settings

__all__ = [
    "Client",
    "Credentials",
    "Endpoint",
    "EndpointStatistics",
    "Forbidden",
    "Greenroom",
    "NotAuthenticated",
    "Reset",
    "Server",
    "Settings",
    "TokenAuth",
    "TokenExpired",
    "User",
    "connect",
]
