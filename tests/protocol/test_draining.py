"""Draining: nothing begins any more, everyone is told, runs finish or are closed as cancelled, the log has it all."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from browser.serving import ServerProcess
from delivery.stalling import stalled
from protocol.wire import client, greeted, greeted_in_memory, memory_client
from suites import player
from suites.stage import KeptLog, house, in_order, joined, of_type, types
from websockets.exceptions import ConnectionClosed, InvalidStatus

from actors import CommandRefused, StreamKey, verify_log

if TYPE_CHECKING:
    from pathlib import Path

    from actors import Run
    from transport import Server

CROWD, BATCH = 250, 100


async def lasts(run: Run, seconds: float) -> str:
    await trio.sleep(seconds)
    await run.output("and done")
    return "finished"


async def family(run: Run) -> None:
    """Has a tool, a child with a tool and a question open, for ever."""

    async def child() -> None:
        async with run.subrun("child") as below:
            await below.call_tool(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(run.call_tool, trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        await run.ask_user("And now?")


async def deaf(run: Run) -> None:
    """Never ends by itself, whatever happens around it."""
    while True:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()


async def kept_of(log: KeptLog) -> list[Any]:
    """What the log has of Ann's session when its server has gone: nothing in it is open."""
    assert (await verify_log(log)).faults == ()
    events = [orjson.loads(line) for line in await log.read(StreamKey("ann", "s1"), 0, 1_000, 10**6)]
    in_order(events)
    return events


async def reads_nothing(server: Server, task_status: trio.TaskStatus[None]) -> None:
    async with stalled(server, token="bob"):
        task_status.started()
        await trio.sleep_forever()


# Telling everyone


async def test_everyone_is_told_in_batches_and_when_to_come_back(autojump_clock: trio.testing.MockClock) -> None:
    told: list[tuple[float, int]] = []

    async def stay(server: Server, number: int) -> None:
        async with greeted_in_memory(server, token=f"user-{number}") as one:
            ended = await one.ended()
            assert (ended.code, ended.goodbye is not None) == (1001, True)
            assert ended.goodbye is not None
            told.append((trio.current_time(), ended.goodbye["retry_ms"]))

    async with house().running(port=0) as server, trio.open_nursery() as nursery:
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


async def test_the_last_events_before_the_end_reach_everyone_before_the_goodbye(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with house().running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await (await server.sessions.get("ann", "s1")).emit("last words")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 10)
            await one.ended()
        assert [frame["type"] for frame in one.frames[-2:]] == ["events", "goodbye"]


# Nothing begins any more


async def test_nobody_is_let_in_any_more(autojump_clock: trio.testing.MockClock) -> None:
    app = house(lasts)
    async with app.running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await handle.start("lasts", 5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 10)
            await trio.sleep(1)
            with pytest.RaisesGroup(InvalidStatus, flatten_subgroups=True, allow_unwrapped=True):
                async with memory_client(server):
                    pass
            with pytest.raises(OSError, match=r"refused|all attempts"):
                async with client(server):
                    pass
            for refused in (handle.start("lasts", 1), server.sessions.get("bob", "s1")):
                with pytest.raises(CommandRefused) as caught:
                    await refused
                assert caught.value.code == "overloaded"
        assert trio.current_time() == 5


