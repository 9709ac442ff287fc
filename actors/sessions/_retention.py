"""Sessions that nobody comes back to: what their logs may drop, and when they are forgotten."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import trio

from actors.errors import LogError, LogUnavailable
from actors.failures import log_failure
from actors.loop.boundary import attempted
from actors.streams._ages import AgeClock
from actors.streams._record import DoneCommands, decode_record, encode_record
from actors.streams._stream import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from actors.eventlog.base import EventLog, Head, Retention, StreamKey

logger = logging.getLogger("greenroom.sessions")

LONGEST_PAUSE = 3600.0
"""Seconds between two rounds of cleaning; fewer where retention is shorter."""


class RetentionSweep:
    """Goes through the streams whose session is not in memory: those that are trim themselves.

    ``reserve`` keeps a session from being made as long as its context lasts; it gives False where there is one.
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
    ) -> None:
        self._log = log
        self._keep = keep
        self._forget_seconds = forget_seconds
        self._reserve = reserve
        self._command_seconds = command_seconds
        self._ages = ages or AgeClock(now_ms)

    async def run(self) -> None:
        """Clean for ever, a minute after the start at the earliest. What fails is logged, and tried the next time."""
        pause = min(LONGEST_PAUSE, max(60.0, self._keep.seconds / 4))
        await trio.sleep(min(60.0, pause))
        while True:
            # An engine's own failure, whatever it is, must not end the sessions that live.
            await attempted("the cleaning of old sessions", self._round)
            await trio.sleep(pause)

    async def _round(self) -> None:
        try:
            await self.clean()
        except LogError as error:
            log_failure(logger, "old sessions could not be cleaned up", error=error, level=logging.WARNING)

    async def clean(self) -> None:
        """Drop what retention does not keep, and forget the sessions that had nothing left for long. Safe to cancel.

        Raises :class:`~actors.LogUnavailable`, and what the log raises as it lists its streams. Any other failure is
        one session's: it is logged, and the others are cleaned.
        """
        for key in await self._log.streams():
            await trio.lowlevel.checkpoint()
            try:
                await self._clean(key)
            except LogUnavailable:
                raise
            except BaseException as error:  # noqa: BLE001 - an engine may raise anything for a stream that is damaged
                await trio.lowlevel.checkpoint_if_cancelled()
                text = "session %r of %r could not be cleaned up"
                log_failure(logger, text, key.session, key.user, level=logging.WARNING, error=error)

    async def _clean(self, key: StreamKey) -> None:
        with self._reserve(key) as reserved:
            head = await self._log.head(key) if reserved else None
            if head is not None:
                await self._tidy(key, head)

    async def _tidy(self, key: StreamKey, head: Head) -> None:
        now = self._ages.now(self._forget_seconds)
        record = decode_record(head.state)
        done = DoneCommands(sys.maxsize, self._command_seconds, record.done)
        done.forget(self._ages.now(self._command_seconds))
        if head.oldest > head.latest and not len(done):
            # Its events may be older than the close, which is remembered as long as they would be.
            if now - max(head.touched, record.closed_at or 0) > self._forget_seconds * 1000:
                await self._log.remove(key)
                return
        elif self._exceeds(head, now := self._ages.now(self._keep.seconds)):
            await self._log.trim(key, self._keep.beside(len(head.state)), now)
        if len(done) < len(record.done):
            await self._log.mark(key, encode_record(record.ts, record.grammar.snapshot(), record.closed_at, done))

    def _exceeds(self, head: Head, now: int) -> bool:
        keep = self._keep
        if head.oldest > head.latest:
            return False
        too_old = now - head.oldest_ts > keep.seconds * 1000
        return too_old or head.latest - head.oldest >= keep.events or head.size + len(head.state) > keep.size
