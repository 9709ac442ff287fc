"""The positions of consumers in a Valkey log, and the revoked tokens."""

from __future__ import annotations

import heapq
from contextlib import aclosing
from typing import TYPE_CHECKING

import trio

from actors.errors import LogUncertain
from actors.eventlog._valkey_calls import repeated
from actors.eventlog._valkey_listing import INDEX_PAGE
from actors.eventlog._valkey_streams import ValkeyStreams
from actors.eventlog.base import ConsumerPosition, ConsumerUsage, Head, Revocation, StreamKey
from actors.valkey.errors import Unanswered
from actors.valkey.keys import PARTITIONS, member_of, parse_member, partition_of, range_of_user

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

# The name of a user without an owner is in one more key, that of its last token. In one step, as a node may claim the
# user at any time.
_FORGET_RELEASED = """
local have = redis.call('GET', KEYS[1])
return have and string.sub(have, -2) == ' -' and redis.call('DEL', KEYS[1]) or 0
"""


class ValkeyPositions(ValkeyStreams):
    """The methods of a Valkey log for consumers and revocations. See :class:`ValkeyLog`."""

    async def _write(self, *args: bytes | str | float) -> None:
        """Send a command that may be done twice. A sent command is not cancelled."""
        self._require_writable()
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            await repeated(self.valkey.commits, self.valkey.seconds, *args)

    async def forget(self, user: str, *, thorough: bool = False) -> int:
        count = await super().forget(user, thorough=thorough)
        await self._write(b"EVAL", _FORGET_RELEASED, 1, self.valkey.keys.token(user))
        return count

    def drop(self, user: str) -> None:
        for key in [key for key in self._keys if key.user == user]:
            del self._keys[key]
        for key in [key for key in self._written if key.user == user]:
            del self._written[key]

    async def _require_consumer(self, name: str) -> None:
        if not await self._ask(b"SISMEMBER", self.valkey.keys.consumers, name):
            raise KeyError(name)

    async def start_consumer(self, name: str, *, from_start: bool) -> int:
        # Several nodes may do this at once. The first that has ended in a partition decides: later positions would skip
        # events that its caller was promised.
        keys, mode = self.valkey.keys, "all" if from_start else "new"
        if await self._ask(b"SISMEMBER", keys.consumers, name):
            return await self._lost(name)
        for partition in range(PARTITIONS):
            if not from_start:
                async for page in self._pages(partition):
                    await self._begin(name, partition, mode, page)
            await self._begin(name, partition, mode, (), ends=True)
        await self._write(b"SADD", keys.consumers, name)
        return 0

    async def _begin(
        self, name: str, partition: int, mode: str, page: Sequence[tuple[StreamKey, Head]], *, ends: bool = False
    ) -> None:
        """Begin a consumer behind the newest events of some streams of one partition."""
        streams = [(self._of(key), head.latest) for key, head in page]
        every = (self._hash(name, partition), *(keys.meta for keys, _ in streams))
        args = [each for keys, latest in streams for each in (keys.name, latest)]
        await self._write(b"FCALL", "gr1_begin", len(every), *every, mode, int(ends), *args)

    async def _store(self, name: str, partition: int, positions: Sequence[ConsumerPosition]) -> None:
        """Store positions in streams of one partition."""
        streams = [self._of(each.key) for each in positions]
        every = (self._hash(name, partition), *(one.meta for one in streams))
        args = [
            value for one, each in zip(streams, positions, strict=True) for value in (one.name, each.epoch, each.seq)
        ]
        await self._write(b"FCALL", "gr1_acknowledge", len(every), *every, *args)

    async def _pages(
        self, partition: int, begin: bytes = b"-", end: bytes = b"+"
    ) -> AsyncGenerator[list[tuple[StreamKey, Head]]]:
        """Yield the streams of a partition in the order of their keys, with their summaries, in pages."""
        name = self.valkey.keys.index(partition)
        while True:
            members = await self._ask(b"ZRANGEBYLEX", name, begin, end, b"LIMIT", 0, INDEX_PAGE)
            keys = [StreamKey(*parse_member(member)) for member in members]
            heads = await self._heads([self._of(key) for key in keys])
            yield [(key, head) for key, head in zip(keys, heads, strict=True) if head is not None]
            if len(members) < INDEX_PAGE:
                return
            begin = b"(" + members[-1]

    async def _positions(self, name: str, partition: int, keys: Sequence[StreamKey]) -> list[int]:
        """Return the positions of a consumer in streams of one partition."""
        if not keys:
            return []
        fields = [self._of(key).name for key in keys]
        return [int(one or 0) for one in await self._ask(b"HMGET", self._hash(name, partition), *fields)]

    def _hash(self, name: str, partition: int) -> str:
        return self.valkey.keys.consumer(partition, name)

    async def consumer_positions(self, name: str, keys: Sequence[StreamKey]) -> Sequence[ConsumerPosition]:
        await self._require_consumer(name)
        found: dict[StreamKey, ConsumerPosition] = {}
        by_partition: dict[int, list[StreamKey]] = {}
        for key in keys:
            by_partition.setdefault(partition_of(key.user), []).append(key)
        for partition, some in by_partition.items():
            heads = await self._heads([self._of(key) for key in some])
            positions = await self._positions(name, partition, some)
            for key, head, seq in zip(some, heads, positions, strict=True):
                if head is not None:
                    found[key] = ConsumerPosition(key, head.epoch, seq)
        return [found[key] for key in keys if key in found]

    async def unread_streams(
        self, name: str, after: StreamKey | None, limit: int, *, user: str | None = None
    ) -> Sequence[StreamKey]:
        await self._require_consumer(name)
        behind = None if after is None else member_of(*after)
        low, high = (b"-" if behind is None else b"(" + behind, b"+") if user is None else range_of_user(user, behind)
        found: list[StreamKey] = []
        for partition in range(PARTITIONS) if user is None else (partition_of(user),):
            unread: list[StreamKey] = []
            async with aclosing(self._pages(partition, low, high)) as pages:
                async for page in pages:
                    positions = await self._positions(name, partition, [key for key, _ in page])
                    unread += [key for (key, head), seq in zip(page, positions, strict=True) if head.latest > seq]
                    if len(unread) >= limit:
                        break
            found += unread[: max(limit, 0)]
        return heapq.nsmallest(limit, found)

    async def acknowledge(self, name: str, positions: Sequence[ConsumerPosition], lost: int = 0) -> None:
        await self._require_consumer(name)
        by_partition: dict[int, list[ConsumerPosition]] = {}
        for each in positions:
            by_partition.setdefault(partition_of(each.key.user), []).append(each)
        for partition, some in by_partition.items():
            await self._store(name, partition, some)
        for partition in range(PARTITIONS) if lost else ():
            lost -= await self._tell(name, partition, lost)
            if lost <= 0:
                return

    async def _tell(self, name: str, partition: int, lost: int) -> int:
        """Forget up to ``lost`` lost events of a partition. Return how many there were. It must not be done twice."""
        self._require_writable()
        await trio.lowlevel.checkpoint_if_cancelled()
        told = 0
        with trio.CancelScope(shield=True):
            told = await self._told(self._hash(name, partition), lost)
        return told  # noqa: RET504 - a type checker thinks that the scope ends here

    async def _told(self, consumer: str, lost: int) -> int:
        try:
            return int(await self.valkey.function("gr1_told", [consumer], lost))
        except Unanswered as error:
            raise LogUncertain(str(error)) from None

    async def _lost(self, name: str) -> int:
        found = [await self._ask(b"HGET", self._hash(name, partition), "lost") for partition in range(PARTITIONS)]
        return sum(int(one or 0) for one in found)

    async def consumers(self) -> Sequence[ConsumerUsage]:
        return [
            ConsumerUsage(name, await self._count_unread(name), await self._lost(name))
            for name in await self._consumer_names()
        ]

    async def _count_unread(self, name: str) -> int:
        unread = 0
        for partition in range(PARTITIONS):
            async for page in self._pages(partition):
                positions = await self._positions(name, partition, [key for key, _ in page])
                unread += sum(head.latest - seq for (_, head), seq in zip(page, positions, strict=True))
        return unread

    async def remove_consumer(self, name: str) -> None:
        # The name goes last: otherwise a call that fails could leave positions to the next consumer of the name.
        for partition in range(PARTITIONS):
            await self._write(b"DEL", self._hash(name, partition))
        await self._write(b"SREM", self.valkey.keys.consumers, name)

    async def revoke(self, revocation: Revocation, now: float) -> None:
        kind = "u" if revocation.user is not None else "t"
        times = (repr(float(revocation.at)), repr(float(revocation.until)), repr(float(now)))
        await self._write(b"FCALL", "gr1_revoke", 1, self.valkey.keys.revocations, f"{kind}{revocation.name}", *times)

    async def revocations(self) -> Sequence[Revocation]:
        stored: dict[bytes, bytes] = await self._ask(b"HGETALL", self.valkey.keys.revocations)
        found: list[Revocation] = []
        for name, times in stored.items():
            at, until = map(float, times.split())
            text = name.decode()
            found.append(
                Revocation(
                    user=text[1:] if text[0] == "u" else None,
                    token_id=text[1:] if text[0] == "t" else None,
                    at=at,
                    until=until,
                )
            )
        return found
