"""A result that one task sets, once, and that another task waits for."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

import trio

T = TypeVar("T")


class OneShot(Generic[T]):
    """A value or an error that one task sets and another task waits for. Only the first result counts."""

    __slots__ = ("_error", "_event", "_value")

    def __init__(self) -> None:
        self._event = trio.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is a value or an error."""
        return self._event.is_set()

    def set(self, value: T) -> bool:
        """Set the value and wake the waiting task. Return False, and change nothing, if there is a result already."""
        if self.is_set:
            return False
        self._value = value
        self._event.set()
        return True

    def fail(self, error: BaseException) -> bool:
        """Set the error and wake the waiting task. Return False, and change nothing, if there is a result already."""
        if self.is_set:
            return False
        self._error = error
        self._event.set()
        return True

    async def wait(self) -> T:
        """Wait for the result. Return the value, or raise the error. Safe to cancel."""
        await self._event.wait()
        return self.result()

    def result(self) -> T:
        """Return the value, or raise the error. Raise :class:`trio.WouldBlock` if there is no result yet."""
        if not self._event.is_set():
            raise trio.WouldBlock
        if self._error is not None:
            raise self._error
        return cast("T", self._value)
