"""An event log that fails, or waits, on request."""

# ruff: noqa: D102 - the methods do what EventLog's do

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio

from actors.errors import LogUnavailable
from actors.eventlog.base import EventLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.eventlog.base import (
        Batch,
        ConsumerPosition,
        ConsumerUsage,
        Head,
        LogStatistics,
        Retention,
        Revocation,
        StreamKey,
        UserUsage,
    )

Operation: TypeAlias = Literal["append", "read", "revoke", "acknowledge"]


@attrs.define(eq=False)
class Hold:
    """A call of a :class:`FaultyLog` that a test holds back.

    :attr:`reached` is set when the call begins to wait. The test sets :attr:`released` to let the call continue.
    """

    reached: trio.Event = attrs.field(factory=trio.Event)
    released: trio.Event = attrs.field(factory=trio.Event)


class FaultyLog(EventLog):
    """An event log for tests, with faults on request.

    This log passes every call to the log ``inner``, but a test can make calls of ``append``, ``read``, ``revoke``
    and ``acknowledge`` fail or wait.
    Each request (:meth:`fail`, :meth:`hold`) affects one later call, in the order of the requests. A call that failed,
    or was cancelled while it waited, has done nothing.
    """

    def __init__(self, inner: EventLog) -> None:
        self._inner = inner
        self.outlives_process = inner.outlives_process
        self.shared_by_processes = inner.shared_by_processes
        self.max_commit, self.divide, self.tries_again = inner.max_commit, inner.divide, inner.tries_again
        # The faults of the next calls, for each operation: None is a failure, and a hold is a wait.
        self._faults: dict[Operation, collections.deque[Hold | None]] = {
            "append": collections.deque(),
            "read": collections.deque(),
            "revoke": collections.deque(),
            "acknowledge": collections.deque(),
        }

    @property
    def innermost(self) -> EventLog:
        return self._inner.innermost

    def fail(self, operation: Operation, times: int = 1) -> None:
        """Make the next calls of an operation of the log raise ``LogUnavailable``.

        Args:
            operation: ``"append"``, ``"read"``, ``"revoke"`` or ``"acknowledge"``.
            times: Number of calls that fail.
        """
        self._faults[operation].extend([None] * times)

    def hold(self, operation: Operation) -> Hold:
        """Make the next call of an operation wait. Return the Hold by which the test lets that call continue."""
        hold = Hold()
        self._faults[operation].append(hold)
        return hold

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def make(self, key: StreamKey) -> Head:
        return await self._inner.make(key)

    async def restore(self, key: StreamKey, *, epoch: str, latest: int, state: bytes, touched: int) -> None:
        await self._inner.restore(key, epoch=epoch, latest=latest, state=state, touched=touched)

    async def head(self, key: StreamKey) -> Head | None:
        return await self._inner.head(key)

    async def heads(self, keys: Sequence[StreamKey]) -> Sequence[Head | None]:
        return await self._inner.heads(keys)

    async def append(self, batches: Sequence[Batch]) -> None:
        await self._fault("append")
        await self._inner.append(batches)

    async def mark(self, key: StreamKey, state: bytes) -> None:
        await self._inner.mark(key, state)

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        await self._fault("read")
        return await self._inner.read(key, after, limit, size)

    async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
        return await self._inner.trim(key, keep, now)

    async def streams(self, after: StreamKey | None = None, limit: int | None = None) -> Sequence[StreamKey]:
        return await self._inner.streams(after, limit)

    async def user_streams(self, user: str, after: str, limit: int) -> Sequence[StreamKey]:
        return await self._inner.user_streams(user, after, limit)

    async def usage(self, user: str) -> UserUsage:
        return await self._inner.usage(user)

    async def oldest_streams(self, user: str, limit: int) -> Sequence[StreamKey]:
        return await self._inner.oldest_streams(user, limit)

    async def remove(self, key: StreamKey) -> None:
        await self._inner.remove(key)

    async def forget(self, user: str, *, thorough: bool = False) -> int:
        return await self._inner.forget(user, thorough=thorough)

    def drop(self, user: str) -> None:
        self._inner.drop(user)

    async def revoke(self, revocation: Revocation, now: float) -> None:
        await self._fault("revoke")
        await self._inner.revoke(revocation, now)

    async def revocations(self) -> Sequence[Revocation]:
        return await self._inner.revocations()

    async def start_consumer(self, name: str, *, from_start: bool) -> int:
        return await self._inner.start_consumer(name, from_start=from_start)

    async def consumer_positions(self, name: str, keys: Sequence[StreamKey]) -> Sequence[ConsumerPosition]:
        return await self._inner.consumer_positions(name, keys)

    async def unread_streams(
        self, name: str, after: StreamKey | None, limit: int, *, user: str | None = None
    ) -> Sequence[StreamKey]:
        return await self._inner.unread_streams(name, after, limit, user=user)

    async def acknowledge(self, name: str, positions: Sequence[ConsumerPosition], lost: int = 0) -> None:
        await self._fault("acknowledge")
        await self._inner.acknowledge(name, positions, lost)

    async def consumers(self) -> Sequence[ConsumerUsage]:
        return await self._inner.consumers()

    async def remove_consumer(self, name: str) -> None:
        await self._inner.remove_consumer(name)

    def statistics(self) -> LogStatistics:
        """Return the statistics of ``inner``. A call that failed here is not counted."""
        return self._inner.statistics()

    async def _fault(self, operation: Operation) -> None:
        if not self._faults[operation]:
            return
        hold = self._faults[operation].popleft()
        if hold is None:
            # A call that fails is a checkpoint, as a call of a real log is.
            await trio.lowlevel.checkpoint()
            raise LogUnavailable(f"{operation} fails as requested")
        hold.reached.set()
        await hold.released.wait()
