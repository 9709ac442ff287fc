"""The limits on the number of connections to a port: of all clients together, and of each address."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio

from transport.protocol.addresses import counted_as
from transport.protocol.forwarded import Proxies
from transport.protocol.handshake import Reject
from transport.server._refusals import Reason
from transport.server._silent import SilentConnections

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from transport.server._refusals import RefusalLog
    from transport.settings import Settings

MAX_WITHOUT_ROOM = 64
"""Maximum number of connections beyond a limit that have sent no request yet. Each will get 503 as its answer.

If there are more such connections, the oldest of them are dropped without an answer.
"""
MAX_LINGERING = 64
"""Maximum number of connections that have ended and still wait, so that their clients can read the last words.

If there are more such connections, the oldest of them are closed at once.
"""
_WORDS = {Reason.SERVER_FULL: "too many connections", Reason.ADDRESS_FULL: "too many connections from this address"}


class Admitted(Protocol):
    """The interface of a connection that :class:`Admission` calls."""

    @property
    def address(self) -> str:
        """Network address of the client. Until a trusted proxy has named the client, the proxy's address."""
        ...

    @address.setter
    def address(self, address: str) -> None: ...

    def drop(self) -> None:
        """Close the socket without an answer. Never waits."""


C = TypeVar("C", bound=Admitted)


