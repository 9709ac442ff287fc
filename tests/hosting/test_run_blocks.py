"""Runs that are blocks of the application's code: ``session.run`` on asyncio, ``handle.run`` on trio."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _hosts import World, closings, error_of, forever, in_each_loop, run_in, turn

from actors import (
    AsyncioRun,
    CommandRefused,
    Run,
    RunCancelled,
    RunClosed,
    SessionHandle,
    UnserialisableEvent,
    current_run,
)
from transport import Greenroom

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def cancelling() -> int:
    """Return how many cancellations of the current task are open."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@in_each_loop
def test_block_is_a_run(loop: str) -> None:
    """The block emits between ``agent_started`` and ``agent_completed``, with its result, and is the current run."""
    variable = contextvars.ContextVar("variable", default="-")

    async def story(world: World) -> None:
        variable.set("a request's")
        async with world.session.run("ask", {"prompt": "tea"}) as run:
            await run.output("hello")
            context = current_run()
            assert context is not None
            assert (context.run_id, context.agent, variable.get()) == (run.id, "ask", "a request's")
            assert await run.call_tool(turn, result=3) == 3
            async with run.subrun("child"):
                pass
            run.result = [1]
        assert current_run() is None
        assert run.closed
        events = await world.ended(run.id)
        assert events[0].data == {"agent": "ask", "input": {"prompt": "tea"}}
        assert closings(events) == [("turn", "ok"), ("child", "ok"), ("ask", "ok")]
        assert events[-1].data["result"] == [1]

    run_in(loop, story)


