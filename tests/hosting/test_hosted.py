"""An app inside the event loop of a program (``hosted``), on asyncio and on trio."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from actors import ConfigError, LogError, RestartLimit, Run
from transport import Greenroom
from transport.hosting import hosted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transport import Server

LIBRARIES = {"asyncio": asyncio.run, "trio": trio.run}


@pytest.fixture(params=LIBRARIES)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Run an async function in a new event loop of either library, and check that nothing is left behind."""

    def started(story: Callable[[], Awaitable[Any]]) -> Any:
        threads = set(threading.enumerate())
        result = asyncio.run(checked(story)) if request.param == "asyncio" else trio.run(story)
        trio.run(trio.lowlevel.checkpoint)  # the thread can run trio again
        # Trio keeps idle threads for later calls, and they end by themselves.
        assert {each for each in threading.enumerate() if "Trio thread" not in each.name} <= threads
        return result

    return started


async def checked(story: Callable[[], Awaitable[Any]]) -> Any:
    """Await ``story`` in asyncio, and check that it leaves no task behind."""
    try:
        return await story()
    finally:
        assert asyncio.all_tasks() == {asyncio.current_task()}


def app_with_agent() -> Greenroom:
    """Return an app with the agent ``double``."""
    app = Greenroom(log="memory:", settings={"drain_seconds": 1})

    @app.agent
    async def double(run: Run, number: int) -> int:
        await run.output("x")
        return 2 * number

    return app


async def on_trio(app: Greenroom, function: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
    """Await a trio function from the library in which the app is hosted."""
    host = app.server.host.asyncio
    return await (function(*arguments) if host is None else host.run(function, *arguments))


def test_runs_without_a_port(run: Any) -> None:
    """Inside the block agents run, although the app has no port. After the block the app can be hosted again."""
    app = app_with_agent()

    async def start() -> None:
        handle = await app.sessions.get("ann", "s1")
        await handle.start("double", 2)

    async def story() -> None:
        for _ in range(2):
            async with hosted(app) as server:
                assert server is app.server
                assert server.url == ""
                await on_trio(app, start)
                assert len(server.sessions.of("ann")) == 1
            with pytest.raises(ConfigError, match=r"lifespan=transport\.hosting\.lifespan"):
                _ = app.server

    run(story)


def test_block_that_fails(run: Any) -> None:
    """An exception of the block is raised unchanged, and runs are cancelled at once."""
    app = Greenroom(log="memory:")
    seen: list[str] = []

    @app.agent
    async def endless(run: Run) -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append("ended")

    async def start() -> None:
        await (await app.sessions.get("ann", "s1")).start("endless")
        await trio.testing.wait_all_tasks_blocked()

    async def story() -> None:
        wrong = ValueError("the block")
        with pytest.raises(ValueError, match="the block") as raised:  # noqa: PT012 - the block is what fails
            async with hosted(app):
                await on_trio(app, start)
                raise wrong
        assert raised.value is wrong

    run(story)
    assert seen == ["ended"]


def test_log_that_fails(run: Any) -> None:
    """If the log cannot be opened, its error is raised, and the app can be hosted with another log."""
    app = app_with_agent()

    async def story() -> None:
        with pytest.raises(LogError):
            async with hosted(app, log="sqlite:/no/such/folder/x.db"):
                pass
        async with hosted(app, log="memory:"):
            pass

    run(story)


def test_same_app_twice(run: Any) -> None:
    """An app runs once at a time."""
    app = app_with_agent()

    async def story() -> None:
        async with hosted(app) as server:
            with pytest.raises(ConfigError):
                async with hosted(app):
                    pass
            assert app.server is server

    run(story)


def test_one_guest_in_a_thread() -> None:
    """A thread has room for one hosted app on asyncio. The second one is refused, and the first one goes on."""
    first, second = app_with_agent(), app_with_agent()

    async def story() -> None:
        async with hosted(first):
            with pytest.raises(ConfigError, match="a thread can host one app"):
                async with hosted(second):
                    pass
            await on_trio(first, trio.lowlevel.checkpoint)

    asyncio.run(checked(story))


def test_cancelled_at_the_start() -> None:
    """If the caller is cancelled while the app starts, trio has ended when ``hosted`` raises."""

    async def story() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(enter(begun))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    async def enter(begun: asyncio.Event) -> None:
        begun.set()
        async with hosted(app_with_agent()):
            pass

    asyncio.run(checked(story))
    trio.run(trio.lowlevel.checkpoint)


def test_app_that_gives_up(run: Any) -> None:
    """If the app's supervision gives up, the block is cancelled and its error is raised. The caller goes on."""
    app = app_with_agent()

    async def wear_out(server: Server) -> None:
        for _ in range(4):
            ref = server.system.find("/greenroom/event-log")
            if ref is not None:
                ref.kill()
            await trio.testing.wait_all_tasks_blocked()

    async def story() -> None:
        with pytest.raises(RestartLimit, match="/greenroom gave up"):  # noqa: PT012 - the block is what is cancelled
            async with hosted(app) as server:
                if server.host.asyncio is None:
                    server.host.nursery.start_soon(wear_out, server)
                    await trio.sleep_forever()
                else:
                    server.host.asyncio.soon(wear_out, server)
                    await asyncio.Event().wait()
        async with hosted(app):
            await on_trio(app, trio.lowlevel.checkpoint)

    run(story)


def test_end_that_is_cancelled_again() -> None:
    """However often the block's task is cancelled, ``hosted`` raises only after all agents and trio have ended."""
    app = Greenroom(log="memory:")
    begun, release = asyncio.Event(), trio.Event()
    seen: list[str] = []

    @app.agent
    async def slow(run: Run) -> None:
        try:
            begun.set()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await release.wait()
            seen.append("ended")

    async def block() -> None:
        async with hosted(app):
            await app.sessions_aio.get("ann", "s1").start("slow")
            await asyncio.Event().wait()

    async def story() -> None:
        task = asyncio.create_task(block())
        await begun.wait()
        for _ in range(3):
            task.cancel()
            for _ in range(5):
                turn = asyncio.get_running_loop().create_future()
                turn.get_loop().call_soon(turn.set_result, None)
                await turn
            assert not task.done()
        release.set()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(checked(story))
    trio.run(trio.lowlevel.checkpoint)
    assert seen == ["ended"]


def test_import_without_asyncio() -> None:
    """A program that hosts nothing does not load asyncio: importing ``actors`` and ``transport`` is free of it."""
    code = "import sys, actors, transport; print('asyncio' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_outside_of_a_loop() -> None:
    """Without a running event loop, ``hosted`` raises a ConfigError that names the libraries."""
    manager = hosted(app_with_agent())
    with pytest.raises(ConfigError, match="asyncio or trio, not none"):
        manager.__aenter__().send(None)
