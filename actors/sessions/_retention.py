"""Retention for sessions that are not in memory: their logs are trimmed, and old sessions are forgotten."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import attrs
import trio

from actors.errors import Fenced, LogError, LogUnavailable
from actors.eventlog._listing import STREAMS_PAGE
from actors.failures import log_failure
from actors.loop.boundary import attempted
from actors.sessions._custody import Alone
from actors.streams._ages import AgeClock
from actors.streams._record import DoneCommands, decode_record, encode_record
from actors.streams._stream import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from actors.eventlog.base import EventLog, Head, Retention, StreamKey
    from actors.sessions._custody import Custody

logger = logging.getLogger("greenroom.sessions")

FIRST_PAUSE = 60.0
"""Time from the start of the server to the first cleaning of the log, in seconds."""
SHORTEST_PAUSE = 60.0
"""Minimum time between two cleanings of the log, in seconds. A cleaning reads the stored state of every session."""
LONGEST_PAUSE = 3600.0
"""Maximum time between two cleanings of the log, in seconds.

If retention keeps events for less than 4 hours, the time between two cleanings is shorter.
"""


LOT = 50
"""Number of sessions that are looked at together. To read the states of more would hold up other tasks."""


@attrs.frozen
class _Work:
    """The cleaning that one session needs."""

    state: bytes | None
    """The state to store, because commands are forgotten; None for the present one."""
    removes: bool = False
    trims_at: int | None = None
    """The time of day at which events are too old, in ms since 1970; None if no event is to be deleted."""

    @property
    def is_any(self) -> bool:
        """Whether there is anything to do."""
        return self.removes or self.trims_at is not None or self.state is not None


class RetentionSweep:
    """The periodic cleaning of the logs of sessions that are not in memory. A session in memory trims its own log.

    A cleaning deletes the events that exceed the limits of retention (age, number and bytes), and removes old sessions.

    Args:
        log: The log of all sessions.
        keep: The limits of retention.
        forget_seconds: Time from a session's newest event until the session is removed from the log. A session is
            removed only if no event of it is left.
        reserve: Function that returns a context manager for a session's key. Inside its block this session cannot be
            made. The context manager yields False if the session is in memory already.
        command_seconds: Time for which commands are remembered.
        ages: The clock for the ages of events and commands.
        on_removed: Called when a session was removed from the log.
    """

    def __init__(  # noqa: PLR0913 - made in one place, by name
        self,
        log: EventLog,
        keep: Retention,
        forget_seconds: float,
        reserve: Callable[[StreamKey], AbstractContextManager[bool]],
        *,
        command_seconds: float = 0.0,
        ages: AgeClock | None = None,
        on_removed: Callable[[StreamKey], None] | None = None,
    ) -> None:
        self._log = log
        self._keep = keep
        self._forget_seconds = forget_seconds
        self._reserve = reserve
        self._command_seconds = command_seconds
        self.ages = ages or AgeClock(now_ms)
        """The clock for the ages of events. A node of a cluster has it follow the clock of the log's server, too."""
        self._on_removed = on_removed
        self.custody: Custody = Alone()
        """The users for which this process cleans the logs. A node of a cluster sets its own."""

    async def run(self) -> None:
        """Clean the logs again and again, until cancelled. If a cleaning fails, log the failure and try again later."""
        pause = min(LONGEST_PAUSE, max(SHORTEST_PAUSE, self._keep.seconds / 4))
        await trio.sleep(FIRST_PAUSE)
        while True:
            # An engine may fail in any way. That must not end the sessions in memory.
            await attempted("the cleaning of old sessions", self._round)
            await trio.sleep(pause)

    async def _round(self) -> None:
        try:
            await self.clean()
        except LogError as error:
            log_failure(logger, "old sessions could not be cleaned up", error=error, level=logging.WARNING)

    async def clean(self) -> None:
        """Trim the log of each session that is not in memory, and remove old sessions that have no events.

        If the log fails for one session, the failure is logged, and the other sessions are cleaned. In a cluster each
        session is cleaned by the node that owns its user. If no node does, one node claims the user for it.

        Raises:
            LogUnavailable: The log is not available at all.
            Exception: Anything that the log raises when ``clean`` asks for the list of streams.

        Cancellation: some sessions are cleaned, other sessions are not.
        """
        after = None
        while keys := await self._log.streams(after, STREAMS_PAGE):
            for first in range(0, len(keys), LOT):
                await trio.lowlevel.checkpoint()
                for key in await self._with_work(keys[first : first + LOT]):
                    await trio.lowlevel.checkpoint()
                    await self._try_to_clean(key)
            after = keys[-1]

    async def _with_work(self, keys: Sequence[StreamKey]) -> Sequence[StreamKey]:
        """Return the sessions that need a cleaning here, by one look at all of them.

        *One by one, the looks at 10,000 sessions in Valkey took a node 2 s of CPU time, for nothing.* If the look fails
        because of any of them, return all: each is then looked at alone.

        Raise LogUnavailable.
        """
        here = [key for key in keys if self.custody.falls_here(key.user) and self._is_away(key)]
        try:
            heads = await self._log.heads(here)
            return [key for key, head in zip(here, heads, strict=True) if head is not None and self._work(head)]
        except LogUnavailable:
            raise
        except BaseException:  # noqa: BLE001 - an engine may raise anything for a damaged stream
            await trio.lowlevel.checkpoint_if_cancelled()
            return here

    def _is_away(self, key: StreamKey) -> bool:
        """Return whether a session is neither in memory nor being made."""
        with self._reserve(key) as reserved:
            return reserved

    async def _try_to_clean(self, key: StreamKey) -> None:
        try:
            await self._clean(key)
        except LogUnavailable:
            raise
        except Fenced:
            pass  # another node has claimed the user meanwhile, and cleans the session
        except BaseException as error:  # noqa: BLE001 - an engine may raise anything for a damaged stream
            await trio.lowlevel.checkpoint_if_cancelled()
            text = "session %r of %r could not be cleaned up"
            log_failure(logger, text, key.session, key.user, level=logging.WARNING, error=error)

    async def _clean(self, key: StreamKey) -> None:
        if not self.custody.falls_here(key.user):
            return
        with self._reserve(key) as reserved:
            head = await self._log.head(key) if reserved else None
            # First look whether there is anything to do: a node must not claim all users in each round.
            if head is None or not self._work(head):
                return
            async with self.custody.held(key.user) as mine:
                head = await self._log.head(key) if mine else None
                work = None if head is None else self._work(head)
                if head is not None and work is not None:
                    await self._clean_reserved(key, head, work)

    def _work(self, head: Head) -> _Work | None:
        """Return the cleaning that a session with this summary needs. Return None if it needs none."""
        record = decode_record(head.state)
        done = DoneCommands(sys.maxsize, self._command_seconds, record.done)
        done.forget(self.ages.now(self._command_seconds))
        state = None
        if len(done) < len(record.done):
            state = encode_record(record.ts, record.grammar.snapshot(), record.closed_at, done)
        if head.oldest > head.latest and not len(done):
            # A session may be closed long after its last event. The close is remembered as long as an event would be.
            age = self.ages.now(self._forget_seconds) - max(head.touched, record.closed_at or 0)
            work = _Work(state, removes=age > self._forget_seconds * 1000)
        else:
            now = self.ages.now(self._keep.seconds)
            work = _Work(state, trims_at=now if self._exceeds(head, now) else None)
        return work if work.is_any else None

    async def _clean_reserved(self, key: StreamKey, head: Head, work: _Work) -> None:
        if work.removes:
            await self._log.remove(key)
            if self._on_removed is not None:
                self._on_removed(key)
            return
        if work.trims_at is not None:
            await self._log.trim(key, self._keep.beside(len(head.state)), work.trims_at)
        if work.state is not None:
            await self._log.mark(key, work.state)

    def _exceeds(self, head: Head, now: int) -> bool:
        """Return whether a session has events beyond the limits of retention. ``head`` is the summary of its stream."""
        keep = self._keep
        if head.oldest > head.latest:
            return False
        too_old = now - head.oldest_ts > keep.seconds * 1000
        return too_old or head.latest - head.oldest >= keep.events or head.size + len(head.state) > keep.size