@in_each_loop
def test_block_that_raises(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of the block ends the run as an error, and propagates unchanged. The session does not log it."""

    async def story(world: World) -> None:
        wrong = LookupError("no tea")
        with pytest.raises(LookupError) as raised:  # noqa: PT012 - the block is what fails
            async with world.session.run("ask") as run:
                await run.output("x")
                raise wrong
        assert raised.value is wrong
        assert raised.value.__context__ is None
        events = await world.ended(run.id)
        assert (closings(events), error_of(events)) == ([("ask", "error")], "LookupError: no tea")
        with pytest.raises(RunClosed):
            await run.output("late")

    run_in(loop, story)
    assert [record.message for record in caplog.records if record.name == "greenroom.sessions"] == []


@in_each_loop
@pytest.mark.parametrize("how", ["user", "limit", "itself"])
def test_block_that_is_stopped(loop: str, how: str) -> None:
    """A run that is stopped cancels its block, which raises RunCancelled. The task can then go on as ever."""

    async def story(world: World) -> None:
        seconds = 0.01 if how == "limit" else None
        cleaned = False
        with pytest.raises(RunCancelled) as stopped:  # noqa: PT012 - the block is what fails
            async with world.session.run("ask", timeout=seconds) as run:
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(forever())
                        if how == "user":
                            group.create_task(world.session.cancel(run.id))
                        elif how == "itself":
                            run.stop()
                        await forever()
                finally:
                    await turn()
                    cleaned = True
        status = "timeout" if how == "limit" else "cancelled"
        assert (stopped.value.run_id, stopped.value.agent, stopped.value.status) == (run.id, "ask", status)
        assert (cleaned, cancelling()) == (True, 0)
        await turn()
        assert closings(await world.ended(run.id)) == [("ask", status)]

    run_in(loop, story)


@in_each_loop
def test_task_of_the_block_is_cancelled(loop: str) -> None:
    """If other code cancels the task, the run ends as cancelled, and the cancellation propagates."""

    async def story(world: World) -> None:
        runs: list[AsyncioRun] = []

        async def route() -> None:
            async with world.session.run("ask") as run:
                runs.append(run)
                await forever()

        task = asyncio.create_task(route())
        while not runs:
            await turn()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert closings(await world.ended(runs[0].id)) == [("ask", "cancelled")]
        with pytest.raises(TimeoutError):  # noqa: PT012 - the block is what fails
            async with asyncio.timeout(None) as limit, world.session.run("ask") as run:
                limit.reschedule(0)
                await forever()
        assert cancelling() == 0
        assert closings(await world.ended(run.id))[-1] == ("ask", "cancelled")  # also in the only task of the loop

    run_in(loop, story)


def test_both_cancel_at_once() -> None:
    """If the run is stopped and the task is cancelled, the cancellation of the task propagates."""

    async def story(world: World) -> None:
        counts: list[int] = []

        async def route() -> None:
            task = asyncio.current_task()
            assert task is not None
            try:
                async with world.session.run("ask") as run:
                    task.cancel()
                    run.stop()
                    while not run._recorder.runs[run.id].scope.cancel_called:  # noqa: SLF001 - as it says
                        await turn()
                    await forever()
            finally:
                counts.append(cancelling())

        task = asyncio.create_task(route())
        await asyncio.wait([task])
        assert task.cancelled()
        assert counts == [1]

    run_in("asyncio", story)


def test_block_that_ends_well_all_the_same() -> None:
    """A block that swallows its cancellation and ends counts as ok, like an agent that does so."""

    async def story(world: World) -> None:
        async with world.session.run("ask") as run:
            run.stop()
            try:
                await forever()
            except asyncio.CancelledError:
                run.result = "survived"
        assert cancelling() == 0
        events = await world.ended(run.id)
        assert (closings(events), events[-1].data["result"]) == ([("ask", "ok")], "survived")

    run_in("asyncio", story)


@in_each_loop
def test_block_that_does_not_end(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    """A block that goes on for ``abandon_seconds`` after its cancellation is left behind: its emits raise."""

    async def story(world: World) -> None:
        with pytest.raises(RunCancelled):  # noqa: PT012 - the block is what fails
            async with world.session.run("ask") as run:
                run.stop()
                while not run.closed:
                    try:
                        await turn()
                    except asyncio.CancelledError:
                        continue
                with pytest.raises(RunClosed):
                    await run.output("late")
        assert closings(await world.ended(run.id)) == [("ask", "cancelled")]
        assert cancelling() == 0

    run_in(loop, story, abandon_seconds=0.01)
    assert "left behind" in caplog.text


def test_shield_in_a_block() -> None:
    """A shield delays the cancellation of a block, too."""

    async def story(world: World) -> None:
        saved = False
        with pytest.raises(RunCancelled):  # noqa: PT012 - the block is what fails
            async with world.session.run("ask") as run:
                with run.shield():
                    run.stop()
                    await world.on_trio(trio.testing.wait_all_tasks_blocked)  # it has reached the block by then
                    saved = True
                await forever()
        assert saved

    run_in("asyncio", story)


def test_cancelled_at_the_end_of_the_block() -> None:
    """If the task is cancelled while the block ends, the run ends as ok, and the cancellation propagates."""

    async def story(world: World) -> None:
        runs: list[AsyncioRun] = []

        async def route() -> None:
            task = asyncio.current_task()
            assert task is not None
            async with world.session.run("ask") as run:
                runs.append(run)
                asyncio.get_running_loop().call_soon(task.cancel)

        task = asyncio.create_task(route())
        await asyncio.wait([task])
        assert task.cancelled()
        assert closings(await world.ended(runs[0].id)) == [("ask", "ok")]

    run_in("asyncio", story)


def test_result_that_is_not_json(caplog: pytest.LogCaptureFixture) -> None:
    """A result that is not JSON ends the run as an error, and is raised at the end of the block. It is not logged."""

    async def story(world: World) -> None:
        with pytest.raises(UnserialisableEvent):
            async with world.session.run("ask") as run:
                run.result = object()
        assert closings(await world.ended(run.id)) == [("ask", "error")]
        with pytest.raises(UnserialisableEvent):
            world.session.run("ask", object())

    run_in("asyncio", story)
    assert [record.message for record in caplog.records if record.name == "greenroom.sessions"] == []


@in_each_loop
def test_block_waits_for_its_place(loop: str) -> None:
    """A block waits while the user has too many runs; if it is cancelled meanwhile, it leaves the queue."""

    async def story(world: World) -> None:
        order: list[str] = []

        async def route(name: str, done: asyncio.Event) -> None:
            async with world.session.run(name):
                order.append(name)
                await done.wait()

        done = asyncio.Event()
        first = asyncio.create_task(route("first", done))
        while not order:
            await turn()
        waiting = [asyncio.create_task(route(name, done)) for name in ("second", "third")]
        while world.app.server.sessions.statistics().runs.queued < 2:
            await turn()
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        assert waiting[0].cancelled()
        waiting.append(asyncio.create_task(route("fourth", done)))
        while world.app.server.sessions.statistics().runs.queued < 2:
            await turn()
        with pytest.raises(CommandRefused, match="overloaded"):
            await route("fifth", done)
        done.set()
        await asyncio.wait([first, *waiting])
        assert order == ["first", "third", "fourth"]
        assert world.app.server.sessions.statistics().runs.running == 0

    run_in(loop, story, runs_per_user=1, queued_runs_per_user=2)


def test_server_ends_inside_the_block() -> None:
    """When the server ends, its blocks are cancelled, and raise RunCancelled."""
    raised: list[BaseException] = []

    async def route(world: World, begun: asyncio.Event) -> None:
        try:
            async with world.session.run("ask"):
                begun.set()
                await forever()
        except RunCancelled as stopped:
            raised.append(stopped)

    tasks: list[asyncio.Task[None]] = []

    async def story(world: World) -> None:
        begun = asyncio.Event()
        tasks.append(asyncio.create_task(route(world, begun)))
        await begun.wait()

    run_in("asyncio", story, left=tasks)
    assert [type(each) for each in raised] == [RunCancelled]


# On trio


async def in_a_block(function: Callable[[SessionHandle], Awaitable[None]], **settings: object) -> list[Any]:
    """Call a function with the handle of a session on trio, and return the runs of the session that have ended."""
    app = Greenroom(log="memory:", settings={"drain_seconds": 0, **settings})
    async with app.running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await function(handle)
        await handle.emit("last")
        return [event for event in await handle.history() if event.type == "agent_completed"]


async def test_block_on_trio() -> None:
    """``handle.run`` is the same on trio: the block is the current run, and has its result."""

    async def story(handle: SessionHandle) -> None:
        async with handle.run("import", 3) as run:
            assert type(run) is Run
            context = current_run()
            assert context is not None
            assert context.run_id == run.id
            await run.call_tool(trio.sleep, seconds=0)
            run.result = 4
        assert current_run() is None

    (ended,) = await in_a_block(story)
    assert (ended.data["agent"], ended.data["status"], ended.data["result"]) == ("import", "ok", 4)


async def test_stopped_block_on_trio() -> None:
    """A run that is stopped cancels its block on trio, which raises RunCancelled; a scope around it is left alone."""

    async def story(handle: SessionHandle) -> None:
        with trio.CancelScope() as outside:
            with pytest.raises(RunCancelled, match=r"import .* was stopped, and ended cancelled"):  # noqa: PT012 - the block is what fails
                async with handle.run("import") as run:
                    assert await handle.cancel(run.id)
                    await trio.sleep_forever()
            with pytest.raises(RunCancelled, match="ended timeout"):
                async with handle.run("import", timeout=0.001):
                    await trio.sleep_forever()
        assert not outside.cancelled_caught

    assert [each.data["status"] for each in await in_a_block(story)] == ["cancelled", "timeout"]


async def test_failing_block_on_trio(caplog: pytest.LogCaptureFixture) -> None:
    """An exception propagates unchanged, and a cancellation from outside ends the run as cancelled."""
    wrong = LookupError("no tea")

    async def story(handle: SessionHandle) -> None:
        with pytest.raises(LookupError) as raised:
            async with handle.run("import"):
                raise wrong
        assert raised.value is wrong
        with trio.CancelScope() as outside:
            async with handle.run("import"):
                outside.cancel()
                await trio.sleep_forever()
        assert outside.cancelled_caught
        with pytest.raises(UnserialisableEvent):
            async with handle.run("import") as run:
                run.result = object()

    assert [each.data["status"] for each in await in_a_block(story)] == ["error", "cancelled", "error"]
    assert "no tea" not in caplog.text


async def test_queued_block_on_trio() -> None:
    """A block that is cancelled while it waits for its place leaves the queue, and never begins."""

    async def story(handle: SessionHandle) -> None:
        async with handle.run("first"):
            with trio.move_on_after(0.001) as outside:
                async with handle.run("second"):
                    pytest.fail("it began")
            assert outside.cancelled_caught

    assert [each.data["agent"] for each in await in_a_block(story, runs_per_user=1)] == ["first"]
