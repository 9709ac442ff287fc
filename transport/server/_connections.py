"""The connections that are open: how many they are, and whether one more is let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from transport.protocol import close_codes
from transport.protocol.handshake import Reject
from transport.server._places import Holder, Places

if TYPE_CHECKING:
    from actors.loop.clock import LoopTime
    from transport.auth import User
    from transport.server._heartbeat import Heartbeat
    from transport.settings import Settings

# Connections that are closed at once in a drain, and the pause before the next ones. *If all were closed at once, all
# would come back at once, to the other servers behind the same load balancer.*
_GOODBYE_BATCH, _GOODBYE_SECONDS = 100, 0.05


class Counted(Holder, Protocol):
    """A connection, as the table of connections sees it."""

    user: User | None
    """The user, once admitted."""

    @property
    def address(self) -> str:
        """The peer's address."""
        ...

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that wait for this client, except events."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection with ``code``. Never waits."""


class Connections:
    """All open connections of one endpoint, those in their handshake included, and the limits on their number.

    A connection is added before its upgrade request is read, and removed when it has ended, whatever happened to it.
    """

    def __init__(self, settings: Settings, heartbeat: Heartbeat, time: LoopTime) -> None:
        self._settings = settings
        self.places = Places(settings.max_connections_per_user, settings.give_way_seconds, heartbeat, time)
        """The places of each user."""
        self._open: dict[Counted, None] = {}
        self._by_address: dict[str, int] = {}
        self._all_gone = trio.lowlevel.ParkingLot()
        self.going_away = False
        """Whether the server goes away: no further connection is let in."""
        self.accepted = 0
        """Connections accepted since the start."""
        self.refused = 0
        """Connections refused because there were too many."""
        self.signals_dropped = 0
        """Signals dropped because newer ones came before they could be written."""

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that wait for all clients, except events."""
        return sum(connection.waiting_bytes for connection in self._open)

    def add(self, connection: Counted) -> None:
        """Count one more connection. :meth:`remove` must follow."""
        self._open[connection] = None
        self._by_address[connection.address] = self._by_address.get(connection.address, 0) + 1
        self.accepted += 1

    def remove(self, connection: Counted) -> None:
        """Count a connection no longer, and free its user's place."""
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
        """Return the answer to an upgrade from ``address`` that is over a limit. Return None if it is within all.

        The new connection is counted already.
        """
        if self.going_away:
            reason = "the server is going away"
        elif len(self._open) > self._settings.max_connections:
            reason = "too many connections"
        elif self._by_address.get(address, 0) > self._settings.max_connections_per_address:
            reason = "too many connections from this address"
        else:
            return None
        self.refused += 1
        return Reject(503, reason)

    async def admit(self, user: str, connection: Counted) -> bool:
        """Give the connection one of its user's places. Return False if there is none.

        Waits while silent connections of the user may still give way, for ``give_way_seconds`` at most. Cancelled: the
        connection has no place.
        """
        admitted = await self.places.take(user, connection)
        self.refused += not admitted
        return admitted

    async def send_away(self) -> None:
        """Close all connections with 1001, in batches, and wait until they are gone. Cancelled: the rest stays."""
        self.going_away = True
        # A copy, since connections remove themselves during the pauses. Those that come meanwhile get 503.
        for number, connection in enumerate(tuple(self._open), 1):
            connection.close(close_codes.GOING_AWAY, "the server is going away")
            if number % _GOODBYE_BATCH == 0:
                await trio.sleep(_GOODBYE_SECONDS)
        # A loop: when the last one has gone, another may have come, only to be refused.
        while self._open:
            await self._all_gone.park()
