"""A session's events: numbered, kept in memory, committed, and read through cursors.

The stream is the one place where ``seq`` and ``ts`` are set. :meth:`SessionStream.put` is a plain call, so an emit
costs no task switch. A line (an encoded event) is first in the ring (the newest events in memory), then in the log
(together with other lines that were put meanwhile), and only then visible to readers.
"""

from __future__ import annotations

from threading import get_ident
from time import time, time_ns
from typing import TYPE_CHECKING

import attrs
import trio

from actors.errors import LogError, LogUnavailable
from actors.eventlog.base import Batch
from actors.events.line import END, LINE, STAMP
from actors.loop.boundary import contained
from actors.loop.one_shot import OneShot
from actors.loop.threads import wrong_place
from actors.loop.wakeup import Wakeup
from actors.streams._ages import AgeClock
from actors.streams._commit_waits import CommitWaits
from actors.streams._extent import LogExtent
from actors.streams._feed import SessionFeed
from actors.streams._listeners import notify_events
from actors.streams._record import DoneCommands, RecordWriter, decode_record
from actors.streams._ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.eventlog.base import EventLog, Head, Retention, StreamKey
    from actors.events.types import JSON
    from actors.streams._accounts import UserAccount
    from actors.streams._commit_waits import OnCommit
    from actors.streams._committer import Committer

FAIRNESS = 16
"""Number of events after which an emitter passes a checkpoint: other tasks run, and the emitter can be cancelled."""

QUIET_SECONDS = 0.004
"""Time without events in a session that makes the next event a quiet one, in seconds.

A quiet event is committed and delivered within its emit, if the event before it was quiet too and the log never waits.
After other events, more come soon, as in a burst. Then it is cheaper to commit and send many at once.
"""


def now_ms() -> int:
    """Return the time of day in ms since 1970."""
    return time_ns() // 1_000_000


@attrs.frozen(kw_only=True)
class StreamLimits:
    """Limits of a session's stream. Times are in seconds, sizes in bytes."""

    ring_events: int
    """Number of committed events that the session keeps in memory."""
    ring_bytes: int
    """Size of the committed events that the session keeps in memory, in bytes."""
    window: int
    """Maximum number of uncommitted events. At this number, code that emits waits in :meth:`SessionStream.admit`."""
    command_seconds: float
    """Time in seconds for which the session remembers a command that was carried out."""
    command_bytes: int = 64 * 1024
    """Maximum size of the commands that the session remembers, in bytes."""


