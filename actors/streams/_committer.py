"""The committer: one task that writes the events of all sessions to the log, many in one transaction."""

from __future__ import annotations

import math
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from actors.errors import LogUnavailable
from actors.failures import MAX_SHOWN, is_a, shown, text_of
from actors.loop.boundary import contained, report
from actors.loop.clock import loop_time
from actors.loop.stack import is_shallow
from actors.loop.wakeup import Wakeup
from actors.streams._commit_failures import after_failure, each_part, forget_frames, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from actors.errors import LogError
    from actors.eventlog.base import Batch, EventLog


CROWD = 32
"""Minimum number of sources (sessions) with events to commit for which the committer delays the commit a little.

The delay is :data:`CROWD_ROUNDS` steps of trio's scheduler. In a step each task that is ready runs once. With 32
sources a step takes milliseconds, in which each source emits more events. So fewer commits are needed.
"""
CROWD_ROUNDS = 2
"""Number of steps of trio's scheduler by which a commit of at least :data:`CROWD` sources is delayed.

In this time code that emits without a pause reaches three quarters of its session's maximum of uncommitted events, but
not the maximum. So this code need not wait for the delayed commit.
"""


class Source(Protocol):
    """The interface of a source of events for the committer. Each source is the stream of a session.

    If a method of a source raises, only this source ends.
    """

    def batch(self) -> Batch | None:
        """Return the events that were emitted since the last call, as a Batch. Return None if there are none."""

    def on_committed(self, batch: Batch) -> None:
        """Handle a successful commit: ``batch`` is in the log. Batches are passed in their order."""

    def on_failed(self, error: LogError) -> None:
        """Handle a failed commit: events of this source will never be in the log. The source must end."""


REFUSAL_SECONDS = 10.0
"""Time in seconds for which a failed write counts, if nothing is written after it.

*A server that is not ready gets no new clients, and perhaps writes nothing. It must become ready again by itself.*
"""
WAIT_STEP_SECONDS, WAIT_STEPS = 0.000_25, 64
"""Width of a step in seconds, and number of steps, of the histogram :attr:`CommitterStatistics.waits`: up to 16 ms."""


@attrs.frozen
class CommitterStatistics:
    """Statistics of the committer, which writes the events of all sessions to the log."""

    waiting: int
    """Number of sessions that have events to commit and are not in the running commit."""
    waits: tuple[int, ...]
    """Histogram of the times from the first emit of a batch (a session's events in one commit) to its commit.

    ``waits[i]`` is the number of batches in step ``i``. The last step has no upper end. Batches are counted only if the
    log waits for something when it appends, as for a disk.
    """
    wait_seconds: float = 0.0
    """Sum of these times, in seconds."""
    wait_step_seconds: float = WAIT_STEP_SECONDS
    """Width of a step of the histogram ``waits``, in seconds."""
    refusal: str = ""
    """The cause for which the log cannot be written now, as text. Empty if it can."""


