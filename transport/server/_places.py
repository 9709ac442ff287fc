"""The limit on the connections of each user. Silent connections are closed to make room for new connections.

*If a browser tab changes its network, the server keeps the tab's old connection for half a minute. If that connection
counted like other connections, the tab could not reconnect, and would not try again.*
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from actors.failures import log_failure, shown
from actors.loop.one_shot import OneShot

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.loop.clock import LoopTime
    from transport.server._heartbeat import Heartbeat

logger = logging.getLogger("greenroom.connections")


class Holder(Protocol):
    """The interface of a connection that :class:`Places` calls. Its methods must not wait or raise."""

    def probe(self, on_frame: Callable[[], None]) -> bool:
        """Ping the client now, and call ``on_frame`` when the client's next frame arrives.

        Return False if the client has got no welcome yet: such a client need not answer, so silence shows nothing.
        """
        ...

    def give_way(self) -> None:
        """Close this silent connection, to make room for a newer connection of the same user."""

    def waits(self) -> bool:
        """Return whether the client of this new connection is still there. If not, it needs no place."""
        ...


class Places:
    """The limit on the connections of each user: ``limit`` places (permissions), one for each connection.

    A place is the permission for one connection. If no place is free for a new connection, the user's other connections
    are pinged. A connection that stays silent for ``seconds`` is closed, and its place becomes free. This procedure is
    called a round. All new connections that come during a round wait for its result. The new connections get the free
    places in the order in which they came.
    """

    def __init__(self, limit: int, seconds: float, heartbeat: Heartbeat, time: LoopTime) -> None:
        self._limit = limit
        self.seconds = seconds
        self.time = time
        self._heartbeat = heartbeat
        self._holders: dict[str, dict[Holder, None]] = {}
        self._rounds: dict[str, _Round] = {}
        self.gave_way = 0
        """Number of silent connections that were closed to make room for newer connections."""

    def __len__(self) -> int:
        """Return the number of users that have at least one connection."""
        return len(self._holders)

    async def take(self, user: str, holder: Holder) -> bool:
        """Give a new connection one of the user's places (permissions). Return False if no place is or becomes free.

        Waits for ``seconds`` at most, while silent connections of the user are closed. If the call is cancelled, the
        connection has no place.
        """
        holders = self._holders.setdefault(user, {})
        if len(holders) < self._limit:
            holders[holder] = None
            return True
        return await self._round(user).wait(holder)

    def free(self, user: str, holder: Holder) -> None:
        """Take the place (permission) from an ended connection, and give it to the first waiting connection.

        Does nothing if the connection has no place.
        """
        holders = self._holders.get(user, {})
        if holder not in holders:
            return
        del holders[holder]
        current = self._rounds.get(user)
        if current is not None:
            current.on_freed(holder, holders)
        # Looked at only now: the round may have put a waiting connection into the place.
        if not holders:
            del self._holders[user]

    def _round(self, user: str) -> _Round:
        """Return the round (the search for silent connections) that runs for this user. Start one if none runs."""
        current = self._rounds.get(user)
        if current is None:
            current = self._rounds[user] = _Round(self, user)
            self._heartbeat.add(current, trio.current_time() + self.seconds)
            current.probe(tuple(self._holders[user]))
        return current

    def has(self, user: str, holder: Holder) -> bool:
        """Return whether the connection has one of the user's places (permissions to connect)."""
        return holder in self._holders.get(user, ())

    def forget(self, user: str, current: _Round) -> None:
        """Remove the user's round (a search for silent connections), since it has ended."""
        if self._rounds.get(user) is current:
            del self._rounds[user]
            self._heartbeat.remove(current)


class _Round:
    """One search for silent connections of one user, to free their places (permissions to connect) for new connections.

    Each connection with a place is pinged. The round knows the connections that have not answered yet, and the new
    connections that wait for a place.
    """

    def __init__(self, places: Places, user: str) -> None:
        self._places = places
        self._user = user
        self._silent: dict[Holder, None] = {}
        self._waiting: dict[Holder, OneShot[bool]] = {}
        """The new connections that wait, each with the result that it waits for.

        The value becomes True if the connection gets a place (permission), and False if the connection is refused.
        """
        self._ends = places.time.now() + places.seconds

    async def wait(self, holder: Holder) -> bool:
        """Wait for the end of this round. Return whether the new connection got a place (permission to connect).

        If the call is cancelled, the connection has no place, and the next waiting connection can get one.
        """
        decided = self._waiting[holder] = OneShot[bool]()
        if not self._silent:  # nothing to find out: each holder has answered, or cannot be judged yet
            self._finish()
        try:
            return await decided.wait()
        except trio.Cancelled:
            self._withdraw(holder)
            raise

    def probe(self, holders: tuple[Holder, ...]) -> None:
        """Ping the clients of these connections, and note each connection as silent until its client answers."""
        for holder in holders:
            self._silent[holder] = None
            if not holder.probe(partial(self._on_answer, holder)):
                del self._silent[holder]

    def beat(self, now: float) -> float | None:
        """Close the silent connections if this round's time is up. Give their places to waiting connections.

        Connections that then still have no place are refused. Returns the time of the next check, or None if the round
        has ended.
        """
        # As in a limit: bytes that came while the loop stood still are read before a client is judged.
        if (left := self._ends - self._places.time.now()) > 0:
            return now + left
        self._dismiss_gone()
        # With no connection waiting any more, none gives way. Otherwise all silent ones do, also if fewer wait: their
        # clients are gone, and the places are free for the next.
        for holder in tuple(self._silent if self._waiting else ()):
            self._places.gave_way += 1
            holder.give_way()
            self._places.free(self._user, holder)
        self._finish()
        return None

    def on_failed(self, error: BaseException) -> None:
        """End this round, because its :meth:`beat` raised ``error``. New connections that still wait are refused."""
        log_failure(logger, "connections of user %s could not be asked to give way", shown(self._user), error=error)
        self._finish()

    def on_freed(self, holder: Holder, holders: dict[Holder, None]) -> None:
        """Give the place (permission) of the ended connection ``holder`` to the first waiting connection, if any."""
        self._silent.pop(holder, None)
        self._dismiss_gone()
        if self._waiting:
            first = next(iter(self._waiting))
            holders[first] = None
            self._waiting.pop(first).set(True)
        self._finish_if_decided()

    def _dismiss_gone(self) -> None:
        """Refuse the waiting connections that have lost their client, since permission would be useless for them."""
        for holder in [holder for holder in self._waiting if not holder.waits()]:
            self._waiting.pop(holder).set(False)

    def _on_answer(self, holder: Holder) -> None:
        self._silent.pop(holder, None)
        self._finish_if_decided()

    def _finish_if_decided(self) -> None:
        # Every client has answered, or every connection that waited has its place.
        if not (self._silent and self._waiting):
            self._finish()

    def _withdraw(self, holder: Holder) -> None:
        if self._waiting.pop(holder, None) is not None:
            self._finish_if_decided()
        else:  # it got a place just before it was cancelled
            self._places.free(self._user, holder)

    def _finish(self) -> None:
        self._places.forget(self._user, self)
        self._silent.clear()
        waiting, self._waiting = self._waiting, {}
        for decided in waiting.values():
            decided.set(False)
