"""The pump that makes what all sessions emitted durable: while one commit runs, the next one gathers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, cast

import attrs
import trio

from actors.errors import LogError, LogUnavailable
from actors.failures import is_a, led_to, members, shown
from actors.loop.boundary import contained, report
from actors.loop.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.eventlog.base import Batch, EventLog


CROWD = 32
"""Sources with something new from which on a commit waits :data:`CROWD_ROUNDS` of the scheduler more: under such a load
a round takes milliseconds and brings each of them another lot of events; commit and write are then paid once for all.
"""
CROWD_ROUNDS = 2
"""With these an emitter that never pauses has three quarters of its window uncommitted, and still need not wait."""


class Source(Protocol):
    """Something that has events to commit: a session's stream. A method that raises ends this source alone."""

    def batch(self) -> Batch | None:
        """Give what was emitted since the last batch, None if nothing was."""

    def on_committed(self, batch: Batch) -> None:
        """Hear that the batch is in the log. Called in the order of the batches."""

    def on_failed(self, error: LogError) -> None:
        """Hear that the batch is not in the log and will not be: the source must end."""


WAIT_STEP_SECONDS, WAIT_STEPS = 0.000_25, 64
"""How finely :attr:`CommitterStatistics.waits` counts, and up to where: 16 ms."""


@attrs.frozen
class CommitterStatistics:
    """How the pump stands."""

    waiting: int
    """Sessions that have something to commit and are not in the commit that runs."""
    waits: tuple[int, ...]
    """Batches by their time from the first emit to the end of their commit, in steps; the last is of all above."""
    wait_step_seconds: float = WAIT_STEP_SECONDS
    """How long a step of ``waits`` is."""


