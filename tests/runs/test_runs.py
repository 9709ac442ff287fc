"""Every exit of a run and of a tool call has exactly one closing event, with the status of its end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing

from actors import Agents, MemoryLog, Run, RunClosed, Sessions, StreamKey, SupervisorSpec, ToolTimeout, open_system

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


async def events_of(function: Callable[..., Awaitable[object]], *, cancel_after: float | None = None) -> list[Any]:
    """Run an agent once, and return every event of its session."""
    agents, log = Agents(), MemoryLog()
    agents.add(function, name="agent", timeout=5)
    sessions = Sessions(log, agents)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get("alice", "s1")
        run_id = await handle.start("agent")
        if cancel_after is not None:
            await trio.sleep(cancel_after)
            assert await handle.cancel(run_id)
        await sessions.drain(math.inf)
        await trio.testing.wait_all_tasks_blocked()
        return [orjson.loads(line) for line in await log.read(StreamKey("alice", "s1"), 0, 1000, 10**7)]


def closings(events: list[Any]) -> list[tuple[str, str]]:
    return [(event["type"], event["data"]["status"]) for event in events if event["type"].endswith("_completed")]


async def hang() -> None:
    await trio.sleep_forever()


async def fail() -> None:
    raise LookupError("nothing there")


async def returns(_: Run) -> int:
    return 1


async def raises(_: Run) -> None:
    raise ValueError("no")


async def raises_in_a_nursery(_: Run) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)


async def hangs(_: Run) -> None:
    await trio.sleep_forever()


async def returns_what_is_not_json(_: Run) -> object:
    return {1, 2}


async def calls_what_returns(run: Run) -> None:
    await run.call_tool(trio.sleep, seconds=1)


async def calls_what_fails(run: Run) -> None:
    with pytest.raises(LookupError):
        await run.call_tool(fail)


async def calls_what_hangs(run: Run) -> None:
    with pytest.raises(ToolTimeout):
        await run.call_tool(hang, timeout=1)


async def hangs_in_a_call(run: Run) -> None:
    await run.call_tool(hang)


async def hangs_in_a_child(run: Run) -> None:
    async with run.subrun("child"):
        await run.call_tool(hang)


AGENT, TOOL = "agent_completed", "tool_completed"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (returns, [(AGENT, "ok")]),
        (raises, [(AGENT, "error")]),
        (raises_in_a_nursery, [(AGENT, "error")]),
        (hangs, [(AGENT, "timeout")]),
        (returns_what_is_not_json, [(AGENT, "error")]),
        (calls_what_returns, [(TOOL, "ok"), (AGENT, "ok")]),
        (calls_what_fails, [(TOOL, "error"), (AGENT, "ok")]),
        (calls_what_hangs, [(TOOL, "timeout"), (AGENT, "ok")]),
    ],
)
async def test_each_exit_is_closed_once(function: Any, expected: list[Any], autojump_clock: MockClock) -> None:
    """However a run or tool call ends, exactly one closing event is emitted for it, with the right status."""
    events = await events_of(function)
    assert closings(events) == expected
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (hangs, [(AGENT, "cancelled")]),
        (hangs_in_a_call, [(TOOL, "cancelled"), (AGENT, "cancelled")]),
        (hangs_in_a_child, [(TOOL, "cancelled"), (AGENT, "cancelled"), (AGENT, "cancelled")]),
    ],
)
async def test_a_cancel_closes_innermost_first(function: Any, expected: list[Any], autojump_clock: MockClock) -> None:
    """If a run is cancelled, its tool calls and sub-agents are closed as ``cancelled``, the innermost first."""
    assert closings(await events_of(function, cancel_after=1)) == expected


async def test_an_emit_after_the_end_is_refused(autojump_clock: MockClock) -> None:
    """If code emits an event through a run that has ended, RunClosed is raised."""
    kept: list[Run] = []

    async def keeps(run: Run) -> None:
        kept.append(run)

    await events_of(keeps)
    with pytest.raises(RunClosed):
        await kept[0].thinking("too late")


async def test_fifteen_emits_cost_no_task_switch(autojump_clock: MockClock) -> None:
    """If a run emits fifteen events in a row, no other task runs in between."""

    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    steps, counted = Steps(), []

    async def emits(run: Run) -> None:
        trio.lowlevel.add_instrument(steps)
        before = steps.count
        for _ in range(14):
            await run.thinking("on and on")
        counted.append(steps.count - before)
        trio.lowlevel.remove_instrument(steps)

    events = await events_of(emits)
    assert (counted, len(events)) == ([0], 16)
