"""A server process is killed at random moments under load. No event that a client saw is lost."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
from _scale import scaled
from delivery.agents import check_grammar, check_order, count_starts, events_in_log
from delivery.process import ServerProcess, connect_arguments, server_process
from delivery.tabs import Tab, agent_calls, check_owner, end_session

from actors import AgentCompleted, SqliteLog, StreamKey
from transport import connect

if TYPE_CHECKING:
    from pathlib import Path

    from transport import Client

KILLS = scaled(3, 200)


@pytest.mark.timeout(scaled(200, 1800))
async def test_kill_9_under_load(tmp_path: Path) -> None:
    """A server that is killed repeatedly under load loses no event that a client saw, and all its clients reconnect."""
    rng = random.Random(9)
    tabs = [Tab("alice", "alice-1"), Tab("alice", "alice-2"), Tab("bob", "bob-1")]
    stop = trio.Event()
    (tmp_path / "server").mkdir()
    async with server_process(tmp_path / "server") as server, trio.open_nursery() as nursery:
        for tab in tabs:
            nursery.start_soon(tab.run, server, stop)
        for number in range(KILLS):
            tab = rng.choice(tabs)
            await tab.until(len(tab.seen) + rng.randrange(1, 200))
            await server.kill()
            if rng.random() < 0.1:
                await server.spawn()  # and again, before it accepts connections
                await server.kill()
            await check_log(server.image(tmp_path / f"{number}"), tabs, agent_calls(server))
            await server.start()
        stop.set()
        for tab in tabs:
            await tab.started.wait()
        await end_session(tabs[0], tabs[0].answered | tabs[1].answered)
        await end_session(tabs[2], tabs[2].answered)
        for tab in tabs:
            await tab.until(tab.seen[-1].seq)
    async with SqliteLog(server.log) as log:
        assert len(await log.streams()) == 2
        closed: Counter[str] = Counter()
        for tab in tabs:
            events = await events_in_log(log, StreamKey(tab.user, "s1"))
            assert tab.seen == events
            check_grammar(events)
            check_owner(events, tab.user)
            assert tab.answered <= set(count_starts(events))
            assert set(count_starts(events).values()) == {1}
            closed.update(str(getattr(event, "status", "")) for event in events)
        assert closed["interrupted"] > 0


async def check_log(path: Path, tabs: list[Tab], called: list[tuple[str, str]]) -> None:
    """Check the log of a dead process: no gap, all events that clients saw, and no event of another user.

    It also has the start of every run whose agent was called. Otherwise the start would be repeated.
    """
    begun = set[tuple[str, str | None]]()
    async with SqliteLog(path) as log:
        for tab in tabs:
            events = await events_in_log(log, StreamKey(tab.user, "s1"))
            check_order(events)
            check_owner(events, tab.user)
            assert tab.seen == events[: len(tab.seen)]
            begun |= {(tab.user, event.run_id) for event in events if event.type == "agent_started"}
    assert begun >= set(called)


@pytest.mark.timeout(scaled(200, 600))
async def test_agent_that_kills_the_server(tmp_path: Path) -> None:
    """If an agent kills its server process, the agent is not called again when the server is restarted.

    The log has the start of the run, so the restarted server recognises the client's repeated start command.
    """
    async with server_process(tmp_path) as server:
        for number in range(scaled(1, 30)):
            async with (
                trio.open_nursery() as nursery,
                connect("ws://server/", "s1", **connect_arguments(server, "alice", number)) as client,
            ):
                nursery.start_soon(restart_once, server)
                run_id = await client.start("fatal", command_id=f"fatal-{number}")
                assert await wait_for_status(client, run_id) == "interrupted"
                assert await client.start("fatal", command_id=f"fatal-{number}") == run_id
                assert agent_calls(server)[number:] == [("alice", run_id)]
                nursery.cancel_scope.cancel()


async def restart_once(server: ServerProcess) -> None:
    """Start the server after its death. Fail if it dies again."""
    await server.wait_for_end()
    await server.start()
    await server.wait_for_end()
    raise AssertionError(f"it was killed once more, by {agent_calls(server)[-1]}")


async def wait_for_status(client: Client, run_id: str) -> str:
    """Wait for the end of a run and return its status."""
    async for event in client.events():
        if isinstance(event, AgentCompleted) and event.run_id == run_id:
            return event.status
    raise AssertionError("the events came to an end")