class Committer:
    """Collects the sources that have something new and commits them together.

    One task runs :meth:`run`; :meth:`schedule` costs no task switch. Nothing is delivered before it was committed, so a
    failed commit takes nothing back: each batch of it is tried once more by itself, and the sources whose batch fails
    again are told and end; the others go on. So do they where a source, or a callback, fails as it is told.

    A commit begins at once where the log has had none for ``gather_seconds``; else what comes meanwhile gathers for
    one transaction, until that time is over or somebody cannot go on without it (:meth:`hurry`, :meth:`barrier`).
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._scheduled: list[tuple[Source, float]] = []
        self._waits = [0] * (WAIT_STEPS + 1)
        self._wakeup = Wakeup()
        self._barriers: list[trio.Event] = []
        self._now = trio.current_time
        self._done_at = self._next_at = 0.0
        self._hurried = False
        self.after_commits: dict[Callable[[], None], None] = {}
        """Called in the turn of each commit, once its sources were told. None may wait; one that raises is removed."""

    def schedule(self, source: Source) -> None:
        """Have ``source`` in the next commit. To be called once per batch, by its source.

        Where it raises (``RecursionError``: it is called from the depth of an agent) nothing has happened.
        """
        now = self._now()
        # First, since a pump that is woken for nothing waits again: it must never sleep while something is scheduled.
        if not self._scheduled:
            self._wakeup.wake()
        self._scheduled.append((source, now))

    def hurry(self) -> None:
        """Have what is scheduled committed without gathering more: it is much, or somebody waits for it."""
        self._hurried = True
        if self._wakeup:
            self._wakeup.wake()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Commit for ever. Cancelled in mid-commit, the append is finished first and its sources are told."""
        self._now = trio.lowlevel.current_clock().current_time  # the same, two calls nearer
        with trio.CancelScope() as scope:
            while True:
                while not self._scheduled and not self._barriers:
                    await self._wakeup.wait()
                if self._log.gather_seconds or len(self._scheduled) >= CROWD:
                    await self._gather()
                scope.shield = True
                await self._commit_scheduled()
                scope.shield = False

    async def _gather(self) -> None:
        if not self._log.gather_seconds:
            await self._gather_crowd()
            return
        begun = self._now()
        if self._next_at > begun and not self._hurried and not self._barriers:
            with trio.move_on_at(self._next_at):
                await self._wakeup.wait()
            # Timers are late by up to a millisecond: counted from when it was due, those delays do not add up.
            begun = min(self._now(), self._next_at)
        else:
            await self._gather_crowd()
        self._hurried = False
        self._next_at = begun + self._log.gather_seconds

    async def _gather_crowd(self) -> None:
        for _ in range(CROWD_ROUNDS if len(self._scheduled) >= CROWD else 0):
            await trio.lowlevel.checkpoint()

    async def _commit_scheduled(self) -> None:
        """Commit the scheduled sources. Hold none of them afterwards: an ended session must not wait for the next."""
        scheduled, self._scheduled = self._scheduled, []
        barriers, self._barriers = self._barriers, []
        taken: list[tuple[Source, Batch]] = []
        for source, _ in scheduled:
            try:
                batch = source.batch()
            except BaseException as error:  # noqa: BLE001 - a failure of the source, which ends alone
                _end(source, error)
            else:
                if batch is not None:
                    taken.append((source, batch))
        if taken:
            await self._commit(taken)
            waits, done_at = self._waits, self._done_at
            for _, at in scheduled:
                waits[min(int((done_at - at) / WAIT_STEP_SECONDS), WAIT_STEPS)] += 1
        for barrier in barriers:
            barrier.set()

    def statistics(self) -> CommitterStatistics:
        """Say how it stands."""
        return CommitterStatistics(len(self._scheduled), tuple(self._waits))

    async def barrier(self) -> None:
        """Return when everything that was scheduled before the call is committed or has failed. Safe to cancel."""
        passed = trio.Event()
        self._barriers.append(passed)
        self._wakeup.wake()
        await passed.wait()

    async def _commit(self, taken: list[tuple[Source, Batch]]) -> None:
        try:
            await self._log.append([batch for _, batch in taken])
        except BaseException as error:
            # Whatever a log raises concerns its streams, never this pump. Only its own end does, when it is forced.
            if is_a(error, trio.Cancelled) and trio.current_effective_deadline() == -math.inf:
                raise
            await self._commit_apart(taken, _refusal(error))
            return
        finally:
            self._done_at = self._now()
        for source, batch in taken:
            try:
                source.on_committed(batch)
            except BaseException as error:  # noqa: BLE001 - a failure of the source, which ends alone
                _end(source, error)
        for callback in tuple(self.after_commits):
            try:
                callback()
            except BaseException as error:  # noqa: BLE001 - a failure of whoever asked to be called
                self.after_commits.pop(callback, None)
                report("what is called after commits", error)

    async def _commit_apart(self, taken: list[tuple[Source, Batch]], error: LogError) -> None:
        if len(taken) == 1:
            report("the commit of a session's events", error)
            _forget_frames(error)
            contained("a session whose log refused", taken[0][0].on_failed, error)
            return
        for pair in taken:
            await self._commit([pair])


def _refusal(error: BaseException) -> LogError:
    """Make the error that a source is told, of what a log raised."""
    if is_a(error, LogError):
        return cast("LogError", error)
    refusal = LogUnavailable(f"the log failed: {shown(error)}")
    refusal.__cause__ = error
    return refusal


def _forget_frames(error: BaseException) -> None:
    """Take the tracebacks off an error that a source is to keep, and off its causes: their frames hold the source."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            BaseException.with_traceback(each, None)
            waiting += (*members(each), *(one for one in led_to(each) if one is not None))


def _end(source: Source, error: BaseException) -> None:
    """End a source that failed as its events were taken, or as it was told of them.

    It is not given the error, whose traceback has the frame that holds it.
    """
    report("a session's commit", error)
    refusal = LogUnavailable(f"the session's commit failed: {shown(error)}")
    contained("a session that failed", source.on_failed, refusal)