class Committer:
    """The task that commits the events of all scheduled sources (streams of sessions) together.

    :meth:`schedule` costs no task switch. If the log appends without waiting (:meth:`~actors.EventLog.appender`), a
    commit is a plain call. Otherwise the task waits for the log.

    Only committed events are delivered, so nothing has to be taken back when a commit fails. If the log says which
    batches it refuses, their sources end, and the others are tried together once more. If it does not, each batch is
    tried once more, alone. If the batch of a source fails again, this source ends; the other sources continue. If it is
    not known whether the batches are in the log, they are not tried again: their sources end. If a source or a callback
    raises during its notification, the other sources continue too.

    A commit begins at once if none began in the last ``gather_seconds``, an attribute of the log. Otherwise events are
    collected for one transaction until that time is over, or until a task needs the commit in order to continue
    (:meth:`hurry`, :meth:`barrier`).

    While the task sleeps and the log never waits, a source can commit its events itself, by :meth:`commit`: then a lone
    event costs no switch of tasks. One commit never begins inside another. A listener or callback that emits during a
    commit schedules its session for the next commit, which is the task's.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._append_now = log.appender()
        self._scheduled: list[tuple[Source, float]] = []
        self._taken: list[tuple[Source, Batch]] = []
        self._taken_at: list[float] = []
        self._waits = [0] * (WAIT_STEPS + 1)
        self.wakeup = Wakeup()
        """The sleep of the task. To hold it for a step of the scheduler lets more events into the next commit."""
        self._idle = False
        """Whether the task sleeps, and no commit is in progress. Never true if the log can wait, or gathers events."""
        self._context = Context()
        self._barriers: list[trio.Event] = []
        self._now = trio.current_time
        self._done_at = self._next_at = self._waited = 0.0
        self._hurried = False
        self._refused: tuple[float, str] | None = None
        self.after_commits: dict[Callable[[], None], None] = {}
        """Callbacks after each commit and its notifications. They must not wait. A callback that raises is removed."""
        self.watchers: dict[Callable[[Sequence[tuple[Source, Batch]]], None], None] = {}
        """Callbacks that get the sources and batches of each commit, when the sources were notified.

        They must not wait. There are none unless code observes events, so that an event costs nothing more.
        """

    def schedule(self, source: Source) -> None:
        """Schedule ``source`` for the next commit. A source calls this once for each commit.

        If this raises, the source is not scheduled. Agents call this at any depth of the stack, so it can raise
        ``RecursionError``.
        """
        now = self._now() if self._append_now is None else 0.0  # only commits that wait are timed
        # Wake first. If the append came first and the wake failed, the task would sleep while a source is scheduled.
        if not self._scheduled:
            self.wakeup.wake()
        self._scheduled.append((source, now))

    def is_idle(self) -> bool:
        """Return whether the caller can call :meth:`commit` now.

        False inside a commit, if others are scheduled or the log can wait, and where the stack is nearly full.
        """
        return self._idle and not self._scheduled and is_shallow()

    def commit(self, source: Source | None) -> None:
        """Commit the events of ``source`` and notify their listeners before this returns. Never raises or waits.

        To be called only if :meth:`is_idle` is true, or with None for the scheduled sources if the task sleeps. If the
        log refuses the events, the task handles that.
        """
        self._idle = False
        if source is not None:
            self._scheduled.append((source, 0.0))
        # Not in the context of the caller: its context variables, such as the agent's run, are not the listeners'.
        self._idle = self._context.run(self._commit_now)
        if not self._idle:
            self.wakeup.wake()

    def hurry(self) -> None:
        """End the wait for more events, so that the next commit begins at once.

        Call this if there is much to commit, or if a task waits for the commit.
        """
        self._hurried = True
        if self.wakeup:
            self.wakeup.wake()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Commit the events of scheduled sources until this task is cancelled.

        If this is cancelled during a commit, it first finishes the commit and notifies the sources.
        """
        self._now = loop_time().clock
        self._context = copy_context()
        try:
            with trio.CancelScope() as scope:
                while True:
                    while not self._scheduled and not self._barriers and not self._taken:
                        self._idle = self._append_now is not None and not self._log.gather_seconds
                        await self.wakeup.wait()
                    self._idle = False
                    if self._log.gather_seconds or len(self._scheduled) >= CROWD:
                        await self._gather()
                    barriers, self._barriers = self._barriers, []
                    if not self._commit_now():
                        scope.shield = True
                        await self._commit_waiting()
                        scope.shield = False
                    elif self._scheduled:
                        # A listener has emitted. If it does so at each commit, the other tasks must run nevertheless.
                        await trio.lowlevel.checkpoint()
                    for barrier in barriers:
                        barrier.set()
        finally:
            self._idle = False

    async def _gather(self) -> None:
        """Wait until it is time for the next commit. Events that are emitted meanwhile are in that commit too."""
        if not self._log.gather_seconds:
            await self._gather_crowd()
            return
        begun = self._now()
        if self._next_at > begun and not self._hurried and not self._barriers:
            with trio.move_on_at(self._next_at):
                await self.wakeup.wait()
            # A timer is late by up to a millisecond. The next interval is counted from the time when the timer was due,
            # so that delays do not add up.
            begun = min(self._now(), self._next_at)
        else:
            await self._gather_crowd()
        self._hurried = False
        self._next_at = begun + self._log.gather_seconds

    async def _gather_crowd(self) -> None:
        """Delay the commit if many sources have events. They emit more events before the commit. See :data:`CROWD`."""
        for _ in range(CROWD_ROUNDS if len(self._scheduled) >= CROWD else 0):
            await trio.lowlevel.checkpoint()

    def _commit_now(self) -> bool:
        """Take the events of the scheduled sources, and commit the events if the log appends without waiting.

        Return False if :meth:`_commit_waiting` must commit them. Never raises.
        """
        scheduled, self._scheduled = self._scheduled, []
        taken, self._taken = self._taken, []  # events that the log has refused within an emit come first
        for source, _ in scheduled:
            try:
                batch = source.batch()
            except BaseException as error:  # noqa: BLE001 - a failure of the source, which ends alone
                _end(source, error)
            else:
                if batch is not None:
                    taken.append((source, batch))
        if not taken:
            return True
        if self._append_now is not None:
            try:
                self._append_now([batch for _, batch in taken])
            except BaseException:  # noqa: BLE001, S110 - append() raises it again, and _commit() handles it there
                pass
            else:
                self._publish(taken)
                return True
        self._taken = taken
        self._taken_at = [at for _, at in scheduled] if self._append_now is None else []
        return False

    async def _commit_waiting(self) -> None:
        """Commit the events that :meth:`_commit_now` has taken.

        No reference to a source remains after that, so that an ended session is freed at once.
        """
        taken, self._taken = self._taken, []
        await self._commit(taken)
        waits, done_at = self._waits, self._done_at
        for at in self._taken_at:
            waits[min(int((done_at - at) / WAIT_STEP_SECONDS), WAIT_STEPS)] += 1
            self._waited += done_at - at

    def note_refusal(self, error: BaseException) -> None:
        """Record that the log could not be written, if ``error`` says so."""
        if is_a(error, LogUnavailable):
            self._refused = trio.current_time(), text_of(error, MAX_SHOWN) or "the log failed"

    def refusal(self) -> str:
        """Return why the log could not be written within :data:`REFUSAL_SECONDS`; "" if it could, or was since."""
        at, cause = self._refused or (-math.inf, "")
        return cause if trio.current_time() < at + REFUSAL_SECONDS else ""

    def statistics(self) -> CommitterStatistics:
        """Return statistics of the committer."""
        return CommitterStatistics(len(self._scheduled), tuple(self._waits), self._waited, refusal=self.refusal())

    async def barrier(self) -> None:
        """Wait until all events that were scheduled before this call are committed or have failed. Safe to cancel."""
        passed = trio.Event()
        self._barriers.append(passed)
        self.wakeup.wake()
        await passed.wait()

    async def _commit(self, taken: Sequence[tuple[Source, Batch]]) -> None:
        if self._log.divide is None:
            for part in parts(taken, self._log.max_commit):
                await self._commit_part(part)
        else:
            await each_part(taken, self._log.divide, self._log.max_commit, self._commit_part)

    async def _commit_part(self, taken: Sequence[tuple[Source, Batch]]) -> None:
        try:
            await self._log.append([batch for _, batch in taken])
        except BaseException as error:
            # An error of the log ends streams, never this task. A cancellation that passes even the shield ends it:
            # such a cancellation is meant for this task.
            if is_a(error, trio.Cancelled) and trio.current_effective_deadline() == -math.inf:
                raise
            await self._commit_rest(taken, error)
            return
        finally:
            self._done_at = self._now()
        self._publish(taken)

    def _publish(self, taken: Sequence[tuple[Source, Batch]]) -> None:
        """Notify the sources, the watchers and the callbacks that the batches are committed. Never raises."""
        self._refused = None
        for source, batch in taken:
            try:
                source.on_committed(batch)
            except BaseException as error:  # noqa: BLE001 - a failure of the source, which ends alone
                _end(source, error)
        for watcher in tuple(self.watchers) if self.watchers else ():
            contained("the distribution of events to observers", watcher, taken)
        for callback in tuple(self.after_commits):
            try:
                callback()
            except BaseException as error:  # noqa: BLE001 - a failure of the callback
                self.after_commits.pop(callback, None)
                report("a callback after commits", error)

    async def _commit_rest(self, taken: Sequence[tuple[Source, Batch]], error: BaseException) -> None:
        """End the sources of refused batches after a failed commit, and commit the other batches. See the class."""
        refused, groups = after_failure(taken, error, final=self._log.tries_again)
        for source, failure in refused:
            self.note_refusal(failure)
            report("the commit of a session's events", failure)
            forget_frames(failure)
            contained("a session whose log refused", source.on_failed, failure)
        for group in groups:
            await self._commit_part(group)


