"""The actor and the helpers of the tests of idle time and timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from actors import (
    UNHANDLED,
    Actor,
    Idle,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Sleeper(Actor):
    """An actor that records its messages with their times, calls messages that are callable, and may start as told."""

    def __init__(self, got: list[tuple[float, object]], idle: float | None = None) -> None:
        self.got = got
        self.idle = idle

    async def started(self) -> None:
        if self.idle is not None:
            self.context.idle_after(self.idle)

    async def receive(self, message: Any) -> object:
        if isinstance(message, Exception):
            raise message
        if callable(message):
            return await message(self)
        self.got.append((trio.current_time(), message))
        if message == "transparent":
            self.context.stay_idle()
            self.context.stay_idle()
        return UNHANDLED if message == "unknown" else message


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


def idle_times(got: list[tuple[float, object]]) -> list[float]:
    """Return the times of the Idle messages."""
    return [time for time, message in got if isinstance(message, Idle)]


def message(act: Callable[[Sleeper], object]) -> Callable[[Sleeper], Awaitable[object]]:
    """Return a message that makes the actor call ``act``."""

    async def call(sleeper: Sleeper) -> object:
        return act(sleeper)

    return call
