"""The reading of sessions by the server's own code: the events of one session, and the list of a user's sessions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from actors.checks import is_whole
from actors.errors import LogCorrupt, Trimmed
from actors.eventlog._retention import bounded
from actors.events.decoding import decode_line
from actors.failures import shown
from actors.streams._record import decode_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog.base import EventLog, Head, StreamKey
    from actors.events.types import Event
    from actors.sessions._session_table import SessionTable

MOST_EVENTS = 1_000
"""Maximum number of events that one call of ``history`` returns. They are decoded while other tasks wait."""
MOST_SESSIONS = 1_000
"""Maximum number of sessions that one call of ``list`` returns. The log reads the summary of each of them."""
_PAGE_BYTES = 1024 * 1024
"""Maximum size of the lines that are read from the log at once, in bytes."""
_DECODED_AT_ONCE = 64
"""Number of events that are decoded between two checkpoints."""


@attrs.frozen(kw_only=True)
class SessionInfo:
    """A summary of one session of a user, in memory or not."""

    session: str
    """Name of the session."""
    live: bool
    """Whether the session is in memory."""
    closed: bool
    """Whether the session was closed permanently."""
    runs: int
    """Number of open runs in the session, without sub-agents; 0 if the session is not in memory."""
    latest: int
    """Seq of the session's newest event in the log; 0 if the session never had an event."""
    touched: int
    """Time of the newest event in ms since 1970. If there never was an event, the time when the session was made."""


class SessionReader:
    """The object that reads the sessions of a server, from memory where possible, and from the log otherwise."""

    def __init__(self, log: EventLog, table: SessionTable) -> None:
        self._log = log
        self._table = table

    async def lines(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Return committed lines (encoded events) of a session with a seq above ``after``, in order.

        Args:
            key: The session.
            after: Seq of the last event that the caller has.
            limit: Maximum number of lines.
            size: Maximum size of the lines in bytes. A first line that is larger is returned alone.

        Raises:
            Trimmed: The log no longer has the event ``after + 1``.
            KeyError: The log does not have the session.
            LogError: The log failed.
        """
        session = self._table.living(key)
        if session is None:
            return await self._log.read(key, after, limit, size)
        stream = session.stream
        await trio.lowlevel.checkpoint()  # before the check: the oldest events may leave memory meanwhile
        if after + 1 < stream.oldest_in_memory:
            return await stream.read(after, limit, size)
        return bounded(stream.slice(after, min(stream.committed_seq, after + max(limit, 0))), limit, size)

    async def page(self, key: StreamKey, after: int, limit: int, size: int) -> tuple[str, Sequence[bytes]]:
        """Return the session's epoch, and committed lines with a seq above ``after``. See :meth:`lines`.

        The epoch is ``""`` if the session was removed meanwhile.
        """
        session = self._table.living(key)
        lines = await self.lines(key, after, limit, size)
        if session is not None:
            return session.stream.epoch, lines
        # After the read. An epoch is never used again, so if it is the expected one, so are the lines.
        head = await self._log.head(key)
        return ("" if head is None else head.epoch), lines

    async def history(self, key: StreamKey, after: int | None, before: int | None, limit: int) -> list[Event]:
        """Return events of a session. See :meth:`actors.SessionHandle.history`."""
        _check("after", after, 0)
        _check("before", before, 1)
        _check("limit", limit, 1, MOST_EVENTS)
        oldest, latest = await self._extent(key)
        until = latest if before is None else min(latest, before - 1)
        first = max(oldest, until - limit + 1 if after is None else after + 1)
        lines = await self._between(key, first, min(until, first + limit - 1))
        events: list[Event] = []
        for number, line in enumerate(lines, 1):
            events.append(decode_line(line))
            if not number % _DECODED_AT_ONCE:
                await trio.lowlevel.checkpoint()
        return events

    async def sessions(self, user: str, after: str, limit: int) -> tuple[SessionInfo, ...]:
        """Return summaries of a user's sessions, sorted by name.

        Args:
            user: Id of the user.
            after: Only sessions with a name that sorts behind this one are returned.
            limit: Maximum number of sessions, from 1 to 1,000.

        Raises:
            ValueError: ``limit`` is not within its bounds.
            LogError: The log failed, or the stored state of a session is damaged.
        """
        _check("limit", limit, 1, MOST_SESSIONS)
        found: tuple[SessionInfo, ...] = ()
        # Retention may remove all sessions of a page before they are read: an empty result would seem to be the end.
        while not found and (keys := await self._log.user_streams(user, after, limit)):
            heads = [(key, await self._log.head(key)) for key in keys]
            found = tuple(self._info(key, head) for key, head in heads if head is not None)
            after = keys[-1].session
        return found

    def _info(self, key: StreamKey, head: Head) -> SessionInfo:
        session = self._table.living(key)
        return SessionInfo(
            session=key.session,
            live=session is not None,
            closed=decode_record(head.state).closed_at is not None,
            runs=0 if session is None else len(session.stream.open_runs()),
            latest=head.latest,
            touched=head.touched,
        )

    async def _extent(self, key: StreamKey) -> tuple[int, int]:
        """Return the seqs of the oldest and of the newest committed event. The first is greater if there is none."""
        session = self._table.living(key)
        if session is not None:
            return await session.stream.oldest(), session.stream.committed_seq
        head = await self._log.head(key)
        return (1, 0) if head is None else (head.oldest, head.latest)

    async def _between(self, key: StreamKey, first: int, last: int) -> list[bytes]:
        """Return the lines from ``first`` to ``last``. Lines that retention deletes meanwhile are left out."""
        lines: list[bytes] = []
        position = first - 1
        while position < last:
            try:
                page = await self.lines(key, position, last - position, _PAGE_BYTES)
            except KeyError:  # retention has removed the session
                break
            except Trimmed as trimmed:
                if trimmed.oldest <= position + 1:  # the next read would raise the same again, for ever
                    raise LogCorrupt(f"event {position + 1} is missing") from trimmed
                position = trimmed.oldest - 1
                continue
            if not page:
                break
            lines += page
            position += len(page)
        return lines


def _check(name: str, value: int | None, least: int, most: float = math.inf) -> None:
    """Raise ValueError if ``value`` is neither None nor a whole number within the bounds. ``name`` names it."""
    if value is not None and not is_whole(value, least, most):
        bounds = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {bounds}, not {shown(value)}")
