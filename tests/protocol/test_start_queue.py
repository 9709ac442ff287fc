"""The queue of starts: its order, the clients that see it, and how a start leaves it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from protocol.wire import greeted_in_memory
from suites.stage import SurvivingLog, check_history, events_of_type, server_with

from actors import CommandRefused, StreamKey, verify_log
from actors.runs._scope import RunScope

if TYPE_CHECKING:
    from protocol.wire import Client

    from actors import Run


async def lasts(run: Run, seconds: float) -> None:
    """Run for ``seconds``."""
    await trio.sleep(seconds)


async def test_failing_start_harms_no_other_session(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a queued start fails when its turn comes, only its own session crashes, and the next queued start begins."""
    opens = RunScope.open

    def breaks_for_bad(scope: RunScope[Run]) -> None:
        if scope.run.session == "bad":
            raise RuntimeError("the scenery fell")
        opens(scope)

    async with server_with(lasts, runs_per_user=1).running(port=0) as server:
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


async def test_drain_refuses_a_long_queue(autojump_clock: trio.testing.MockClock) -> None:
    """If the server begins to shut down while 1,500 starts are queued, all of them are refused.

    The open run finishes.
    """
    waiting, codes, log = 1_500, list[str](), SurvivingLog()
    app = server_with(lasts, log=log, runs_per_user=1, queued_runs_per_user=waiting, drain_seconds=60)
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


async def test_repeated_queued_start_begins_once(autojump_clock: trio.testing.MockClock) -> None:
    """If a queued start is sent again, on any connection, its run begins only once. All replies have its run id."""
    async with (
        server_with(lasts, runs_per_user=1).running(port=0) as server,
        greeted_in_memory(server, token="ann") as one,
    ):
        await one.start("first", "lasts", 5)
        args = {"agent": "lasts", "input": 1}
        async with greeted_in_memory(server, token="ann") as other:
            for client in (one, other, one):
                await client.send("command", id="again", name="run.start", args=args)
            replies = [await other.reply("again"), await one.reply("again"), await one.reply("again")]
            assert {reply["result"]["run_id"] for reply in replies} == {replies[0]["result"]["run_id"]}
            assert trio.current_time() == 5
            await one.completed(replies[0]["result"]["run_id"])
        check_history(one.events())
        assert len(events_of_type(one.events(), "agent_started")) == 2


async def test_closed_session_leaves_the_queue(autojump_clock: trio.testing.MockClock) -> None:
    """If a session is closed while its start is queued, the start is refused as ``cancelled``.

    The starts that were queued behind it move up.
    """
    async with (
        server_with(lasts, runs_per_user=1).running(port=0) as server,
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
    """Return the content of the ``queued`` signals received so far: command ids, and whether they wait."""
    signals = [frame["data"] for frame in one.frames if frame["type"] == "signal" and frame["name"] == "queued"]
    assert all(data.keys() == {"command_id", "agent", "waiting"} and data["agent"] == "lasts" for data in signals)
    return [(data["command_id"], data["waiting"]) for data in signals]


async def test_every_tab_sees_a_queued_start(autojump_clock: trio.testing.MockClock) -> None:
    """Each client of a session sees a queued start, by a signal or in its welcome, until the run begins."""
    async with (
        server_with(lasts, runs_per_user=1, ping_seconds=1_000).running(port=0) as server,
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
        await other.events_until(one.events()[-1]["seq"])
        for tab in (one, other):
            assert shown(tab) == [("b", True), ("c", True), ("b", False), ("c", False)]
        assert shown(elsewhere) == []
        async with greeted_in_memory(server, token="ann") as late:
            assert late.welcome["queued"] == []


@pytest.mark.parametrize("by", ["tab", "close"])
async def test_another_tab_cancels_a_queued_start(by: str, autojump_clock: trio.testing.MockClock) -> None:
    """A queued start is refused if another client cancels it by its command id, or closes the session."""
    async with (
        server_with(lasts, runs_per_user=1).running(port=0) as server,
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
            assert len(events_of_type(one.events(), "agent_started")) == 1


async def test_user_cancels_a_queued_start_of_the_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If the server's own code queues a start, the user's clients see it, and can cancel it by the id in the signal."""
    async with (
        server_with(lasts, runs_per_user=1).running(port=0) as server,
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


async def test_immediate_start_sends_no_signal(autojump_clock: trio.testing.MockClock) -> None:
    """If a run can begin at once, no ``queued`` signal is sent."""
    async with server_with(lasts).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await one.completed(await one.start("a", "lasts", 1))
        assert shown(one) == []
