"""The queue of starts: its order, and that a start which fails harms no other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from protocol.wire import greeted_in_memory
from suites.stage import KeptLog, house, in_order, of_type

from actors import CommandRefused, StreamKey, verify_log
from actors.runs._scope import RunScope

if TYPE_CHECKING:
    from protocol.wire import Client

    from actors import Run


async def lasts(run: Run, seconds: float) -> None:
    await trio.sleep(seconds)


async def test_a_start_that_fails_in_its_turn_harms_no_other_session(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that made room for it ends as if nobody waited, and the next one in the queue has the place."""
    opens = RunScope.open

    def breaks_for_bad(scope: RunScope[Run]) -> None:
        if scope.run.session == "bad":
            raise RuntimeError("the scenery fell")
        opens(scope)

    async with house(lasts, runs_per_user=1).running(port=0) as server:
        handles = {name: await server.sessions.get("ann", name) for name in ("first", "bad", "last")}
        monkeypatch.setattr(RunScope, "open", breaks_for_bad)
        outcomes: dict[str, object] = {}

        async def start(name: str) -> None:
            try:
                outcomes[name] = await handles[name].start("lasts", 5)
            except CommandRefused as refused:
                outcomes[name] = refused.code

        async with trio.open_nursery() as nursery:
            for name in handles:
                nursery.start_soon(start, name)
                await trio.testing.wait_all_tasks_blocked()
        assert outcomes["bad"] == "internal"
        assert server.sessions.statistics().crashed == 1
        async with greeted_in_memory(server, "first", token="ann") as first:
            assert (await first.completed(str(outcomes["first"])))["data"]["status"] == "ok"
        async with greeted_in_memory(server, "last", token="ann") as last:
            assert (await last.completed(str(outcomes["last"])))["data"]["status"] == "ok"
        runs = server.sessions.statistics().runs
        assert (runs.users, runs.running, runs.queued) == (0, 0, 0)


async def test_a_long_queue_is_dropped_when_the_server_drains(autojump_clock: trio.testing.MockClock) -> None:
    """Each start in it is refused, however many there are, and the run that goes on ends well."""
    waiting, codes, log = 1_500, list[str](), KeptLog()
    app = house(lasts, log=log, runs_per_user=1, queued_runs_per_user=waiting, drain_seconds=60)
    async with trio.open_nursery() as nursery:
        async with app.running(port=0) as server:
            handle = await server.sessions.get("ann", "s1")
            await handle.start("lasts", 5)

            async def start() -> None:
                with pytest.raises(CommandRefused) as refused:
                    await handle.start("lasts", 5)
                codes.append(refused.value.code)

            for _ in range(waiting):
                nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            assert server.sessions.statistics().runs.queued == waiting
    assert codes == ["overloaded"] * waiting
    assert trio.current_time() == 5
    assert (await verify_log(log)).faults == ()
    assert len(await log.read(StreamKey("ann", "s1"), 0, 10, 1_000_000)) == 2


async def test_a_queued_start_is_begun_once_however_often_it_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    """Sent again on another connection while it waits, it gets the first one's reply when its turn has come."""
    async with house(lasts, runs_per_user=1).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await one.start("first", "lasts", 5)
        args = {"agent": "lasts", "input": 1}
        async with greeted_in_memory(server, token="ann") as other:
            for client in (one, other, one):
                await client.send("command", id="again", name="run.start", args=args)
            replies = [await other.reply("again"), await one.reply("again"), await one.reply("again")]
            assert {reply["result"]["run_id"] for reply in replies} == {replies[0]["result"]["run_id"]}
            assert trio.current_time() == 5
            await one.completed(replies[0]["result"]["run_id"])
        in_order(one.events())
        assert len(of_type(one.events(), "agent_started")) == 2


async def test_a_session_that_ends_lets_the_queue_of_the_others_go_on(autojump_clock: trio.testing.MockClock) -> None:
    """Closed for good while its start waits: the start is refused, and those behind it move up."""
    async with (
        house(lasts, runs_per_user=1).running(port=0) as server,
        greeted_in_memory(server, "s1", token="ann") as one,
        greeted_in_memory(server, "s2", token="ann") as two,
        greeted_in_memory(server, "s3", token="ann") as three,
    ):
        await one.start("a", "lasts", 5)
        args: dict[str, Any] = {"agent": "lasts", "input": 5}
        for client in (two, three):
            await client.send("command", id="b", name="run.start", args=args)
            await trio.testing.wait_all_tasks_blocked()
        await two.send("command", id="c", name="session.close", args={})
        assert (await two.reply("b"))["error"]["code"] == "cancelled"
        assert (await two.ended()).code == 4506
        assert two.events() == []
        assert (await three.reply("b"))["ok"]
        assert trio.current_time() == 5


