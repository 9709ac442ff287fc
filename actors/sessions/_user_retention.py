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
from actors.sessions._custody import Alone
from actors.streams._accounts import SLACK

if TYPE_CHECKING:
    from actors.eventlog.base import EventLog, Head, StreamKey
    from actors.sessions._custody import Custody
    from actors.sessions._spawner import SessionSpawner
    from actors.streams._accounts import Accounts, UserAccount

PAUSE_SECONDS = 0.25
"""Time between the trimming of two users' events, in seconds. A search for events to trim reads the log."""
CANDIDATES = 16
"""Number of sessions that one search for the oldest events reads, not counting sessions with open runs."""
ROUNDS = 64
"""Maximum number of searches for one user before the events of the next user are trimmed."""
PAGE_EVENTS, PAGE_BYTES = 4_000, 1024 * 1024
"""Maximum number and size of the events that a search reads of one session at once."""


@attrs.frozen
class _Page:
    """The oldest events of one session, as far as these events may be trimmed.

    Each event is a pair: its ``ts`` in ms, and its size in bytes.
    """

    key: StreamKey
    events: list[tuple[int, int]]
    until: float
    """The page is complete up to this ``ts``. Infinity if the page has all events that may be trimmed."""


class UserRetention:
    """The task that trims the oldest events of each user with more than ``most`` bytes in the log.

    If a session has an open run, the events of this run and all later events of the session are not trimmed. If the
    events that cannot be trimmed exceed the limit, the user's account is full, and the user can start no runs.
    """

    def __init__(self, log: EventLog, accounts: Accounts, spawner: SessionSpawner, most: int) -> None:
        self._log = log
        self._accounts = accounts
        self._spawner = spawner
        self._most = most
        self.custody: Custody = Alone()
        """The users for which this process trims events. A node of a cluster sets its own."""

    async def run(self) -> None:
        """Trim the events of each user beyond the limit, one user after another, until cancelled."""
        while True:
            user = await self._accounts.over.next()
            # An engine may fail in any way. That must not end the sessions in memory.
            await attempted("the trimming of a user's oldest events", self.trim, user)
            await trio.sleep(PAUSE_SECONDS)

    def on_claimed(self, user: str) -> None:
        """Forget the size of a user's part of the log, because another process may have changed it. Never wait.

        It is measured again when the next session of the user comes into memory.
        """
        self._accounts.forget_user(user)

    async def trim(self, user: str) -> None:
        """Trim the user's oldest events, if the user exceeds the limit. Store in the account whether it is still full.

        Do nothing if another process has the user: it knows which runs are open.

        Raises:
            LogError: The log failed.

        Cancellation: some of the events are trimmed.
        """
        account = self._accounts.find(user)
        if account is None:
            return
        async with self.custody.held(user) as mine:
            if mine:
                await self._trim(user, account)

    async def _trim(self, user: str, account: UserAccount) -> None:
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
        """Return the size of the user's part of the log in bytes, and correct the size in the account.

        The correction is needed because the account adds the size of every new event, but subtracts nothing.
        """
        before = account.size
        usage = await self._log.usage(user)
        # Events that were committed meanwhile are counted twice at worst.
        account.size += usage.size - before
        return usage.size

    async def _trim_some(self, user: str, excess: int) -> bool:
        """Trim the user's oldest events. Return whether there was an event to trim.

        Stop when ``excess`` bytes are freed, or when all events that one search found are trimmed. Events of a session
        with the same ``ts`` are trimmed together.
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
        """Return the oldest events of the user, as one page for each session, and a time (a ``ts``).

        All events before this time that may be trimmed are in the pages. Later events are perhaps missing.
        """
        protected = self._spawner.table.open_since(user)
        limit = CANDIDATES + len(protected)
        keys = await self._log.oldest_streams(user, limit)
        pages: list[_Page] = []
        bound = math.inf
        for key in keys:
            head = await self._log.head(key)
            if head is None or head.oldest > head.latest:
                continue
            # Sessions beyond the limit are not in the list. Their events are not older than those of its last session.
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
