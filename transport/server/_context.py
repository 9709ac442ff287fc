"""The parts of a server that all its connections share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from transport.protocol.health import Health

if TYPE_CHECKING:
    from actors import Sessions
    from actors.loop.clock import LoopTime
    from transport.auth import Authenticate
    from transport.protocol.handshake import AllowedOrigins
    from transport.server._connections import Connections
    from transport.server._flusher import Flusher
    from transport.server._heartbeat import Heartbeat
    from transport.server._lifetime import Closing
    from transport.server._refusals import RefusalLog
    from transport.server.accepting import AcceptStage
    from transport.settings import Settings


@attrs.frozen(eq=False)
class ServerContext:
    """The parts of a server that a connection uses. There is one for each endpoint."""

    sessions: Sessions
    authenticate: Authenticate
    settings: Settings
    allowed_origins: AllowedOrigins
    connections: Connections
    """The open connections of the server, and the limits on their number."""
    stage: AcceptStage
    """The stage that accepts the connections: the rate limits, and the trusted proxies."""
    refusals: RefusalLog
    """The writer of log lines about refused clients."""
    flusher: Flusher
    heartbeat: Heartbeat
    time: LoopTime
    """The clock for time limits of clients.

    The clock stops while the event loop is blocked. So no client is disconnected only because the server could not
    read.
    """

    def note_closing(self, closing: Closing | None, *, greeted: bool) -> None:
        """Count the end of a connection that the server has decided, and log it if it is a refusal.

        Do nothing if the client has ended the connection. ``greeted`` is whether the client had got its welcome.
        """
        if closing is not None:
            self.connections.closes[str(closing.code)] += 1
            self.refusals.note_closing(closing.code, closing.reason, greeted=greeted)

    def health(self) -> Health:
        """Return the health of the server. Its endpoint runs."""
        if self.connections.going_away:
            return Health(unready="the server is shutting down")
        return Health(unready=self.sessions.unready())
