"""An event log that contains invalid lines, as after damage of the disk or a change by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import Batch, MemoryLog, StreamKey
from actors.testing import event_line

if TYPE_CHECKING:
    from collections.abc import Sequence


class DamagedLog(MemoryLog):
    """A memory log that returns any lines for a stream made by :meth:`stored`, even lines that a log would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self._damaged: dict[StreamKey, Sequence[bytes]] = {}

    async def stored(self, key: StreamKey, lines: Sequence[bytes], state: bytes = b"") -> None:
        """Make a stream with any bytes as its lines. A reader takes the first line for event 1."""
        await self.make(key)
        await self.append([Batch(key, 1, [event_line(seq) for seq in range(1, len(lines) + 1)], state)])
        self._damaged[key] = lines

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        lines = await super().read(key, after, limit, size)
        return self._damaged[key][after : after + len(lines)]
