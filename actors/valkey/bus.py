r"""The messages between nodes, over channels of a Valkey server.

A channel carries three kinds of messages to its node::

    beat                            the engine, for each beat of the node itself
    msg SENDER COUNT\nBODY          another node, by :meth:`ValkeyBus.send`
    push SENDER COUNT\nBATCHES      the function that appends, with the batches that the node watches

Messages and pushes are counted apart: they go over different connections, so their order is not known.
"""

# ruff: noqa: D102 - the methods' contract is Bus'

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import trio

from actors.cluster._times import boot_time
from actors.cluster.interfaces import Bus, Gap, Incarnation, Message, Push
from actors.errors import LogCorrupt
from actors.loop.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.valkey.server import Valkey

ROOM = 64 * 1024 * 1024
"""Default maximum of bytes that wait for :meth:`ValkeyBus.receive`. Beyond it all of them are dropped, as a gap."""

_BEAT = b"beat"
_KINDS: Final[dict[bytes, type[Message | Push]]] = {b"msg": Message, b"push": Push}


class ValkeyBus(Bus):
    """The messages to and from the node of this process."""

    def __init__(
        self,
        valkey: Valkey,
        node: str,
        sender: Callable[[], Incarnation],
        *,
        room: int = ROOM,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        """Make a bus. It hears nothing before :meth:`open`.

        Args:
            valkey: The links to the server.
            node: The name of the node of this process.
            sender: Function that returns the present incarnation of the node.
            room: Maximum of bytes that wait to be received.
            clock: The clock of the node, in seconds.
        """
        self._valkey = valkey
        self._channel = valkey.keys.channel(node)
        self._sender = sender
        self._room = room
        self._clock = clock
        self._heard = clock()
        self._sent: dict[str, int] = {}
        self._counts: dict[tuple[bytes, str], tuple[bytes, int]] = {}
        self._waiting: list[Message | Push | Gap] = []
        self._size = 0
        self._wakeup = Wakeup()

    def open(self) -> None:
        self._heard = self._clock()
        self._valkey.listen(self._channel, self._take, self._on_begun)

    async def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        sender = str(self._sender()).encode()
        # No checkpoint before the sending: messages go in the order of the calls.
        heard = await self._valkey.publish([self._counted(sender, node, body) for node, body in messages])
        # A server of a Valkey Cluster counts only those that are connected to itself.
        return 0 if self._valkey.address.cluster else heard.count(0)

    def _counted(self, sender: bytes, node: str, body: bytes) -> tuple[str, bytes]:
        channel = self._valkey.keys.channel(node)
        count = self._sent[channel] = self._sent.get(channel, 0) + 1
        return channel, b"msg %b %d\n%b" % (sender, count, body)

    async def receive(self) -> Sequence[Message | Push | Gap]:
        # A checkpoint before the messages are taken, never after it: then no message is lost.
        if self._waiting:
            await trio.lowlevel.checkpoint()
        while not self._waiting:
            await self._wakeup.wait()
        received, self._waiting, self._size = self._waiting, [], 0
        return received

    def heard_at(self) -> float:
        return self._heard

    def reconnect(self) -> None:
        self._valkey.messages.drop()

    def _on_begun(self) -> None:
        self._put(Gap(None), 0)

    def _take(self, message: bytes) -> None:
        self._heard = self._clock()
        if message == _BEAT:
            return
        head, _, body = message.partition(b"\n")
        kind, sender, count = _parsed(head)
        incarnation = _incarnation(sender)
        # By name and not by incarnation, so that dead ones leave nothing behind.
        before, last = self._counts.get((kind, incarnation.node), (sender, 0))
        self._counts[kind, incarnation.node] = sender, count
        if count != (last + 1 if before == sender else 1):
            self._put(Gap(incarnation), 0)
        self._put(_KINDS[kind](incarnation, body), len(body))

    def _put(self, item: Message | Push | Gap, size: int) -> None:
        self._waiting.append(item)
        self._size += size
        if self._size > self._room:
            self._waiting.clear()
            self._waiting.append(Gap(None))
            self._size = 0
        self._wakeup.wake()


@lru_cache(maxsize=256)
def _incarnation(sender: bytes) -> Incarnation:
    return Incarnation.parse(sender.decode())


def _parsed(head: bytes) -> tuple[bytes, bytes, int]:
    match head.split(b" "):
        case [kind, sender, count] if kind in _KINDS and count.isdigit():
            return kind, sender, int(count)
        case _:
            raise LogCorrupt(f"a message of the cluster cannot be read: {head[:80]!r}")
