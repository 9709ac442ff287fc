"""Draining: nothing new begins, clients get a goodbye, runs finish or are cancelled, and the log has every event."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from _below import HOST, NATIVE
from browser.serving import ServerProcess
from delivery.stalling import stalled_client
from protocol.manual_socket import ManualSocket
from protocol.raw import raw_client_on_a_pair
from protocol.wire import Ended, client, greeted, greeted_in_memory, memory_client
from suites import player
from suites.stage import SurvivingLog, check_history, event_types, events_of_type, remote_client, server_with
from websockets.exceptions import ConnectionClosed, InvalidStatus

from actors import CommandRefused, StreamKey, verify_log
from transport.server._connection import CLOSE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from actors import Run
    from transport import Server

CROWD, BATCH = 250, 100


async def lasts(run: Run, seconds: float) -> str:
    """Run for ``seconds``, then make an output."""
    await trio.sleep(seconds)
    await run.output("and done")
    return "finished"


async def family(run: Run) -> None:
    """Hold a tool call, a sub-agent with a tool call, and a question open until cancelled."""

    async def child() -> None:
        async with run.subrun("child") as below:
            await below.call_tool(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(run.call_tool, trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        await run.ask_user("And now?")


async def deaf(run: Run) -> None:
    """Ignore every cancellation."""
    while True:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()


async def kept_of(log: SurvivingLog) -> list[Any]:
    """Check the log of a server that has ended, and return the events of Ann's session."""
    assert (await verify_log(log)).faults == ()
    events = [orjson.loads(line) for line in await log.read(StreamKey("ann", "s1"), 0, 1_000, 10**6)]
    check_history(events)
    return events


async def reads_nothing(server: Server, task_status: trio.TaskStatus[None]) -> None:
    """Connect a client that reads nothing, and keep it until cancelled."""
    async with stalled_client(server, token="bob"):
        task_status.started()
        await trio.sleep_forever()


# Goodbyes


async def test_goodbyes_leave_in_batches(autojump_clock: trio.testing.MockClock) -> None:
    """At a shutdown all clients get a goodbye with 1001, but not all at once: the goodbyes are sent in batches.

    Each client is told a random time after which to come back.
    """
    told: list[tuple[float, int]] = []

    async def stay(server: Server, number: int) -> None:
        async with greeted_in_memory(server, token=f"user-{number}") as one:
            ended = await one.ended()
            assert (ended.code, ended.goodbye is not None) == (1001, True)
            assert ended.goodbye is not None
            told.append((trio.current_time(), ended.goodbye["retry_ms"]))

    async with server_with().running(port=0) as server, trio.open_nursery() as nursery:
        for number in range(CROWD):
            nursery.start_soon(stay, server, number)
        await trio.testing.wait_all_tasks_blocked()
        assert server.endpoint.statistics().users == CROWD
        begin = trio.current_time()
        await server.drain(10)
    at = Counter(round(when - begin, 3) for when, _ in told)
    assert at == {0.0: BATCH, 0.05: BATCH, 0.1: CROWD - 2 * BATCH}
    delays = sorted(delay for _, delay in told)
    assert 200 <= delays[0] < 500
    assert 1_700 < delays[-1] <= 2_000


