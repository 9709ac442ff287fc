"""Dead letters: messages that were not handled. They are counted, and delivered to subscribers."""

from __future__ import annotations

import enum
import sys
from collections import deque
from typing import TYPE_CHECKING, Self

import attrs
import trio

from actors.checks import check_count

if TYPE_CHECKING:
    from types import TracebackType


class Undelivered(enum.StrEnum):
    """The reason why a message was not handled and became a dead letter."""

    TERMINATED = "terminated"
    """The actor ended before it handled the message."""
    OVERFLOW = "overflow"
    """The mailbox was full, and its overflow policy dropped the message."""
    FAILED = "failed"
    """The actor failed while it handled the message; ``cause`` is the exception."""
    LATE_REPLY = "late_reply"
    """The message is the reply to an ask, and the caller no longer waits."""
    UNHANDLED = "unhandled"
    """The actor returned UNHANDLED for the message."""


@attrs.frozen
class DeadLetter:
    """A message that was not handled."""

    message: object
    path: str
    """Path of the actor to which the message was sent.

    If the message is a late reply, the path of the actor that replied.
    """
    why: Undelivered
    cause: BaseException | None = None
    """Exception with which the actor failed; None if the actor did not fail."""


@attrs.frozen
class DeadLettersStatistics:
    """The state of one subscriber's stream of dead letters."""

    size: int
    """Maximum number of dead letters in the stream."""
    depth: int
    """Number of dead letters that wait in the stream now."""
    missed: int
    """Number of dead letters that were dropped because the reader was slow."""


class DeadLetters:
    """A stream of dead letters for one subscriber. Enter it by ``with`` to subscribe, and read it by ``async for``.

    Leaving the ``with`` block ends the subscription. The stream holds at most ``size`` letters. If the reader is too
    slow, the oldest letters are dropped, and ``missed`` counts them. Cancelling the reader loses no letter. Several
    tasks can read: each letter goes to one of them. When the block has been left, or the system has ended, the
    remaining letters can still be read; then the iteration ends.
    """

    def __init__(self, office: DeadLetterOffice, size: int) -> None:
        check_count(size, 1, "size of a stream of dead letters")
        size = min(size, sys.maxsize)  # a deque refuses a larger ``maxlen``
        self._size = size
        self._office = office
        self._letters: deque[DeadLetter] = deque(maxlen=size)
        self._readers = trio.lowlevel.ParkingLot()
        self._is_open: bool | None = None
        """Whether the stream accepts letters; None before the ``with`` block was entered."""
        self.missed = 0
        """Number of dead letters that were dropped because this reader was slow."""

    def deliver(self, letter: DeadLetter) -> None:
        """Append a dead letter to the stream. The runtime calls this."""
        if len(self._letters) == self._letters.maxlen:
            self.missed += 1  # the deque drops its oldest letter by itself
        self._letters.append(letter)
        self._readers.unpark()

    def close(self) -> None:
        """Accept no more dead letters. The runtime calls this."""
        self._is_open = False
        self._readers.unpark_all()

    def statistics(self) -> DeadLettersStatistics:
        """Return the current statistics of the stream."""
        return DeadLettersStatistics(self._size, len(self._letters), self.missed)

    def __enter__(self) -> Self:
        if self._is_open is not None:
            raise RuntimeError("a stream of dead letters is entered once: every subscriber has one of its own")
        self._is_open = True
        self._office.subscribe(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._office.unsubscribe(self)
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DeadLetter:
        if self._is_open is None:
            raise RuntimeError("a stream of dead letters is entered first: with system.dead_letters() as letters")
        # Always a checkpoint, so that a reader of many letters lets other tasks run.
        await trio.lowlevel.checkpoint()
        while not self._letters:
            if not self._is_open:
                raise StopAsyncIteration
            await self._readers.park()
        return self._letters.popleft()


class DeadLetterOffice:
    """The object that counts a system's dead letters and delivers them to the subscribers."""

    __slots__ = ("_is_open", "_streams", "count")

    def __init__(self) -> None:
        self.count = 0
        self._streams: list[DeadLetters] = []
        self._is_open = True

    def subscribe(self, stream: DeadLetters) -> None:
        """Deliver dead letters to ``stream`` from now on. If the system has ended, close the stream at once."""
        if self._is_open:
            self._streams.append(stream)
        else:
            stream.close()

    def unsubscribe(self, stream: DeadLetters) -> None:
        """Deliver no more dead letters to this stream."""
        self._streams = [other for other in self._streams if other is not stream]

    def publish(self, message: object, path: str, why: Undelivered, cause: BaseException | None = None) -> None:
        """Count a dead letter, and deliver it to every subscriber."""
        self.count += 1
        # Without a subscriber, dead letters are only counted.
        if self._streams:
            letter = DeadLetter(message, path, why, cause)
            for stream in self._streams:
                stream.deliver(letter)

    def close(self) -> None:
        """Close all streams: the system has ended."""
        self._is_open = False
        for stream in self._streams:
            stream.close()
