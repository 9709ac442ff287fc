"""What tasks of the application wait for: the next item, and the reply to a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import attrs
import trio

from transport.errors import ClientClosed

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@attrs.define(eq=False)
class Slot:
    """Where the reply to one command will be."""

    arrived: trio.Event = attrs.field(factory=trio.Event, init=False)
    outcome: Any = attrs.field(default=None, init=False)

    def fill(self, outcome: object) -> None:
        """Put the reply, or why there is none, in its place."""
        self.outcome = outcome
        self.arrived.set()


class Items(Generic[T]):
    """Iterates over what a client has, waiting for more; ends when the client is closed, raises when it ended for good.

    A cancelled ``anext`` takes nothing. One task at a time: two would each see a part (``trio.BusyResourceError``).
    """

    def __init__(self, take: Callable[[], T | None], more: trio.lowlevel.ParkingLot, check: Callable[[], None]) -> None:
        self._take = take
        self._more = more
        self._check = check

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if len(self._more):
            raise trio.BusyResourceError("another task is waiting for these already")
        await trio.lowlevel.checkpoint()
        while (item := self._take()) is None:
            try:
                self._check()
            except ClientClosed:
                raise StopAsyncIteration from None
            await self._more.park()
        return item
