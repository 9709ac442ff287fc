"""The lists of streams in Valkey, from the index of each partition: a part of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.errors import LogError, LogUnavailable
from actors.eventlog._valkey_calls import repeated
from actors.eventlog.base import EventLog, StreamKey
from actors.valkey.keys import PARTITIONS, member_of, parse_member, range_of_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.valkey.server import Valkey

INDEX_PAGE = 1_000
"""Number of streams that one call reads from an index."""


class ValkeyListing(EventLog):
    """The methods of a Valkey log that list streams. See :class:`ValkeyLog`."""

    valkey: Valkey
    _opened: bool
    _read_only: bool

    def _require_open(self) -> None:
        if not self._opened:
            raise LogUnavailable("the valkey log is not open")

    def _require_writable(self) -> None:
        self._require_open()
        if self._read_only:
            raise LogError("the log is open for reading only")

    async def _ask(self, *args: bytes | str | float) -> Any:
        """Send a command that reads."""
        self._require_open()
        return await repeated(self.valkey.reads, self.valkey.seconds, *args)

    async def streams(self, after: StreamKey | None = None, limit: int | None = None) -> Sequence[StreamKey]:
        self._require_open()
        begin = b"-" if after is None else b"(" + member_of(*after)
        members = await (self._all_members(begin) if limit is None else self._page_of_members(begin, max(limit, 0)))
        return [StreamKey(*parse_member(member)) for member in members]

    async def _members(self, partition: int, begin: bytes, size: int) -> list[bytes]:
        """Return the next members of the index of a partition."""
        index = self.valkey.keys.index(partition)
        return list(await self._ask(b"ZRANGEBYLEX", index, begin, b"+", b"LIMIT", 0, size))

    async def _all_members(self, begin: bytes) -> list[bytes]:
        found: list[bytes] = []
        for partition in range(PARTITIONS):
            low = begin
            while members := await self._members(partition, low, INDEX_PAGE):
                found += members
                low = b"(" + members[-1]
        return sorted(found)

    async def _page_of_members(self, begin: bytes, limit: int) -> list[bytes]:
        # The partitions share the users evenly. Twice the share of each makes a page nearly as large as asked for.
        size = min(limit, 2 * limit // PARTITIONS + 1)
        found: list[bytes] = []
        cut: bytes | None = None
        for partition in range(PARTITIONS) if size else ():
            members = await self._members(partition, begin, size)
            found += members
            if len(members) == size:  # there may be more behind the last one, which would be missing in this page
                cut = members[-1] if cut is None else min(cut, members[-1])
        return sorted(each for each in found if cut is None or each <= cut)[:limit]

    async def _of_user(self, user: str, after: str | None = None, limit: int = -1) -> list[StreamKey]:
        """Return the keys of a user's streams, sorted; behind the session ``after``, at most ``limit``."""
        self._require_open()
        low, high = range_of_user(user, None if after is None else member_of(user, after))
        index = self.valkey.keys.of_user(user).index
        members = await self._ask(b"ZRANGEBYLEX", index, low, high, b"LIMIT", 0, limit)
        return [StreamKey(*parse_member(member)) for member in members]

    async def user_streams(self, user: str, after: str, limit: int) -> Sequence[StreamKey]:
        return await self._of_user(user, after, max(limit, 0))
