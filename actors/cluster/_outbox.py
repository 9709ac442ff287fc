"""The messages of this node that wait to be sent to other nodes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from actors.errors import LogUnavailable
from actors.loop.wakeup import Wakeup

if TYPE_CHECKING:
    from actors.cluster.interfaces import Bus

ROOM = 32 << 20
"""Maximum size of the messages that wait to be sent, in bytes. Further messages are dropped, as if they were lost."""
SENT_MESSAGES = 256
"""Maximum number of messages that are sent at once. More would make a beat of this node wait behind them."""
SENT_BYTES = 1 << 20
"""Maximum size of the messages that are sent at once, in bytes. One message can be larger."""


class SignalSource(Protocol):
    """A watched session with signals for another node."""

    def take_signal(self) -> tuple[str, bytes] | None:
        """Remove the oldest signal that waits, and return the node and the message. Return None if none waits."""
        ...


class Outbox:
    """The queue of messages to other nodes. They are sent in their order, each at most once.

    Signals wait apart, each session's within its own bounds, and are sent after all other messages. *An agent that
    sends very many signals would otherwise fill the queue, and then answers to commands would be dropped.*
    """

    def __init__(self, bus: Bus, room: int = ROOM) -> None:
        self._bus = bus
        self._room = room
        self._queue: deque[tuple[str, bytes]] = deque()
        self._size = 0
        # A dict, since it keeps the order and holds each source once.
        self._sources: dict[SignalSource, None] = {}
        self._wakeup = Wakeup()
        self.dropped = 0
        """Number of lost messages: too many waited, the bus failed, or no node of the name listened."""
        self.signals_dropped = 0
        """Number of signals that were dropped because too many of their session waited."""

    def post(self, node: str, body: bytes) -> None:
        """Queue a message to a node. Never wait."""
        if self._size + len(body) > self._room:
            self.dropped += 1
            return
        self._queue.append((node, body))
        self._size += len(body)
        self._wakeup.wake()

    def schedule(self, source: SignalSource) -> None:
        """Send the signals of a source soon. Never wait."""
        self._sources[source] = None
        self._wakeup.wake()

    def forget(self, source: SignalSource) -> None:
        """Send no more signals of a source. Idempotent."""
        self._sources.pop(source, None)

    async def run(self) -> None:
        """Send the queued messages until this is cancelled.

        All messages that wait are sent at once, up to :data:`SENT_MESSAGES` and :data:`SENT_BYTES`: an answer of the
        engine takes a round of the whole process, which is long while many sessions emit.
        """
        while True:
            while messages := self._next():
                try:
                    self.dropped += await self._bus.send(messages)
                except LogUnavailable:
                    self.dropped += len(messages)
            await self._wakeup.wait()

    def _next(self) -> list[tuple[str, bytes]]:
        """Remove the messages from the queue that are sent next, and return them."""
        messages: list[tuple[str, bytes]] = []
        size = 0
        while self._queue and len(messages) < SENT_MESSAGES:
            size += len(self._queue[0][1])
            if messages and size > SENT_BYTES:
                return messages
            messages.append(self._queue.popleft())
            self._size -= len(messages[-1][1])
        # One signal of each source in turn, so that a session with many signals does not delay those of others.
        while self._sources and len(messages) < SENT_MESSAGES and size < SENT_BYTES:
            source = next(iter(self._sources))
            del self._sources[source]
            if (signal := source.take_signal()) is not None:
                messages.append(signal)
                size += len(signal[1])
                self._sources[source] = None
        return messages
