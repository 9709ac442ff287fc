"""The survey of sessions: open runs and committed events, for operators."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from _scale import scaled

from actors import (
    Agents,
    CommandRefused,
    MemoryLog,
    Run,
    RunState,
    RunStatistics,
    SessionClosed,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    open_system,
)
from actors.sessions import _run_statistics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock


async def dig() -> None:
    """Wait for ever."""
    await trio.sleep_forever()


async def leaf(run: Run) -> None:
    await run.call_tool(dig)


async def branch(run: Run) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.call_agent, "leaf")
        nursery.start_soon(run.call_agent, "leaf")


async def root(run: Run) -> None:
    await run.call_agent("branch")


async def several(run: Run) -> Any:
    async with run.tool("first", {}), run.tool("second", {}):
        return await run.ask_user("well?")


@asynccontextmanager
async def opened(**settings: Any) -> AsyncGenerator[Sessions]:
    """Run sessions with these settings."""
    agents = Agents()
    for agent in (leaf, branch, root, several):
        agents.add(agent)
    sessions = Sessions(MemoryLog(), agents, SessionSettings(**settings))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions


def runs(sessions: Sessions, user: str | None = None) -> list[RunStatistics]:
    """Return the open runs of all sessions, or of a user's."""
    return [run for group in sessions.survey.runs(user) for run in group]


async def test_tree_of_runs() -> None:
    """Each open run has its root, its depth, and the number of sub-agents below it on all levels."""
    async with opened() as sessions:
        run_id = await (await sessions.get("alice", "s1")).start("root")
        await trio.testing.wait_all_tasks_blocked()
        found = runs(sessions)
        assert [(run.agent, run.depth, run.subruns) for run in found] == [
            ("root", 0, 3),
            ("branch", 1, 2),
            ("leaf", 2, 0),
            ("leaf", 2, 0),
        ]
        assert {run.root for run in found} == {run_id}
        assert [run.parent for run in found] == [None, run_id, found[1].run, found[1].run]
        assert [run.tool.name for run in found if run.tool is not None] == ["dig", "dig"]


async def test_newest_open_tool_and_question() -> None:
    """Of several open tool calls the newest is shown, and all are counted. An open question makes the run asking."""
    async with opened() as sessions:
        handle = await sessions.get("alice", "s1")
        run_id = await handle.start("several")
        await trio.testing.wait_all_tasks_blocked()
        (run,) = runs(sessions)
        assert run.tool is not None
        assert run.question is not None
        assert (run.state, run.open_tools, run.tool.name) == (RunState.ASKING, 2, "second")
        await handle.answer(run_id, run.question.call_id, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert runs(sessions) == []


async def test_queued_runs_come_last() -> None:
    """Runs that wait for their turn are there, with the time of their command."""
    async with opened(runs_per_user=1) as sessions:
        handle = await sessions.get("alice", "s1")
        await handle.start("leaf")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.start, "root")
            await trio.testing.wait_all_tasks_blocked()
            assert [(run.agent, run.state) for run in runs(sessions)] == [
                ("leaf", RunState.RUNNING),
                ("root", RunState.QUEUED),
            ]
            nursery.cancel_scope.cancel()


async def test_each_session_with_runs_is_a_step() -> None:
    """Only sessions with runs are looked at, each in one step. With a user, all sessions of this user are."""
    async with opened() as sessions:
        for user in ("alice", "bob"):
            for name in ("s1", "s2"):
                await sessions.get(user, name)
        await (await sessions.get("bob", "s2")).start("leaf")
        assert [len(step) for step in sessions.survey.runs()] == [1]
        steps = list(sessions.survey.runs("alice"))
        assert len(steps) >= 2
        assert not any(steps)
        assert list(sessions.survey.keys("bob")) == [StreamKey("bob", "s1"), StreamKey("bob", "s2")]
        assert list(sessions.survey.keys("nobody")) == []


