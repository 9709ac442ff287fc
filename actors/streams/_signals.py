"""Signals (messages that are sent but never stored), and the typing of users and agents."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import orjson
import trio

from actors.loop.boundary import ROOM_FRAMES
from actors.loop.clock import loop_time
from actors.loop.stack import require_room
from actors.streams._listeners import notify_signal

if TYPE_CHECKING:
    from actors.streams._cursor import Cursor


class Typist(StrEnum):
    """The two kinds of participants that can type in a session: the user of a client, or an agent."""

    USER = "user"
    """The user of a client. The typist's id is the id of the client's connection."""
    AGENT = "agent"
    """An agent. The typist's id is the id of the agent's run."""


_NO_TYPING: dict[tuple[Typist, str], float] = {}
"""One empty dict for all sessions in which no user and no agent is typing. The dict is never changed.

A dict of its own would cost each session 64 bytes.
"""


class Signals:
    """The signals of one session: short messages to the attached clients, without numbers. Signals are never replayed.

    This object also keeps the state of typing, which is sent as signals. The typing of a client's user ends after
    ``hold`` seconds, unless the client renews the typing. An agent's typing ends with its run at the latest. While a
    client's user types, one task runs :meth:`expire`.
    """

    __slots__ = ("_hold", "_typing", "cursors", "expiring")

    def __init__(self, cursors: dict[Cursor, None], hold: float) -> None:
        self.cursors = cursors
        self._hold = hold
        self._typing = _NO_TYPING
        self.expiring = False
        """Whether a task is running :meth:`expire` now."""

    def send(self, name: str, data: bytes) -> None:
        """Send a signal to all clients attached to the session. ``data`` is JSON text. This never waits.

        Raise ``RecursionError``, and send nothing, if the call stack is nearly full.
        """
        if self.cursors:
            require_room(ROOM_FRAMES)
            notify_signal(self.cursors, name, data)

    def typing(self) -> tuple[tuple[Typist, str], ...]:
        """Return the users and agents that are typing now, as (kind, id of the connection or run), earliest first."""
        return tuple(self._typing)

    def set_typing(self, by: Typist, id_: str, *, active: bool) -> None:
        """Begin or renew the typing of a connection or run if ``active``; otherwise end the typing.

        A signal is sent to the clients only if the typing begins or ends.
        """
        known = (by, id_) in self._typing
        if active != known:
            require_room(ROOM_FRAMES)  # before the change: if the signal cannot be sent, nothing may change
        if active:
            if not self._typing:  # it may be the dict that all sessions share
                self._typing = {}
            # An agent's typing does not expire: it ends with the agent's run.
            self._typing[by, id_] = loop_time().now() + self._hold if by is Typist.USER else float("inf")
        elif known:
            del self._typing[by, id_]
        if active != known:
            self.send("typing", orjson.dumps({"by": by, "id": id_, "active": active}))

    def next_expiry(self) -> float | None:
        """Return the earliest time at which a user's typing ends. A renewal of the typing moves this time.

        Return None if no user is typing. The typing of an agent does not expire.
        """
        times = [when for when in self._typing.values() if when != float("inf")]
        return min(times, default=None)

    async def expire(self) -> None:
        """End each typing of a user that was not renewed in time. Return when no user is typing any more."""
        self.expiring = True
        try:
            while (when := self.next_expiry()) is not None:
                # In the loop's time: while something holds the loop, a renewal may wait to be read.
                await trio.sleep(max(0.0, when - loop_time().now()))
                now = loop_time().now()
                for by, id_ in [key for key, until in self._typing.items() if until <= now]:
                    self.set_typing(by, id_, active=False)
        finally:
            self.expiring = False
