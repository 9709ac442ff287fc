"""Agents on asyncio: their emits and their tools."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from typing import TYPE_CHECKING

import pytest
from _hosts import World, closings, forever, in_each_loop, run_in, turn

from actors import AsyncioRun, ToolTimeout, current_run

if TYPE_CHECKING:
    from actors import Event


def types(events: list[Event]) -> list[str]:
    return [event.type.removeprefix("agent_") for event in events]


# Emits


@in_each_loop
def test_every_emit(loop: str) -> None:
    """An asyncio agent emits the same events as an agent on trio."""

    async def agent(run: AsyncioRun, prompt: str) -> str:
        await run.thinking("hm")
        await run.output(prompt)
        await run.custom("progress", {"step": 1})
        run.typing(True)  # noqa: FBT003 - the one argument of a toggle
        run.signal("note", 1)
        run.usage = {"tokens": 3}
        return run.agent

    async def story(world: World) -> None:
        events = await world.play(agent, "tea")
        assert types(events) == ["started", "thinking", "output", "custom", "completed"]
        assert events[2].data == {"text": "tea"}
        assert events[-1].data["result"] == "agent"
        assert events[-1].data["usage"] == {"tokens": 3}

    run_in(loop, story)


@in_each_loop
def test_other_tasks_run_during_a_burst(loop: str) -> None:
    """An emit is a plain call; every 16 events it lets other tasks run, and it waits while 64 events are not stored."""
    turns: list[int] = []
    waiting: list[int] = []

    async def agent(run: AsyncioRun) -> None:
        done = asyncio.Event()

        async def other() -> None:
            while not done.is_set():
                turns.append(run._stream.seq)  # noqa: SLF001 - only it tells
                await turn()

        task = asyncio.create_task(other())
        for _ in range(300):
            await run.output("x")
            stream = run._stream  # noqa: SLF001 - as above
            waiting.append(stream.seq - stream.committed_seq)
        done.set()
        await task

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert [event.seq for event in events] == list(range(1, 303))
        assert {later - earlier for earlier, later in itertools.pairwise(sorted(set(turns)))} == {16}
        assert max(waiting) <= 64

    run_in(loop, story)


@in_each_loop
def test_many_tasks_emit(loop: str) -> None:
    """The tasks of an agent can emit at the same time: each event gets one seq, and none is lost."""

    async def agent(run: AsyncioRun) -> None:
        async def one(name: int) -> None:
            for step in range(40):
                await run.output(f"{name}.{step}")

        async with asyncio.TaskGroup() as group:
            for name in range(5):
                group.create_task(one(name))

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert [event.seq for event in events] == list(range(1, 203))
        assert len({event.data["text"] for event in events[1:-1]}) == 200

    run_in(loop, story)


@in_each_loop
def test_user_limit_of_events(loop: str) -> None:
    """``events_per_second`` slows an asyncio agent down, as any agent."""
    delays: list[float] = []

    async def agent(run: AsyncioRun) -> None:
        uses = run._recorder.account._shared  # noqa: SLF001 - only it tells that an emitter waits
        for _ in range(12):
            emit = asyncio.ensure_future(run.output("x"))
            await turn()
            delays.append(uses.waiting)
            await emit

    async def story(world: World) -> None:
        await world.play(agent)

    run_in(loop, story, events_per_second=10_000)
    assert 0 in delays
    delays.clear()
    run_in(loop, story, events_per_second=200)
    assert sum(delays) == 0
    delays.clear()
    run_in(loop, story, events_per_second=10)
    assert sum(delays) > 0


def test_agent_is_left_alone_by_requests() -> None:
    """An agent never gets context variables of the code that started it, but ``current_run()`` is its run."""
    variable = contextvars.ContextVar("variable", default="-")
    seen: list[tuple[str, str]] = []

    async def note() -> None:
        context = current_run()
        assert context is not None
        seen.append((variable.get(), context.agent))

    async def agent(run: AsyncioRun) -> None:
        await note()
        async with run.subrun("child"):
            await note()
        await note()
        await asyncio.to_thread(lambda: asyncio.run(note()))

    async def story(world: World) -> None:
        variable.set("a request's")
        await world.play(agent)
        assert current_run() is None

    run_in("asyncio", story)
    assert seen == [("-", "agent"), ("-", "child"), ("-", "agent"), ("-", "agent")]


# Tools


async def double(number: int) -> int:
    await turn()
    return 2 * number


def square(number: int) -> int:
    assert threading.current_thread() is not threading.main_thread()
    context = current_run()
    assert context is not None
    return number * number


async def fail() -> None:
    raise LookupError("no tea")


@in_each_loop
def test_tools(loop: str) -> None:
    """Async tools are awaited in the loop, sync ones are called in a thread, and blocks are recorded."""

    async def agent(run: AsyncioRun) -> list[int]:
        async with run.tool("block", {"a": 1}) as call:
            call.result = 3
        return [
            await run.call_tool(double, number=2),
            await run.call_tool(square, number=3),
            await run.wrap(double)(4),
            await run.wrap(square, name="area")(5),
            await run.call_tool(lambda: double(6)),
        ]

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert closings(events) == [
            (name, "ok") for name in ("block", "double", "square", "double", "area", "<lambda>", "agent")
        ]
        assert events[-1].data["result"] == [4, 9, 8, 25, 12]

    run_in(loop, story)


@in_each_loop
def test_tools_that_fail(loop: str) -> None:
    """A tool that raises or is too slow ends its call, and raises in the agent, which goes on."""
    released = threading.Event()

    async def hang() -> None:
        await forever()

    async def agent(run: AsyncioRun) -> int:
        with pytest.raises(LookupError):
            await run.call_tool(fail)
        with pytest.raises(ToolTimeout, match="hang took longer"):
            await run.call_tool(hang, timeout=0.001)
        with pytest.raises(ToolTimeout):
            await run.call_tool(released.wait, timeout=0.001)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    async def story(world: World) -> None:
        events = await world.play(agent)
        released.set()
        assert [status for _, status in closings(events)] == ["error", "timeout", "timeout", "ok"]
        assert events[-1].data["result"] == 0

    run_in(loop, story)


def test_tool_is_cancelled_alone() -> None:
    """Cancelling the task of one tool ends its call as cancelled, and nothing else."""

    async def agent(run: AsyncioRun) -> str:
        started = asyncio.Event()

        async def hang() -> None:
            started.set()
            await forever()

        task = asyncio.create_task(run.call_tool(hang))
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        return "done" if task.cancelled() else "not cancelled"

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert closings(events) == [("hang", "cancelled"), ("agent", "ok")]
        assert events[-1].data["result"] == "done"

    run_in("asyncio", story)


def test_framework_reports_a_cancelled_call() -> None:
    """``call_started`` works on asyncio; asyncio's CancelledError ends the call as cancelled."""

    async def agent(run: AsyncioRun) -> None:
        (await run.call_started("a")).completed(1)
        run.call_started("b").failed(asyncio.CancelledError())
        run.call_started("c").failed("no")
        run.call_started("left")

    async def story(world: World) -> None:
        events = await world.play(agent)
        assert closings(events) == [
            ("a", "ok"),
            ("b", "cancelled"),
            ("c", "error"),
            ("left", "cancelled"),
            ("agent", "ok"),
        ]

    run_in("asyncio", story)
