"""What asyncio agents have beside them: a loop that ends by force, threads, and servers without asyncio."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import threading
from typing import Any

import orjson
import pytest
import trio
import trio.lowlevel
from _hosts import World, forever, in_each_loop, run_in, turn

from actors import AsyncioRun, ConfigError, MemoryLog, Run, StreamKey
from transport import Greenroom
from transport.hosting import hosted


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
