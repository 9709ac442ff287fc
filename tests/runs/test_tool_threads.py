"""Threads for sync tools: so many for a user, so many in all, and tools that hang use up their own user's only.

On the real clock, which a virtual one would not leave to threads; nothing is timed, and threads end when told to.
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


class Bench:
    """A sync tool that says who called it, and returns when it is let go."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self._left: list[str] = []
        self._permits = threading.Semaphore(0)

    @property
    def sitting(self) -> int:
        return len(self.called) - len(self._left)

    def sit(self, who: str) -> str:
        self.called.append(who)
        self._permits.acquire()
        self._left.append(who)
        return who

    def let_go(self, count: int = 1) -> None:
        self._permits.release(count)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.let_go(100)


async def until(holds: Any) -> None:
    with trio.fail_after(30):
        while not holds():
            await trio.lowlevel.checkpoint()


class Server:
    """Sessions with one agent, which calls the tool; ``seated`` and ``waiting`` are what their statistics say."""

    def __init__(self, sessions: Sessions, log: MemoryLog, bench: Bench) -> None:
        self.sessions = sessions
        self._log = log
        self._bench = bench

    async def start(self, user: str, session: str = "s1", timeout: float | None = None) -> None:  # noqa: ASYNC109 - the tool's
        await (await self.sessions.get(user, session)).start("sits", timeout)

    async def stand(self, running: int, waiting: int) -> None:
        """Wait until so many tools run and so many wait, and all is still."""
        await until(lambda: self._stands() == (running, waiting) and self._bench.sitting == running)
        await trio.testing.wait_all_tasks_blocked()
        assert self._stands() == (running, waiting)

    def _stands(self) -> tuple[int, int]:
        threads = self.sessions.statistics().threads
        return threads.running, threads.waiting

    async def ends(self, user: str, session: str = "s1") -> list[Any]:
        """How that session's tool calls ended, in order."""
        lines = await self._log.read(StreamKey(user, session), 0, 1000, 10**7)
        events = [orjson.loads(line) for line in lines]
        return [event["data"] for event in events if event["type"] == "tool_completed"]


@asynccontextmanager
async def serving(bench: Bench, **limits: int) -> AsyncIterator[Server]:
    async def sits(run: Run, timeout: float | None) -> None:  # noqa: ASYNC109 - the tool's
        with suppress(ToolTimeout):
            await run.call_tool(bench.sit, timeout=timeout, who=f"{run.user}/{run.session}")

    agents, log = Agents(), MemoryLog()
    agents.add(sits)
    sessions = Sessions(log, agents, SessionSettings(**limits))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield Server(sessions, log, bench)
        bench.let_go(100)
        await until(lambda: not sessions.statistics().runs.running)
        await until(lambda: sessions.statistics().threads == NONE_LEFT)


async def test_a_user_has_so_many_threads_over_all_sessions_and_the_next_tool_waits(bench: Bench) -> None:
    async with serving(bench, tool_threads_per_user=2) as server:
        await server.start("ann", "s1")
        await server.start("ann", "s2")
        await server.stand(running=2, waiting=0)
        await server.start("ann", "s3")
        await server.stand(running=2, waiting=1)
        assert sorted(bench.called) == ["ann/s1", "ann/s2"]
        bench.let_go()
        await server.stand(running=2, waiting=0)
        assert bench.called[2] == "ann/s3"


async def test_tools_that_hang_hold_up_nobody_but_their_own_user(bench: Bench) -> None:
    async with serving(bench, tool_threads_per_user=2, tool_threads=3, runs_per_user=10) as server:
        for number in range(10):
            await server.start("ann", f"s{number}")
        await server.stand(running=2, waiting=8)
        await server.start("bob")
        await server.stand(running=3, waiting=8)
        assert bench.called[2] == "bob/s1"


async def test_there_are_so_many_threads_in_all_and_who_waits_longest_is_next(bench: Bench) -> None:
    async with serving(bench, tool_threads_per_user=2, tool_threads=3) as server:
        for user, session in (("ann", "s1"), ("ann", "s2"), ("bob", "s1")):
            await server.start(user, session)
        await server.stand(running=3, waiting=0)
        for waiting, user in enumerate(("cid", "dan"), 1):
            await server.start(user)
            await server.stand(running=3, waiting=waiting)
        bench.let_go()
        await server.stand(running=3, waiting=1)
        assert bench.called[3] == "cid/s1"


