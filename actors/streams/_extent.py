"""The range of events that the log keeps of a stream, and the trimming of the log to the limits of retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.errors import LogUnavailable
from actors.eventlog.base import BY_AGE_ALONE

if TYPE_CHECKING:
    from actors.eventlog.base import EventLog, Head, Retention, StreamKey
    from actors.streams._ages import AgeClock
    from actors.streams._record import RecordWriter


class LogExtent:
    """The range of events that the log keeps of one session, as far as it is known in memory.

    The log is asked only when a limit of retention was perhaps crossed. At other times the size of the events is
    estimated, and never too low. :meth:`trim` gets the exact range.
    """

    __slots__ = ("_ages", "_head", "_key", "_log", "_record", "_retention", "_size", "added", "oldest_ts")

    def __init__(  # noqa: PLR0913, PLR0917 - constructed in one place
        self, key: StreamKey, head: Head, log: EventLog, retention: Retention, ages: AgeClock, record: RecordWriter
    ) -> None:
        self._key = key
        self._log = log
        self._record = record  # its size counts too
        self._retention = retention
        self._ages = ages
        self._head = head
        self._size = head.size  # with `added`, an upper bound of the bytes kept
        self.added = 0
        """Size of the events that were committed since the stream was opened, in bytes."""
        self.oldest_ts = head.oldest_ts
        """Lower limit for the ``ts`` of all kept events, in ms since 1970; 0 while there are no events."""

    @property
    def epoch(self) -> str:
        """Random id of the session's log. A log that is made again gets another id; see :class:`~actors.Position`."""
        return self._head.epoch

    @property
    def oldest(self) -> int:
        """Lowest seq of the session's events in the log, as the log has reported it last."""
        return self._head.oldest

    def outlived(self, closed_at: int | None) -> bool:
        """Return whether the session was closed so long ago that its events and its close need not be kept."""
        if closed_at is None or self._head.oldest <= self._head.latest:
            return False
        seconds = self._retention.seconds
        return closed_at < self._ages.now(seconds) - seconds * 1000

    def is_exceeded(self, committed_seq: int) -> bool:
        """Return whether it is possible that a limit of retention was crossed since the log was last asked."""
        limits, kept = self._retention, committed_seq - self._head.oldest + 1
        expired = self._ages.now(limits.seconds) - limits.seconds * 1000
        size = self._size + self.added + len(self._record.text)
        return kept > 0 and (kept > limits.events or size > limits.size or self.oldest_ts < expired)

    async def trim(self) -> None:
        """Delete from the log the session's events beyond the limits of retention.

        Get the exact range that the log still keeps. Safe to cancel.
        """
        limits = self._retention.beside(len(self._record.text))
        await self._trim(limits, self._ages.now(limits.seconds))

    async def trim_until(self, ts: int) -> None:
        """Delete from the log all events of the session up to the time ``ts`` (in ms since 1970), inclusive.

        Safe to cancel.
        """
        await self._trim(BY_AGE_ALONE, ts + 1)

    async def _trim(self, limits: Retention, now: int) -> None:
        before = self.added
        try:
            head = await self._log.trim(self._key, limits, now)
        except KeyError:
            raise LogUnavailable(f"the log does not have session {self._key.session} now") from None
        if head.oldest < self._head.oldest or head.latest < self._head.latest:
            return  # another task asked the log later but got its answer earlier: that answer is newer than this one
        self._head = head
        # The size includes all bytes that were added before the question, and `added` still counts them too.
        self._size = head.size - before
        # If the log keeps no event, this is the time of the newest one that it ever had: no later event is older.
        self.oldest_ts = head.oldest_ts or head.touched

    def note_trimmed(self, oldest: int) -> None:
        """Record that the lowest seq in the log is now ``oldest``. A failed read has shown this.

        Without this, the next client that resumes below ``oldest`` would be accepted first, and fail when it reads.
        """
        self._head = attrs.evolve(self._head, oldest=max(self._head.oldest, oldest))