@pytest.mark.parametrize("seed", range(scaled(8, 200)))
async def test_all_open_runs_are_found(seed: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The open runs of all sessions are those of all users, while runs begin, wait, are cancelled and end.

    They are the same in one step for each session as in many.

    No step is left for a session whose runs have ended, also if the session has ended with open runs.
    """
    random = Random(seed)
    users = ("alice", "bob")
    async with opened(runs_per_user=3, queued_runs_per_user=3) as sessions, trio.open_nursery() as nursery:

        async def start(user: str, name: str, agent: str) -> None:
            with suppress(CommandRefused, SessionClosed):
                await (await sessions.get(user, name)).start(agent)

        for number in range(40):
            user, found = random.choice(users), runs(sessions)
            match random.choice(("start", "start", "start", "cancel", "answer", "close")):
                case "start":
                    agent = random.choice(("leaf", "root", "several"))
                    nursery.start_soon(start, user, f"s{number // 5}", agent)
                case "cancel" if found:
                    run = random.choice(found)
                    await (await sessions.get(run.user, run.session)).cancel(run.run)
                case "answer" if asked := [run for run in found if run.question is not None]:
                    run = random.choice(asked)
                    assert run.question is not None
                    await (await sessions.get(run.user, run.session)).answer(run.run, run.question.call_id, 1)
                case "close" if found:
                    run = random.choice(found)
                    await (await sessions.get(run.user, run.session)).close()
                case _:
                    pass
            if random.random() < 0.7:
                await trio.testing.wait_all_tasks_blocked()
            expected = [run for user in users for run in runs(sessions, user)]
            assert sorted(runs(sessions), key=attrgetter("run")) == sorted(expected, key=attrgetter("run"))
            with monkeypatch.context() as patched:
                patched.setattr(_run_statistics, "FEW", -1)
                assert [run for user in users for run in runs(sessions, user)] == expected
        await trio.testing.wait_all_tasks_blocked()
        for run in runs(sessions):
            await (await sessions.get(run.user, run.session)).cancel(run.run)
        await trio.testing.wait_all_tasks_blocked()
        for run in runs(sessions):  # they had waited in the queue
            await (await sessions.get(run.user, run.session)).cancel(run.run)
        await trio.testing.wait_all_tasks_blocked()
        assert list(sessions.survey.runs()) == []


async def test_sessions_end_between_two_steps(autojump_clock: MockClock) -> None:
    """Sessions that end while they are looked at are left out; those that begin meanwhile are not in the list."""
    async with opened(idle_seconds=1) as sessions:
        for number in range(3):
            await sessions.get("alice", f"s{number}")
        keys = sessions.survey.keys()
        assert next(keys) == StreamKey("alice", "s0")
        await trio.sleep(10)
        await sessions.get("alice", "s9")
        assert list(keys) == []


async def test_extent_and_lines(autojump_clock: MockClock) -> None:
    """The events of a session can be read from memory and from the log. Looking does not make the session again."""
    async with opened(idle_seconds=1) as sessions:
        key = StreamKey("alice", "s1")
        assert await sessions.survey.extent(key) is None
        assert await sessions.survey.lines(key, 0, 10, 1000) == ("", ())
        handle = await sessions.get(*key)
        for number in range(5):
            await handle.emit("n", number)
        await sessions.committed()  # an emit does not wait for its commit
        live = await sessions.survey.extent(key)
        assert live is not None
        assert (live.oldest, live.latest, live.live) == (1, 5, True)
        epoch, lines = await sessions.survey.lines(key, 2, 2, 10_000)
        assert (epoch, [orjson.loads(line)["seq"] for line in lines]) == (live.epoch, [3, 4])
        await trio.sleep(10)
        assert sessions.of() == ()
        stored = await sessions.survey.extent(key)
        assert stored is not None
        assert (stored.epoch, stored.oldest, stored.latest, stored.live) == (live.epoch, 1, 5, False)
        assert (await sessions.survey.lines(key, 2, 2, 10_000)) == (epoch, lines)
        assert sessions.of() == ()


@pytest.mark.parametrize("after", [0, 3])
async def test_lines_behind_what_is_kept(after: int) -> None:
    """Events that retention has deleted are left out, wherever the reading begins."""
    async with opened(retain_events=3, ring_events=3) as sessions:
        key = StreamKey("alice", "s1")
        handle = await sessions.get(*key)
        for number in range(20):
            await handle.emit("n", number)
        await handle.position()  # the attach trims the log
        _, lines = await sessions.survey.lines(key, after, 10, 10_000)
        assert [orjson.loads(line)["seq"] for line in lines] == [18, 19, 20]
