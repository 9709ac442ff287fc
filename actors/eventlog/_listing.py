"""The lists of streams of a log, and the summary of a stream. A log may have more streams than fit into memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog._names import StreamKey

STREAMS_PAGE = 1_000
"""Number of streams that code which goes through all streams of a log asks for at once."""


@attrs.frozen
class Head:
    """A summary of a stream: its epoch, the seqs of its oldest and newest events, its size and its state."""

    epoch: str
    oldest: int
    """The lowest seq that the log keeps of the stream; ``latest + 1`` if it keeps no event."""
    latest: int
    """The highest seq that was ever appended to the stream; 0 if the stream never had an event."""
    size: int
    """The size of the stream's kept lines, in bytes."""
    oldest_ts: int
    """The ``ts`` of the oldest kept event, in ms since 1970; 0 if no event is kept."""
    state: bytes
    """The stream's state: the bytes that the last batch or the last ``mark`` stored; empty at first."""
    touched: int = attrs.field(default=0, eq=False)
    """The ``ts`` of the stream's newest event, in ms since 1970, even if that event was trimmed.

    If the stream never had an event, the time when the stream was made. Two summaries that differ only in ``touched``
    are equal.
    """


@attrs.frozen
class UserUsage:
    """The part of a log that belongs to one user."""

    streams: int
    """Number of the user's streams (sessions)."""
    size: int
    """Size of the user's streams in bytes: their kept lines and their states."""


class Listing(ABC):
    """The methods of an event log that list streams."""

    @abstractmethod
    async def streams(self, after: StreamKey | None = None, limit: int | None = None) -> Sequence[StreamKey]:
        """Return the keys of streams in the log, sorted. Without arguments, return those of all streams.

        Args:
            after: Only streams with a key that sorts behind this one are returned. None for the first page.
            limit: Maximum number of keys. Fewer may be returned though there are more; an empty result is the end.
        """

    async def user_streams(self, user: str, after: str, limit: int) -> Sequence[StreamKey]:
        """Return the keys of a user's streams, sorted by the session's name.

        This default method goes through the keys of all streams. An engine with a faster way overrides this.

        Args:
            user: The user.
            after: Only streams with a session's name that sorts behind this one are returned.
            limit: Maximum number of keys.
        """
        return [key for key in await self._keys_of(user) if key.session > after][: max(limit, 0)]

    async def usage(self, user: str) -> UserUsage:
        """Return the number and the size of a user's streams.

        This default method reads the head of each of these streams. An engine with a faster way overrides the method.
        """
        heads = [head for _, head in await self._heads_of(user)]
        return UserUsage(len(heads), sum(head.size + len(head.state) for head in heads))

    async def oldest_streams(self, user: str, limit: int) -> Sequence[StreamKey]:
        """Return the keys of the user's streams that have events. The stream with the oldest event comes first.

        This default method reads the heads of all streams of the user. An engine with a faster way overrides this.

        Args:
            user: The user.
            limit: Maximum number of keys.
        """
        found = [(head.oldest_ts, key) for key, head in await self._heads_of(user) if head.oldest <= head.latest]
        return [key for _, key in sorted(found)[:limit]]

    async def _keys_of(self, user: str) -> list[StreamKey]:
        found: list[StreamKey] = []
        after = None
        while page := await self.streams(after, STREAMS_PAGE):
            found += [key for key in page if key.user == user]
            after = page[-1]
        return found

    async def _heads_of(self, user: str) -> list[tuple[StreamKey, Head]]:
        keys = await self._keys_of(user)
        return [(key, head) for key, head in zip(keys, await self.heads(keys), strict=True) if head is not None]

    @abstractmethod
    async def head(self, key: StreamKey) -> Head | None:
        """Return the stream's summary, or None if the stream does not exist. Never makes a stream."""

    async def heads(self, keys: Sequence[StreamKey]) -> Sequence[Head | None]:
        """Return the summary of each of these streams, as :meth:`head` does. Raise if that of any cannot be read.

        This default method reads one after the other. An engine on another machine overrides it.
        """
        return [await self.head(key) for key in keys]
