"""Apps that run inside asyncio loops, for tests of asyncio agents and of asyncio code around them."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio

from actors import AgentCompleted
from transport import Greenroom
from transport.hosting import hosted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from actors import AsyncioSession, Event

T = TypeVar("T")

LOOPS = ("asyncio", "uvloop")
"""The asyncio loops that a test runs in, by the module with ``new_event_loop``."""


class _Turn:
    """An awaitable that gives all other tasks a turn."""

    def __await__(self) -> Generator[None]:
        yield


async def turn(result: T | None = None) -> T | None:
    """Let all other tasks of the loop run once, and return ``result``."""
    await _Turn()
    return result


async def forever() -> None:
    """Wait until this is cancelled."""
    await asyncio.get_running_loop().create_future()


class World:
    """An app inside a running asyncio loop, and one session of it."""

    def __init__(self, app: Greenroom) -> None:
        self.app = app

    @property
    def session(self) -> AsyncioSession:
        """The session of the test."""
        return self.app.sessions_aio.get("ann", "s1")

    async def on_trio(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Await a trio function."""
        host = self.app.server.host.asyncio
        assert host is not None
        return await host.run(function, *arguments)

    async def ended(self, run_id: str) -> list[Event]:
        """Wait until a run has ended, and return all events of the session."""
        seen: list[Event] = []
        async with aclosing(self.session.events()) as events:
            async for event in events:
                seen.append(event)
                if isinstance(event, AgentCompleted) and event.run_id == run_id:
                    return seen
        raise AssertionError(f"the session ended before the run: {seen}")

    async def play(
        self, function: Callable[..., Awaitable[object]], value: object = None, **options: Any
    ) -> list[Event]:
        """Register an asyncio agent, run it once, and return all events of the session."""
        self.app.agent(host="asyncio", **options)(function)
        return await self.ended(await self.session.start(function.__name__, value))

    async def seen(self, kind: str) -> Event:
        """Wait for the first event of one type, and return it."""
        async with aclosing(self.session.events()) as events:
            async for event in events:
                if event.type == kind:
                    return event
        raise AssertionError(f"the session ended without {kind}")


def run_in(
    loop: str, story: Callable[[World], Awaitable[T]], *, left: Sequence[asyncio.Task[Any]] = (), **settings: object
) -> T:
    """Run a story in a new loop, with an app. Check that no task of asyncio or trio is left.

    ``left`` gets the tasks that the story leaves. They must end with the app.
    """
    app = Greenroom(log="memory:", settings={"drain_seconds": 0, **settings})

    async def main() -> T:
        async with hosted(app):
            result = await story(World(app))
        if left:
            await asyncio.wait(left)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    factory: Any = importlib.import_module(loop).new_event_loop
    with asyncio.Runner(loop_factory=factory, debug=False) as runner:
        result = runner.run(main())
    trio.run(trio.lowlevel.checkpoint)  # the thread can run trio again
    return result


def closings(events: list[Event]) -> list[tuple[str, str]]:
    """Return the name and the status of each run and tool call that has ended, in order."""
    return [
        (str(event.data.get("tool", event.data.get("agent"))), str(event.data["status"]))
        for event in events
        if event.type.endswith("_completed")
    ]


def error_of(events: list[Event]) -> str:
    """Return the code and the message of the error with which the last run ended."""
    error: Any = events[-1].data["error"]
    return f"{error['code']}: {error['message']}"


in_each_loop = pytest.mark.parametrize("loop", LOOPS)
