"""The limit on the bytes that the log keeps of each user: beyond it, the user's oldest events are trimmed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from actors.errors import Trimmed
from actors.eventlog.base import BY_AGE_ALONE
from actors.events.line import timestamp
from actors.loop.boundary import attempted
from actors.streams._accounts import SLACK

if TYPE_CHECKING:
    from actors.eventlog.base import EventLog, Head, StreamKey
    from actors.sessions._spawner import SessionSpawner
    from actors.streams._accounts import Accounts, UserAccount

PAUSE_SECONDS = 0.25
"""Minimum time between two searches for events to trim, in seconds. A search reads the log."""
CANDIDATES = 16
"""Number of sessions among which a search looks for the oldest events at once."""
ROUNDS = 64
"""Maximum number of searches for one user before the next user's turn."""
PAGE_EVENTS, PAGE_BYTES = 4_000, 1024 * 1024
"""Maximum number and size of the events that a search reads of one session at once."""


@attrs.frozen
class _Page:
    """The oldest events of one session that may be trimmed, as pairs of ``ts`` (in ms) and size (in bytes)."""

    key: StreamKey
    events: list[tuple[int, int]]
    until: float
    """The ``ts`` up to which all events that may be trimmed are in this page; infinity if all of them are in it."""


class UserRetention:
    """The task that trims the oldest events of each user with more than ``most`` bytes in the log.

    Events of open runs are not trimmed, and neither are later events of the same session. If these alone exceed the
    limit, the user's account is full, and the user can start no runs.
    """

    def __init__(self, log: EventLog, accounts: Accounts, spawner: SessionSpawner, most: int) -> None:
        self._log = log
        self._accounts = accounts
        self._spawner = spawner
        self._most = most

    async def run(self) -> None:
        """Trim the events of each user beyond the limit, one user after another, until cancelled."""
        while True:
            user = await self._accounts.over.next()
            # An engine may fail in any way. That must not end the sessions in memory.
            await attempted("the trimming of a user's oldest events", self.trim, user)
            await trio.sleep(PAUSE_SECONDS)

    async def trim(self, user: str) -> None:
        """Trim the user's oldest events, if the user exceeds the limit. Note in the account whether it is still full.

        Raises:
            LogError: The log failed.

        Cancellation: some of the events are trimmed.
        """
        account = self._accounts.find(user)
        if account is None:
            return
        async with account.asking():
            size, found = await self._size(user, account), True
            if size > self._most:
                account.reached("retain_user_bytes")
                target = self._most - self._most // SLACK
                rounds = 0
                # Measured each time: a trim may drop more than was found, and events come meanwhile.
                while found and size > target and rounds < ROUNDS:
                    found = await self._trim_some(user, size - target)
                    size = await self._size(user, account)
                    rounds += 1
            account.is_full = size > self._most and not found
            if size > self._most and found:
                account.on_over()  # events came faster, or a session is just being made: try again

    async def _size(self, user: str, account: UserAccount) -> int:
        """Return the size of the user's part of the log in bytes, and correct the account, which only adds."""
        before = account.size
        usage = await self._log.usage(user)
        # Events that were committed meanwhile are counted twice at worst.
        account.size += usage.size - before
        return usage.size

    async def _trim_some(self, user: str, excess: int) -> bool:
        """Trim up to ``excess`` bytes of the user's oldest events. Return whether there was an event to trim.

        Events of one session with the same ``ts`` are trimmed together.
        """
        pages, bound = await self._oldest_pages(user)
        found = sorted(each for page in pages for each in page.events if each[0] <= bound)
        freed = until = 0
        for ts, size in found:
            if freed >= excess and ts > until:
                break
            freed, until = freed + size, ts
        for page in pages:
            if page.events[0][0] <= until:
                await self._drop(page.key, min(until, page.events[-1][0]))
        return bool(found)

    async def _oldest_pages(self, user: str) -> tuple[list[_Page], float]:
        """Return the beginnings of the user's oldest sessions, and the ``ts`` up to which they have all events."""
        protected = self._spawner.table.open_since(user)
        limit = CANDIDATES + len(protected)
        keys = await self._log.oldest_streams(user, limit)
        pages: list[_Page] = []
        bound = math.inf
        for key in keys:
            head = await self._log.head(key)
            if head is None or head.oldest > head.latest:
                continue
            # The sessions that were not returned have no older event than the last one that was.
            bound = head.oldest_ts if len(keys) == limit and key == keys[-1] else bound
            page = await self._page(key, head, protected.get(key, math.inf))
            if page.events:
                pages.append(page)
        return pages, min([bound, *(page.until for page in pages)])

    async def _page(self, key: StreamKey, head: Head, protected_since: float) -> _Page:
        try:
            lines = await self._log.read(key, head.oldest - 1, PAGE_EVENTS, PAGE_BYTES)
        except (KeyError, Trimmed):  # retention was faster
            lines = ()
        events = [(timestamp(line), len(line)) for line in lines]
        free = [each for each in events if each[0] < protected_since]
        is_whole = len(free) < len(events) or head.oldest + len(lines) > head.latest
        return _Page(key, free, math.inf if is_whole or not free else free[-1][0])

    async def _drop(self, key: StreamKey, until: int) -> None:
        """Trim the session's events with a ``ts`` of at most ``until``."""
        with self._spawner.reserve(key) as reserved:
            if reserved:
                await self._log.trim(key, BY_AGE_ALONE, until + 1)
                return
        session = self._spawner.table.living(key)
        if session is not None:
            await session.stream.trim_until(until)
