"""The part of the contract of an event log that is optional: the positions of consumers.

A *consumer* is a reader of all streams that continues where it stopped, also after a restart. The log keeps the
position of each consumer in each stream: the consumer has handled all events of the stream up to this seq. A stream
without a stored position is at 0. A position never decreases, is never above the stream's newest event, and is removed
together with its stream. So a stream that is made again is consumed from its beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog._names import StreamKey


@attrs.frozen
class ConsumerPosition:
    """The position of a consumer in one stream."""

    key: StreamKey
    epoch: str
    """The stream's epoch, as in :class:`~actors.Head`."""
    seq: int
    """The consumer has handled all events up to this seq; 0 if it has handled none."""


@attrs.frozen
class ConsumerUsage:
    """The state of one consumer in the log."""

    name: str
    """Name of the consumer."""
    unread: int
    """Number of events beyond the consumer's positions, in all streams. Events of all types count."""
    lost: int
    """Number of events that were removed together with their streams, and of which the consumer was not told yet."""


class ConsumerPositions:
    """The methods of an event log that keep the positions of consumers. An engine defines all of them, or none.

    The default methods raise ``LogError``: with such an engine, a server can run no consumers. The methods of an engine
    raise ``KeyError`` for a consumer that does not exist, and otherwise the errors of the other methods.
    """

    async def start_consumer(self, name: str, *, from_start: bool) -> int:
        """Make a consumer, unless it exists. Return the number of its lost events: see :attr:`ConsumerUsage.lost`.

        Args:
            name: Name of the consumer.
            from_start: For a new consumer: whether it begins at the oldest event of each stream. If False, it begins
                behind the newest event of each stream that exists now.
        """
        del name, from_start
        raise self._without_positions()

    async def consumer_positions(self, name: str, keys: Sequence[StreamKey]) -> Sequence[ConsumerPosition]:
        """Return the consumer's positions in some streams. Streams that do not exist are left out."""
        del name, keys
        raise self._without_positions()

    async def unread_streams(
        self, name: str, after: StreamKey | None, limit: int, *, user: str | None = None
    ) -> Sequence[StreamKey]:
        """Return the keys of streams with events beyond the consumer's position, sorted.

        A stream counts too if all these events were trimmed.

        Args:
            name: Name of the consumer.
            after: Only streams with a key that sorts behind this one are returned. None for the first page.
            limit: Maximum number of keys.
            user: Only streams of this user. None for those of all users.
        """
        del name, after, limit, user
        raise self._without_positions()

    async def acknowledge(self, name: str, positions: Sequence[ConsumerPosition], lost: int = 0) -> None:
        """Store that the consumer has handled all events up to these positions, as durably as an append.

        A position below the stored one changes nothing, and neither does a position in a stream that does not exist or
        has another epoch.

        Args:
            name: Name of the consumer.
            positions: The new positions, at most one for each stream.
            lost: The number of lost events of which the consumer was told. They are forgotten. A negative number adds
                lost events: so a copy of a log gets their number.
        """
        del name, positions, lost
        raise self._without_positions()

    async def consumers(self) -> Sequence[ConsumerUsage]:
        """Return the state of each consumer, sorted by name. A log without positions has no consumers."""
        return ()

    async def remove_consumer(self, name: str) -> None:
        """Remove a consumer with its positions. Do nothing if it does not exist."""
        del name
        raise self._without_positions()

    def _without_positions(self) -> LogError:
        kind = type(self).__name__
        return LogError(f"a log of the kind {kind} keeps no positions of consumers: use another log, such as sqlite:")