class SessionStream(SessionFeed):
    """The events of one session. Runs append events, and cursors read them.

    ``on_failure`` is called once, with the error, when the log has failed.
    """

    __slots__ = (
        "_account",
        "_append",
        "_commit_waits",
        "_committer",
        "_failure",
        "_has_room",
        "_next_ts",
        "_on_failure",
        "_pause_at",
        "_quiet_seq",
        "_record",
        "_scheduled",
        "_stamp",
        "_taken",
        "_window",
        "done",
        "thread",
        "ts",
    )

    def __init__(  # noqa: PLR0913 - constructed in one place, by name
        self,
        key: StreamKey,
        head: Head,
        *,
        log: EventLog,
        committer: Committer,
        retention: Retention,
        limits: StreamLimits,
        on_failure: Callable[[LogError], None],
        ages: AgeClock | None = None,
        account: UserAccount | None = None,
    ) -> None:
        ages = ages or AgeClock(now_ms)
        record = decode_record(head.state)
        self.done = DoneCommands(limits.command_bytes, limits.command_seconds, record.done_at(now_ms()))
        """The session's newest commands that were carried out. The log stores them in addition to the events."""
        self._record = RecordWriter(head.state, self.done, limits.command_seconds, ages)
        ring = Ring(limits.ring_events, limits.ring_bytes, head.latest + 1)
        super().__init__(key, head.latest, log, LogExtent(key, head, log, retention, ages, self._record), ring)
        self._append = ring.append  # bound once: a call less for each event
        self._account = account
        self._committer = committer
        self._window = limits.window
        self._on_failure = on_failure
        # The record is written when it changes, not with each event: the newest event may be younger than the record.
        self.ts = max(record.ts, head.touched) if head.latest else record.ts
        self.closed_at = record.closed_at
        self.grammar = record.grammar
        self.changes = []
        self.seq = self._taken = self._quiet_seq = head.latest  # the newest event, of all, in a batch, that was quiet
        self._stamp, self._next_ts = STAMP % self.ts, (self.ts + 1) / 1000
        self._pause_at: int
        self._set_pause(self.seq)
        self._scheduled = False
        self._failure: LogError | None = None
        self._has_room: Wakeup | None = None  # made by the first emitter that waits: most sessions have none
        self._commit_waits: CommitWaits | None = None  # as above
        self.thread = get_ident()
        """Id of the thread of the session's event loop. Only this thread can put events."""

    def now(self) -> int:
        """Return the time of day in ms. If the clock was set back, return the newest event's ``ts``."""
        now = now_ms()
        return now if now > self.ts else self.ts  # noqa: FURB136 - a call of max() takes longer

    @trio.lowlevel.enable_ki_protection
    def put(self, envelope: bytes, data: bytes, end: bytes = END, at: int = 0, *, lone: bool = False) -> bool:
        """Append one event to the session, without waiting. If this raises, nothing was appended.

        Return True if the emitter must await :meth:`admit` before it continues: too many events are uncommitted, or
        other tasks must run. ``envelope`` comes from :mod:`actors.events.line`, ``data`` from
        :mod:`actors.events.encoding`. ``end`` is the end of the line, with the rest of incomplete ``data``. ``at`` is
        the event's ``ts``, if the caller has just called :meth:`now` and stores that time elsewhere too. ``lone`` says
        that the event can be committed before this returns, and all listeners notified: the caller changes nothing
        after this call. That happens if the event is quiet (see :data:`QUIET_SECONDS`) and the log never waits.

        Raise :class:`~actors.LogUnavailable` after the log has failed, RuntimeError outside of the thread of the
        session's loop, and RecursionError if the stack is full: agents call this at any depth.
        """
        if get_ident() != self.thread:
            raise wrong_place("an emit")
        if self._failure is not None:
            self.require_log()
        seq = self.seq + 1
        alone = False
        if at:
            self._set_ts(at)
        elif (now := time()) >= self._next_ts:  # as _set_ts(), but `now` is later than `self.ts`
            if lone and now >= self._next_ts + QUIET_SECONDS:
                alone = self._quiet_seq == self.seq and not self._scheduled and self._committer.is_idle()
                self._quiet_seq = seq
            self.ts = ts = int(now * 1000)
            self._stamp, self._next_ts = STAMP % ts, (ts + 1) / 1000
        line = LINE % (seq, self._stamp, envelope, data, end)
        pause = seq >= self._pause_at
        if pause:
            self._set_pause(seq)
        if not self._scheduled:
            # Schedule first: if the lines below fail, the committer finds nothing to commit, which is harmless.
            if not alone:
                self._committer.schedule(self)
                self._scheduled = True
            self._extent.oldest_ts = self._extent.oldest_ts or self.ts
        # An event exists when its line is in the ring. Everything that can raise is above, not between these lines.
        self._append(line)
        self.seq = seq
        if alone:
            self._committer.commit(self)
        return pause

    def require_log(self) -> None:
        """Raise :class:`~actors.LogUnavailable` if the log has failed."""
        if self._failure is not None:
            raise LogUnavailable("the session's log failed earlier") from self._failure

    def _set_ts(self, ts: int) -> None:
        """Set the ``ts`` that new events get until the next millisecond begins.

        A new event never gets a lower ``ts`` than an earlier event, even if the clock is set back.
        """
        if ts > self.ts:
            self._stamp, self._next_ts, self.ts = STAMP % ts, (ts + 1) / 1000, ts

    def _set_pause(self, seq: int) -> None:
        """Set the next seq at which an emitter pauses: a multiple of 16, or a seq with too many uncommitted events."""
        full = max(seq + 1, self.committed_seq + self._window)
        self._pause_at = min(seq - seq % FAIRNESS + FAIRNESS, full)

    async def admit(self) -> None:
        """Wait until uncommitted events are below their limit, and the log can be written. Always a checkpoint.

        If this is cancelled, the events that were put before are emitted all the same.
        """
        if self._log.gate is not None:
            await self.pass_gate()
        uncommitted = self.seq - self.committed_seq
        # Already at three quarters of the window, so that an emitter that continues at this rate need not wait at all.
        if 4 * uncommitted >= 3 * self._window:
            self._committer.hurry()
        if uncommitted < self._window or self._failure is not None:
            await trio.lowlevel.checkpoint()
            return
        while self.seq - self.committed_seq >= self._window and self._failure is None:
            room = self._has_room = Wakeup() if self._has_room is None else self._has_room
            await room.wait()
        self._has_room = self._has_room or None  # false if no other emitter waits

    # Committing

    def when_committed(self, callback: OnCommit) -> None:
        """Call ``callback`` with None once all events so far are committed, or with the error of the commit."""
        if self._failure is not None:
            callback(self._failure)
        elif self.seq == self.committed_seq:
            callback(None)
        else:
            self._commit_waits = self._commit_waits or CommitWaits()
            self._commit_waits.add(self.seq, callback)

    async def synced(self) -> None:
        """Wait until all events put so far are committed. Raise :class:`~actors.LogError` if the commit fails."""
        outcome = OneShot["LogError | None"]()
        self.when_committed(outcome.set)
        error = await outcome.wait()
        if error is not None:
            raise LogUnavailable("the session's events could not be committed") from error

    def record(self) -> bytes:
        """Return the state that the log keeps in addition to the events, as JSON text.

        As long as the state does not change, every call returns the same object.
        """
        return self._record.encode(self.ts, self.grammar, self.closed_at)

    def remember_done(self, command_id: str, result: JSON) -> None:
        """Store that a command was carried out. The log stores this in the same commit as the newest event.

        So a command that is sent again after a crash is not carried out again.
        """
        self._record.remember_done(command_id, self.ts, result)

    def batch(self) -> Batch | None:
        """Return the events since the last call, as a Batch. Return None if there are no new events.

        The committer calls this.
        """
        self._scheduled = False
        seq, first = self.seq, self._taken + 1
        if seq < first or self._failure is not None:
            return None
        ring = self.ring
        lines = ring.lines[first - ring.base : seq + 1 - ring.base]
        state = self._record.encode(self.ts, self.grammar, self.closed_at)
        batch = Batch(self.key, first, lines, state, sum(map(len, lines)))
        self._taken = seq
        return batch

    def on_committed(self, batch: Batch) -> None:
        """Make committed events visible to readers, and notify listeners. The committer calls this after a commit."""
        self.committed_seq = until = batch.first + len(batch.lines) - 1
        if self._pause_at % FAIRNESS:  # it was the window's end, and the window has room again
            self._set_pause(self.seq)
        self._extent.added += batch.size
        if (account := self._account) is not None:
            account.size += batch.size
            if account.size > account.room:
                account.on_over()
        if changes := self.changes:
            # All are committed, unless events came while the log stored the batch.
            self.changes = [] if changes[-1][0] <= until else [each for each in changes if each[0] > until]
        ring = self.ring
        ring.on_committed(until, batch.size)
        self.oldest_in_memory = ring.base
        # Other code from here on: the stream is complete. Listeners first, so that a reply leaves with the events.
        if self._has_room:
            self._has_room.wake()
        notify_events(self.cursors)
        if self._commit_waits is not None:
            self._call_back(until, None)

    def on_failed(self, error: LogError) -> None:
        """Make the stream fail, because the log refused its events. After that no event can be put.

        The committer calls this. Callbacks that wait for a commit, and ``on_failure``, get the error.
        """
        if self._failure is not None:
            return
        self._failure = error
        if self._has_room:
            self._has_room.wake()
        self._call_back(self.seq, error)
        contained("the end of a session whose log refused", self._on_failure, error)

    def _call_back(self, until: int, outcome: LogError | None) -> None:
        """Call the callbacks that wait for commits up to the event ``until``. If a callback fails, the stream fails."""
        waits = self._commit_waits
        if waits is not None and not waits.resolve(until, outcome):
            self.on_failed(LogUnavailable("what waited for a commit of the session failed"))
        if waits is not None and not waits.pending:
            self._commit_waits = None


def has_room(stream: SessionStream) -> bool:
    """Return whether an emitter need not wait: the part of :meth:`SessionStream.admit` for any event loop.

    If so, the emitter still has to let other tasks run.
    """
    # One line for the private names: a method would make the class too long.
    window, committer, failure = stream._window, stream._committer, stream._failure  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
    uncommitted = stream.seq - stream.committed_seq
    if 4 * uncommitted >= 3 * window:
        committer.hurry()
    return uncommitted < window or failure is not None
