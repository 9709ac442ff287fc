"""A session's events: numbered, kept, committed, and read through cursors.

The stream is the one place where ``seq`` and ``ts`` are set. :meth:`SessionStream.put` is a plain call: an emit
costs no task switch. What is put is first in the ring, then (with whatever else gathered) in the log, and
only then visible to cursors.
"""

from __future__ import annotations

from threading import get_ident
from time import time, time_ns
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from actors.errors import LogCorrupt, LogError, LogUnavailable, Trimmed
from actors.eventlog.base import Batch
from actors.events.line import END, LINE, STAMP
from actors.loop.boundary import contained
from actors.loop.threads import wrong_place
from actors.loop.wakeup import Wakeup
from actors.streams._ages import AgeClock
from actors.streams._done import DoneCommands, decode_record, encode_record
from actors.streams._listeners import tell_more
from actors.streams._ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.eventlog.base import EventLog, Head, Retention, StreamKey
    from actors.events.grammar import Open
    from actors.events.types import JSON
    from actors.streams._committer import Committer

FAIRNESS = 16
"""An emitter passes a checkpoint every so many events: it can be cancelled, and others get their turn."""


def now_ms() -> int:
    """Tell the time of day in ms since 1970."""
    return time_ns() // 1_000_000


class Listener(Protocol):
    """What a cursor's owner is told. None of it may wait: it is called from the middle of other work.

    A listener that raises is detached, told that it ``ended`` as ``crashed``, and called no more. Nobody else notices.
    """

    def on_events(self) -> None:
        """Hear that the cursor has something to take. Called once per commit, not once per event."""

    def on_signal(self, name: str, data: bytes) -> None:
        """Hear something ephemeral, ``data`` already JSON."""

    def on_ended(self, reason: str) -> None:
        """Hear that the session is over (one of :data:`ENDINGS`): there will be no more, the cursor is detached."""


ENDINGS = ("shutdown", "crashed", "closed")
"""Why a session tells its listeners that it ended: the server stops, it or this listener failed, or it was closed for
good."""


class Cursor:
    """A position in a session's events: live delivery and resume are the same read.

    Its owner must :meth:`detach` it. It holds no events: a slow reader costs no memory.
    """

    __slots__ = ("__weakref__", "_stream", "listener", "position")

    def __init__(self, stream: SessionStream, listener: Listener, position: int) -> None:
        self._stream: SessionStream | _Detached = stream
        self.listener = listener
        self.position = position
        """The seq of the last event taken; ``position + 1`` is next."""

    @property
    def waiting(self) -> int:
        """How many committed events were not taken yet."""
        return self._stream.committed_seq - self.position

    @property
    def behind(self) -> bool:
        """Whether the next event is no longer in memory: :meth:`take` has nothing then, :meth:`fetch` reads the log."""
        return self.position + 1 < self._stream.ring.base and self.waiting > 0

    def take(self, max_events: int, max_bytes: int) -> Sequence[bytes]:
        """Give the next committed lines and move past them: none if there are none, or if the cursor is :attr:`behind`.

        At most ``max_events``, at most ``max_bytes`` in all with a separator byte each; a larger first line alone.
        """
        stream = self._stream
        until = min(stream.committed_seq, self.position + max_events)
        if until <= self.position or self.position + 1 < stream.ring.base:
            return ()
        lines = _within(stream.ring.slice(self.position, until), max_bytes)
        self.position += len(lines)
        return lines

    async def fetch(self, max_events: int, max_bytes: int) -> Sequence[bytes]:
        """Do as :meth:`take`, from the log. Raises :class:`~actors.Trimmed` where the log no longer has the next event.

        Cancelled: the cursor has not moved.
        """
        stream = self._stream
        lines = await stream.read(self.position, max_events, max_bytes)
        if stream is not self._stream:
            return ()
        lines = _within(lines, max_bytes)
        self.position += len(lines)
        return lines

    def detach(self) -> None:
        """End: the listener is notified no more, and there is nothing to take. Hold neither it nor the session.

        Idempotent. A session that ends has stopped notifying; what was committed can be taken until the owner detaches.
        """
        self._stream.cursors.pop(self, None)
        self._stream, self.listener = _Detached(self.position), _NOBODY


class _Nobody:
    """Stands where a listener was."""

    def on_events(self) -> None: ...
    def on_signal(self, name: str, data: bytes) -> None: ...
    def on_ended(self, reason: str) -> None: ...


_NOBODY = _Nobody()