async def test_last_events_leave_before_the_goodbye(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If an event was committed before the server began to shut down, a client gets it before the goodbye."""
    async with server_with().running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await (await server.sessions.get("ann", "s1")).emit("last words")
        await server.sessions.committed()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 10)
            await one.ended()
        assert [frame["type"] for frame in one.frames[-2:]] == ["events", "goodbye"]


# Clients that do not answer


async def stays_silent(server: Server, token: str, ends: list[Ended], task_status: trio.TaskStatus[None]) -> None:
    """Connect a client, and note how the server ends the connection. Never answer the close frame."""
    async with raw_client_on_a_pair(server) as (one, _):
        await one.hello(token=token)
        assert isinstance(one.socket, ManualSocket)
        one.socket.never_answers = True
        task_status.started()
        ends.append(await one.ended())


@pytest.mark.parametrize("clients", [1, CROWD])
@pytest.mark.parametrize("seconds", [0, 0.08, CLOSE_SECONDS - 0.1, CLOSE_SECONDS + 1])
async def test_silent_clients_and_drain_seconds(
    seconds: float, clients: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Clients that do not answer their goodbye are waited for up to ``CLOSE_SECONDS``, or the time of the drain.

    The shorter of both times counts. Each client gets its goodbye, also if there is no time for a pause between them.
    """
    async with server_with().running(port=0) as server, trio.open_nursery() as nursery:
        ends = list[Ended]()
        for number in range(clients):
            await nursery.start(stays_silent, server, f"user-{number}", ends)
        begin = trio.current_time()
        await server.drain(seconds)
        pauses = (clients // BATCH) * 0.05
        assert trio.current_time() - begin <= min(CLOSE_SECONDS + pauses, seconds)
        assert trio.current_time() - begin >= min(CLOSE_SECONDS, seconds)
    assert [end.code for end in ends if end.goodbye is not None] == [1001] * clients


async def test_drain_cuts_an_earlier_close(autojump_clock: trio.testing.MockClock) -> None:
    """A connection whose close began before the drain does not hold the drain up, either."""
    async with server_with().running(port=0) as server, trio.open_nursery() as nursery:
        ends = list[Ended]()
        await nursery.start(stays_silent, server, "ann", ends)
        await server.sessions.revoke(user="ann")
        await trio.testing.wait_all_tasks_blocked()
        assert server.endpoint.statistics().connections == 1
        begin = trio.current_time()
        await server.drain(0.5)
        assert trio.current_time() - begin == 0.5
    assert [end.code for end in ends] == [4501]


# Refusals


async def test_drain_refuses_everything_new(autojump_clock: trio.testing.MockClock) -> None:
    """While the server drains (finishes its runs before it ends), it refuses new connections, sessions and runs.

    A run that is already open continues.
    """
    app = server_with(lasts)
    async with app.running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await handle.start("lasts", 5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 10)
            await trio.sleep(1)
            with pytest.RaisesGroup(InvalidStatus, flatten_subgroups=True, allow_unwrapped=True):
                async with memory_client(server):
                    pass
            if HOST == NATIVE:  # else the port is the web server's
                with pytest.raises(OSError, match=r"refused|all attempts"):
                    async with client(server):
                        pass
            for refused in (handle.start("lasts", 1), server.sessions.get("bob", "s1")):
                with pytest.raises(CommandRefused) as caught:
                    await refused
                assert caught.value.code == "overloaded"
        assert trio.current_time() == 5


async def test_drain_refuses_queued_starts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If the server begins to shut down while starts are queued, they are refused as ``overloaded``.

    No event is made for these starts.
    """
    log = SurvivingLog()
    async with server_with(lasts, log=log, runs_per_user=1).running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await handle.start("lasts", 5)
        codes: list[str] = []

        async def queue() -> None:
            with pytest.raises(CommandRefused) as caught:
                await handle.start("lasts", 1)
            codes.append(caught.value.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue)
            nursery.start_soon(queue)
            await trio.testing.wait_all_tasks_blocked()
            await server.drain(10)
        assert (codes, trio.current_time()) == (["overloaded"] * 2, 5)
    assert event_types(await kept_of(log)) == ["agent_started", "agent_output", "agent_completed"]


async def test_unanswered_start_runs_once_on_the_next_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a start got no reply because the server shut down, the client can send it again to the next server.

    Its run is started only once.
    """
    log = SurvivingLog()
    app = server_with(lasts, log=log, runs_per_user=1)
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await one.start("1", "lasts", 5)
        await one.send("command", id="2", name="run.start", args={"agent": "lasts", "input": 1})
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 10)
            assert (await one.ended()).code == 1001
        assert not [frame for frame in one.frames if frame.get("id") == "2"]
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("2", "lasts", 1)
        assert await one.start("2", "lasts", 1) == run_id
        assert (await one.completed(run_id))["data"]["status"] == "ok"
        assert len(events_of_type(one.events(), "agent_started")) == 2


# Runs


@pytest.mark.parametrize(("seconds", "status"), [(9.9, "ok"), (10.1, "cancelled")])
async def test_runs_finish_until_the_deadline(
    seconds: float, status: str, autojump_clock: trio.testing.MockClock
) -> None:
    """At a shutdown a run that ends within ``drain_seconds`` finishes normally. A longer run is cancelled.

    The time counts from the start of the shutdown, even if a client does not read its goodbye.
    """
    log = SurvivingLog()
    async with trio.open_nursery() as nursery:
        async with server_with(lasts, log=log, drain_seconds=10).running(port=0) as server:
            await nursery.start(reads_nothing, server)
            await (await server.sessions.get("ann", "s1")).start("lasts", seconds)
        assert trio.current_time() == min(seconds, 10)
        nursery.cancel_scope.cancel()
    assert (await kept_of(log))[-1]["data"]["status"] == status


async def test_deadline_closes_innermost_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If runs and tool calls are still open ``drain_seconds`` after the start of a shutdown, they are cancelled.

    The innermost ones are closed first.
    """
    log = SurvivingLog()
    async with server_with(family, log=log, drain_seconds=3).running(port=0) as server:
        await (await server.sessions.get("ann", "s1")).start("family")
        await trio.testing.wait_all_tasks_blocked()
    events = await kept_of(log)
    ends = events_of_type(events, "tool_completed", "agent_completed")
    assert [end["data"]["status"] for end in ends] == ["cancelled"] * 4
    assert len(events_of_type(events, "input_requested")) == 1


async def test_deaf_run_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a run ignores its cancellation at a shutdown, the log nevertheless records its end, as ``cancelled``."""
    log = SurvivingLog()
    async with server_with(deaf, lasts, log=log, drain_seconds=3).running(port=0) as server:
        await (await server.sessions.get("ann", "s1")).start("deaf")
        await (await server.sessions.get("bob", "s1")).start("lasts", 2)
    assert trio.current_time() < 60
    assert (await kept_of(log))[-1]["data"]["status"] == "cancelled"


async def test_slow_log_keeps_all_events(autojump_clock: trio.testing.MockClock) -> None:
    """After a shutdown every emitted event is in the log, even if writing them takes longer than ``drain_seconds``."""
    log = SurvivingLog()
    async with trio.open_nursery() as nursery:
        async with server_with(lasts, log=log, drain_seconds=3).running(port=0) as server:
            handle = await server.sessions.get("ann", "s1")
            await handle.start("lasts", 1)
            hold = log.hold("append")

            async def release() -> None:
                await hold.reached.wait()
                await trio.sleep(8)
                hold.released.set()

            nursery.start_soon(release)
    events = await kept_of(log)
    assert event_types(events) == ["agent_started", "agent_output", "agent_completed"]
    assert trio.current_time() == 9


# A process


async def test_sigterm_lets_runs_finish(tmp_path: Path) -> None:
    """A server process that gets SIGTERM sends goodbyes, lets its run finish and exits with 0.

    A client that then resumes at the next process gets the end of the run.
    """
    process = ServerProcess(tmp_path, "serve", "player:app", apps=player.HERE)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    try:
        async with remote_client(process.ws_url) as one:
            run_id = await one.start("1", "waits_for", str(pipe))
            before = await one.events_until(2)
            process.ask_to_stop()
            ended = await one.ended()
            assert (ended.code, ended.goodbye is not None) == (1001, True)
        with pytest.raises((OSError, ConnectionClosed)):
            async with remote_client(process.ws_url):
                pass
        await trio.to_thread.run_sync(pipe.write_text, "it came")
        assert await trio.to_thread.run_sync(process.status) == 0
        process.start()
        async with remote_client(process.ws_url, resume={"epoch": one.welcome["epoch"], "seq": 2}) as again:
            assert again.welcome["recovered"]
            completed = await again.completed(run_id)
            assert (completed["data"]["status"], completed["data"]["result"]) == ("ok", "it came")
            check_history([*before, *again.events()])
    finally:
        process.stop()


async def test_drain_closes_the_port() -> None:
    """While a server that shuts down waits for its last run, the operating system refuses connections to its port."""
    done = trio.Event()

    async def waits(run: Run) -> None:
        await done.wait()

    async with server_with(waits).running(port=0) as server, greeted(server, token="ann") as one:
        await one.start("1", "waits")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 30)
            assert (await one.ended()).code == 1001
            with pytest.raises(OSError, match=r"refused|all attempts"):
                async with client(server):
                    pass
            done.set()
