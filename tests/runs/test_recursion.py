"""Agents that recurse to the end of the stack: no call is left half done, and every run is closed."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from sessions._one_run import ends, events_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import Run


async def _open_and_close(run: Run) -> None:
    async with run.subrun("below") as child:
        child.typing(active=True)


async def _ask(run: Run) -> None:
    try:
        await run.ask_user("well?", timeout=0)
    except TimeoutError:
        return


async def _signal(run: Run) -> None:
    run.signal("s", 1)
    run.typing(active=True)
    run.usage = {"a": 1}
    await trio.lowlevel.checkpoint()


RECURSIVE: dict[str, Callable[[Run], Awaitable[object]]] = {
    "output": lambda run: run.output("o"),
    "custom": lambda run: run.custom("c", {"a": [None, {"b": 1}]}),
    "call_tool": lambda run: run.call_tool(trio.lowlevel.checkpoint),
    "subrun": _open_and_close,
    "call_agent": lambda run: run.call_agent("below"),
    "ask_user": _ask,
    "signal": _signal,
}


@pytest.fixture
def short_stack() -> Any:
    """Lower the recursion limit to some 400 more calls, so that a test has fewer depths to try."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(_depth() + 400)
    yield
    sys.setrecursionlimit(before)


def _depth() -> int:
    frame, depth = inspect.currentframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


@pytest.mark.usefixtures("short_stack")
@pytest.mark.parametrize("call", RECURSIVE)
async def test_recursion_leaves_no_call_half_done(call: str) -> None:
    """If a method of a run is called when the stack is almost full, it either does all of its work or changes nothing.

    Each method is tried at every depth of the stack, up to the recursion limit.
    """

    async def below(_: Run) -> None: ...

    async def agent(run: Run) -> None:
        async def down() -> None:
            await RECURSIVE[call](run)
            await down()

        await down()

    events = await events_of(agent, below)
    assert ends(events)[-2:] == [("error", "RecursionError"), ("ok", None)]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


@pytest.mark.usefixtures("short_stack")
@pytest.mark.parametrize("pad", range(8))
@pytest.mark.parametrize("kind", ["call_agent", "subrun"])
async def test_nested_runs_are_closed_at_the_end_of_the_stack(kind: str, pad: int) -> None:
    """If sub-agents call each other until the stack overflows, the run on every level still gets its closing event."""

    async def agent(run: Run) -> None:
        if kind == "call_agent":
            await run.call_agent("agent")
        async with run.subrun("agent") as child:
            await agent(child)

    async def starts(run: Run) -> None:
        async def padded(depth: int) -> None:
            await (padded(depth - 1) if depth else agent(run))

        await padded(pad)

    events = await events_of(starts, agent)
    opened = sum(event["type"] == "agent_started" for event in events)
    assert len(ends(events)) == opened > 10
