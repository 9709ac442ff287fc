"""The WebSocket endpoint, its clients, and :class:`Greenroom`, which puts an agent server together.

The subpackages: :mod:`transport.protocol` (the wire protocol ``greenroom.v1``, pure, for both sides; ``SPEC.md`` there
is its contract), :mod:`transport.server` (the endpoint and its connections), :mod:`transport.client` (the Python
client), :mod:`transport.http` (pages and health), :mod:`transport.hosting` (the app inside a web application),
:mod:`transport.cli` (the command line), ``transport/web`` (the client for browsers and Node) and
:mod:`transport.demo` (the built-in agent and its page). Each subpackage has a README.

A connection is a position in its session's events, not a queue: live delivery and resume read the events in the same
way. One task, the flusher, writes to all connections after each commit.
"""

# First, as it refuses another module that is called like the package actors, which all others import.
import transport._shadows  # noqa: F401  # pyright: ignore[reportUnusedImport]  # imported for its check
from transport._running import Server
from transport.app import Greenroom
from transport.auth import Credentials, TokenAuth, User
from transport.client import Client, Reset, connect
from transport.errors import AuthUnavailable, Forbidden, NotAuthenticated, TokenExpired
from transport.server.endpoint import Endpoint, EndpointStatistics
from transport.settings import Settings

__all__ = [
    "AuthUnavailable",
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
