"""All open connections of an endpoint: their number, and the limits that decide about a new connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from transport.protocol import close_codes
from transport.protocol.handshake import Reject
from transport.server._places import Holder, Places
from transport.server._refusals import Reason
from transport.server._silent import SilentConnections

if TYPE_CHECKING:
    from actors.loop.clock import LoopTime
    from transport.auth import User
    from transport.server._heartbeat import Heartbeat
    from transport.server._refusals import RefusalLog
    from transport.settings import Settings

# Number of connections that a shutdown closes together, and the pause before the next ones. *If all were closed at the
# same time, all would reconnect at the same time, to the other servers behind the same load balancer.*
_GOODBYE_BATCH, _GOODBYE_SECONDS = 100, 0.05
MAX_WITHOUT_ROOM = 64
"""Maximum number of connections beyond a limit that have sent no request yet. Each will get 503 as its answer.

If there are more such connections, the oldest of them are dropped without an answer.
"""
_WORDS = {Reason.SERVER_FULL: "too many connections", Reason.ADDRESS_FULL: "too many connections from this address"}


class Counted(Holder, Protocol):
    """The interface of a connection that :class:`Connections` calls."""

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

    def drop(self) -> None:
        """Close the socket without an answer. Never waits."""


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
        self._silent = SilentConnections[Counted]()
        """The connections within the limits that have sent no complete request yet."""
        self._without_room: dict[Counted, None] = {}
        """The connections that were beyond a limit when they came. They do not count against any limit."""
        self._all_gone = trio.lowlevel.ParkingLot()
        self.going_away = False
        """Whether the server is shutting down, so that no more connections are accepted."""
        self.accepted = 0
        """Number of connections accepted since the start."""
        self.refused = 0
        """Number of connections refused because there were too many."""
        self.silent_dropped = 0
        """Number of connections dropped before their request, to make room for newer connections."""
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
        """Add a connection. The caller must call :meth:`remove` later.

        If a limit is reached, the oldest connections that have sent no request are dropped to make room. If there are
        no such connections, this connection gets no room: :meth:`refuse` will refuse its request.
        """
        self._make_room(connection.address)
        has_room = self._full(connection.address) is None
        self._open[connection] = None
        self.accepted += 1
        if has_room:
            self._give_room(connection)
            self._silent.add(connection)
            return
        self._without_room[connection] = None
        if len(self._without_room) > MAX_WITHOUT_ROOM:
            self._drop(next(iter(self._without_room)))

    def remove(self, connection: Counted) -> None:
        """Remove a connection that has ended, so that it no longer counts against any limit.

        Do nothing if the connection was removed already.
        """
        if connection not in self._open:
            return
        del self._open[connection]
        self._silent.discard(connection)
        if connection in self._without_room:
            del self._without_room[connection]
        else:
            self._take_room(connection.address)
        if connection.user is not None:
            self.places.free(connection.user.id, connection)
        if not self._open:
            self._all_gone.unpark_all()

    def refuse(self, connection: Counted) -> Reject | None:
        """Return a refusal if a connection is beyond a limit. Return None if the connection is allowed.

        This is called when the connection's request has come. From now on the connection is not dropped to make room.
        """
        self._silent.discard(connection)
        if self.going_away:
            return self._refused("the server is going away")
        if connection not in self._without_room:
            return None
        full = self._full(connection.address)
        if full is None:  # another connection has ended meanwhile
            del self._without_room[connection]
            self._give_room(connection)
            return None
        self._refusals.note(full)
        return self._refused(_WORDS[full])

    def _full(self, address: str) -> Reason | None:
        """Return the limit that leaves no room for a new connection from ``address``. Return None if there is room."""
        if self._by_address.get(address, 0) >= self._settings.max_connections_per_address:
            return Reason.ADDRESS_FULL
        if len(self._open) - len(self._without_room) >= self._settings.max_connections:
            return Reason.SERVER_FULL
        return None

    def _make_room(self, address: str) -> None:
        """Drop the oldest connections without a request, until there is room for a new connection from ``address``.

        Stop if no such connection is left.
        """
        while (full := self._full(address)) is not None:
            oldest = self._silent.oldest(address if full is Reason.ADDRESS_FULL else None)
            if oldest is None:
                return
            self._drop(oldest)

    def _give_room(self, connection: Counted) -> None:
        self._by_address[connection.address] = self._by_address.get(connection.address, 0) + 1

    def _take_room(self, address: str) -> None:
        self._by_address[address] -= 1
        # No entry stays for an address without connections: there is no end to addresses.
        if not self._by_address[address]:
            del self._by_address[address]

    def _drop(self, connection: Counted) -> None:
        # It is removed now, and not by its own task later: the next connection is counted before that task runs.
        self.remove(connection)
        self.silent_dropped += 1
        self._refusals.note(Reason.SILENT)
        connection.drop()

    def _refused(self, reason: str) -> Reject:
        self.refused += 1
        return Reject(503, reason)

    async def admit(self, user: str, connection: Counted) -> bool:
        """Wait until the user's limit allows this new connection. Return False if the user has too many connections.

        If the user has too many connections, silent connections of the user are closed to make room. The call takes
        ``give_way_seconds`` at most. If the call is cancelled, the connection is not admitted.
        """
        admitted = await self.places.take(user, connection)
        self.refused += not admitted
        return admitted

    async def send_away(self) -> None:
        """Close all connections with 1001, some at a time, and wait until all have ended.

        If the call is cancelled, the connections that were not closed yet stay open.
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
