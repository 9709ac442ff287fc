"""The table of the sessions in memory, and the search for idle sessions."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

from actors.runtime._lifecycle import State
from actors.streams._listeners import notify_ended, notify_signal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actors.eventlog.base import StreamKey
    from actors.runtime._ref import ActorRef
    from actors.sessions._session import Session
    from actors.streams._cursor import SessionEnding

LOOK_AGAIN_SECONDS = 0.1
"""Minimum time until the next search for idle sessions, if a search found none, in seconds.

If all sessions in memory are busy, each new session is refused. To search 10,000 sessions for each refusal would slow
down the busy sessions.
"""


@attrs.define(eq=False)
class Entry:
    """One session in the table of sessions. The session is being made, is alive, or has just ended."""

    key: StreamKey
    session: Session
    making: trio.Event | None = attrs.field(factory=trio.Event)
    """Event that is set when the session was made or could not be made. None after that."""
    ref: ActorRef | None = None
    """Reference to the session's actor. None while the actor is being made."""
    older: Entry | None = None
    """The session of the same user that was added to the table before this one. None if there is none."""

    @property
    def lives(self) -> bool:
        """Whether the session's actor was made and has not ended."""
        return self.ref is not None and self.ref.alive

    @property
    def idle_since(self) -> float | None:
        """Time at which the session became idle, in seconds on trio's clock.

        None if the session is busy or has unread messages.
        """
        if self.ref is None or not self.ref.alive or (since := self.session.idle_since) is None:
            return None
        # A session with messages in its mailbox only seems idle: it has not handled them yet.
        statistics = self.ref.statistics()
        return None if statistics.mailbox.depth or statistics.leases else since

    def is_idle(self, *, ends_clients: bool) -> bool:
        """Return whether the session can be stopped. With ``ends_clients``, its clients and leases do not matter."""
        if self.idle_since is not None:
            return True
        if not ends_clients or self.ref is None or not self.lives or self.ref.statistics().mailbox.depth:
            return False
        return not self.session.has_work

    @property
    def is_running(self) -> bool:
        """Whether the session's actor is running and has not begun to stop."""
        return self.ref is not None and self.ref.statistics().state == State.RUNNING

    async def made(self) -> None:
        """Wait until the attempt to make the session has succeeded or failed. Always a checkpoint."""
        if self.making is None:
            await trio.lowlevel.checkpoint()
        else:
            await self.making.wait()

    def on_made(self) -> None:
        """Wake the tasks that wait in :meth:`made`, because the attempt to make the session is over."""
        if self.making is not None:
            self.making.set()
            self.making = None


