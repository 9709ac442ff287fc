"""The messages of this node that wait to be sent to other nodes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from actors.errors import LogUnavailable
from actors.loop.wakeup import Wakeup

if TYPE_CHECKING:
    from actors.cluster.interfaces import Bus

ROOM = 32 << 20
"""Maximum size of the messages that wait to be sent, in bytes. Further messages are dropped, as if they were lost."""


class Outbox:
    """The queue of messages to other nodes. They are sent in their order, each at most once."""

    def __init__(self, bus: Bus, room: int = ROOM) -> None:
        self._bus = bus
        self._room = room
        self._queue: deque[tuple[str, bytes]] = deque()
        self._size = 0
        self._wakeup = Wakeup()
        self.dropped = 0
        """Number of messages that were lost before they left this node: too many waited, or the bus failed."""

    def post(self, node: str, body: bytes) -> None:
        """Queue a message to a node. Never wait."""
        if self._size + len(body) > self._room:
            self.dropped += 1
            return
        self._queue.append((node, body))
        self._size += len(body)
        self._wakeup.wake()

    async def run(self) -> None:
        """Send the queued messages until this is cancelled."""
        while True:
            while self._queue:
                node, body = self._queue.popleft()
                self._size -= len(body)
                try:
                    await self._bus.send(node, body)
                except LogUnavailable:
                    self.dropped += 1
            await self._wakeup.wait()
