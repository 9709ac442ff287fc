"""Reading a stream to its end while its server goes on: retention drops events, the stream may begin anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

from actors.errors import LogCorrupt, Trimmed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog.base import EventLog, Head, StreamKey

_PAGE_EVENTS, _PAGE_BYTES = 1_000, 4 * 1024 * 1024


@attrs.define
class StreamWalk:
    """Reads a stream from its oldest event to the one that was the newest when the walk began.

    Each page is nearer to that end, so a walk ends also where the stream changes meanwhile.
    """

    _log: EventLog
    _key: StreamKey
    head: Head
    """Where the stream stood when the walk began."""
    position: int
    """The seq of the last event that was returned, or dropped by retention before it could be."""
    gone: bool = False
    """Whether the stream was removed meanwhile, whether or not it began anew: the walk ended there."""

    @classmethod
    async def of(cls, log: EventLog, key: StreamKey) -> Self | None:
        """Begin a walk; return None where the stream does not exist. Raises what the log raises."""
        head = await log.head(key)
        return None if head is None else cls(log, key, head, head.oldest - 1)

    async def page(self) -> Sequence[bytes]:
        """Return the next lines, the last of which is the event at :attr:`position` then; empty at the end.

        Events that retention dropped meanwhile are passed over. Raises :class:`~actors.LogCorrupt` where the log lacks
        an event that it says it has. Cancelled: the walk has not moved.
        """
        while self.position < self.head.latest and not self.gone:
            try:
                lines = await self._read()
            except Trimmed as trimmed:
                self._skip_to(trimmed.oldest)
                continue
            # Asked after the read: an epoch never comes back, so the lines are of the stream that the walk began with.
            head = await self._log.head(self._key)
            if head is None or head.epoch != self.head.epoch:
                self.gone = True
                break
            if not lines:
                raise LogCorrupt(f"event {self.position + 1} is missing")
            self.position += len(lines)
            return lines
        return ()

    async def _read(self) -> Sequence[bytes]:
        limit = min(_PAGE_EVENTS, self.head.latest - self.position)
        try:
            return await self._log.read(self._key, self.position, limit, _PAGE_BYTES)
        except KeyError:
            return ()  # the head says so too

    def _skip_to(self, oldest: int) -> None:
        if oldest <= self.position + 1:  # the same again and again
            raise LogCorrupt(f"event {self.position + 1} is said to be kept, and to be trimmed")
        self.position = oldest - 1