async def test_a_start_that_waited_for_its_turn_is_refused_and_never_begins(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = KeptLog()
    async with house(lasts, log=log, runs_per_user=1).running(port=0) as server:
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
    assert types(await kept_of(log)) == ["agent_started", "agent_output", "agent_completed"]


async def test_a_client_whose_start_was_not_answered_sends_it_again_to_the_next_server_and_it_runs_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = KeptLog()
    app = house(lasts, log=log, runs_per_user=1)
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
        assert len(of_type(one.events(), "agent_started")) == 2


# Runs


@pytest.mark.parametrize(("seconds", "status"), [(9.9, "ok"), (10.1, "cancelled")])
async def test_runs_finish_until_the_deadline_and_the_rest_ends_as_cancelled(
    seconds: float, status: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The deadline counts from the beginning, however long the goodbyes take: here of one that reads nothing."""
    log = KeptLog()
    async with trio.open_nursery() as nursery:
        async with house(lasts, log=log, drain_seconds=10).running(port=0) as server:
            await nursery.start(reads_nothing, server)
            await (await server.sessions.get("ann", "s1")).start("lasts", seconds)
        assert trio.current_time() == min(seconds, 10)
        nursery.cancel_scope.cancel()
    assert (await kept_of(log))[-1]["data"]["status"] == status


async def test_whatever_is_open_at_the_deadline_is_closed_innermost_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = KeptLog()
    async with house(family, log=log, drain_seconds=3).running(port=0) as server:
        await (await server.sessions.get("ann", "s1")).start("family")
        await trio.testing.wait_all_tasks_blocked()
    events = await kept_of(log)
    ends = of_type(events, "tool_completed", "agent_completed")
    assert [end["data"]["status"] for end in ends] == ["cancelled"] * 4
    assert len(of_type(events, "input_requested")) == 1


async def test_a_run_that_ignores_its_end_is_closed_as_cancelled_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = KeptLog()
    async with house(deaf, lasts, log=log, drain_seconds=3).running(port=0) as server:
        await (await server.sessions.get("ann", "s1")).start("deaf")
        await (await server.sessions.get("bob", "s1")).start("lasts", 2)
    assert trio.current_time() < 60
    assert (await kept_of(log))[-1]["data"]["status"] == "cancelled"


async def test_what_was_emitted_is_in_the_log_however_slow_that_is(autojump_clock: trio.testing.MockClock) -> None:
    log = KeptLog()
    async with trio.open_nursery() as nursery:
        async with house(lasts, log=log, drain_seconds=3).running(port=0) as server:
            handle = await server.sessions.get("ann", "s1")
            await handle.start("lasts", 1)
            hold = log.hold("append")

            async def release() -> None:
                await hold.reached.wait()
                await trio.sleep(8)
                hold.released.set()

            nursery.start_soon(release)
    events = await kept_of(log)
    assert types(events) == ["agent_started", "agent_output", "agent_completed"]
    assert trio.current_time() == 9


# A process


async def test_a_process_that_is_asked_to_stop_lets_its_run_finish_and_ends_with_0(tmp_path: Path) -> None:
    """Its client, sent away in mid-run, finds the run's end at the next process, with no gap and nothing twice."""
    process = ServerProcess(tmp_path, "serve", "player:app", apps=player.HERE)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    try:
        async with joined(process.ws_url) as one:
            run_id = await one.start("1", "waits_for", str(pipe))
            before = await one.until(2)
            process.ask_to_stop()
            ended = await one.ended()
            assert (ended.code, ended.goodbye is not None) == (1001, True)
        with pytest.raises((OSError, ConnectionClosed)):
            async with joined(process.ws_url):
                pass
        await trio.to_thread.run_sync(pipe.write_text, "it came")
        assert await trio.to_thread.run_sync(process.status) == 0
        process.start()
        async with joined(process.ws_url, resume={"epoch": one.welcome["epoch"], "seq": 2}) as again:
            assert again.welcome["recovered"]
            completed = await again.completed(run_id)
            assert (completed["data"]["status"], completed["data"]["result"]) == ("ok", "it came")
            in_order([*before, *again.events()])
    finally:
        process.stop()


async def test_real_sockets_are_refused_while_a_run_goes_on() -> None:
    done = trio.Event()

    async def waits(run: Run) -> None:
        await done.wait()

    async with house(waits).running(port=0) as server, greeted(server, token="ann") as one:
        await one.start("1", "waits")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain, 30)
            assert (await one.ended()).code == 1001
            with pytest.raises(OSError, match=r"refused|all attempts"):
                async with client(server):
                    pass
            done.set()
