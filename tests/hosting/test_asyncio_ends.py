"""Each way in which an asyncio agent ends: cancellation, time limits, exceptions, the end of the server or the loop."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
from _hosts import World, closings, error_of, forever, in_each_loop, run_in, turn

from actors import AsyncioRun, Run, RunClosed
from transport import Greenroom
from transport.hosting import hosted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STOP = {"cancel": "cancelled", "timeout": "timeout"}
"""The ways in which a run is stopped from outside, and the status of each. What is open inside ends as cancelled."""


async def stopped(world: World, function: Callable[[AsyncioRun], Awaitable[object]], how: str) -> list[Any]:
    """Run an agent, stop it by ``how`` once it has emitted an output, and return the events of its session."""
    runs: list[AsyncioRun] = []

    async def agent(run: AsyncioRun) -> object:
        runs.append(run)
        return await function(run)

    world.app.agent(host="asyncio", name=function.__name__, timeout=3600)(agent)
    run_id = await world.session.start(function.__name__)
    await world.seen("agent_output")
    if how == "cancel":
        assert await world.session.cancel(run_id)
    else:
        scope = runs[0].scope
        assert isinstance(scope, trio.CancelScope)
        scope.deadline = trio.current_time()  # its time is up
    return await world.ended(run_id)


@in_each_loop
@pytest.mark.parametrize("how", STOP)
def test_cancellation(loop: str, how: str) -> None:
    """A run that is stopped cancels the agent's task once; its clean-up can await; its call is closed."""
    seen: list[object] = []

    async def agent(run: AsyncioRun) -> None:
        try:
            async with run.tool("search"):
                await run.output("x")
                await forever()
        finally:
            await turn()
            await run.output("cleaned up")
            seen.append(run.cancelled)

    async def story(world: World) -> None:
        events = await stopped(world, agent, how)
        assert closings(events) == [("search", "cancelled"), ("agent", STOP[how])]
        assert [event.data["text"] for event in events if event.type == "agent_output"] == ["x", "cleaned up"]

    run_in(loop, story)
    assert seen == [True]


@pytest.mark.parametrize("how", STOP)
def test_structured_code_is_cancelled(how: str) -> None:
    """Task groups, sub-agents and calls of trio agents inside the agent are all cancelled with it."""
    ended: list[str] = []

    async def agent(run: AsyncioRun) -> None:
        async def child(name: str) -> None:
            try:
                async with run.subrun(name) as inner:
                    await inner.output("x")
                    await forever()
            finally:
                ended.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(child("a"))
            group.create_task(run.call_agent("on_trio"))

    async def story(world: World) -> None:
        @world.app.agent
        async def on_trio(run: Run) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append("on_trio")

        events = await stopped(world, agent, how)
        assert sorted(closings(events)[:2]) == [("a", "cancelled"), ("on_trio", "cancelled")]
        assert closings(events)[2:] == [("agent", STOP[how])]
        assert sorted(ended) == ["a", "on_trio"]

    run_in("asyncio", story)


def test_cancelled_while_a_sub_agent_runs() -> None:
    """A cancellation reaches the sub-agent, and then the agent as CancelledError, not as RunFailed."""
    raised: list[str] = []

    async def agent(run: AsyncioRun) -> None:
        try:
            await run.call_agent("child")
        except BaseException as error:
            raised.append(type(error).__name__)
            raise

    async def story(world: World) -> None:
        @world.app.agent(host="asyncio")
        async def child(run: AsyncioRun) -> None:
            await run.output("x")
            await forever()

        events = await stopped(world, agent, "cancel")
        assert closings(events) == [("child", "cancelled"), ("agent", "cancelled")]

    run_in("asyncio", story)
    assert raised == ["CancelledError"]


def test_timeouts_inside_an_agent() -> None:
    """``asyncio.timeout`` around and inside of emits, tools and sub-agents raises TimeoutError, and nothing is left."""

    async def agent(run: AsyncioRun) -> int:
        async def hang() -> None:
            limit.reschedule(0)
            await forever()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                await run.call_tool(hang)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit, run.subrun("child"):
                await hang()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await run.ask_user("?")
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert closings(events) == [("hang", "cancelled"), ("child", "cancelled"), ("agent", "ok")]
        assert events[-1].data["result"] == 0

    run_in("asyncio", story)


def test_agent_that_ends_well_all_the_same() -> None:
    """An agent that returns after its cancellation ends as ok, like one on trio."""

    async def agent(run: AsyncioRun) -> str:
        await run.output("x")
        try:
            await forever()
        except asyncio.CancelledError:
            return "survived"
        return "?"

    async def story(world: World) -> None:
        events = await stopped(world, agent, "cancel")
        assert (closings(events), events[-1].data["result"]) == ([("agent", "ok")], "survived")

    run_in("asyncio", story)


async def raises_cancelled(_: AsyncioRun) -> None:
    raise asyncio.CancelledError


async def cancels_itself(_: AsyncioRun) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await forever()


async def exits(_: AsyncioRun) -> None:
    sys.exit(3)


async def interrupts(_: AsyncioRun) -> None:
    raise KeyboardInterrupt


async def raises_group(_: AsyncioRun) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(forever())
        raise LookupError("no tea")