def shown(one: Client) -> list[tuple[str, bool]]:
    """Return what the ``queued`` signals said so far: command ids, and whether they wait."""
    signals = [frame["data"] for frame in one.frames if frame["type"] == "signal" and frame["name"] == "queued"]
    assert all(data.keys() == {"command_id", "agent", "waiting"} and data["agent"] == "lasts" for data in signals)
    return [(data["command_id"], data["waiting"]) for data in signals]


async def test_a_queued_start_is_seen_by_every_tab(autojump_clock: trio.testing.MockClock) -> None:
    """By a signal where a tab is there, in the welcome of one that comes; no longer when its turn has come."""
    async with (
        house(lasts, runs_per_user=1, ping_seconds=1_000).running(port=0) as server,
        greeted_in_memory(server, token="ann") as one,
        greeted_in_memory(server, token="ann") as other,
        greeted_in_memory(server, "elsewhere", token="ann") as elsewhere,
    ):
        assert one.welcome["queued"] == []
        await elsewhere.start("a", "lasts", 5)
        before = time.time() * 1_000
        for id_ in ("b", "c"):
            await one.send("command", id=id_, name="run.start", args={"agent": "lasts", "input": 5})
            await one.receive("signal")
        await other.receive("signal")
        assert shown(one) == [("b", True), ("c", True)]
        async with greeted_in_memory(server, token="ann") as late:
            queued = late.welcome["queued"]
            assert [(start["command_id"], start["agent"]) for start in queued] == [("b", "lasts"), ("c", "lasts")]
            assert all(before - 1 <= start["since"] <= time.time() * 1_000 for start in queued)
        await one.reply("b")
        await one.completed((await one.reply("c"))["result"]["run_id"])
        await other.until(one.events()[-1]["seq"])
        for tab in (one, other):
            assert shown(tab) == [("b", True), ("c", True), ("b", False), ("c", False)]
        assert shown(elsewhere) == []
        async with greeted_in_memory(server, token="ann") as late:
            assert late.welcome["queued"] == []


@pytest.mark.parametrize("by", ["tab", "close"])
async def test_a_queued_start_that_is_withdrawn_is_seen_no_more(
    by: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Another tab may cancel it by its command's id, which the welcome has."""
    async with (
        house(lasts, runs_per_user=1).running(port=0) as server,
        greeted_in_memory(server, token="ann") as one,
    ):
        await one.start("a", "lasts", 5)
        await one.send("command", id="b", name="run.start", args={"agent": "lasts", "input": 5})
        await one.receive("signal")
        async with greeted_in_memory(server, token="ann") as other:
            (start,) = other.welcome["queued"]
            if by == "tab":
                reply = await other.command("c", "run.cancel", command_id=start["command_id"])
                assert reply["result"] == {"cancelled": True}
                again = await other.command("d", "run.cancel", command_id=start["command_id"])
                assert again["result"] == {"cancelled": False}
            else:
                await other.command("c", "session.close")
        assert (await one.reply("b"))["error"]["code"] == "cancelled"
        if by == "tab":
            await one.receive("signal")
            assert shown(one) == [("b", True), ("b", False)]
            await one.completed(one.events()[0]["run_id"])
            assert len(of_type(one.events(), "agent_started")) == 1


async def test_a_start_from_the_servers_own_code_is_seen_and_can_be_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It waits in the same queue: its user sees it there, by an id that is in no event."""
    async with (
        house(lasts, runs_per_user=1).running(port=0) as server,
        greeted_in_memory(server, token="ann") as one,
        trio.open_nursery() as nursery,
    ):
        await one.start("a", "lasts", 5)
        handle = await server.sessions.get("ann", "s1")

        async def start() -> None:
            with pytest.raises(CommandRefused) as refused:
                await handle.start("lasts", 5)
            assert refused.value.code == "cancelled"

        nursery.start_soon(start)
        await one.receive("signal")
        ((command_id, waiting),) = shown(one)
        assert waiting
        assert (await one.command("b", "run.cancel", command_id=command_id))["result"] == {"cancelled": True}


async def test_starts_that_begin_at_once_send_no_signal(autojump_clock: trio.testing.MockClock) -> None:
    """A start that begins at once sends no ``queued`` signal."""
    async with house(lasts).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await one.completed(await one.start("a", "lasts", 1))
        assert shown(one) == []