class Admission(Generic[C]):
    """All open connections of one port, and the limits on their number.

    A connection is added before its request is read, so connections that have sent nothing count too. A connection that
    has ended for any reason is removed. An IPv6 address counts by its network of 64 bits. A connection from a trusted
    proxy (``forwarded_allow``) counts for no address until its client is known: :meth:`move` counts it for this client.
    """

    def __init__(self, settings: Settings, refusals: RefusalLog) -> None:
        self._settings = settings
        self._refusals = refusals
        self._proxies = Proxies(settings.forwarded_allow or ())
        self._open: dict[C, None] = {}
        self._by_address: dict[str, int] = {}
        self._of_proxies: set[C] = set()
        """The connections from trusted proxies that are not counted for a client yet."""
        self._silent = SilentConnections[C]()
        """The connections within the limits that have sent no complete request yet."""
        self._without_room: dict[C, None] = {}
        """The connections that were beyond a limit when they came. They do not count against any limit."""
        self._lingering: dict[C, None] = {}
        """The connections that have ended, and only wait for their clients. They do not count against any limit."""
        self.may_linger = True
        """Whether ended connections wait for their clients. False while the server ends."""
        self._all_gone = trio.lowlevel.ParkingLot()
        self.going_away = False
        """Whether the server is shutting down, so that no more connections are accepted."""
        self.accepted = 0
        """Number of connections accepted since the start."""
        self.refused: int = 0
        """Number of connections refused because there were too many."""
        self.silent_dropped = 0
        """Number of connections dropped before their request, to make room for newer connections."""

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def __iter__(self) -> Iterator[C]:
        """Iterate over the open connections. Connections may come and go meanwhile."""
        return iter(tuple(self._open))

    def add(self, connection: C) -> None:
        """Add a connection. The caller must call :meth:`remove` later.

        If a limit is reached, the oldest connections that have sent no request are dropped to make room. If there are
        no such connections, this connection gets no room: :meth:`refuse` will refuse its request.
        """
        self._open[connection] = None
        self.accepted += 1
        if self._proxies.trusts(connection.address):
            self._of_proxies.add(connection)
        self._place(connection)

    def move(self, connection: C, address: str) -> None:
        """Count a connection from a trusted proxy for ``address``, its client's.

        The connection gets room there as a new connection does, and counts as silent. Do nothing if the connection was
        removed already.
        """
        if connection not in self._open:
            return
        self._displace(connection)
        self._of_proxies.discard(connection)
        connection.address = address
        self._place(connection)

    def awaits_client(self, connection: C) -> bool:
        """Return whether a connection came from a trusted proxy, and is not counted for a client yet."""
        return connection in self._of_proxies

    def remove(self, connection: C) -> bool:
        """Remove a connection that has ended, so that it no longer counts against any limit.

        Return False if the connection was removed already.
        """
        if connection not in self._open:
            return False
        del self._open[connection]
        self._displace(connection)
        self._of_proxies.discard(connection)
        if not self._open:
            self._all_gone.unpark_all()
        return True

    def refuse(self, connection: C) -> Reject | None:
        """Return a refusal if a connection is beyond a limit. Return None if the connection is allowed.

        This is called when the connection's request has come. From now on the connection is not dropped to make room.
        """
        self._silent.discard(connection)
        if self.going_away:
            return self._refused("the server is going away")
        if connection not in self._without_room:
            return None
        full = self._full(self._counted(connection))
        if full is None:  # another connection has ended meanwhile
            del self._without_room[connection]
            self._give_room(connection)
            return None
        self._refusals.note(full)
        return self._refused(_WORDS[full])

    def await_request(self, connection: C) -> None:
        """Count an allowed connection as silent until its next request: from now on it can be dropped to make room.

        Do nothing if the connection was removed already.
        """
        if connection in self._open:
            self._silent.add(connection, self._counted(connection))

    @contextmanager
    def lingering(self, connection: C) -> Generator[None]:
        """Keep a connection that was removed for the time of the block, so that its client can read the last words.

        If there are too many such connections, the oldest is dropped.
        """
        self._lingering[connection] = None
        while len(self._lingering) > (MAX_LINGERING if self.may_linger else 0):
            self._drop_lingering()
        try:
            yield
        finally:
            self._lingering.pop(connection, None)

    def end_lingering(self) -> None:
        """Drop all connections that have ended and still wait for their clients, since the server ends."""
        self.may_linger = False
        while self._lingering:
            self._drop_lingering()

    async def wait_all_gone(self) -> None:
        """Wait until no connection is open."""
        # A loop: when the last one has gone, another may have come, only to be refused.
        while self._open:
            await self._all_gone.park()

    def _drop_lingering(self) -> None:
        oldest = next(iter(self._lingering))
        del self._lingering[oldest]
        oldest.drop()

    def _place(self, connection: C) -> None:
        """Give room to a silent connection. If there is none, keep the connection without room, for a short time."""
        self._without_room[connection] = None  # it counts against no limit, while room is made for it
        address = self._counted(connection)
        self._make_room(address)
        if self._full(address) is None:
            del self._without_room[connection]
            self._give_room(connection)
            self._silent.add(connection, address)
        elif len(self._without_room) > MAX_WITHOUT_ROOM:
            self._drop(next(iter(self._without_room)))

    def _displace(self, connection: C) -> None:
        """Take a connection from its place among those with or without room."""
        self._silent.discard(connection)
        if connection in self._without_room:
            del self._without_room[connection]
        else:
            self._take_room(self._counted(connection))

    def _counted(self, connection: C) -> str | None:
        """Return the name under which the address of a connection is counted. Return None if it is not counted."""
        return None if connection in self._of_proxies else counted_as(connection.address)

    def _full(self, address: str | None) -> Reason | None:
        """Return the limit that leaves no room for a new connection from ``address``. Return None if there is room."""
        if address is not None and self._by_address.get(address, 0) >= self._settings.max_connections_per_address:
            return Reason.ADDRESS_FULL
        if len(self._open) - len(self._without_room) >= self._settings.max_connections:
            return Reason.SERVER_FULL
        return None

    def _make_room(self, address: str | None) -> None:
        """Drop the oldest connections without a request, until there is room for a new connection from ``address``.

        Stop if no such connection is left.
        """
        while (full := self._full(address)) is not None:
            oldest = self._silent.oldest(address if full is Reason.ADDRESS_FULL else None)
            if oldest is None:
                return
            self._drop(oldest)

    def _give_room(self, connection: C) -> None:
        if (address := self._counted(connection)) is not None:
            self._by_address[address] = self._by_address.get(address, 0) + 1

    def _take_room(self, address: str | None) -> None:
        if address is None:
            return
        self._by_address[address] -= 1
        # No entry stays for an address without connections: there is no end to addresses.
        if not self._by_address[address]:
            del self._by_address[address]

    def _drop(self, connection: C) -> None:
        # It is removed now, and not by its own task later: the next connection is counted before that task runs.
        self.remove(connection)
        self.silent_dropped += 1
        self._refusals.note(Reason.SILENT)
        connection.drop()

    def _refused(self, reason: str) -> Reject:
        self.refused += 1
        return Reject(503, reason)
