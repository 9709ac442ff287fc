"""An agent that emits at the end of the stack harms its own run only."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing
from sessions.borders import Tab

from actors import (
    Agents,
    MemoryLog,
    Run,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    UnserialisableEvent,
    open_system,
    verify_log,
)
from actors.streams import _stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def output(run: Run) -> None:
    await run.output("x")


async def custom(run: Run) -> None:
    await run.custom("name", {"a": [1, 2, {"b": None}]})


async def signal(run: Run) -> None:
    run.signal("progress", {"step": 1})


async def typing(run: Run) -> None:
    run.typing(active=True)
    run.typing(active=False)


async def tool(run: Run) -> None:
    async with run.tool("t", {"a": 1}) as call:
        call.result = 1


async def subrun(run: Run) -> None:
    async with run.subrun("below") as child:
        await child.output("x")


STEPS = [output, custom, signal, typing, tool, subrun]


@attrs.define
class Dive:
    """An agent that calls ``step`` at every depth of the call stack, until the stack is full."""

    step: Callable[[Run], Awaitable[None]]
    done: int = 0
    failed: int = 0

    async def go(self, run: Run, count: int) -> str:
        try:
            await self.walk(run)
        except RecursionError:
            return "too deep"
        raise AssertionError

    async def walk(self, run: Run) -> None:
        try:
            await self.step(run)
            self.done += 1
        except (RecursionError, UnserialisableEvent):
            self.failed += 1
        await self.walk(run)


async def fine(run: Run, count: int) -> str:
    for _ in range(count):
        await run.output("y")
    return "fine"


class Busy(Tab):
    """A tab that needs 30 nested calls of its own to handle a signal."""

    def on_signal(self, name: str, data: bytes) -> None:
        def nest(levels: int) -> None:
            if levels:
                nest(levels - 1)

        nest(30)
        super().on_signal(name, data)


@pytest.fixture
def shallow_stack() -> object:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("window", "pace"), [(1, None), (3, None), (64, None), (64, 0.01)])
async def test_an_emit_at_any_depth(
    monkeypatch: pytest.MonkeyPatch,
    shallow_stack: None,
    step: Callable[[Run], Awaitable[None]],
    window: int,
    pace: float | None,
) -> None:
    """However deep the call stack is, an emit either succeeds or fails without any other effect.

    An agent that emits at the end of the stack harms only its own run.
    """
    if pace is not None:  # each event comes after a quiet time, and is committed within its emit if there is room
        monkeypatch.setattr(_stream, "time", itertools.count(1_900_000_000.0, pace).__next__)
    dive, agents, log = Dive(step), Agents(), MemoryLog()
    agents.add(dive.go, name="dive")
    agents.add(fine)
    sessions = Sessions(log, agents, SessionSettings(emit_window=window))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        tab, other = Busy(), Tab()
        await tab.attach(sessions)
        await other.attach(sessions, "s2")
        for agent in ("dive", "fine", "dive"):
            for session in ("s1", "s2") if agent == "fine" else ("s1",):
                await (await sessions.get("alice", session)).start(agent, 100)
            await trio.testing.wait_all_tasks_blocked()
        assert dive.done > 100
        assert dive.failed > 3
        assert [tab.endings, other.endings] == [[], []]
        assert len(other.lines) == 102
        lines = b"".join(tab.lines)
        assert lines.count(b'"status":"ok"') >= 3
        head = await log.head(StreamKey("alice", "s1"))
        assert head is not None
        assert len(tab.lines) == head.latest
        report = await verify_log(log)
        assert report.faults == ()
        assert sessions.statistics().committer.waiting == 0
        assert system.tree().children[0].restarts == 0
