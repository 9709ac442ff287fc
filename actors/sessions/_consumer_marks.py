"""The positions of a consumer: known ones, and acknowledged ones that the log does not have yet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from actors.eventlog.base import ConsumerPosition, EventLog, StreamKey

STORE_EVENTS, STORE_SECONDS = 256, 1.0
"""Maximum number of handled events, and maximum time in seconds, until their positions are stored.

After a crash, events whose position was not stored come again.
"""
MOST_KNOWN = 10_000
"""Maximum number of positions in memory. Beyond it, the log is asked for positions again."""


class Marks:
    """The positions of the consumer ``name``."""

    def __init__(self, log: EventLog, name: str) -> None:
        self._log = log
        self._name = name
        self._known: dict[str, dict[StreamKey, ConsumerPosition]] = {}  # by user
        self._count = 0
        self._done: dict[StreamKey, ConsumerPosition] = {}  # acknowledged, and not stored yet
        self._told = 0  # lost events that were told, and not stored yet
        self._work, self._store_at = 0, math.inf
        self._storing = trio.Lock()

    @property
    def is_due(self) -> bool:
        """Whether the acknowledged positions must be stored now."""
        return self._work >= STORE_EVENTS or trio.current_time() >= self._store_at

    async def of(self, key: StreamKey) -> ConsumerPosition | None:
        """Return the position in a session. Return None if the session does not exist."""
        return self._known.get(key.user, {}).get(key) or await self.find(key)

    async def find(self, key: StreamKey) -> ConsumerPosition | None:
        """Return the position in a session as the log has it, unless a newer one is acknowledged. None as above."""
        async with self._storing:  # positions that are just being stored are neither here nor surely in the log
            found = await self._log.consumer_positions(self._name, (key,))
        if not found:
            return None
        done = self._done.get(key)
        return done if done is not None and done.epoch == found[0].epoch and done.seq > found[0].seq else found[0]

    def know(self, position: ConsumerPosition) -> None:
        """Keep a position in memory, so that the log is not asked for it again."""
        key = position.key
        some = self._known.get(key.user, {})
        self._count += key not in some
        while self._count > MOST_KNOWN and self._known:
            self.forget_user(next(iter(self._known)))
        self._known.setdefault(key.user, {})[key] = position

    def forget(self, key: StreamKey) -> None:
        """Ask the log for the position in a session when it is needed next."""
        if self._known.get(key.user, {}).pop(key, None) is not None:
            self._count -= 1

    def forget_user(self, user: str) -> None:
        """Ask the log for the positions in a user's sessions when they are needed next.

        *A user went to another node and came back: its events since then would come again.*
        """
        self._count -= len(self._known.pop(user, ()))

    def remove_user(self, user: str) -> None:
        """Forget the positions in all sessions of a user, because the sessions are removed."""
        self.forget_user(user)
        self._done = {key: position for key, position in self._done.items() if key.user != user}

    def acknowledge(self, position: ConsumerPosition, events: int) -> None:
        """Record that the events up to ``position`` are handled. ``events`` is the number of the new ones."""
        key = position.key
        self._done[key] = position
        # A position that was forgotten meanwhile stays so: the log may have a newer one.
        if (known := self._known.get(key.user, {}).get(key)) is not None and known.epoch == position.epoch:
            self._known[key.user][key] = max(known, position, key=lambda each: each.seq)
        self._work += events
        self._store_at = min(self._store_at, trio.current_time() + STORE_SECONDS)

    def tell(self, lost: int) -> None:
        """Record that the consumer was told of lost events."""
        self._told += lost

    async def store(self) -> None:
        """Store the acknowledged positions in the log. If this raises or is cancelled, nothing is forgotten."""
        # One after another: a caller that returns must know that the positions of an earlier call are stored, too.
        async with self._storing:
            if self._done or self._told:
                await self._store()

    async def _store(self) -> None:
        (done, self._done), (told, self._told) = (self._done, {}), (self._told, 0)
        try:
            await self._log.acknowledge(self._name, tuple(done.values()), told)
        except BaseException:
            self._done = {**done, **self._done}
            self._told += told
            raise
        self._work, self._store_at = 0, math.inf