async def test_a_tool_that_got_no_thread_in_time_was_not_called_and_says_so(bench: Bench) -> None:
    async with serving(bench, tool_threads_per_user=1) as server:
        await server.start("ann", "s1")
        await server.stand(running=1, waiting=0)
        await server.start("ann", "s2", timeout=0.01)
        await until(lambda: server.sessions.statistics().runs.running == 1)
        await server.stand(running=1, waiting=0)
        assert bench.called == ["ann/s1"]
        (end,) = await server.ends("ann", "s2")
    message = "sit was not called: no thread was free within 0.01 s"
    assert (end["status"], end["error"]) == ("timeout", {"code": "timeout", "message": message})


async def test_a_thread_that_was_left_behind_keeps_its_place_until_it_returns(bench: Bench) -> None:
    async with serving(bench, tool_threads_per_user=1) as server:
        handle = await server.sessions.get("ann", "s1")
        run_id = await handle.start("sits")
        await server.stand(running=1, waiting=0)
        assert await handle.cancel(run_id)
        await until(lambda: not server.sessions.statistics().runs.running)
        await server.start("ann", "s2")
        await server.stand(running=1, waiting=1)
        bench.let_go()
        await server.stand(running=1, waiting=0)
        assert bench.called == ["ann/s1", "ann/s2"]
        (end,) = await server.ends("ann", "s1")
        assert end["status"] == "cancelled"


async def test_who_is_cancelled_while_waiting_gives_back_what_it_had(bench: Bench) -> None:
    """Cancelled in the queue of its user, and in that of all: both must be free again for others."""
    async with serving(bench, tool_threads_per_user=1, tool_threads=1) as server:
        await server.start("ann")
        await server.stand(running=1, waiting=0)
        for user, session in (("ann", "s2"), ("bob", "s1")):
            handle = await server.sessions.get(user, session)
            run_id = await handle.start("sits")
            await server.stand(running=1, waiting=1)
            assert await handle.cancel(run_id)
            await server.stand(running=1, waiting=0)
        assert server.sessions.statistics().threads.users == 1
        bench.let_go()
        await server.stand(running=0, waiting=0)
        for user in ("ann", "bob"):
            await server.start(user, "later")
            await server.stand(running=1, waiting=0)
            bench.let_go()
            await server.stand(running=0, waiting=0)
        assert bench.called == ["ann/s1", "ann/later", "bob/later"]


async def test_a_thread_can_hear_of_its_cancellation(bench: Bench) -> None:
    """A thread cannot be stopped, but one that asks is told: ``trio.from_thread.check_cancelled`` raises there."""
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
        ends = await Server(sessions, log, bench).ends("ann")
    assert [end["status"] for end in ends] == ["cancelled"]


async def test_a_crowd_of_tools_leaves_no_thread_and_no_user_behind() -> None:
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
async def test_a_sync_tool_that_is_called_by_one_waits_for_no_thread_of_its_users(per_user: int) -> None:
    """Sync tools call each other four deep, more at once than there are threads for the user, and all return."""
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


async def test_a_sync_tool_calls_one_at_a_time() -> None:
    """What a sync tool calls takes turns: for each thread that waits there is one more at the most."""
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
async def test_sync_tools_wait_for_each_other_only_so_deep(deepest: int) -> None:
    """Sync tools that call each other are refused as too_deep where ``max_run_depth`` of them wait already."""
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


async def test_what_a_tool_left_behind_waits_like_any_other(bench: Bench) -> None:
    """A task that a sync tool started has no thread to wait in once the tool has returned: it takes its user's turn."""
    go, waits = trio.Event(), trio.Event()

    async def agent(run: Run) -> None:
        async with trio.open_nursery() as nursery:

            async def later() -> None:
                await go.wait()
                await run.call_tool(bench.sit, who="left behind")

            await run.call_tool(lambda: trio.from_thread.run_sync(nursery.start_soon, later))
            nursery.start_soon(partial(run.call_tool, bench.sit, who="first"))
            while bench.sitting < 1:
                await trio.lowlevel.checkpoint()
            go.set()
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            waits.set()
            assert bench.called == ["first"]
            bench.let_go(2)

    await events_of(agent, settings=SessionSettings(tool_threads_per_user=1))
    assert waits.is_set()
    assert bench.called == ["first", "left behind"]
