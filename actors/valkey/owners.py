"""The owners of users, in a Valkey server."""

# ruff: noqa: D102 - the methods' contract is Owners'

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.cluster.interfaces import Owners, Token
from actors.eventlog._names import StreamKey
from actors.valkey.keys import PARTITIONS, parse_stream_name, partition_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.valkey.server import Valkey


class ValkeyOwners(Owners):
    """The token of each user is a string in Valkey. Two functions compare and set it."""

    partitions = PARTITIONS

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey
        self._keys = valkey.keys

    async def owner_of(self, user: str) -> Token | None:
        found: bytes | None = await self._valkey.reads.call(b"GET", self._keys.token(user))
        return _token(found)

    async def claim(self, user: str, expected: Token | None, token: Token) -> Token | None:
        before = "" if expected is None else str(expected)
        _, found = await self._valkey.aside("gr1_claim", [self._keys.token(user)], before, str(token))
        return _token(found)

    async def release(self, user: str, token: Token) -> bool:
        done, _ = await self._valkey.aside("gr1_release", [self._keys.token(user)], str(token))
        return bool(done)

    async def open_of(self, partition: int) -> Sequence[StreamKey]:
        names = await self._valkey.reads.call(b"SMEMBERS", self._keys.opened(partition))
        return sorted(StreamKey(*parse_stream_name(name.decode())) for name in names)

    def partition_of(self, user: str) -> int:
        return partition_of(user)


def _token(found: bytes | None) -> Token | None:
    return Token.parse(found.decode()) if found else None
