"""The parts of a server that all its connections share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors import Sessions
    from actors.loop.clock import LoopTime
    from transport.auth import Authenticate
    from transport.server._connections import Connections
    from transport.server._flusher import Flusher
    from transport.server._heartbeat import Heartbeat
    from transport.settings import Settings


@attrs.frozen(eq=False)
class ServerContext:
    """The parts of a server that a connection uses. One for each endpoint, made before the first connection."""

    sessions: Sessions
    authenticate: Authenticate
    settings: Settings
    allowed_origins: frozenset[str]
    """Origins of pages that may connect, written as by :func:`~transport.protocol.handshake.normal_origin`."""
    connections: Connections
    """The connections that are open, and their limits."""
    flusher: Flusher
    heartbeat: Heartbeat
    time: LoopTime
    """The time by which peers are judged. It stands still while the event loop does."""
