"""The committed events of a session, as its readers get them: the log has all events, memory has the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.errors import LogCorrupt, LogUnavailable, Trimmed
from actors.streams._cursor import Readers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog.base import EventLog, Head, StreamKey
    from actors.events.grammar import Grammar, Open
    from actors.streams._extent import LogExtent
    from actors.streams._ring import Ring


@attrs.frozen
class StreamStatistics:
    """Statistics of the events of one session."""

    seq: int
    """Seq of the session's newest event, committed or not."""
    committed: int
    """Seq of the session's newest committed event."""
    oldest: int
    """Lowest seq of the session's events in the log, as the log has reported it last."""
    in_memory: int
    """Number of the session's events in memory, committed or not."""
    bytes_in_memory: int
    """Size of the session's committed events in memory, in bytes."""
    cursors: int
    """Number of cursors (readers) that are attached to the session."""
    log_reads: int
    """Number of times that the log was read, because a reader's next event was no longer in memory."""


class SessionFeed(Readers):
    """The reading half of a session's stream: the events in memory, the log, and the attached cursors.

    This class implements the protocol :class:`~actors.streams._cursor.Feed`. The writing half,
    :class:`~actors.streams._stream.SessionStream`, extends this class. Two separate objects would cost one more call
    for each event.
    """

    __slots__ = (
        "__weakref__",
        "_extent",
        "_log",
        "_log_reads",
        "changes",
        "closed_at",
        "grammar",
        "key",
        "ring",
        "seq",
    )

    # The writing half sets these:
    seq: int  # of the newest event, committed or not
    closed_at: int | None  # ms since 1970
    grammar: Grammar
    """The open runs, tool calls and questions after the newest event, committed or not."""
    changes: list[tuple[int, tuple[Open, ...]]]
    """The seqs of uncommitted events that opened or closed items, each with these items, the oldest first."""

    def __init__(self, key: StreamKey, committed_seq: int, log: EventLog, extent: LogExtent, ring: Ring) -> None:
        super().__init__()
        self.key = key
        self.committed_seq = committed_seq
        self.ring = ring
        # A copy, which is renewed after each commit: cursors read it without a call.
        self.oldest_in_memory = ring.base
        # Bound once: a call less for each batch that a cursor takes.
        self.slice = ring.slice
        self._log = log
        self._log_reads = 0
        self._extent = extent

    @property
    def epoch(self) -> str:
        """Random id of the session's log. A log that is made again gets another id; see :class:`~actors.Position`."""
        return self._extent.epoch

    @property
    def outlived(self) -> bool:
        """Whether the session was closed so long ago that its events and its close need not be kept."""
        return self._extent.outlived(self.closed_at)

    def open_runs(self) -> tuple[Open, ...]:
        """Return the runs that are open according to the committed events."""
        return self.grammar.runs_before([items for _, items in self.changes])

    async def oldest(self) -> int:
        """Return the lowest seq of the session's events that are within retention. Safe to cancel.

        If it is possible that a limit of retention was crossed, the log is trimmed first. So the result is exact.
        """
        if self._extent.is_exceeded(self.committed_seq):
            await self._extent.trim()
        return self._extent.oldest

    @property
    def fence(self) -> str | None:
        """The text of the token with which this process writes for the user. None without a cluster."""
        gate = self._log.gate
        return None if gate is None else gate.fence(self.key.user)

    @property
    def can_write(self) -> bool:
        """Whether the log can be written now. Only a node of a cluster sometimes cannot."""
        gate = self._log.gate
        return gate is None or gate.is_open()

    async def pass_gate(self) -> None:
        """Wait until the log can be written, or never can again."""
        if (gate := self._log.gate) is not None and not self.can_write:
            await gate.wait()

    async def read(self, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Read committed lines with a seq above ``after`` from the log.

        Args:
            after: Seq of the last event that the caller has.
            limit: Maximum number of lines.
            size: Maximum size in bytes. A first line that is larger is returned alone.

        Raises:
            Trimmed: The log no longer has the event ``after + 1``.
            LogCorrupt: The log lacks an event that was committed.
            LogUnavailable: The log could not be read, or does not have the session.
        """
        self._log_reads += 1
        try:
            lines = await self._log.read(self.key, after, limit, size)
        except Trimmed as trimmed:
            self._extent.note_trimmed(trimmed.oldest)
            raise
        except KeyError:
            raise LogUnavailable(f"the log does not have session {self.key.session} now") from None
        # The log returned nothing although this event was committed: the log has lost it.
        if not lines and after < self.committed_seq:
            raise LogCorrupt(f"event {after + 1} is missing")
        return lines

    async def head(self) -> Head | None:
        """Return the head of the session in the log. Raise ``LogUnavailable`` if the log could not be read."""
        return await self._log.head(self.key)

    async def trim_until(self, ts: int) -> None:
        """Delete from the log all events of the session up to the time ``ts`` (in ms since 1970), inclusive."""
        await self._extent.trim_until(ts)

    def statistics(self) -> StreamStatistics:
        """Return statistics of the session's events."""
        return StreamStatistics(
            seq=self.seq,
            committed=self.committed_seq,
            oldest=self._extent.oldest,
            in_memory=len(self.ring),
            bytes_in_memory=self.ring.size,
            cursors=len(self.cursors),
            log_reads=self._log_reads,
        )
