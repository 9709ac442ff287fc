"""The summaries, lines and retention of streams in Valkey: the part of the log that does not append."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import trio

from actors.errors import LogCorrupt, LogUnavailable, Trimmed
from actors.eventlog._retention import RetentionWalk, bounded
from actors.eventlog._valkey_append import open_mark, refusal
from actors.eventlog._valkey_calls import repeated
from actors.eventlog._valkey_listing import ValkeyListing
from actors.eventlog._valkey_restore import Written
from actors.eventlog.base import Head, StreamKey, UserUsage, check_names, check_new
from actors.events.line import timestamp
from actors.valkey.errors import Refused
from actors.valkey.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from actors.eventlog.base import Retention
    from actors.valkey.keys import StreamKeys

PAGE = 64
"""Number of entries (batches) that one call reads."""


class ValkeyStreams(ValkeyListing):
    """The methods of a Valkey log that read, mark, trim and remove streams. See :class:`ValkeyLog`."""

    tokens: Mapping[str, str]
    no_token: str
    opens: Callable[[bytes], bool] | None
    keeps_acknowledged: bool
    _keys: dict[StreamKey, StreamKeys]
    _written: dict[StreamKey, Written]
    _reads: int
    _trims: int
    epochs_renewed: int

    def _of(self, key: StreamKey) -> StreamKeys:
        return self._keys.get(key) or self.valkey.keys.of_stream(*key)

    def _token_of(self, user: str) -> str:
        """Return the token with which this process writes for a user."""
        return self.tokens.get(user, self.no_token)

    async def _call(self, key: StreamKey, name: str, keys: Sequence[str], *args: bytes | str | float) -> Any:
        """Call a function that changes one stream and that may be done twice. A sent call is not cancelled."""
        self._require_writable()
        await trio.lowlevel.checkpoint_if_cancelled()
        seconds = self.valkey.seconds
        await self._pass_gate(trio.current_time() + seconds)
        with trio.CancelScope(shield=True):
            try:
                return await repeated(self.valkey.commits, seconds, b"FCALL", name, len(keys), *keys, *args)
            except Refused as error:
                raise refusal(error.text, [key]) from None

    async def _pass_gate(self, until: float) -> bool:
        """Wait until the gate is open, until a time of trio's clock. Return whether that took a wait.

        Raise LogUnavailable if the gate stays closed.
        """
        gate = self.gate
        if gate is None or gate.is_open():
            return False
        may_write = False
        with trio.move_on_at(until):
            may_write = await gate.wait()
        if not may_write:
            raise LogUnavailable("this server is cut off from its cluster")
        return True

    async def make(self, key: StreamKey) -> Head:
        self._require_open()
        keys, token = self._of(key), self._token_of(key.user)
        found, renewed = await self._call(
            key,
            "gr1_open",
            (keys.user.token, keys.user.index, keys.meta),
            token,
            self.valkey.commits.generation,
            int(self.keeps_acknowledged),
            secrets.token_hex(8),
            time.time_ns() // 1_000_000,
            keys.member,
        )
        self._keys[key] = keys
        self.epochs_renewed += renewed
        head = _head(found)
        self._written[key] = Written(head.epoch, head.latest, head.state, token)
        return head

    async def restore(self, key: StreamKey, *, epoch: str, latest: int, state: bytes, touched: int) -> None:
        check_names(key)
        keys = self._of(key)
        made = await self._call(
            key,
            "gr1_restore",
            (keys.user.token, keys.user.index, keys.meta, keys.user.opened),
            self._token_of(key.user),
            self.valkey.commits.generation,
            epoch,
            latest,
            state,
            touched,
            keys.member,
            open_mark(state, self.opens),
            keys.name,
        )
        check_new(key, exists=not made)
        self._keys[key] = keys
        self._written[key] = Written(epoch, latest, state, self._token_of(key.user))

    async def head(self, key: StreamKey) -> Head | None:
        return (await self._heads([self._of(key)]))[0]

    async def heads(self, keys: Sequence[StreamKey]) -> Sequence[Head | None]:
        if not self.valkey.address.cluster:
            return await self._heads([self._of(key) for key in keys])
        found: dict[StreamKey, Head | None] = {}
        for partition in {partition_of(key.user) for key in keys}:  # one call has keys of one slot
            some = [key for key in keys if partition_of(key.user) == partition]
            found.update(zip(some, await self._heads([self._of(key) for key in some]), strict=True))
        return [found[key] for key in keys]

    async def _heads(self, streams: Sequence[StreamKeys]) -> list[Head | None]:
        """Return the summaries of streams, in a Valkey Cluster of one partition. A missing stream has None."""
        if not streams:
            return []
        metas = [keys.meta for keys in streams]
        found = await self._ask(b"FCALL_RO", "gr1_heads", len(metas), *metas)
        return [None if one is None else _head(one) for one in found]

    async def mark(self, key: StreamKey, state: bytes) -> None:
        keys = self._of(key)
        await self._call(
            key,
            "gr1_mark",
            (keys.user.token, keys.meta, keys.user.opened),
            self._token_of(key.user),
            state,
            open_mark(state, self.opens),
            keys.name,
        )
        if (written := self._written.get(key)) is not None:
            written.state = state

    async def _page(self, key: StreamKey, after: int) -> tuple[int, int, list[tuple[int, list[bytes]]]]:
        """Return oldest, latest, and the entries from the one with the event ``after + 1``: first seq and lines."""
        keys = self._of(key)
        try:
            oldest, latest, entries = await self._ask(b"FCALL_RO", "gr1_read", 2, keys.meta, keys.lines, after, PAGE)
        except Refused as error:
            raise refusal(error.text, [key]) from None
        return int(oldest), int(latest), [_lines(key, *entry) for entry in entries]

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        lines: list[bytes] = []
        position, total = after, 0
        while True:
            oldest, latest, entries = await self._page(key, position)
            if after + 1 < oldest:
                self._reads += 1
                raise Trimmed(oldest)
            for first, part in entries:
                if not first <= position + 1 < first + len(part):
                    raise LogCorrupt(f"{key}: event {position + 1} is missing")
                lines += part[position + 1 - first :]
                total += sum(map(len, part))
                position = first + len(part) - 1
            if position >= latest or not entries or len(lines) >= limit or total > size + len(lines[0]):
                break
        if position < latest and not entries:
            raise LogCorrupt(f"{key}: event {position + 1} is missing")
        self._reads += 1
        return bounded(lines, limit, size)

    async def trim(self, key: StreamKey, keep: Retention, now: int) -> Head:
        keys = self._of(key)
        while True:
            head = await self.head(key)
            if head is None:
                raise KeyError(key)
            if head.oldest > head.latest:
                return head
            unread = await self._unread(keys, head.latest) if keep.unread_seconds else None
            walk = RetentionWalk.of(keep, now, head.latest + 1 - head.oldest, head.size, unread)
            oldest, chunk, oldest_ts = await self._walk(key, walk, head)
            if oldest == head.oldest:
                return head
            dropped = head.size - walk.size
            args = (head.oldest, oldest, dropped, "" if oldest_ts is None else oldest_ts, chunk, head.latest)
            if await self._call(key, "gr1_trim", (keys.meta, keys.lines), *args):
                self._trims += 1
                head = await self.head(key)
                if head is None:
                    raise KeyError(key)
                return head

    async def _walk(self, key: StreamKey, walk: RetentionWalk, head: Head) -> tuple[int, int, int | None]:
        """Return the first seq that a trim keeps, the first seq of its entry, and its ``ts`` (None: none is kept)."""
        at, chunk = head.oldest, head.oldest
        while at <= head.latest:
            _, _, entries = await self._page(key, at - 1)
            if not entries:
                break
            for first, whole in entries:
                part = whole[at - first : head.latest + 1 - first]
                dropped = walk.drop(part)
                at, chunk = at + dropped, first
                if dropped < len(part):
                    return at, chunk, timestamp(part[dropped])
                if at > head.latest:
                    return at, first + len(whole), None
        return at, max(at, chunk), None

    async def _heads_of_user(self, user: str) -> list[tuple[Head, StreamKey]]:
        keys = await self._of_user(user)
        heads = await self._heads([self._of(key) for key in keys])
        return [(head, key) for head, key in zip(heads, keys, strict=True) if head is not None]

    async def usage(self, user: str) -> UserUsage:
        heads = [head for head, _ in await self._heads_of_user(user)]
        return UserUsage(len(heads), sum(head.size + len(head.state) for head in heads))

    async def oldest_streams(self, user: str, limit: int) -> Sequence[StreamKey]:
        found = [(head.oldest_ts, key) for head, key in await self._heads_of_user(user) if head.oldest <= head.latest]
        return [key for _, key in sorted(found)[: max(limit, 0)]]

    async def remove(self, key: StreamKey) -> None:
        keys = self._of(key)
        consumers = [self.valkey.keys.consumer(keys.user.partition, name) for name in await self._consumer_names()]
        every = (keys.user.token, keys.user.index, keys.user.opened, keys.meta, keys.lines, *consumers)
        await self._call(key, "gr1_remove", every, self._token_of(key.user), keys.member, keys.name)
        self._keys.pop(key, None)
        self._written.pop(key, None)

    async def _consumer_names(self) -> list[str]:
        """Return the names of all consumers, sorted."""
        return sorted(name.decode() for name in await self._ask(b"SMEMBERS", self.valkey.keys.consumers))

    async def _unread(self, keys: StreamKeys, latest: int) -> int | None:
        """Return the number of a stream's newest events that some consumer has not read. None without consumers."""
        names = await self._consumer_names()
        partition = keys.user.partition
        read = [await self._ask(b"HGET", self.valkey.keys.consumer(partition, name), keys.name) for name in names]
        return max((latest - int(one or 0) for one in read), default=None)


def _head(found: list[Any]) -> Head:
    epoch, oldest, latest, size, oldest_ts, state, touched = found[:7]
    return Head(epoch.decode(), int(oldest), int(latest), int(size), int(oldest_ts or 0), state, int(touched))


def _lines(key: StreamKey, entry: bytes, fields: list[bytes]) -> tuple[int, list[bytes]]:
    """Return the first seq of an entry, and its lines."""
    first, (_, count, _, body) = int(entry.partition(b"-")[2]), fields
    lines = body.split(b"\n")
    if len(lines) != int(count):
        raise LogCorrupt(f"{key} from {first}: {len(lines)} events are stored, not {int(count)}")
    return first, lines
