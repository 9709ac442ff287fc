"""Is each attempt of a repeated tool call a separate call?

The rules tested here, as a client sees them. Agents repeat calls by hand and by a library that agents' authors use.

- Each attempt has its pair of events, its call_id and its outcome, one after the other.
- The failure of the last attempt is the failure of the run. A run that is cancelled or has timed out does not repeat.
- Attempts inside a tool are one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tenacity
import trio
import trio.testing
from protocol.wire import greeted_in_memory
from suites.stage import call_pairs, events_of_type, outcome_of_call, server_with

from actors import ToolTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import Run

FOREVER = 1e6


class Flaky:
    """A tool that first fails, then takes too long, then returns a result."""

    def __init__(self) -> None:
        self.calls = 0

    async def lookup(self, query: str) -> str:
        """Fail, wait for ever, or return, by the number of this call."""
        self.calls += 1
        if self.calls == 1:
            raise ConnectionError("busy")
        if self.calls == 2:
            await trio.sleep(FOREVER)
        return f"found {query}"


async def retried_by_hand(run: Run, tool: Flaky) -> str:
    """Repeat the call in a loop."""
    for pause in (1, 2):
        try:
            return str(await run.call_tool(tool.lookup, query="q", timeout=5))
        except (ConnectionError, ToolTimeout):
            await trio.sleep(pause)
    return str(await run.call_tool(tool.lookup, query="q", timeout=5))


async def retried_by_a_library(run: Run, tool: Flaky) -> str:
    """Repeat the call with tenacity."""
    retrying = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(1), reraise=True)
    return str(await retrying(run.call_tool, tool.lookup, query="q", timeout=5))


@pytest.mark.parametrize("retried", [retried_by_hand, retried_by_a_library])
async def test_attempts_are_calls(
    retried: Callable[[Run, Flaky], Awaitable[str]], autojump_clock: trio.testing.MockClock
) -> None:
    """If an agent repeats a tool call, each attempt has its own start and end event, one attempt after the other."""

    async def agent(run: Run) -> str:
        return await retried(run, Flaky())

    async with server_with(agent).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("1", "agent")
        assert (await one.completed(run_id))["data"]["result"] == "found q"
        calls = list(call_pairs(one.events()).values())
        assert [executing["data"] for executing, _ in calls] == [{"tool": "lookup", "arguments": {"query": "q"}}] * 3
        assert [completed["data"]["status"] for _, completed in calls] == ["error", "timeout", "ok"]
        assert len({executing["call_id"] for executing, _ in calls}) == 3
        # An attempt begins when the previous attempt has ended.
        order = [event["call_id"] for event in events_of_type(one.events(), "tool_executing", "tool_completed")]
        assert order == [id_ for executing, _ in calls for id_ in [executing["call_id"]] * 2]


async def test_last_failure(autojump_clock: trio.testing.MockClock) -> None:
    """If every attempt of a repeated tool call fails, the run fails with the error of the last attempt."""

    async def fails() -> None:
        raise ConnectionError("busy")

    async def agent(run: Run) -> None:
        retrying = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(4), reraise=True)
        await retrying(run.call_tool, fails)

    async with server_with(agent).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "agent"))
        assert completed["data"]["error"] == {"code": "ConnectionError", "message": "busy"}
        assert [each["data"]["status"] for _, each in call_pairs(one.events()).values()] == ["error"] * 4


async def test_retries_inside_a_tool(autojump_clock: trio.testing.MockClock) -> None:
    """If a tool itself repeats its work, clients see only one call, with the name of the tool."""
    tool = Flaky()

    @tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(1))
    async def lookup(query: str) -> str:
        with trio.fail_after(5):
            return await tool.lookup(query)

    async def agent(run: Run) -> object:
        return await run.call_tool(lookup, query="q", timeout=60)

    async with server_with(agent).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await one.completed(await one.start("1", "agent"))
        assert outcome_of_call(one.events()) == {"status": "ok", "result": "found q"}
        assert events_of_type(one.events(), "tool_executing")[0]["data"]["tool"] == "lookup"
        assert tool.calls == 3


@pytest.mark.parametrize("how", ["cancel", "run timeout"])
async def test_ended_run_is_not_retried(autojump_clock: trio.testing.MockClock, how: str) -> None:
    """When a run is cancelled or times out, its open tool call is cancelled and not repeated."""

    async def agent(run: Run) -> None:
        await tenacity.AsyncRetrying(wait=tenacity.wait_fixed(1))(run.call_tool, trio.sleep, seconds=FOREVER)

    async with (
        server_with(agent, run_seconds=30).running(port=0) as server,
        greeted_in_memory(server, token="ann") as one,
    ):
        run_id = await one.start("1", "agent")
        if how == "cancel":
            await one.command("2", "run.cancel", run_id=run_id)
        await one.completed(run_id)
        assert outcome_of_call(one.events())["status"] == "cancelled"