@contextmanager
def calling_after_commits(committer: Committer, callback: Callable[[], None]) -> Generator[None]:
    """Call ``callback`` after each commit, inside the ``with`` block. ``callback`` must not wait.

    First all listeners are notified of the committed events, then ``callback`` is called. If ``callback`` raises, the
    error is logged, and ``callback`` is not called again. The commits continue.
    """
    # A partial is a key of its own: the same callback may be registered twice.
    callbacks, registered = committer.after_commits, partial(callback)
    callbacks[registered] = None
    try:
        yield
    finally:
        callbacks.pop(registered, None)


def commit_due(committer: Committer) -> bool:
    """Commit the events of the scheduled sources now, if that needs no wait. Never raises or waits.

    Return False if the committer's task commits them within a few steps of the scheduler. To be called from the bottom
    of a task's stack: a commit calls foreign code, which needs room.
    """
    # Two lines for the private names: a method would make the class too long.
    scheduled, idle = committer._scheduled, committer._idle  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
    append, log = committer._append_now, committer._log  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as said
    if not scheduled or append is None or log.gather_seconds:
        return True
    if idle:
        committer.commit(None)
    return idle


def _end(source: Source, error: BaseException) -> None:
    """End a source that raised ``error``, when its events were taken or when it was notified of their commit.

    The source gets a new error, not ``error`` itself: the traceback of ``error`` would keep the source in memory.
    """
    report("a session's commit", error)
    refusal = LogUnavailable(f"the session's commit failed: {shown(error)}")
    contained("a session that failed", source.on_failed, refusal)
