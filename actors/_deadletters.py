"""Messages that nobody handled: counted, and given to whoever subscribed."""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Self

import attrs
import trio

from actors.failures import shown

if TYPE_CHECKING:
    from types import TracebackType


class Undelivered(enum.StrEnum):
    """Why a message is a dead letter."""

    TERMINATED = "terminated"
    """Its actor ended before it was handled."""
    OVERFLOW = "overflow"
    """The mailbox was full and its policy dropped it."""
    FAILED = "failed"
    """Its actor failed while handling it; ``cause`` is the exception."""
    LATE_REPLY = "late_reply"
    """It is the reply to an ask whose caller had gone."""
    UNHANDLED = "unhandled"
    """Its actor returned UNHANDLED for it."""


@attrs.frozen
class DeadLetter:
    """A message that was not handled: for whom, why, and the exception if one is to blame."""

    message: object
    path: str
    why: Undelivered
    cause: BaseException | None = None


@attrs.frozen
class DeadLettersStatistics:
    """How one subscriber's stream stands."""

    size: int
    """Letters it holds at most."""
    depth: int
    """Letters in it now."""
    missed: int
    """Letters that were dropped because the reader was slow."""


class DeadLetters:
    """The stream of one subscriber. ``async for`` gives the letters since it was entered; leaving it unsubscribes.

    It holds ``size`` letters; when the reader is slower the oldest go, and ``missed`` counts them. Cancelling the
    reader loses no letter.
    """

    def __init__(self, office: DeadLetterOffice, size: int) -> None:
        if size < 1:
            raise ValueError(f"a stream of dead letters holds 1 or more, not {shown(size)}")
        self._size = size
        self._office = office
        self._letters: deque[DeadLetter] = deque(maxlen=size)
        self._more = trio.Event()
        self.missed = 0
        """Letters that were dropped because this reader was slow."""

    def deliver(self, letter: DeadLetter) -> None:
        """Append a letter; the runtime calls this."""
        if len(self._letters) == self._letters.maxlen:
            self.missed += 1
        self._letters.append(letter)
        self._more.set()

    def statistics(self) -> DeadLettersStatistics:
        """How it stands now."""
        return DeadLettersStatistics(self._size, len(self._letters), self.missed)

    def __enter__(self) -> Self:
        self._office.readers.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._office.readers.remove(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DeadLetter:
        await trio.lowlevel.checkpoint()
        while not self._letters:
            self._more = trio.Event()
            await self._more.wait()
        return self._letters.popleft()


class DeadLetterOffice:
    """Counts dead letters and hands them to the subscribers."""

    __slots__ = ("count", "readers")

    def __init__(self) -> None:
        self.count = 0
        self.readers: list[DeadLetters] = []

    def publish(self, message: object, path: str, why: Undelivered, cause: BaseException | None = None) -> None:
        """Count one, and give it to those who listen."""
        self.count += 1
        if self.readers:
            letter = DeadLetter(message, path, why, cause)
            for reader in self.readers:
                reader.deliver(letter)