class SessionTable:
    """The sessions in memory. They can be found by key and by actor, and are counted for each user."""

    def __init__(self) -> None:
        self._entries: dict[StreamKey, Entry] = {}
        self._by_ref: dict[ActorRef, Entry] = {}
        self._newest: dict[str, Entry] = {}
        """The newest session of each user. It leads to the others: a list for each user would need more memory."""
        self._idle: deque[tuple[float, StreamKey]] = deque()
        """Sessions that the last search found idle and that were not returned yet.

        The longest idle session comes first.
        """
        self._search_at = -math.inf
        """Earliest time of the next search for idle sessions, in seconds on trio's clock."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over the entries that the table has now. The table can change during the iteration."""
        return iter(tuple(self._entries.values()))

    def get(self, key: StreamKey) -> Entry | None:
        """Return the entry of the session with this key. Return None if the session is not in memory."""
        return self._entries.get(key)

    def find(self, ref: ActorRef) -> Entry | None:
        """Return the entry of the session with this actor. Return None if the session was removed from the table."""
        return self._by_ref.get(ref)

    def count(self, user: str) -> int:
        """Return the number of the user's sessions in memory."""
        return len(self.of(user))

    def of(self, user: str) -> list[Entry]:
        """Return the entries of the user's sessions, in the order in which they were added."""
        found: list[Entry] = []
        entry = self._newest.get(user)
        while entry is not None:
            found.append(entry)
            entry = entry.older
        found.reverse()
        return found

    def signal_all(self, name: str, data: bytes) -> None:
        """Send a signal to the clients of all sessions. ``data`` is JSON text."""
        for entry in self:
            if entry.lives:
                notify_signal(entry.session.stream.cursors, name, data)

    def end_listeners(self, reason: SessionEnding) -> None:
        """Notify the clients of all sessions that the session has ended for them. The sessions themselves go on."""
        for entry in self:
            if entry.lives:
                notify_ended(entry.session.stream.cursors, reason)

    def living(self, key: StreamKey) -> Session | None:
        """Return the session with this key. Return None if it is not in memory, or is just being made, or has ended."""
        entry = self._entries.get(key)
        return entry.session if entry is not None and entry.lives else None

    def tail_of(self, key: StreamKey, after: int, until: int) -> Sequence[bytes] | None:
        """Return a session's lines with seq ``after + 1`` to ``until``. Return None unless memory has all of them."""
        if (session := self.living(key)) is None:
            return None
        ring = session.stream.ring
        in_memory = ring.base <= after + 1 and until < ring.base + len(ring)
        return ring.slice(after, until) if in_memory else None

    def open_since(self, user: str) -> dict[StreamKey, int]:
        """Return the user's sessions with open runs, each with the ``ts`` with which its oldest open run began."""
        found: dict[StreamKey, int] = {}
        for entry in self.of(user):
            if entry.lives and (runs := entry.session.stream.grammar.runs()):
                found[entry.key] = min(run.started for run in runs)
        return found

    def add(self, entry: Entry) -> None:
        """Add to the table a session that is being made."""
        self._entries[entry.key] = entry
        entry.older = self._newest.get(entry.key.user)
        self._newest[entry.key.user] = entry

    def set_ref(self, entry: Entry, ref: ActorRef) -> None:
        """Store the actor of a session, now that the actor was made."""
        entry.ref = ref
        self._by_ref[ref] = entry

    def remove(self, entry: Entry) -> None:
        """Remove from the table a session that has ended or could not be made."""
        user = entry.key.user
        del self._entries[entry.key]
        if entry.ref is not None:
            self._by_ref.pop(entry.ref, None)
        if self._newest[user] is not entry:
            newer = next(each for each in self.of(user) if each.older is entry)
            newer.older = entry.older
        elif entry.older is not None:
            self._newest[user] = entry.older
        else:
            del self._newest[user]

    def longest_idle_of(self, user: str) -> Entry | None:
        """Return the user's session that has been idle for the longest time. Return None if none of them is idle."""
        idle = [(since, entry) for entry in self.of(user) if (since := entry.idle_since) is not None]
        return min(idle, key=lambda pair: pair[0])[1] if idle else None

    def longest_idle(self) -> Entry | None:
        """Return the session that has been idle for the longest time. Return None if no session is known to be idle.

        A search of all sessions is slow, so the result of a search is kept for later calls: each call returns the next
        idle session of the result. A session that was used since the search is skipped until the next search.
        """
        if (found := self._next_idle()) is not None:
            return found
        now = trio.current_time()
        # A search a moment ago found no idle session.
        if now < self._search_at:
            return None
        # Not `Entry.idle_since`, which looks into the mailbox too: _next_idle() uses it for the few that it takes.
        idle = ((entry.session.idle_since, key) for key, entry in self._entries.items() if entry.ref is not None)
        self._idle.extend(sorted((since, key) for since, key in idle if since is not None))
        found = self._next_idle()
        self._search_at = now + LOOK_AGAIN_SECONDS if found is None else now
        return found

    def forget_idle(self) -> None:
        """Drop the result of the last search for idle sessions."""
        self._idle.clear()

    def _next_idle(self) -> Entry | None:
        """Return the next idle session that the last search found. Return None if none is left.

        Skip sessions that were used since the search or have ended.
        """
        while self._idle:
            since, key = self._idle.popleft()
            entry = self._entries.get(key)
            if entry is not None and entry.idle_since == since:
                return entry
        return None
