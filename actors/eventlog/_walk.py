"""A walk (a read from the oldest event to the newest) through a stream that a server changes meanwhile.

Retention can drop events, and the stream can be removed and begin anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

from actors.errors import LogCorrupt, Trimmed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog.base import EventLog, Head, StreamKey

# Maximum size of a page: small enough for memory, large enough that the cost of a read does not count.
_PAGE_EVENTS, _PAGE_BYTES = 1_000, 4 * 1024 * 1024


@attrs.define
class StreamWalk:
    """A reader of a stream, from its oldest event to the event that was the newest when the walk began.

    The end of the walk is fixed, so the walk ends even if events are appended meanwhile.
    """

    _log: EventLog
    _key: StreamKey
    head: Head
    """The stream's summary when the walk began: its epoch, its oldest and newest seq, its size."""
    position: int
    """Seq of the newest event that the reader has passed.

    This event was returned, or retention dropped it before it was read.
    """
    gone: bool = False
    """Whether the stream was removed while it was read. Reading then ends, even if a new stream has the same name."""

    @classmethod
    async def of(cls, log: EventLog, key: StreamKey) -> Self | None:
        """Begin to read the stream ``key`` from its oldest event. Return None if the stream does not exist.

        Raises the errors of ``log.head``.
        """
        head = await log.head(key)
        return None if head is None else cls(log, key, head, head.oldest - 1)

    async def page(self) -> Sequence[bytes]:
        """Return the stream's next lines. Advance :attr:`position` to the last line that is returned.

        At the end of the walk, return an empty sequence. Events that retention dropped meanwhile are skipped.

        Raises:
            LogCorrupt: An event is missing, although the stream's summary (:class:`Head`) says that the log has it.

        Cancellation: :attr:`position` does not change.
        """
        while self.position < self.head.latest and not self.gone:
            try:
                lines = await self._read()
            except Trimmed as trimmed:
                self._skip_to(trimmed.oldest)
                continue
            # Check the epoch after the read. An epoch is never used again, so if it is the same now, the lines belong
            # to the stream that the walk began with.
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
            return ()  # the stream is gone; the caller learns that from the head

    def _skip_to(self, oldest: int) -> None:
        if oldest <= self.position + 1:  # the next read would raise the same again, for ever
            raise LogCorrupt(f"event {self.position + 1} is both kept and trimmed, as the log says")
        self.position = oldest - 1
