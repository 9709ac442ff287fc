"""``app.state`` and ``run.app`` share the application's objects, and ``lifespan`` opens and closes them."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from actors import AgentCompleted, Agents, ConfigError, MemoryLog, Run, Sessions, SupervisorSpec, open_system
from transport import Greenroom

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


async def test_agents_reach_the_app() -> None:
    """``run.app`` is the app that the agent belongs to, in sub-agents too, and ``app.state`` holds any object."""
    app = Greenroom(log="memory:")
    app.state.greeting = "hello"

    @app.agent
    async def greets(run: Run) -> str:
        assert run.app is app
        return str(run.app.state.greeting)

    @app.agent
    async def asks(run: Run) -> str:
        return str(await run.call_agent(greets))

    async with app.running(port=0):
        handle = await app.sessions.get("alice", "s1")
        await handle.start("asks")
        await trio.testing.wait_all_tasks_blocked(0.001)
        last = (await handle.history())[-1]
        assert isinstance(last, AgentCompleted)
        assert last.result == "hello"


async def test_sessions_without_an_app() -> None:
    """Without an app, ``run.app`` is None."""
    seen: list[object] = []

    async def looks(run: Run) -> None:
        seen.append(run.app)

    agents = Agents()
    agents.add(looks)
    sessions = Sessions(MemoryLog(), agents)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        await (await sessions.get("alice", "s1")).start("looks")
        await trio.testing.wait_all_tasks_blocked()
    assert seen == [None]


async def test_lifespan_is_around_all_runs() -> None:
    """The lifespan opens before the first agent, and closes after the last run has ended. A restart opens it again."""
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Greenroom) -> AsyncGenerator[None]:
        told.append("open")
        app.state.pool = "pool"
        yield
        told.append("closed")

    app = Greenroom(log="memory:", settings={"drain_seconds": 0}, lifespan=lifespan)

    @app.agent
    async def works(run: Run) -> None:
        told.append(run.app.state.pool)
        try:
            await trio.sleep_forever()
        finally:
            with run.shield():
                await trio.lowlevel.checkpoint()
            told.append("run ended")

    for _ in range(2):
        told.clear()
        async with app.running(port=0):
            await (await app.sessions.get("alice", "s1")).start("works")
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert told == ["open", "pool", "run ended", "closed"]


async def test_lifespan_that_fails_at_the_start() -> None:
    """If the lifespan fails at the start, ``running`` raises its exception unchanged, and the app can run later."""
    fails = [True, False]

    @asynccontextmanager
    async def lifespan(app: Greenroom) -> AsyncGenerator[None]:
        if fails.pop(0):
            raise OSError("no database") from ValueError("a wrong password")
        yield

    app = Greenroom(log="memory:", lifespan=lifespan)
    with pytest.raises(OSError, match=r"^no database$") as raised:
        async with app.running(port=0):
            raise AssertionError
    assert str(raised.value.__cause__) == "a wrong password"
    async with app.running(port=0):
        assert fails == []


async def test_lifespan_learns_how_the_block_ended() -> None:
    """The exception of the ``running`` block reaches the lifespan, and then the caller."""
    seen: list[BaseException] = []

    @asynccontextmanager
    async def lifespan(app: Greenroom) -> AsyncGenerator[None]:
        try:
            yield
        except BaseException as error:
            seen.append(error)
            raise

    app = Greenroom(log="memory:", lifespan=lifespan)
    with pytest.raises(KeyError) as raised:
        async with app.running(port=0):
            raise KeyError("the block")
    assert len(seen) == 1
    assert raised.value.args == ("the block",)


def test_wrong_lifespan() -> None:
    """A lifespan that is not callable is refused where it is given."""
    wrong: Any = 5
    with pytest.raises(ConfigError, match=r"^lifespan must be a function \(app\) that returns .*, not 5$"):
        Greenroom(log="memory:", lifespan=wrong)


async def test_lifespan_without_async() -> None:
    """A lifespan that returns no async context manager is refused at the start, with a hint."""

    @contextmanager
    def lifespan(app: Greenroom) -> Generator[None]:
        yield

    wrong: Any = lifespan
    app = Greenroom(log="memory:", lifespan=wrong)
    with pytest.raises(ConfigError, match=r"^lifespan must return an async context manager .*asynccontextmanager"):
        async with app.running(port=0):
            raise AssertionError


async def test_lists_need_a_running_app() -> None:
    """``app.sessions.list`` returns the sessions of a running app, and is refused without one."""
    app = Greenroom(log="memory:")
    with pytest.raises(ConfigError, match=r"^the app is not running"):
        await app.sessions.list("alice")
    async with app.running(port=0):
        await app.sessions.get("alice", "s1")
        assert [one.session for one in await app.sessions.list("alice")] == ["s1"]