async def awaits_trio(_: AsyncioRun) -> None:
    await trio.lowlevel.checkpoint()


@in_each_loop
@pytest.mark.parametrize(
    ("agent", "error"),
    [
        (raises_cancelled, "AsyncioCancelled: "),
        (cancels_itself, "AsyncioCancelled: "),
        (exits, "RuntimeError: SystemExit(3)"),
        (interrupts, "RuntimeError: KeyboardInterrupt()"),
        (raises_group, "LookupError: no tea"),
        (awaits_trio, "RuntimeError: "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_failures_end_only_the_run(loop: str, agent: Callable[..., Awaitable[object]], error: str) -> None:
    """An exception of any kind ends the run as an error, and neither hangs it nor ends the loop."""

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert closings(events) == [(agent.__name__, "error")]
        assert error_of(events).startswith(error)
        assert closings(await world.play(fine))[-1] == ("fine", "ok")

    async def fine(_: AsyncioRun) -> None: ...

    run_in(loop, story)


@in_each_loop
def test_tool_that_exits(loop: str) -> None:
    """A tool in a task of its own that exits ends its call as an error, and not the loop."""

    async def leave() -> None:
        sys.exit(3)

    async def agent(run: AsyncioRun) -> list[str]:
        calls = [asyncio.create_task(run.call_tool(each)) for each in (leave, sys.exit, raises_interrupt)]
        done = await asyncio.gather(*calls, return_exceptions=True)
        return [type(error).__name__ for error in done]

    async def raises_interrupt() -> None:
        raise KeyboardInterrupt

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert sorted(closings(events)[:3]) == [("exit", "error"), ("leave", "error"), ("raises_interrupt", "error")]
        assert events[-1].data["result"] == ["RuntimeError"] * 3

    run_in(loop, story)


def test_sub_agent_that_raises_cancelled() -> None:
    """A sub-agent that raises CancelledError by itself fails; the agent that called it goes on."""

    async def agent(run: AsyncioRun) -> str:
        try:
            await run.call_agent(raises_cancelled)
        except Exception as error:  # noqa: BLE001 - its class is the result
            return type(error).__name__
        return "?"

    async def story(world: World) -> None:
        world.app.agent(host="asyncio")(raises_cancelled)
        events = await world.play(agent)
        assert closings(events) == [("raises_cancelled", "error"), ("agent", "ok")]
        assert events[-1].data["result"] == "RunFailed"

    run_in("asyncio", story)


@in_each_loop
def test_swallowed_cancellation(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    """An agent that swallows its cancellation is left behind after ``abandon_seconds``, logged, and blocks nobody."""
    late: list[object] = []
    release: list[asyncio.Event] = []

    async def stubborn(run: AsyncioRun) -> None:
        release.append(asyncio.Event())
        await run.output("x")
        while not release[0].is_set():
            try:
                await release[0].wait()
            except asyncio.CancelledError:
                continue
        for emit in (run.output, run.call_agent):
            with pytest.raises(RunClosed) as closed:
                await emit("stubborn")
            late.append(closed.type)

    async def story(world: World) -> None:
        events = await stopped(world, stubborn, "cancel")
        assert closings(events) == [("stubborn", "cancelled")]
        release[0].set()
        while len(late) < 2:
            await turn()

    run_in(loop, story, abandon_seconds=0.01)
    assert late == [RunClosed, RunClosed]
    assert [record.levelno for record in caplog.records if "left behind" in record.message] == [logging.ERROR]


def test_shutdown_does_not_wait_for_stubborn_agents(caplog: pytest.LogCaptureFixture) -> None:
    """The end of the server waits ``abandon_seconds`` for an agent that swallows its cancellation, and no longer."""
    release: list[asyncio.Event] = []

    async def stubborn(run: AsyncioRun) -> None:
        release.append(asyncio.Event())
        await run.output("x")
        while not release[0].is_set():
            try:
                await release[0].wait()
            except asyncio.CancelledError:
                continue

    app = Greenroom(log="memory:", settings={"drain_seconds": 0, "abandon_seconds": 0.01})
    app.agent(host="asyncio")(stubborn)

    async def main() -> None:
        async with hosted(app):
            world = World(app)
            await world.session.start("stubborn")
            await world.seen("agent_output")
        (left,) = asyncio.all_tasks() - {asyncio.current_task()}
        release[0].set()
        await left

    asyncio.run(main())
    assert "left behind" in caplog.text


@pytest.mark.parametrize("seconds", [60, 0.001])
def test_shield(seconds: float) -> None:
    """A shield delays the cancellation until its block ends, but for no longer than its seconds."""
    seen: list[str] = []

    async def agent(run: AsyncioRun) -> None:
        try:
            async with run.subrun("child") as child:
                with child.shield(seconds), run.shield(seconds):
                    await run.output("x")
                    while not run.cancelled:
                        await turn()
                    if seconds < 1:
                        await forever()
                    seen.append("saved")
                await forever()
        finally:
            seen.append("ended")

    async def story(world: World) -> None:
        events = await stopped(world, agent, "cancel")
        assert closings(events) == [("child", "cancelled"), ("agent", "cancelled")]

    run_in("asyncio", story)
    assert seen == (["saved", "ended"] if seconds > 1 else ["ended"])