class _Detached:
    """Stands where a cursor's stream was: one that has nothing beyond where the cursor is."""

    __slots__ = ("committed_seq", "cursors", "ring")

    def __init__(self, position: int) -> None:
        self.committed_seq = position
        self.ring = _NOTHING
        self.cursors: dict[Cursor, None] = {}

    async def read(self, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Return nothing; a checkpoint."""
        del after, limit, size
        await trio.lowlevel.checkpoint()
        return ()


_NOTHING = Ring(0, 0, 0)


def _within(lines: Sequence[bytes], max_bytes: int) -> Sequence[bytes]:
    if sum(map(len, lines)) + len(lines) <= max_bytes:
        return lines
    total = 0
    for count, text in enumerate(lines):
        total += len(text) + 1
        if total > max_bytes:
            return lines[: max(1, count)]
    return lines


@attrs.frozen
class StreamStatistics:
    """Where a session's events stand."""

    seq: int
    """The newest event's seq, committed or not."""
    committed: int
    """The newest committed event's seq."""
    oldest: int
    """The oldest seq the log kept when it was last asked."""
    in_memory: int
    """Events in the ring."""
    bytes_in_memory: int
    """Bytes of those of them that are committed."""
    cursors: int
    """Cursors attached."""
    log_reads: int
    """Reads that had to go to the log because a cursor was behind the ring."""


class SessionStream:
    """The events of one session. ``window`` bounds what is uncommitted: an emitter waits in :meth:`admit` beyond it."""

    __slots__ = (
        "__weakref__",
        "_added",
        "_ages",
        "_append",
        "_command_seconds",
        "_commit_waits",
        "_committer",
        "_failure",
        "_has_room",
        "_head",
        "_in_batch",
        "_log",
        "_log_reads",
        "_next_ts",
        "_oldest_ts",
        "_on_failure",
        "_pause_at",
        "_record",
        "_recorded",
        "_retention",
        "_scheduled",
        "_shown",
        "_size",
        "_stamp",
        "_taken",
        "_window",
        "closed_at",
        "committed_seq",
        "cursors",
        "done",
        "grammar",
        "key",
        "ring",
        "seq",
        "thread",
        "ts",
    )

    def __init__(  # noqa: PLR0913 - made in one place, by name
        self,
        key: StreamKey,
        head: Head,
        *,
        log: EventLog,
        committer: Committer,
        retention: Retention,
        ring_events: int,
        ring_bytes: int,
        window: int,
        command_seconds: float,
        on_failure: Callable[[LogError], None],
        command_bytes: int = 64 * 1024,
        ages: AgeClock | None = None,
    ) -> None:
        self.key = key
        self._head = head
        self._log = log
        self._committer = committer
        self._retention = retention
        self._window = window
        self._command_seconds = command_seconds
        self._ages = ages or AgeClock(now_ms)
        self._on_failure = on_failure
        self._size = head.size
        self._added = 0
        self._oldest_ts = head.oldest_ts
        self.seq = self.committed_seq = self._taken = head.latest
        record = decode_record(head.state)
        # The record is written when it changes, not with each event: the newest event may be younger than it.
        self.ts = max(record.ts, head.touched) if head.latest else record.ts
        self.grammar, self.closed_at = record.grammar, record.closed_at
        self._in_batch = self._shown = record.grammar
        """The grammar after the events of the last batch, and after the newest committed event."""
        self.done = DoneCommands(command_bytes, command_seconds, record.done)
        """The commands that the log remembers as done."""
        self._record = head.state
        self._recorded: tuple[object, ...] | None = None
        self.ring = Ring(ring_events, ring_bytes, head.latest + 1)
        self._append = self.ring.append
        self._stamp: bytes
        self._next_ts: float
        self._set_ts(self.ts)
        self._pause_at: int
        self._set_pause(self.seq)
        self.cursors: dict[Cursor, None] = {}
        self._scheduled = False
        self._failure: LogError | None = None
        self._has_room: Wakeup | None = None
        self._commit_waits: list[tuple[int, Callable[[LogError | None], None]]] = []
        self._log_reads = 0
        self.thread = get_ident()
        """Which alone may put events: the session's loop runs in it."""

    @property
    def outlived(self) -> bool:
        """Whether the session was closed, and retention keeps neither an event of it nor the memory of its end."""
        if self.closed_at is None or self._head.oldest <= self._head.latest:
            return False
        seconds = self._retention.seconds
        return self.closed_at < self._ages.now(seconds) - seconds * 1000

    @property
    def epoch(self) -> str:
        """Names this log for ever; see :class:`~actors.Position`."""
        return self._head.epoch

    def now(self) -> int:
        """Tell the time of day in ms, never before the newest event's: a clock set back does not reorder events."""
        return max(now_ms(), self.ts)

    @trio.lowlevel.enable_ki_protection
    def put(self, envelope: bytes, data: bytes, end: bytes = END, at: int = 0) -> bool:
        """Append one event, of what ``envelope`` (:mod:`actors.events.line`) and ``encode`` gave. Never waits.

        ``end`` closes what the two left open: the event, and its data where the envelope began them. ``at`` is its
        ``ts`` where :meth:`now` was asked already, in the same breath, by whoever keeps that time elsewhere too.
        True when an emitter should :meth:`admit` before it goes on: the window is full, or it is the others' turn.
        Raises :class:`~actors.LogUnavailable` after the log has failed: nothing can be promised any more; and
        RuntimeError in any other thread than the session's. Where this or anything else is raised (``RecursionError``:
        an agent may be as deep as it likes) nothing was appended.
        """
        if get_ident() != self.thread:
            raise wrong_place("an emit")
        if self._failure is not None:
            self.require_log()
        seq = self.seq + 1
        if at:
            self._set_ts(at)
        elif (now := time()) >= self._next_ts:
            self._set_ts(int(now * 1000))
        line = LINE % (seq, self._stamp, envelope, data, end)
        pause = seq >= self._pause_at
        if pause:
            self._set_pause(seq)
        if not self._scheduled:
            self._committer.schedule(self)  # with nothing new yet, which costs it a look if it comes to nothing
            self._scheduled = True
            self._oldest_ts = self._oldest_ts or self.ts
        # A seq exists when its line is in the ring: whatever can raise is above, and nothing comes between these two.
        self._append(line)
        self.seq = seq
        return pause

    def require_log(self) -> None:
        """Raise :class:`~actors.LogUnavailable` after the log has failed."""
        if self._failure is not None:
            raise LogUnavailable("the session's log failed earlier") from self._failure

    def _set_ts(self, ts: int) -> None:
        """Let events have this ``ts`` until it is over; it never falls, whatever the clock does."""
        ts = max(ts, self.ts)
        self._stamp, self._next_ts, self.ts = STAMP % ts, (ts + 1) / 1000, ts

    def _set_pause(self, seq: int) -> None:
        """Find where an emitter pauses next, above ``seq``: at a multiple of FAIRNESS, or where the window is full."""
        full = max(seq + 1, self.committed_seq + self._window)
        self._pause_at = min(seq - seq % FAIRNESS + FAIRNESS, full)

    async def admit(self) -> None:
        """Wait until there is room in the window; a checkpoint in any case. Cancelled: what was put stays put."""
        uncommitted = self.seq - self.committed_seq
        if 4 * uncommitted >= 3 * self._window:  # before the emitter has to wait for it
            self._committer.hurry()
        if uncommitted < self._window or self._failure is not None:
            await trio.lowlevel.checkpoint()
            return
        if self._has_room is None:
            self._has_room = Wakeup()
        while self.seq - self.committed_seq >= self._window and self._failure is None:
            await self._has_room.wait()

    def when_committed(self, callback: Callable[[LogError | None], None]) -> None:
        """Call back once everything put so far is committed (None) or will never be (the error)."""
        if self._failure is not None:
            callback(self._failure)
        elif self.seq == self.committed_seq:
            callback(None)
        else:
            self._commit_waits.append((self.seq, callback))

    async def synced(self) -> None:
        """Wait until everything put so far is committed; raises :class:`~actors.LogError` if it never will be."""
        done = trio.Event()
        outcome: list[LogError | None] = []

        def note(error: LogError | None) -> None:
            outcome.append(error)
            done.set()

        self.when_committed(note)
        await done.wait()
        if outcome[0] is not None:
            raise LogUnavailable("the session's events could not be committed") from outcome[0]

    def record(self) -> bytes:
        """Return what the log keeps beside the events: the same bytes until something of it changes.

        The ``ts`` in it is the one at the time of that change: with each event's own, it would be written with each.
        """
        opened = self.grammar.snapshot()
        if self._recorded is None or self._recorded[0] is not opened or self._recorded[1] != self.closed_at:
            self.done.forget(min(self.ts, self._ages.now(self._command_seconds)))
            self._record = encode_record(self.ts, opened, self.closed_at, self.done)
            self._recorded = opened, self.closed_at
        return self._record

    def remember_done(self, command_id: str, result: JSON) -> None:
        """Commit with what was put last that this command was done: sent again after a crash, it is not done again."""
        self.done.remember(command_id, self.ts, result)
        self._recorded = None

    def batch(self) -> Batch | None:
        """Give everything that was put since the last batch; for the committer."""
        self._scheduled = False
        if self.seq == self._taken or self._failure is not None:
            return None
        first = self._taken + 1
        batch = Batch(self.key, first, self.ring.slice(first - 1, self.seq), self.record())
        self._taken, self._in_batch = self.seq, self.grammar
        return batch

    def on_committed(self, batch: Batch) -> None:
        """Show a batch that is in the log to the cursors; for the committer."""
        self.committed_seq = until = batch.first + len(batch.lines) - 1
        if self._pause_at % FAIRNESS:  # there for the window, which has room again
            self._set_pause(self.seq)
        self._added += batch.size
        self._shown = self._in_batch
        self.ring.on_committed(until, batch.size)
        # From here on others are told, and all of the stream is as they may find it.
        if self._has_room:
            self._has_room.wake()
        waits = self._commit_waits
        if waits and waits[0][0] <= until:
            self._commit_waits = [wait for wait in waits if wait[0] > until]
            self._call_back([wait for wait in waits if wait[0] <= until], None)
        tell_more(self.cursors)

    def on_failed(self, error: LogError) -> None:
        """Tell everyone who waits that the log refused: nothing more can be promised; for the committer."""
        if self._failure is not None:
            return
        self._failure = error
        waits, self._commit_waits = self._commit_waits, []
        if self._has_room:
            self._has_room.wake()
        self._call_back(waits, error)
        contained("the end of a session whose log refused", self._on_failure, error)

    def _call_back(self, waits: list[tuple[int, Callable[[LogError | None], None]]], outcome: LogError | None) -> None:
        """Tell those who wait for a commit what came of it. The session fails where one of these fails."""
        for _, callback in waits:
            if not contained("what waits for a commit", callback, outcome):
                self.on_failed(LogUnavailable("what waited for a commit of the session failed"))

    def open_runs(self) -> tuple[Open, ...]:
        """List the runs that are open to someone who has read all that is committed."""
        return self._shown.runs()

    @property
    def overgrown(self) -> bool:
        """Whether a limit of retention was crossed since the log was last asked: an upper bound, the log is exact."""
        keep, kept = self._retention, self.committed_seq - self._head.oldest + 1
        expired = self._ages.now(keep.seconds) - keep.seconds * 1000
        size = self._size + self._added + len(self._record)
        return kept > 0 and (kept > keep.events or size > keep.size or self._oldest_ts < expired)

    async def oldest(self) -> int:
        """Find the lowest seq within retention, exactly; asks the log only when a limit was crossed. Safe to cancel."""
        if self.overgrown:
            before = self._added
            keep = self._retention.beside(len(self._record))
            head = await self._log.trim(self.key, keep, self._ages.now(keep.seconds))
            if head.oldest < self._head.oldest or head.latest < self._head.latest:
                return self._head.oldest  # somebody asked later, and was answered earlier
            self._head = head
            # What was added before the log was asked is in its answer, whoever else asked meanwhile.
            self._size = head.size - before
            self._oldest_ts = head.oldest_ts or self.ts
        return self._head.oldest

    async def read(self, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Read committed lines above ``after`` from the log.

        Raises :class:`~actors.Trimmed`, and :class:`~actors.LogCorrupt` where the log lacks what was committed.
        """
        self._log_reads += 1
        try:
            lines = await self._log.read(self.key, after, limit, size)
        except Trimmed as trimmed:
            # By somebody else: the next one who comes for that is told, instead of being let in and thrown out again.
            self._head = attrs.evolve(self._head, oldest=max(self._head.oldest, trimmed.oldest))
            raise
        if not lines and after < self.committed_seq:
            raise LogCorrupt(f"event {after + 1} is missing")
        return lines

    def statistics(self) -> StreamStatistics:
        """Say where the events stand."""
        return StreamStatistics(
            seq=self.seq,
            committed=self.committed_seq,
            oldest=self._head.oldest,
            in_memory=len(self.ring),
            bytes_in_memory=self.ring.size,
            cursors=len(self.cursors),
            log_reads=self._log_reads,
        )
