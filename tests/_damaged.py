"""A log with what no log takes: lines that a disk, or a hand, has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import Batch, MemoryLog, StreamKey
from actors.testing import event_line

if TYPE_CHECKING:
    from collections.abc import Sequence


class DamagedLog(MemoryLog):
    """Gives, of each stream that was :meth:`stored`, those lines in place of the ones that it has."""

    def __init__(self) -> None:
        super().__init__()
        self._damaged: dict[StreamKey, Sequence[bytes]] = {}

    async def stored(self, key: StreamKey, lines: Sequence[bytes], state: bytes = b"") -> None:
        """Make the stream, with lines that may be anything; the first stands where event 1 is."""
        await self.make(key)
        await self.append([Batch(key, 1, [event_line(seq) for seq in range(1, len(lines) + 1)], state)])
        self._damaged[key] = lines

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        lines = await super().read(key, after, limit, size)
        return self._damaged[key][after : after + len(lines)]
