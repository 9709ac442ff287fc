"""The registered nodes, in a Valkey server."""

# ruff: noqa: D102 - the methods' contract is Members'

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from actors.cluster.interfaces import BeatAnswer, Members, NodeInfo
from actors.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.cluster.interfaces import Incarnation
    from actors.valkey.server import Valkey


class ValkeyMembers(Members):
    """The registered nodes are one hash in Valkey. It has no times: the server's clock plays no part in their life."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey
        self._keys = valkey.keys

    async def beat(self, incarnation: Incarnation, info: str, *, join: bool) -> BeatAnswer:
        node, channel = incarnation.node, self._keys.channel(incarnation.node)
        before = self._valkey.reads.generation
        beat = (b"FCALL", "gr1_beat", 1, self._keys.nodes, node, str(incarnation), info, "1" if join else "", channel)
        (done, found), (seconds, microseconds) = await self._valkey.reads.calls([beat, (b"TIME",)])
        values: Sequence[bytes] = _values(found) if done else [found] if found else []
        generation = self._valkey.reads.generation
        if before and generation != before:
            raise LogUnavailable("the Valkey server was restarted: it is not known which one has answered")
        nodes = tuple(NodeInfo.parse(value.decode()) for value in values)
        return BeatAnswer(bool(done), nodes, generation, int(seconds) * 1000 + int(microseconds) // 1000)

    async def bury(self, node: NodeInfo) -> bool:
        return bool(await self._valkey.aside("gr1_bury", [self._keys.nodes], node.incarnation.node, node.seen))

    async def leave(self, incarnation: Incarnation) -> None:
        await self._valkey.aside("gr1_leave", [self._keys.nodes], incarnation.node, str(incarnation))

    async def registered(self) -> tuple[NodeInfo, ...]:
        """Return all registered nodes, without a beat: the caller need not be a node."""
        found: Mapping[bytes, bytes] | Sequence[bytes] = await self._valkey.reads.call(b"HGETALL", self._keys.nodes)
        return tuple(NodeInfo.parse(value.decode()) for value in _values(found))


def _values(found: Mapping[bytes, bytes] | Sequence[bytes]) -> Sequence[bytes]:
    """Return the values of a hash, which a function returns as a list of names and values."""
    return [*found.values()] if isinstance(found, Mapping) else found[1::2]
