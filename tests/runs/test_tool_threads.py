"""Threads of sync tools are limited for each user and in total. Tools that hang use up only their own user's threads.

These tests use the real clock, since a virtual clock does not wait for threads. No test depends on a duration.
"""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from sessions._one_run import events_of

from actors import (
    Agents,
    MemoryLog,
    Run,
    RunFailed,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    ToolThreadsStatistics,
    ToolTimeout,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NONE_LEFT = ToolThreadsStatistics(users=0, running=0, waiting=0)


class BlockingTool:
    """A sync tool that notes its caller and blocks until it is released."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self._returned: list[str] = []
        self._permits = threading.Semaphore(0)

    @property
    def blocked(self) -> int:
        return len(self.called) - len(self._returned)

    def block(self, caller: str) -> str:
        self.called.append(caller)
        self._permits.acquire()
        self._returned.append(caller)
        return caller

    def release(self, count: int = 1) -> None:
        self._permits.release(count)


@pytest.fixture
def blocking() -> Iterator[BlockingTool]:
    made = BlockingTool()
    yield made
    made.release(100)


async def until(holds: Any) -> None:
    with trio.fail_after(60):
        while not holds():
            await trio.lowlevel.checkpoint()


class Server:
    """Sessions with one agent, which calls the blocking tool."""

    def __init__(self, sessions: Sessions, log: MemoryLog, blocking: BlockingTool) -> None:
        self.sessions = sessions
        self._log = log
        self._blocking = blocking

    async def start(self, user: str, session: str = "s1", timeout: float | None = None) -> None:  # noqa: ASYNC109 - the tool's
        await (await self.sessions.get(user, session)).start("calls_it", timeout)

    async def settle(self, running: int, waiting: int) -> None:
        """Wait until ``running`` tools run and ``waiting`` tools wait, and nothing else happens."""
        await until(lambda: self._counts() == (running, waiting) and self._blocking.blocked == running)
        await trio.testing.wait_all_tasks_blocked()
        assert self._counts() == (running, waiting)

    def _counts(self) -> tuple[int, int]:
        threads = self.sessions.statistics().threads
        return threads.running, threads.waiting

    async def ends(self, user: str, session: str = "s1") -> list[Any]:
        """Return the data of the session's ``tool_completed`` events, in order."""
        lines = await self._log.read(StreamKey(user, session), 0, 1000, 10**7)
        events = [orjson.loads(line) for line in lines]
        return [event["data"] for event in events if event["type"] == "tool_completed"]


@asynccontextmanager
async def serving(blocking: BlockingTool, **limits: int) -> AsyncIterator[Server]:
    async def calls_it(run: Run, timeout: float | None) -> None:  # noqa: ASYNC109 - the tool's
        with suppress(ToolTimeout):
            await run.call_tool(blocking.block, timeout=timeout, caller=f"{run.user}/{run.session}")

    agents, log = Agents(), MemoryLog()
    agents.add(calls_it)
    sessions = Sessions(log, agents, SessionSettings(**limits))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield Server(sessions, log, blocking)
        blocking.release(100)
        await until(lambda: not sessions.statistics().runs.running)
        await until(lambda: sessions.statistics().threads == NONE_LEFT)


async def test_the_limit_of_a_user(blocking: BlockingTool) -> None:
    """In all sessions of a user together, at most ``tool_threads_per_user`` sync tools run at once.

    Further tools wait.
    """
    async with serving(blocking, tool_threads_per_user=2) as server:
        await server.start("ann", "s1")
        await server.start("ann", "s2")
        await server.settle(running=2, waiting=0)
        await server.start("ann", "s3")
        await server.settle(running=2, waiting=1)
        assert sorted(blocking.called) == ["ann/s1", "ann/s2"]
        blocking.release()
        await server.settle(running=2, waiting=0)
        assert blocking.called[2] == "ann/s3"


async def test_hanging_tools_hold_up_their_user_only(blocking: BlockingTool) -> None:
    """If the sync tools of one user hang, the sync tools of another user still run."""
    async with serving(blocking, tool_threads_per_user=2, tool_threads=3, runs_per_user=10) as server:
        for number in range(10):
            await server.start("ann", f"s{number}")
        await server.settle(running=2, waiting=8)
        await server.start("bob")
        await server.settle(running=3, waiting=8)
        assert blocking.called[2] == "bob/s1"


async def test_the_limit_of_all_users(blocking: BlockingTool) -> None:
    """The sync tools of all users together have at most ``tool_threads`` threads.

    A thread that becomes free goes to the tool that has waited longest.
    """
    async with serving(blocking, tool_threads_per_user=2, tool_threads=3) as server:
        for user, session in (("ann", "s1"), ("ann", "s2"), ("bob", "s1")):
            await server.start(user, session)
        await server.settle(running=3, waiting=0)
        for waiting, user in enumerate(("cid", "dan"), 1):
            await server.start(user)
            await server.settle(running=3, waiting=waiting)
        blocking.release()
        await server.settle(running=3, waiting=1)
        assert blocking.called[3] == "cid/s1"


async def test_a_tool_without_a_thread_in_time_is_not_called(blocking: BlockingTool) -> None:
    """If a sync tool gets no thread before its timeout, it is not called. The error says that no thread was free."""
    async with serving(blocking, tool_threads_per_user=1) as server:
        await server.start("ann", "s1")
        await server.settle(running=1, waiting=0)
        await server.start("ann", "s2", timeout=0.01)
        await until(lambda: server.sessions.statistics().runs.running == 1)
        await server.settle(running=1, waiting=0)
        assert blocking.called == ["ann/s1"]
        (end,) = await server.ends("ann", "s2")
    message = "block was not called: no thread was free within 0.01 s"
    assert (end["status"], end["error"]) == ("timeout", {"code": "timeout", "message": message})


async def test_a_thread_left_behind_keeps_its_place(blocking: BlockingTool) -> None:
    """If a sync tool is cancelled, its thread counts towards the limits until the tool's function returns."""
    async with serving(blocking, tool_threads_per_user=1) as server:
        handle = await server.sessions.get("ann", "s1")
        run_id = await handle.start("calls_it")
        await server.settle(running=1, waiting=0)
        assert await handle.cancel(run_id)
        await until(lambda: not server.sessions.statistics().runs.running)
        await server.start("ann", "s2")
        await server.settle(running=1, waiting=1)
        blocking.release()
        await server.settle(running=1, waiting=0)
        assert blocking.called == ["ann/s1", "ann/s2"]
        (end,) = await server.ends("ann", "s1")
        assert end["status"] == "cancelled"


async def test_a_cancelled_wait_releases_its_places(blocking: BlockingTool) -> None:
    """If a sync tool is cancelled while it waits for a thread, it no longer counts towards any limit.

    This holds for a wait at the limit of the user and for a wait at the limit of all users.
    """
    async with serving(blocking, tool_threads_per_user=1, tool_threads=1) as server:
        await server.start("ann")
        await server.settle(running=1, waiting=0)
        for user, session in (("ann", "s2"), ("bob", "s1")):
            handle = await server.sessions.get(user, session)
            run_id = await handle.start("calls_it")
            await server.settle(running=1, waiting=1)
            assert await handle.cancel(run_id)
            await server.settle(running=1, waiting=0)
        assert server.sessions.statistics().threads.users == 1
        blocking.release()
        await server.settle(running=0, waiting=0)
        for user in ("ann", "bob"):
            await server.start(user, "later")
            await server.settle(running=1, waiting=0)
            blocking.release()
            await server.settle(running=0, waiting=0)
        assert blocking.called == ["ann/s1", "ann/later", "bob/later"]


async def test_a_thread_can_check_for_cancellation(blocking: BlockingTool) -> None:
    """If a sync tool is cancelled, its thread can notice this: ``trio.from_thread.check_cancelled`` raises there."""
    began, heard = threading.Event(), threading.Event()

    def listens() -> None:
        began.set()
        try:
            while True:
                trio.from_thread.check_cancelled()
        except trio.Cancelled:
            heard.set()
            raise

    async def calls(run: Run) -> None:
        await run.call_tool(listens)

    agents, log = Agents(), MemoryLog()
    agents.add(calls)
    sessions = Sessions(log, agents)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get("ann", "s1")
        run_id = await handle.start("calls")
        await until(began.is_set)
        assert await handle.cancel(run_id)
        await until(heard.is_set)
        await until(lambda: sessions.statistics().threads == NONE_LEFT)
        await until(lambda: not sessions.statistics().runs.running)
        await trio.testing.wait_all_tasks_blocked()
        ends = await Server(sessions, log, blocking).ends("ann")
    assert [end["status"] for end in ends] == ["cancelled"]


async def test_many_tools_leave_nothing_behind() -> None:
    """When many sync tools of many users have ended, the statistics no longer count any thread or user."""

    def quick(number: int) -> int:
        return number

    async def many(run: Run, count: int) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(partial(run.call_tool, quick, number=number))

    agents = Agents()
    agents.add(many)
    sessions = Sessions(MemoryLog(), agents, SessionSettings(tool_threads=5, tool_threads_per_user=2))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        for number in range(20):
            await (await sessions.get(f"user-{number}", "s1")).start("many", 10)
        await until(lambda: not sessions.statistics().runs.running)
        assert sessions.statistics().threads == NONE_LEFT


@pytest.mark.parametrize("per_user", [1, 3])
async def test_nested_sync_tools_need_no_place_of_their_user(per_user: int) -> None:
    """Sync tools can call each other four levels deep, even if their user may have fewer threads than that."""
    begun: list[int] = []

    async def agent(run: Run) -> int:
        def tool(depth: int) -> int:
            begun.append(depth)
            if not depth:
                return 1
            return 1 + sum(trio.from_thread.run(both, depth - 1))

        async def both(depth: int) -> list[int]:
            results: list[int] = []

            async def one() -> None:
                results.append(await run.call_tool(tool, depth=depth))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(one)
                nursery.start_soon(one)
            return results

        counts: list[int] = []

        async def outermost() -> None:
            counts.append(await run.call_tool(tool, depth=3))

        async with trio.open_nursery() as nursery:
            for _ in range(2 * per_user):
                nursery.start_soon(outermost)
        return sum(counts)

    settings = SessionSettings(tool_threads=per_user, tool_threads_per_user=per_user)
    events = await events_of(agent, settings=settings)
    assert len(begun) == 15 * 2 * per_user
    assert next(event for event in events if event["type"] == "agent_completed")["data"]["result"] == len(begun)


async def test_nested_calls_take_turns() -> None:
    """If one sync tool calls several sync tools at the same time, these tools run one after the other.

    The reason: a tool that waits for such calls may use only one further thread at a time.
    """
    at_once: list[int] = []
    inside: list[int] = []

    async def agent(run: Run) -> None:
        def inner(number: int) -> None:
            inside.append(number)
            at_once.append(len(inside))
            inside.remove(number)

        async def several() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(partial(run.call_tool, inner, number=number))

        await run.call_tool(lambda: trio.from_thread.run(several))

    await events_of(agent)
    assert at_once == [1] * 5


@pytest.mark.parametrize("deepest", [0, 2])
async def test_nested_sync_tools_have_a_depth(deepest: int) -> None:
    """If ``max_run_depth`` nested sync tools already wait for each other, one more is refused as ``too_deep``."""
    begun: list[int] = []
    refused: list[str] = []

    async def agent(run: Run) -> None:
        def tool(depth: int) -> None:
            begun.append(depth)
            try:
                trio.from_thread.run(partial(run.call_tool, tool, depth=depth + 1))
            except RunFailed as error:
                refused.append(error.code)

        await run.call_tool(tool, depth=0)

    await events_of(agent, settings=SessionSettings(max_run_depth=deepest))
    assert begun == list(range(deepest + 1))
    assert refused == ["too_deep"]


async def test_a_task_left_behind_waits_for_a_place(blocking: BlockingTool) -> None:
    """If a sync tool leaves a task running and returns, this task is no longer part of the tool's call.

    So a sync tool that the task calls does not count as nested, and must wait for a free thread.
    """
    go, waits = trio.Event(), trio.Event()

    async def agent(run: Run) -> None:
        async with trio.open_nursery() as nursery:

            async def later() -> None:
                await go.wait()
                await run.call_tool(blocking.block, caller="left behind")

            await run.call_tool(lambda: trio.from_thread.run_sync(nursery.start_soon, later))
            nursery.start_soon(partial(run.call_tool, blocking.block, caller="first"))
            while blocking.blocked < 1:
                await trio.lowlevel.checkpoint()
            go.set()
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            waits.set()
            assert blocking.called == ["first"]
            blocking.release(2)

    await events_of(agent, settings=SessionSettings(tool_threads_per_user=1))
    assert waits.is_set()
    assert blocking.called == ["first", "left behind"]
