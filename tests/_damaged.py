"""A log with lines that no log accepts, as after a damage of the disk or a change by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import Batch, MemoryLog, StreamKey
from actors.testing import event_line

if TYPE_CHECKING:
    from collections.abc import Sequence


class DamagedLog(MemoryLog):
    """A memory log that returns, for each :meth:`stored` stream, lines that it would have refused."""

    def __init__(self) -> None:
        super().__init__()
        self._damaged: dict[StreamKey, Sequence[bytes]] = {}

    async def stored(self, key: StreamKey, lines: Sequence[bytes], state: bytes = b"") -> None:
        """Make a stream with any bytes as its lines. The first is read as event 1."""
        await self.make(key)
        await self.append([Batch(key, 1, [event_line(seq) for seq in range(1, len(lines) + 1)], state)])
        self._damaged[key] = lines

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        lines = await super().read(key, after, limit, size)
        return self._damaged[key][after : after + len(lines)]
