"""All open connections of an endpoint: their number, and the limits that decide about a new connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from transport.protocol import close_codes
from transport.protocol.handshake import Reject
from transport.server._places import Holder, Places
from transport.server._refusals import Reason

if TYPE_CHECKING:
    from actors.loop.clock import LoopTime
    from transport.auth import User
    from transport.server._heartbeat import Heartbeat
    from transport.server._refusals import RefusalLog
    from transport.settings import Settings

# Number of connections that a shutdown closes together, and the pause before the next ones. *If all were closed at the
# same time, all would reconnect at the same time, to the other servers behind the same load balancer.*
_GOODBYE_BATCH, _GOODBYE_SECONDS = 100, 0.05


class Counted(Holder, Protocol):
    """The part of a connection that :class:`Connections` uses."""

    user: User | None
    """The authenticated user. None until the limit on the user's connections has allowed this connection."""

    @property
    def address(self) -> str:
        """Network address of the client."""
        ...

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that wait to be sent to this client. Events are not counted, since they are not queued."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close the connection with ``code``. Never waits."""


class Connections:
    """All open connections of one endpoint, and the limits on their number.

    A connection is added before its request for a WebSocket is read, so connections in their handshake count too. A
    connection that has ended for any reason is removed.
    """

    def __init__(self, settings: Settings, heartbeat: Heartbeat, time: LoopTime, refusals: RefusalLog) -> None:
        self._settings = settings
        self._refusals = refusals
        self.places = Places(settings.max_connections_per_user, settings.give_way_seconds, heartbeat, time)
        """The limit on the connections of each user."""
        self._open: dict[Counted, None] = {}
        self._by_address: dict[str, int] = {}
        self._all_gone = trio.lowlevel.ParkingLot()
        self.going_away = False
        """Whether the server is shutting down, so that no more connections are accepted."""
        self.accepted = 0
        """Number of connections accepted since the start."""
        self.refused = 0
        """Number of connections refused because there were too many."""
        self.signals_dropped = 0
        """Number of signals that were dropped because too many waited for a slow client."""

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that wait to be sent to all clients. Events are not counted, since they are not queued."""
        return sum(connection.waiting_bytes for connection in self._open)

    def add(self, connection: Counted) -> None:
        """Add a connection. The caller must call :meth:`remove` later."""
        self._open[connection] = None
        self._by_address[connection.address] = self._by_address.get(connection.address, 0) + 1
        self.accepted += 1

    def remove(self, connection: Counted) -> None:
        """Remove a connection that has ended, so that it no longer counts against any limit."""
        self._open.pop(connection, None)
        address = connection.address
        self._by_address[address] -= 1
        # No entry stays for an address without connections: there is no end to addresses.
        if not self._by_address[address]:
            del self._by_address[address]
        if connection.user is not None:
            self.places.free(connection.user.id, connection)
        if not self._open:
            self._all_gone.unpark_all()

    def refuse(self, address: str) -> Reject | None:
        """Return a refusal if a new connection from ``address`` exceeds a limit. Return None if none is exceeded.

        The caller must have called :meth:`add` for the new connection before.
        """
        if self.going_away:
            return self._refused("the server is going away")
        if len(self._open) > self._settings.max_connections:
            self._refusals.note(Reason.SERVER_FULL)
            return self._refused("too many connections")
        if self._by_address.get(address, 0) > self._settings.max_connections_per_address:
            self._refusals.note(Reason.ADDRESS_FULL)
            return self._refused("too many connections from this address")
        return None

    def _refused(self, reason: str) -> Reject:
        self.refused += 1
        return Reject(503, reason)

    async def admit(self, user: str, connection: Counted) -> bool:
        """Wait until the user's limit allows this new connection. Return False if the user has too many connections.

        If the user has too many connections, silent connections of the user are closed to make room. This takes
        ``give_way_seconds`` at most. If this is cancelled, the connection is not admitted.
        """
        admitted = await self.places.take(user, connection)
        self.refused += not admitted
        return admitted

    async def send_away(self) -> None:
        """Close all connections with 1001, some at a time, and wait until all have ended.

        If this is cancelled, the connections that were not closed yet stay open.
        """
        self.going_away = True
        # A copy, since connections remove themselves during the pauses. Upgrades that come meanwhile get 503.
        for number, connection in enumerate(tuple(self._open), 1):
            connection.close(close_codes.GOING_AWAY, "the server is going away")
            if number % _GOODBYE_BATCH == 0:
                await trio.sleep(_GOODBYE_SECONDS)
        # A loop: when the last one has gone, another may have come, only to be refused.
        while self._open:
            await self._all_gone.park()
