"""Closing a session permanently: its runs end, its clients are disconnected, and the log records the close."""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from protocol.agents import make_app
from protocol.wire import greeted_in_memory, memory_client

from actors import (
    Agents,
    CommandRefused,
    EventLog,
    MemoryLog,
    Run,
    SessionClosed,
    Sessions,
    SessionSettings,
    SqliteLog,
    StreamKey,
    SupervisorSpec,
    open_system,
)
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trio.testing import MockClock

KEY = StreamKey("alice", "s1")


async def waits(run: Run) -> None:
    await trio.sleep_forever()


async def calls_a_child_that_waits(run: Run) -> None:
    await run.call_agent("waits")


async def takes_its_time(run: Run) -> None:
    with run.shield(9):
        await trio.sleep_forever()


async def ignores_its_end(run: Run) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


@asynccontextmanager
async def sessions_with(log: EventLog, **settings: Any) -> AsyncIterator[Sessions]:
    agents = Agents()
    for function in (waits, calls_a_child_that_waits, takes_its_time, ignores_its_end):
        agents.add(function)
    sessions = Sessions(log, agents, SessionSettings(**settings))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions


async def lines(log: EventLog) -> list[Any]:
    return [orjson.loads(line) for line in await log.read(KEY, 0, 1000, 10**7)]


async def test_close_ends_all_runs(autojump_clock: MockClock) -> None:
    """When a session is closed permanently, all its runs end as ``cancelled``, the innermost first.

    Every later call for this session raises SessionClosed.
    """
    log = MemoryLog()
    async with sessions_with(log) as sessions:
        handle = await sessions.get(*KEY)
        await handle.start("calls_a_child_that_waits")
        await handle.start("waits")
        await handle.close()
        ends = [event for event in await lines(log) if event["type"] == "agent_completed"]
        assert [event["data"]["status"] for event in ends] == ["cancelled"] * 3
        names = [event["data"]["agent"] for event in ends]
        assert names.index("waits") < names.index("calls_a_child_that_waits")
        for call in (handle.start("waits"), handle.cancel("r"), handle.emit("n"), handle.close()):
            with pytest.raises(SessionClosed):
                await call
        with pytest.raises(SessionClosed):
            await sessions.get(*KEY)
        assert (sessions.statistics().sessions, sessions.statistics().crashed) == (0, 0)


async def test_close_refuses_queued_starts(autojump_clock: MockClock) -> None:
    """When a session is closed permanently, its queued starts are refused as ``cancelled``, and make no event."""
    log, refused = MemoryLog(), []
    async with sessions_with(log, runs_per_user=1) as sessions, trio.open_nursery() as nursery:
        handle = await sessions.get(*KEY)
        await handle.start("waits")

        async def queue() -> None:
            with pytest.raises(CommandRefused) as caught:
                await handle.start("waits")
            refused.append(caught.value.code)

        nursery.start_soon(queue)
        nursery.start_soon(queue)
        await trio.testing.wait_all_tasks_blocked()
        await handle.close()
        await trio.testing.wait_all_tasks_blocked()
        assert refused == ["cancelled"] * 2
        assert len(await lines(log)) == 2


async def test_close_does_not_wait_for_a_shielded_run(autojump_clock: MockClock) -> None:
    """If a run shields itself from cancellation, the close of its session waits for it 10 s at most.

    Then the session closes the run itself.
    """
    log = MemoryLog()
    async with sessions_with(log) as sessions:
        handle = await sessions.get(*KEY)
        await handle.start("ignores_its_end")
        before = trio.current_time()
        await handle.close()
        assert 10 <= trio.current_time() - before < 11
        assert [event["type"] for event in await lines(log)] == ["agent_started", "agent_completed"]
        with pytest.raises(SessionClosed):
            await sessions.get(*KEY)
        assert sessions.statistics().crashed == 0


@pytest.mark.parametrize("started", [True, False])
async def test_closed_session_stays_closed(started: bool, tmp_path: Path) -> None:
    """A session that was closed permanently stays closed after a restart of the server.

    Other sessions are not affected.
    """
    path = tmp_path / "log.db"
    async with sessions_with(SqliteLog(path)) as sessions:
        handle = await sessions.get(*KEY)
        if started:
            await handle.start("waits")
        await handle.close()
    async with sessions_with(SqliteLog(path)) as sessions:
        with pytest.raises(SessionClosed):
            await sessions.get(*KEY)
        await sessions.get("alice", "s2")
        await sessions.get("bob", "s1")


