"""What is shown and forgotten: ephemeral signals, and who is typing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import trio

from actors.loop.boundary import ROOM_FRAMES
from actors.loop.clock import loop_time
from actors.loop.stack import require_room
from actors.streams._listeners import notify_signal

if TYPE_CHECKING:
    from actors.streams._cursor import Cursor

_NO_TYPING: dict[tuple[str, str], float] = {}
"""Shared by all sessions in which nobody types, and never changed: a dict of its own is 64 bytes for each."""


class Signals:
    """Sends signals to whoever is attached now, and keeps who is typing. Never numbered, never replayed, never waits.

    A client's typing ends by itself after ``hold`` seconds unless it is renewed; an agent's ends with its run at the
    latest. One task, only while a client types, watches the time: :meth:`expire`.
    """

    __slots__ = ("_hold", "_typing", "cursors", "expiring")

    def __init__(self, cursors: dict[Cursor, None], hold: float) -> None:
        self.cursors = cursors
        self._hold = hold
        self._typing = _NO_TYPING
        self.expiring = False
        """Whether a task is in :meth:`expire`."""

    def send(self, name: str, data: bytes) -> None:
        """Signal everyone attached; ``data`` is a JSON object. Raises ``RecursionError`` before anybody is told."""
        if self.cursors:
            require_room(ROOM_FRAMES)
            notify_signal(self.cursors, name, data)

    def typing(self) -> tuple[tuple[str, str], ...]:
        """List who is typing: (``user`` or ``agent``, connection or run), in order of beginning."""
        return tuple(self._typing)

    def set_typing(self, by: str, who: str, *, active: bool) -> None:
        """Begin, renew or end someone's typing; only a change is signalled."""
        known = (by, who) in self._typing
        if active != known:
            require_room(ROOM_FRAMES)
        if active:
            if not self._typing:
                self._typing = {}
            self._typing[by, who] = loop_time().now() + self._hold if by == "user" else float("inf")
        elif known:
            del self._typing[by, who]
        if active != known:
            self.send("typing", orjson.dumps({"by": by, "id": who, "active": active}))

    def next_expiry(self) -> float | None:
        """Say when the next typing ends by itself, None when none will."""
        times = [when for when in self._typing.values() if when != float("inf")]
        return min(times, default=None)

    async def expire(self) -> None:
        """End what is not renewed in time, until nothing is left that could expire."""
        self.expiring = True
        try:
            while (when := self.next_expiry()) is not None:
                # In the loop's time: what renews it may wait to be read while something holds the loop.
                await trio.sleep(max(0.0, when - loop_time().now()))
                now = loop_time().now()
                for by, who in [key for key, until in self._typing.items() if until <= now]:
                    self.set_typing(by, who, active=False)
        finally:
            self.expiring = False
