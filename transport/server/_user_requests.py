"""The limits on requests that come without a connection, by plain HTTP: for each user, their rate and their number."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from transport.protocol.limits import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors.loop.clock import LoopTime
    from transport.settings import Settings


@attrs.define
class _Entry:
    bucket: TokenBucket
    newest: float
    """Time of the user's newest request, on trio's clock."""
    open: int = 0
    """Number of the user's requests that wait for their answer."""


class UserRequests:
    """The rate limit of each user's requests, and the number of them that wait for an answer.

    All requests of a user together have the rate of one connection: ``commands_per_second``, ``commands_burst``. A user
    whose tokens are all there again, and for whom no request waits, is forgotten.
    """

    def __init__(self, settings: Settings, time: LoopTime) -> None:
        self._settings = settings
        self._time = time
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        """The users, with the one of the oldest newest request first."""

    def __len__(self) -> int:
        """Return the number of remembered users."""
        return len(self._entries)

    def waiting_of(self, user: str) -> int:
        """Return the number of the user's requests that wait for their answers."""
        entry = self._entries.get(user)
        return 0 if entry is None else entry.open

    def within_rate(self, user: str) -> bool:
        """Count a request of a user. Return False if the request must be refused."""
        return self._entry(user).bucket.take(trio.current_time(), self._time.lost)

    @contextmanager
    def waiting(self, user: str) -> Generator[bool]:
        """Count a request that waits inside the block. The value is False if too many wait already."""
        entry = self._entry(user)
        if entry.open >= self._settings.max_requests_per_user:
            yield False
            return
        entry.open += 1
        try:
            yield True
        finally:
            entry.open -= 1

    def _entry(self, user: str) -> _Entry:
        now = trio.current_time()
        self._forget(now)
        entry = self._entries.pop(user, None)
        if entry is None:
            settings = self._settings
            bucket = TokenBucket(settings.commands_per_second, settings.commands_burst, now, self._time.lost)
            entry = _Entry(bucket, now)
        self._entries[user] = entry
        entry.newest = now
        return entry

    def _forget(self, now: float) -> None:
        full_after = self._settings.commands_burst / self._settings.commands_per_second
        while self._entries:
            user, entry = next(iter(self._entries.items()))
            if entry.newest + full_after > now:
                return
            if entry.open:
                # Looked at again later. *A start can wait for long, and must not keep the others in memory.*
                entry.newest = now
                self._entries.move_to_end(user)
            else:
                del self._entries[user]
