"""The sessions that have, or may have, events which a consumer has not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.eventlog.base import EventLog, StreamKey

SCAN_STREAMS = 256
"""Number of sessions with unread events that the log is asked for at once."""
MOST_DIRTY = 10_000
"""Maximum number of sessions with new events in memory. Beyond it, the log is asked for them again."""


class Unread:
    """The sessions that the consumer ``name`` must read. They come from commits, and from searches of the log.

    A search goes through the sessions of one user, or through all sessions in pages. ``wants`` returns whether a user's
    sessions are to be found by a search of all sessions.
    """

    def __init__(self, log: EventLog, name: str, wants: Callable[[str], bool]) -> None:
        self._log = log
        self._name = name
        self._wants = wants
        self._dirty: dict[StreamKey, None] = {}
        self._users: dict[str, None] = {}  # the users whose sessions must be searched
        self._scanned: StreamKey | None = None
        self._scanning = self._rescan = False

    def __len__(self) -> int:
        return len(self._dirty)

    @property
    def has_more(self) -> bool:
        """Whether a session is known, or a search is due."""
        return bool(self._dirty or self._users) or self._scanning or self._rescan

    def note(self, key: StreamKey) -> None:
        """Add a session, because it has new events."""
        if key in self._dirty or len(self._dirty) < MOST_DIRTY:
            self._dirty[key] = None
        else:
            self._rescan = True

    def put_back(self, key: StreamKey) -> None:
        """Add a session that was taken, because it was not read to its end."""
        self._dirty[key] = None

    def forget(self, user: str) -> None:
        """Remove the sessions of a user."""
        self._dirty = {key: None for key in self._dirty if key.user != user}
        self._users.pop(user, None)

    def search(self, user: str | None = None) -> None:
        """Search the log for unread sessions of one user, or of all users, before the next session is returned."""
        if user is None or len(self._users) >= MOST_DIRTY:
            self._rescan = True
            self._users.clear()
        else:
            self._users[user] = None

    async def take(self) -> StreamKey | None:
        """Remove a session and return it, after a search if one is due. Return None if no session is known now.

        Raises the errors of the log. Then the search is still due.
        """
        if self._users:
            await self._search_user(next(iter(self._users)))
        if not self._dirty and (self._scanning or self._rescan):
            await self._scan()
        if not self._dirty:
            return None
        key = next(iter(self._dirty))
        # Before the read: a commit during the read must find the session missing here, and add it again.
        del self._dirty[key]
        return key

    async def _search_user(self, user: str) -> None:
        # Before the search, for the same reason.
        del self._users[user]
        try:
            after = None
            while keys := await self._log.unread_streams(self._name, after, SCAN_STREAMS, user=user):
                self._dirty.update(dict.fromkeys(keys))
                after = keys[-1]
        except BaseException:
            self._users[user] = None
            raise

    async def _scan(self) -> None:
        """Ask the log for the next page of all sessions with unread events."""
        if self._rescan:
            self._rescan, self._scanned = False, None
        self._scanning = True
        keys = await self._log.unread_streams(self._name, self._scanned, SCAN_STREAMS)
        self._scanning = bool(keys)
        if keys:
            self._scanned = keys[-1]
            self._dirty.update(dict.fromkeys(key for key in keys if self._wants(key.user)))
