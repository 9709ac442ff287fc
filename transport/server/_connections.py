"""All open connections of an endpoint: their number, and the limits that decide about a new connection."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Protocol

import trio

from transport.auth import REVOKED
from transport.protocol import close_codes
from transport.server._places import Holder, Places
from transport.server.admission import Admission, Admitted

if TYPE_CHECKING:
    from actors import Revocation
    from actors.loop.clock import LoopTime
    from transport.auth import User
    from transport.server._heartbeat import Heartbeat
    from transport.server._refusals import RefusalLog
    from transport.settings import Settings

# Number of connections that a shutdown closes together, and the pause before the next ones. *If all were closed at the
# same time, all would reconnect at the same time, to the other servers behind the same load balancer.*
_GOODBYE_BATCH, _GOODBYE_SECONDS = 100, 0.05
_CODES_OF_CLIENTS = frozenset((1000, close_codes.GOING_AWAY, close_codes.NO_STATUS, close_codes.ABNORMAL))

FORGOTTEN = "the user was forgotten"
"""Reason of the close of a connection if its user was forgotten."""


class Counted(Holder, Admitted, Protocol):
    """The interface of a connection that :class:`Connections` calls."""

    user: User | None
    """The authenticated user. None until the auth function has returned."""

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that wait to be sent to this client. Events are not counted, since they are not queued."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close the connection with ``code``. Never waits."""


class Connections(Admission[Counted]):
    """All open connections of one endpoint, and the limits on their number: in all, of each address, of each user."""

    def __init__(self, settings: Settings, heartbeat: Heartbeat, time: LoopTime, refusals: RefusalLog) -> None:
        super().__init__(settings, refusals)
        self.places = Places(settings.max_connections_per_user, settings.give_way_seconds, heartbeat, time)
        """The limit on the connections of each user."""
        self.revoked = 0
        """Number of connections closed or refused because their token was revoked."""
        self._gone_by = math.inf
        """The time at which all connections must have ended, since the server shuts down."""
        self.signals_dropped = 0
        """Number of signals that were dropped because too many waited for a slow client."""
        self.closes: Counter[str] = Counter()
        """Number of WebSockets that have ended, by close code; see :func:`code_of`."""
        self.resumes: Counter[str] = Counter()
        """Number of clients that came back with a position, by result: ``recovered``, or the reason of the reset."""

    @property
    def waiting_bytes(self) -> int:
        """Number of bytes that wait to be sent to all clients. Events are not counted, since they are not queued."""
        return sum(connection.waiting_bytes for connection in self)

    def remove(self, connection: Counted) -> bool:
        """Remove a connection that has ended, so that it no longer counts against any limit.

        Return False if the connection was removed already.
        """
        if not super().remove(connection):
            return False
        if connection.user is not None:
            self.places.free(connection.user.id, connection)
        return True

    async def admit(self, user: str, connection: Counted) -> bool:
        """Wait until the user's limit allows this new connection. Return False if the user has too many connections.

        If the user has too many connections, silent connections of the user are closed to make room. The call takes
        ``give_way_seconds`` at most. If the call is cancelled, the connection is not admitted.
        """
        admitted = await self.places.take(user, connection)
        if not admitted:
            self.refused += 1
        return admitted

    def close_revoked(self, revocation: Revocation) -> int:
        """Close all connections that have a revoked token. Return their number."""
        found = [each for each in self if _is_covered(each.user, revocation) and each.waits()]
        for each in found:
            each.close(close_codes.NOT_AUTHENTICATED, REVOKED)
        self.revoked += len(found)
        return len(found)

    def close_forgotten(self, user: str) -> int:
        """Close all connections of a user, because everything of the user is removed. Return their number."""
        found = [each for each in self if each.user is not None and each.user.id == user and each.waits()]
        for each in found:
            each.close(close_codes.SESSION_CLOSED, FORGOTTEN)
        return len(found)

    def closed_by(self, seconds: float) -> float:
        """Return the time by which a connection must be closed, if its close begins now and may take ``seconds``."""
        return min(trio.current_time() + seconds, self._gone_by)

    async def send_away(self, seconds: float) -> None:
        """Close all connections with 1001, some at a time, and wait until all have ended.

        After ``seconds``, the rest is closed at once, and no client's answer is waited for. If the call is cancelled,
        the connections that were not closed yet stay open.
        """
        self.going_away = True
        self._gone_by = self.closed_by(seconds)
        # Connections remove themselves during the pauses. Upgrades that come meanwhile get 503.
        for number, connection in enumerate(self, 1):
            connection.close(close_codes.GOING_AWAY, "the server is going away")
            if number % _GOODBYE_BATCH == 0:
                await trio.sleep_until(self.closed_by(_GOODBYE_SECONDS))
        with trio.move_on_at(self._gone_by):
            await self.wait_all_gone()
        for connection in self:  # their close had begun before, and could take longer
            connection.drop()
        await self.wait_all_gone()


def _is_covered(user: User | None, revocation: Revocation) -> bool:
    return user is not None and revocation.covers(user.id, user.token_id, user.issued)


def code_of(end: BaseException) -> str:
    """Return the code with which a client has closed its WebSocket, as it is counted.

    Args:
        end: The exception of the wire. Only that of trio-websocket has the client's close frame.

    Returns:
        The code, or ``1006`` without a close frame, or ``other`` for a code that clients rarely have a reason to send.
        *A client can send any code: counted by itself, each would be a time series of its own.*
    """
    code = getattr(getattr(end, "reason", None), "code", close_codes.ABNORMAL)
    return str(int(code)) if code in _CODES_OF_CLIENTS else "other"
