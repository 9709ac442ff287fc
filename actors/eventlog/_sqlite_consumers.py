"""The methods of a SQLite log that keep the positions of consumers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

from actors.eventlog import _sqlite_positions as consumers
from actors.eventlog.base import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.eventlog._sqlite_store import Reader, Writer
    from actors.eventlog.base import ConsumerPosition, ConsumerUsage, StreamKey

T = TypeVar("T")


class SqliteConsumers(EventLog):
    """The methods of a SQLite log for consumers. See :class:`SqliteLog`."""

    @abstractmethod
    async def _write(self, call: Callable[[Writer], T]) -> T:
        """Call a function with the writer in a thread, and return its result."""

    @abstractmethod
    async def _read(self, call: Callable[[Reader], T]) -> T:
        """Call a function with the reader in a thread, and return its result."""

    async def start_consumer(self, name: str, *, from_start: bool) -> int:
        return await self._write(lambda writer: consumers.start(writer.connection, name, from_start=from_start))

    async def consumer_positions(self, name: str, keys: Sequence[StreamKey]) -> Sequence[ConsumerPosition]:
        return await self._read(lambda reader: consumers.find(reader.connection, name, keys))

    async def unread_streams(
        self, name: str, after: StreamKey | None, limit: int, *, user: str | None = None
    ) -> Sequence[StreamKey]:
        return await self._read(lambda reader: consumers.unread_streams(reader.connection, name, after, limit, user))

    async def acknowledge(self, name: str, positions: Sequence[ConsumerPosition], lost: int = 0) -> None:
        await self._write(lambda writer: consumers.acknowledge(writer.connection, name, positions, lost))

    async def consumers(self) -> Sequence[ConsumerUsage]:
        return await self._read(lambda reader: consumers.usage(reader.connection))

    async def remove_consumer(self, name: str) -> None:
        await self._write(lambda writer: consumers.remove(writer.connection, name))
