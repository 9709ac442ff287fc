"""The positions of consumers in a log in memory. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.eventlog.base import ConsumerUsage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actors.eventlog.base import ConsumerPosition, StreamKey


@attrs.define
class _Consumer:
    """One consumer: its positions, and the number of its lost events."""

    positions: dict[StreamKey, int]
    lost: int = 0


class MemoryPositions:
    """The positions of all consumers. The methods correspond to those of :class:`~actors.EventLog`."""

    def __init__(self) -> None:
        self._consumers: dict[str, _Consumer] = {}

    def start(self, name: str, positions: dict[StreamKey, int]) -> int:
        """Make a consumer at these positions, unless it exists. Return the number of its lost events."""
        return self._consumers.setdefault(name, _Consumer(positions)).lost

    def of(self, name: str) -> Mapping[StreamKey, int]:
        """Return the positions of a consumer. Raise KeyError if it does not exist."""
        return self._consumers[name].positions

    def acknowledge(self, name: str, positions: Sequence[ConsumerPosition], lost: int) -> None:
        """Store new positions of a consumer, and forget lost events. The streams of the positions exist."""
        consumer = self._consumers[name]
        for each in positions:
            consumer.positions[each.key] = max(each.seq, consumer.positions.get(each.key, 0))
        consumer.lost = max(0, consumer.lost - lost)

    def usage(self, latest: Mapping[StreamKey, int]) -> list[ConsumerUsage]:
        """Return the state of each consumer. ``latest`` has the newest seq of each stream."""
        return [
            ConsumerUsage(name, sum(seq - one.positions.get(key, 0) for key, seq in latest.items()), one.lost)
            for name, one in sorted(self._consumers.items())
        ]

    def unread(self, key: StreamKey, latest: int) -> int | None:
        """Return the number of a stream's newest events that some consumer has not read. None without consumers."""
        return max((latest - one.positions.get(key, 0) for one in self._consumers.values()), default=None)

    def forget_stream(self, key: StreamKey, latest: int) -> None:
        """Remove the positions in a stream that was removed, and count its unread events as lost."""
        for one in self._consumers.values():
            one.lost += latest - one.positions.pop(key, 0)

    def remove(self, name: str) -> None:
        """Remove a consumer with its positions."""
        self._consumers.pop(name, None)
