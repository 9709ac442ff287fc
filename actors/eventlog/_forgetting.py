"""The part of the contract of an event log that removes everything of a user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from actors.eventlog._names import StreamKey
from actors.eventlog._restoring import Restorable

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAGE = 100
"""Number of streams that are looked up at once."""


class Forgettable(Restorable, ABC):
    """The method of an event log that forgets a user. An engine that leaves traces of removed streams overrides it."""

    @abstractmethod
    async def head(self, key: StreamKey) -> object | None:
        """Return the stream's summary, or None if the stream does not exist; see :class:`~actors.EventLog`."""

    @abstractmethod
    async def user_streams(self, user: str, after: str, limit: int) -> Sequence[StreamKey]:
        """Return the keys of a user's streams, sorted by the session's name; see :class:`~actors.EventLog`."""

    @abstractmethod
    async def remove(self, key: StreamKey) -> None:
        """Remove the stream with its events, state and epoch. Do nothing if the stream does not exist."""

    async def forget(self, user: str, *, thorough: bool = False) -> int:
        """Remove all streams of a user, with the write-ahead log that has them. Return their number.

        Revocations stay: without them old tokens of the user would be accepted again. Other streams can be used
        meanwhile. This can be repeated, also after an error.

        Args:
            user: The user. No process may use the user's streams.
            thorough: Whether no trace may stay in unused parts of a file. For this a log in a file looks at all its
                pages, in lots: other calls go on in between. If False, removed rows are overwritten, but when SQLite
                moved a row within the file, a copy of it may have stayed until its page is used again.

        Raises:
            LogError: The log failed. Some of the streams may be gone.

        Cancellation: some of the streams may be gone.
        """
        del thorough
        # No page has the stream with an empty name: pages begin behind a name.
        nameless = StreamKey(user, "")
        keys: Sequence[StreamKey] = [nameless] if await self.head(nameless) is not None else ()
        count = 0
        while keys := keys or await self.user_streams(user, "", _PAGE):
            for key in keys:
                await self.remove(key)
            count += len(keys)
            keys = ()
        return count

    def drop(self, user: str) -> None:
        """Drop the memory of a user's streams in this process: another process has removed them. Never wait.

        By default there is nothing to drop.
        """
