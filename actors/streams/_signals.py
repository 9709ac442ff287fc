"""Ephemeral signals, which are sent and forgotten, and the typing of users and agents."""

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
    """The kinds of typists: a client's user, or an agent."""

    USER = "user"
    """A client's user, with the id of the connection."""
    AGENT = "agent"
    """An agent, with the id of the run."""


_NO_TYPING: dict[tuple[Typist, str], float] = {}
"""The empty dict of all sessions without typing. Never changed: a dict for each would take 64 bytes."""


class Signals:
    """The signals of one session. They go to the attached clients, are not numbered, and are never replayed.

    A client's typing ends after ``hold`` seconds unless it is renewed. An agent's typing ends with its run at the
    latest. While a client types, one task runs :meth:`expire`.
    """

    __slots__ = ("_hold", "_typing", "cursors", "expiring")

    def __init__(self, cursors: dict[Cursor, None], hold: float) -> None:
        self.cursors = cursors
        self._hold = hold
        self._typing = _NO_TYPING
        self.expiring = False
        """Whether a task runs :meth:`expire`."""

    def send(self, name: str, data: bytes) -> None:
        """Send a signal to all attached clients; ``data`` is JSON text. Never wait.

        Raise ``RecursionError``, and send nothing, if the stack has no room for the listeners.
        """
        if self.cursors:
            require_room(ROOM_FRAMES)
            notify_signal(self.cursors, name, data)

    def typing(self) -> tuple[tuple[Typist, str], ...]:
        """Return the kind and the id (of a connection or a run) of each typist. The first to begin comes first."""
        return tuple(self._typing)

    def set_typing(self, by: Typist, id_: str, *, active: bool) -> None:
        """Begin, renew or end the typing of a connection or run. Send a signal only if something changes."""
        known = (by, id_) in self._typing
        if active != known:
            require_room(ROOM_FRAMES)  # before the change: if the signal cannot be sent, nothing may change
        if active:
            if not self._typing:
                self._typing = {}
            self._typing[by, id_] = loop_time().now() + self._hold if by is Typist.USER else float("inf")
        elif known:
            del self._typing[by, id_]
        if active != known:
            self.send("typing", orjson.dumps({"by": by, "id": id_, "active": active}))

    def next_expiry(self) -> float | None:
        """Return the time at which the next typing ends unless it is renewed; None if there is no such typing."""
        times = [when for when in self._typing.values() if when != float("inf")]
        return min(times, default=None)

    async def expire(self) -> None:
        """End each typing that is not renewed in time. Return when no typing is left that can expire."""
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