async def test_closed_session_is_removed_by_retention(tmp_path: Path) -> None:
    """When retention has removed a closed session from the log, a new session can have the same name."""
    path = tmp_path / "log.db"
    async with sessions_with(SqliteLog(path)) as sessions:
        handle = await sessions.get(*KEY)
        await handle.start("waits")
        await handle.close()
    async with SqliteLog(path) as log:
        before = await log.head(KEY)
    async with sessions_with(SqliteLog(path), retain_seconds=3600) as sessions:
        with pytest.raises(SessionClosed):
            await sessions.get(*KEY)
    closed_by = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= closed_by:
        await trio.lowlevel.checkpoint()
    async with sessions_with(SqliteLog(path), retain_seconds=0) as sessions:
        await sessions.get(*KEY)
    async with SqliteLog(path) as log:
        after = await log.head(KEY)
    assert before is not None
    assert after is not None
    assert (after.latest, after.epoch != before.epoch) == (0, True)


async def test_crash_during_a_close(autojump_clock: MockClock) -> None:
    """If the server crashes while it closes a session, it completes the close after its restart.

    The session stays closed.
    """
    inner = MemoryLog()
    log = FaultyLog(inner)
    async with sessions_with(log) as sessions:
        handle = await sessions.get(*KEY)
        await handle.start("takes_its_time")
        run_id = await handle.start("waits")
        async with trio.open_nursery() as nursery:

            async def close() -> None:
                with pytest.raises(CommandRefused) as caught:
                    await handle.close()
                assert caught.value.code == "internal"

            nursery.start_soon(close)
            await trio.sleep(5)
            assert [event["run_id"] for event in await lines(inner) if event["type"] == "agent_completed"] == [run_id]
            log.fail("append")
        with pytest.raises(SessionClosed):
            await sessions.get(*KEY)
        statuses = [event["data"]["status"] for event in await lines(inner) if event["type"] == "agent_completed"]
        assert statuses == ["cancelled", "interrupted"]


async def test_close_disconnects_every_tab(autojump_clock: MockClock) -> None:
    """If a client closes its session permanently, it gets its reply first.

    Then all clients of the session are disconnected with 4506 (session closed).
    """
    async with (
        make_app().running(port=0) as server,
        greeted_in_memory(server) as one,
        greeted_in_memory(server) as other,
        greeted_in_memory(server, "s2") as elsewhere,
    ):
        run_id = await one.start("1", "wait")
        await one.send("command", id="2", name="session.close", args={})
        assert (await one.reply("2"))["ok"]
        assert (await one.completed(run_id))["data"]["status"] == "cancelled"
        for tab in (one, other):
            end = await tab.ended()
            assert (end.code, end.goodbye and end.goodbye.get("retry_ms")) == (4506, None)
            assert tab.events()[-1]["type"] == "agent_completed"
        async with memory_client(server) as late:
            await late.send("hello", session="s1")
            assert (await late.ended()).code == 4506
        assert (await elsewhere.command("1", "message.send", text="here"))["ok"]


async def test_repeated_close(
    autojump_clock: MockClock,
) -> None:
    """If a close command is sent twice with one id, or two close commands are sent, each of them gets a reply.

    The replies are sent when the session is closed.
    """
    log = FaultyLog(MemoryLog())
    async with make_app(log).running(port=0) as server, greeted_in_memory(server) as one:
        await one.start("0", "wait")
        hold = log.hold("append")
        for id_ in ("1", "1", "2"):
            await one.send("command", id=id_, name="session.close", args={})
        await one.send("command", id="3", name="run.start", args={"agent": "wait"})
        await trio.testing.wait_all_tasks_blocked()
        hold.released.set()
        await one.ended()
        replies = [frame for frame in one.frames if frame["type"] == "reply"][1:]
        told = [(reply["id"], reply["ok"], reply.get("duplicate", False)) for reply in replies]
        assert told == [("3", False, False), ("1", True, False), ("1", True, True), ("2", True, False)]
        assert replies[0]["error"]["code"] == "cancelled"


async def test_lease_does_not_delay_a_close(autojump_clock: MockClock) -> None:
    """A session can be closed at once, even if a lease keeps it in memory."""
    async with sessions_with(MemoryLog()) as sessions:
        handle = await sessions.get(*KEY)
        async with handle.lease():
            with trio.fail_after(math.inf):
                await handle.close()
            with pytest.raises(SessionClosed):
                await sessions.get(*KEY)
