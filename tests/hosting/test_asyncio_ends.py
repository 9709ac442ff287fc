"""Each way in which an asyncio agent ends: cancellation, time limits, exceptions, the end of the server or the loop."""

from __future__ import annotations

import asyncio
import importlib
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.lowlevel
from _hosts import World, closings, error_of, forever, in_each_loop, run_in, turn

from actors import AsyncioRun, ConfigError, MemoryLog, Run, RunClosed, StreamKey
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


class KeptLog(MemoryLog):
    """A log in memory that can be read after its server has ended."""

    async def close(self) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()


@in_each_loop
def test_forced_end_of_the_loop(loop: str) -> None:
    """If asyncio ends by force and cancels all tasks first, the runs end as interrupted."""
    log = KeptLog()
    app = Greenroom(log=log, settings={"drain_seconds": 0})
    begun = threading.Event()

    @app.agent(host="asyncio")
    async def endless(run: AsyncioRun) -> None:
        begun.set()
        await forever()

    async def server() -> None:
        async with hosted(app):
            tasks.append(asyncio.create_task(route()))
            try:
                await forever()
            finally:
                while app.server.sessions.statistics().runs.running:
                    await turn()
                await app.sessions_aio.get("ann", "s1").emit("last")  # stored after the ends of the runs

    async def route() -> None:
        async with app.sessions_aio.get("ann", "s1").run("block"):
            await app.sessions_aio.get("ann", "s1").start("endless")
            await forever()

    async def main() -> None:
        tasks.append(asyncio.create_task(server()))
        while not begun.is_set():
            await turn()
        raise SystemExit(4)

    tasks: list[asyncio.Task[None]] = []
    factory: Any = importlib.import_module(loop).new_event_loop
    with pytest.raises(SystemExit), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    assert all(task.cancelled() for task in tasks)

    async def ends() -> list[Any]:
        return [orjson.loads(line) for line in await log.read(StreamKey("ann", "s1"), 0, 100, 10**6)]

    events = trio.run(ends)
    completed = {event["data"]["agent"]: event["data"]["status"] for event in events if "status" in event["data"]}
    assert completed == {"endless": "interrupted", "block": "interrupted"}


def test_threads() -> None:
    """In a thread, methods that are not async hop to the loop, and async ones raise before they change anything."""

    async def agent(run: AsyncioRun) -> list[str]:
        loop = asyncio.get_running_loop()

        def in_thread() -> list[str]:
            run.signal("note", 1)
            run.typing(True)  # noqa: FBT003 - the one argument of a toggle
            run.usage = {"tokens": 1}
            assert not run.cancelled
            run.call_started("search").completed()
            errors: list[str] = []
            for call in (run.output, run.call_agent, run.ask_user, run.custom):
                with pytest.raises(RuntimeError, match="run_coroutine_threadsafe") as error:
                    asyncio.run(call("agent"))
                errors.append(str(error.value).partition(" was")[0])
            asyncio.run_coroutine_threadsafe(run.output("from a thread"), loop).result()
            return errors

        return [*await asyncio.to_thread(in_thread), *await run.call_tool(in_thread)]

    async def story(world: World) -> None:
        events = await world.play(agent)
        kinds = [event.type for event in events]
        assert kinds.count("agent_output") == 2
        assert kinds.count("agent_started") == 1
        assert kinds.count("tool_completed") == 3
        assert events[-1].data["result"] == ["an emit", "call_agent()", "ask_user()", "an emit"] * 2

    run_in("asyncio", story)


def test_thread_after_the_loop() -> None:
    """In a thread that outlives the loop, methods of the run raise RuntimeError instead of waiting for ever."""
    kept: list[AsyncioRun] = []

    async def agent(run: AsyncioRun) -> None:
        kept.append(run)

    async def story(world: World) -> None:
        await world.play(agent)

    run_in("asyncio", story)
    errors: list[str] = []

    def late() -> None:
        for call in (lambda: kept[0].signal("note"), kept[0].stop, lambda: kept[0].tool("x")):
            with pytest.raises(RuntimeError) as error:
                call()
            errors.append(str(error.value).partition(" was")[0])

    thread = threading.Thread(target=late)
    thread.start()
    thread.join()
    assert errors == ["signal()", "stop()", "tool()"]


# Where asyncio agents cannot run


async def test_server_on_trio_alone() -> None:
    """A server that runs on trio alone refuses to start with asyncio agents, and says what to do."""
    app = Greenroom(log="memory:")

    @app.agent(host="asyncio")
    async def agent(run: AsyncioRun) -> None: ...

    with pytest.raises(ConfigError, match=r"agent is written for asyncio.*transport\.hosting"):
        async with app.running(port=0):
            pass


async def test_agent_that_comes_later_to_trio_alone() -> None:
    """An asyncio agent that is registered while such a server runs ends each run with the same error."""
    app = Greenroom(log="memory:")
    async with app.running(port=0) as server:

        @app.agent(host="asyncio")
        async def agent(run: AsyncioRun) -> None: ...

        handle = await server.sessions.get("ann", "s1")
        async with handle.run("block") as run:
            with pytest.raises(Exception, match=r"transport\.hosting"):
                await run.call_agent(agent)


def test_default_library() -> None:
    """``Greenroom(agents="asyncio")`` is the default for all agents; each may have its own, and others are refused."""
    app = Greenroom(log="memory:", settings={"drain_seconds": 0}, agents="asyncio")
    seen: list[type[object]] = []

    @app.agent
    async def one(run: AsyncioRun) -> None:
        await turn()
        seen.append(type(run))

    @app.agent(host="trio")
    async def two(run: Run) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(type(run))

    async def main() -> None:
        async with hosted(app):
            world = World(app)
            for name in ("one", "two"):
                await world.ended(await world.session.start(name))

    asyncio.run(main())
    assert seen == [AsyncioRun, Run]
    wrong: Any = "curio"
    with pytest.raises(ConfigError, match="agents must be 'trio' or 'asyncio', not 'curio'"):
        Greenroom(agents=wrong)
    with pytest.raises(ConfigError, match="host must be 'trio' or 'asyncio', not 'curio'"):
        app.agent(host=wrong)(one)


def test_asyncio_is_loaded_late() -> None:
    """A server without asyncio agents never loads asyncio."""
    loaded = "print('asyncio' in sys.modules)"
    code = f"import sys, actors, transport; {loaded}; actors.AsyncioRun; {loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
