"""Is the typing indicator always true, and seen only in its own session?

An indicator that stays on by mistake is worse than none. So most of these rules are about its end:

- Every tab of the session receives each change once. Without a change nothing is sent.
- A user's typing ends 5 s after its last renewal, or with an off, or with its connection: by a close, a cut, a
  refresh, a refusal or a lost heartbeat. An agent's typing ends with its run, in every outcome, and not before.
- Each tab, agent and sub-agent types for itself, and ends only its own typing.
- The welcome of a new client says who is typing now. The changes that follow continue from there.
- A tab that cannot be written to may miss old changes, but never the newest state of a typist.
- Typing has no seq. The log and every position stay as they are.
- After a typist has left nothing is kept for it: no task, and no session in memory.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest
import trio
import trio.testing
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol.manual_socket import open_manual_socket
from protocol.wire import (
    VIRTUAL_PATIENCE,
    Client,
    client,
    greeted,
    greeted_in_memory,
    memory_client,
    wait_for_connections,
)
from suites.stage import check_history, server_with, wait_for_all_runs
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import Run
    from transport import Greenroom, Server

USERS, TOGGLES = scaled(25, 50), 20
REFRESHES = scaled(20, 200)

Change = tuple[str, str, bool]
"""The kind of a typist (user or agent), its id (connection or run), and whether it types now."""


async def typist(run: Run, ending: str) -> str:
    """Type, wait for an answer, and end in the given way."""
    run.typing(active=True)
    await run.thinking("typing")
    if ending == "wait":
        await trio.sleep_forever()
    await run.ask_user("Shall I end?")
    if ending == "error":
        raise ValueError(ending)
    return ending


async def chorus(run: Run) -> None:
    """Type, together with a sub-agent that ends first."""
    run.typing(active=True)
    async with run.subrun("second voice") as child:
        child.typing(active=True)
        await run.ask_user("Shall the child end?")
    await run.ask_user("Shall I end?")


async def runaway(run: Run) -> None:
    """Return while a sub-agent is still typing."""
    child = run.subrun("left behind")
    (await child.__aenter__()).typing(active=True)


async def fidget(run: Run, toggles: int) -> None:
    """Turn typing on and off without a pause."""
    for number in range(toggles):
        run.typing(active=number % 2 == 0)
    await run.output("done")


def typing_server(**settings_: Any) -> Greenroom:
    """Return a server that lets clients be silent for a long time, because these tests do not test silence."""
    return server_with(typist, chorus, runaway, fidget, **{"ping_seconds": 10_000, **settings_})


def typing_changes(one: Client) -> list[Change]:
    """Return all typing changes that this tab received."""
    told = [frame["data"] for frame in one.frames if frame["type"] == "signal" and frame["name"] == "typing"]
    assert all(data.keys() == {"by", "id", "active"} for data in told)
    return [(data["by"], data["id"], data["active"]) for data in told]


_COUNT_SEEN: WeakKeyDictionary[Client, int] = WeakKeyDictionary()


async def new_changes(one: Client) -> list[Change]:
    """Return the typing changes since the last call. For virtual time only: it waits for a very short time."""
    with trio.move_on_after(0.001):
        while True:
            await one.receive_text()
    told = typing_changes(one)
    known, _COUNT_SEEN[one] = _COUNT_SEEN.get(one, 0), len(told)
    return told[known:]


def connection_id(one: Client) -> str:
    """Return the id of this client's connection."""
    return str(one.welcome["connection"])


def typing_on(one: Client) -> Change:
    """Return the change with which this client begins to type."""
    return ("user", connection_id(one), True)


def typing_off(one: Client) -> Change:
    """Return the change with which this client stops typing."""
    return ("user", connection_id(one), False)


def count_typists(server: Server) -> int:
    """Return how many typists the server's sessions have."""
    return sum(session.typing for session in server.sessions.of())


# On, off, and time


async def test_changes_reach_every_tab(autojump_clock: trio.testing.MockClock) -> None:
    """When a user starts or stops typing, every other tab of the session is notified once.

    A second stop sends nothing.
    """
    async with typing_server().running(port=0) as server, AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(greeted_in_memory(server, token="ada")) for _ in range(4)]
        for active, expected in ((True, typing_on), (False, typing_off), (True, typing_on), (False, typing_off)):
            await tabs[0].send("typing", active=active)
            for tab in tabs[1:]:
                assert await new_changes(tab) == [expected(tabs[0])]
        await tabs[0].send("typing", active=False)
        assert [await new_changes(tab) for tab in tabs[1:]] == [[], [], []]


async def test_typing_expires(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a tab does not renew its typing, the typing ends exactly 5 seconds after the last renewal."""
    async with (
        typing_server().running(port=0) as server,
        greeted_in_memory(server, token="ada") as watcher,
        greeted_in_memory(server, token="ada") as one,
    ):
        for pauses in ((), (4.99,), (1, 1, 1), (4.5,) * 20):
            began = trio.current_time()
            await one.send("typing", active=True)
            assert (await watcher.receive("signal"))["data"]["active"]
            for pause in pauses:
                await trio.sleep(pause)
                await one.send("typing", active=True)
            assert not (await watcher.receive("signal"))["data"]["active"]
            assert trio.current_time() - began == pytest.approx(sum(pauses) + 5, abs=0.001)
        assert count_typists(server) == 0


async def test_typing_seconds(autojump_clock: trio.testing.MockClock) -> None:
    """The setting ``typing_seconds`` is the time after which typing ends if it is not renewed."""
    async with (
        typing_server(typing_seconds=0.5).running(port=0) as server,
        greeted_in_memory(server, token="ada") as one,
    ):
        await one.send("typing", active=True)
        await trio.sleep(0.49)
        assert await new_changes(one) == [typing_on(one)]
        await trio.sleep(0.02)
        assert await new_changes(one) == [typing_off(one)]


async def test_typists_are_independent(autojump_clock: trio.testing.MockClock) -> None:
    """Each tab's typing ends 5 seconds after this tab last renewed it. Renewals by other tabs do not matter."""
    async with typing_server().running(port=0) as server, AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(greeted_in_memory(server, token="ada"))
        tabs = [await stack.enter_async_context(greeted_in_memory(server, token="ada")) for _ in range(6)]
        began = trio.current_time()
        for tab in tabs:
            await tab.send("typing", active=True)
            await trio.sleep(0.5)
        await tabs[2].send("typing", active=True)  # renewed at 3 s: it ends last
        ends: list[tuple[str, float]] = []
        while len(ends) < len(tabs):
            signal = (await watcher.receive("signal"))["data"]
            if not signal["active"]:
                ends.append((signal["id"], round(trio.current_time() - began, 3)))
        order = [tabs[number] for number in (0, 1, 3, 4, 5, 2)]
        assert ends == [(connection_id(tab), at) for tab, at in zip(order, (5, 5.5, 6.5, 7, 7.5, 8), strict=True)]


@settings(max_examples=scaled(30, 300))
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([True, False]), st.sampled_from([0, 0.1, 2, 4.9, 5, 7])),
        max_size=25,
    )
)
def test_model_of_typing(steps: list[tuple[int, bool, float]]) -> None:
    """If three tabs start and stop typing in any order, a fourth tab receives the changes that a simple model predicts.

    In the model each of the three tabs types until it stops, or for 5 s.
    """

    async def played() -> None:
        async with typing_server(commands_burst=100).running(port=0) as server, AsyncExitStack() as stack:
            watcher = await stack.enter_async_context(greeted_in_memory(server, token="ada"))
            tabs = [await stack.enter_async_context(greeted_in_memory(server, token="ada")) for _ in range(3)]
            until: dict[str, float] = {}
            for which, active, pause in steps:
                tab, expected = tabs[which], [("user", who, False) for who in _expired(until)]
                if active != (connection_id(tab) in until):
                    expected.append(("user", connection_id(tab), active))
                until.pop(connection_id(tab), None)
                await tab.send("typing", active=active)
                if active:
                    until[connection_id(tab)] = trio.current_time() + 5
                assert await new_changes(watcher) == expected
                await trio.sleep(pause)

    trio.run(played, clock=trio.testing.MockClock(autojump_threshold=0))


def _expired(until: dict[str, float]) -> list[str]:
    """Remove and return the typists that did not renew in time, the earliest first."""
    over = sorted((at, who) for who, at in until.items() if at <= trio.current_time())
    for _, who in over:
        del until[who]
    return [who for _, who in sorted(over, key=lambda pair: pair[0])]


# The connection's end


async def closed(one: Client) -> None:
    """Close the connection."""
    await one.socket.aclose()


async def refused(one: Client) -> None:
    """Send a bad frame, so that the server closes."""
    await one.send_text("not JSON")
    assert (await one.ended()).code == 4500


async def flooded(one: Client) -> None:
    """Send too many frames, so that the server closes."""
    with suppress(ConnectionClosed):
        for _ in range(200):
            await one.send("typing", active=True)
    assert (await one.ended()).code == 4505


async def silent(one: Client) -> None:
    """Send nothing more. The server closes long after the end of the typing, and must not repeat that end."""
    assert (await one.ended()).code == 4002


@pytest.mark.parametrize("end", [closed, refused, flooded])
async def test_closed_connection_ends_typing(
    end: Callable[[Client], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    """A user's typing ends at once when the client or the server closes the connection."""
    async with typing_server().running(port=0) as server, greeted_in_memory(server, token="ada") as watcher:
        async with greeted_in_memory(server, token="ada") as one:
            await one.send("typing", active=True)
            assert await new_changes(watcher) == [typing_on(one)]
            async with trio.open_nursery() as nursery:
                began = trio.current_time()
                nursery.start_soon(end, one)
                assert await new_changes(watcher) == [typing_off(one)]
                assert trio.current_time() - began < 0.1
        assert count_typists(server) == 0


async def test_cut_connection_ends_typing(autojump_clock: trio.testing.MockClock) -> None:
    """A user's typing ends when the connection breaks without a close frame."""
    async with typing_server().running(port=0) as server, greeted_in_memory(server, token="ada") as watcher:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.endpoint.serve, theirs)
            async with open_manual_socket(ours) as websocket:
                one = Client(websocket, patience=VIRTUAL_PATIENCE)
                await one.hello(token="ada")
                await one.send("typing", active=True)
                assert await new_changes(watcher) == [typing_on(one)]
            assert await new_changes(watcher) == [typing_off(one)]


async def test_expired_typing_is_not_repeated(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a user's typing has already expired, the later end of the connection sends no second end of typing."""
    async with (
        typing_server(ping_seconds=25, pong_seconds=10).running(port=0) as server,
        greeted_in_memory(server, token="ada") as one,
    ):
        await one.send("typing", active=True)
        async with memory_client(server) as watcher:
            await watcher.hello(token="ada")
            assert watcher.welcome["typing"] == [{"by": "user", "id": connection_id(one)}]
            await trio.sleep(20)
            await watcher.send("pong")
            await silent(one)
            assert await new_changes(watcher) == [typing_off(one)]


async def test_refresh_ends_typing(autojump_clock: trio.testing.MockClock) -> None:
    """When a page is refreshed, the typing of the old connection ends, and the new connection has another id."""
    async with typing_server().running(port=0) as server, greeted_in_memory(server, token="ada") as watcher:
        seen: set[str] = set()
        for _ in range(REFRESHES):
            async with greeted_in_memory(server, token="ada") as one:
                assert one.welcome["typing"] == []
                assert connection_id(one) not in seen
                seen.add(connection_id(one))
                await one.send("typing", active=True)
                assert await new_changes(watcher) == [typing_on(one)]
            assert await new_changes(watcher) == [typing_off(one)]
        await trio.sleep(60)
        assert await new_changes(watcher) == []
        assert count_typists(server) == 0


async def test_late_typing_frame(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a connection sends typing frames and ends at once, it is not shown as typing afterwards."""
    async with typing_server().running(port=0) as server, greeted_in_memory(server, token="ada") as watcher:
        for _ in range(REFRESHES):
            async with greeted_in_memory(server, token="ada") as one:
                for active in (True, False, True):
                    await one.send("typing", active=active)
                await one.socket.aclose()
            told = await new_changes(watcher)
            assert not told or told[-1] == typing_off(one)
            assert [active for *_, active in told] == [number % 2 == 0 for number in range(len(told))]
            assert count_typists(server) == 0


async def test_typing_before_the_welcome(autojump_clock: trio.testing.MockClock) -> None:
    """If a client sends typing before its hello, the server closes the connection with 4500. Other tabs get nothing."""
    async with typing_server().running(port=0) as server, greeted_in_memory(server, token="ada") as watcher:
        async with memory_client(server) as one:
            await one.send("typing", active=True)
            assert (await one.ended()).code == 4500
        assert await new_changes(watcher) == []


@pytest.mark.parametrize("active", [None, 1, "true", [], {}])
async def test_bad_typing_frame(active: object, autojump_clock: trio.testing.MockClock) -> None:
    """If ``active`` in a typing frame is not a boolean, the server closes the client with 4500.

    Other tabs get nothing.
    """
    async with (
        typing_server().running(port=0) as server,
        greeted_in_memory(server, token="ada") as watcher,
        greeted_in_memory(server, token="ada") as one,
    ):
        await one.send("typing", active=active)
        assert (await one.ended()).code == 4500
        assert await new_changes(watcher) == []


# Agents


@pytest.mark.parametrize("ending", ["ok", "error", "timeout", "cancelled"])
async def test_agent_typing_ends_with_its_run(ending: str, autojump_clock: trio.testing.MockClock) -> None:
    """An agent's typing ends when its run ends, however the run ends. Before that, it does not expire."""
    async with (
        typing_server(run_seconds=60).running(port=0) as server,
        greeted_in_memory(server, token="ada") as one,
        greeted_in_memory(server, token="ada") as other,
    ):
        run_id = await one.start("1", "typist", ending)
        await other.send("typing", active=True)
        assert sorted(await new_changes(one)) == sorted([("agent", run_id, True), typing_on(other)])
        if ending == "cancelled":
            await one.command("2", "run.cancel", run_id=run_id)
        elif ending != "timeout":
            await one.command("2", "input.answer", run_id=run_id, call_id=f"{run_id}.1", value="yes")
        else:
            await trio.sleep(10)  # much longer than a user's typing lasts
            assert await new_changes(one) == [typing_off(other)]
            await other.send("typing", active=True)
            assert await new_changes(one) == [typing_on(other)]
            await trio.sleep(4.9)
            await other.send("typing", active=True)
        assert (await one.completed(run_id))["data"]["status"] == ending
        told = await new_changes(one)
        assert ("agent", run_id, False) in typing_changes(one)
        if ending != "timeout":
            assert typing_off(other) not in told, "a run's end ended the user's own typing"


async def test_sub_agent_typing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A sub-agent's typing ends when the sub-agent's run ends, while its parent continues to type."""
    async with typing_server().running(port=0) as server, greeted_in_memory(server, token="ada") as one:
        run_id = await one.start("1", "chorus")
        (_, first, _), (_, child, _) = await new_changes(one)
        assert (first, child != run_id) == (run_id, True)
        async with greeted_in_memory(server, token="ada") as late:
            assert late.welcome["typing"] == [{"by": "agent", "id": run_id}, {"by": "agent", "id": child}]
        await one.command("2", "input.answer", run_id=run_id, call_id=f"{run_id}.1", value=1)
        assert await new_changes(one) == [("agent", child, False)]
        await one.command("3", "input.answer", run_id=run_id, call_id=f"{run_id}.2", value=1)
        assert await new_changes(one) == [("agent", run_id, False)]
        assert count_typists(server) == 0


async def test_open_sub_agent_typing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a parent run ends while its sub-agent is still open and typing, the typing of the sub-agent ends too."""
    async with typing_server().running(port=0) as server, greeted_in_memory(server, token="ada") as one:
        await one.completed(await one.start("1", "runaway"))
        await new_changes(one)
        assert [active for _, _, active in typing_changes(one)] == [True, False]
        assert count_typists(server) == 0


async def test_crashed_session_ends_typing(autojump_clock: trio.testing.MockClock) -> None:
    """After a session has crashed and restarted, no user and no agent is shown as typing in it."""
    async with typing_server().running(port=0) as server:
        async with greeted_in_memory(server, token="ada") as one:
            await one.send("typing", active=True)
            run_id = await one.start("1", "typist", "wait")
            async with greeted_in_memory(server, token="ada") as late:
                assert {who["id"] for who in late.welcome["typing"]} == {connection_id(one), run_id}
            session = server.system.find("greenroom/sessions/all/ada:s1")
            assert session is not None
            session.kill()
            assert (await one.ended()).code == 4006
        async with greeted_in_memory(server, token="ada") as again:
            assert again.welcome["typing"] == []
            assert [event["type"] for event in await again.events_until(3)][-1] == "agent_completed"
            assert await new_changes(again) == []


# Other sessions and many typists


async def test_typing_stays_in_its_session(autojump_clock: trio.testing.MockClock) -> None:
    """Typing in a session is not shown to other users, nor in other sessions of the same user."""
    async with (
        typing_server().running(port=0) as server,
        greeted_in_memory(server, token="ada") as ada,
        greeted_in_memory(server, token="bob") as bob,
        greeted_in_memory(server, "s2", token="ada") as elsewhere,
    ):
        for one in (ada, bob, elsewhere):
            await one.send("typing", active=True)
            run_id = await one.start("1", "typist", "wait")
            assert sorted(await new_changes(one)) == sorted([typing_on(one), ("agent", run_id, True)])
        async with greeted_in_memory(server, token="bob") as late:
            assert len(late.welcome["typing"]) == 2
            assert connection_id(bob) in {who["id"] for who in late.welcome["typing"]}
        for one, others in ((ada, (bob, elsewhere)), (bob, (ada, elsewhere)), (elsewhere, (ada, bob))):
            assert not {who for _, who, _ in typing_changes(one)} & {
                who for other in others for _, who, _ in typing_changes(other)
            }


async def test_welcome_and_changes_agree(autojump_clock: trio.testing.MockClock) -> None:
    """The welcome of a new tab lists all typists. After that the tab gets every later change, and no change twice."""
    async with typing_server(commands_burst=10_000).running(port=0) as server, AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(greeted_in_memory(server, token="ada")) for _ in range(3)]

        async def toggle(tab: Client) -> None:
            for number in range(20):  # 60 in all, so that the server drops none
                await tab.send("typing", active=number % 2 == 0)
                await trio.lowlevel.checkpoint()

        async def join() -> None:
            async with greeted_in_memory(server, token="ada") as late:
                state = {who["id"] for who in late.welcome["typing"]}
                await new_changes(late)
                for _, who, active in typing_changes(late):
                    assert (who in state) != active, "told what it knew"
                    state ^= {who}
                assert not state & set(map(connection_id, tabs))

        async with trio.open_nursery() as nursery:
            for tab in tabs:
                nursery.start_soon(toggle, tab)
            for _ in range(8):
                nursery.start_soon(join)
                await trio.lowlevel.checkpoint()


async def test_many_typists() -> None:
    """If each of many users starts and stops typing 20 times, the user's second tab receives all changes in order."""
    async with typing_server().running(port=0) as server, trio.open_nursery() as nursery:

        async def toggle(name: str) -> None:
            async with greeted(server, token=name) as tab, greeted(server, token=name) as watcher:
                for number in range(TOGGLES):
                    await tab.send("typing", active=True)
                    await tab.send("typing", active=False)
                    if number == TOGGLES // 2:
                        await watcher.say("between")
                while len(typing_changes(watcher)) < 2 * TOGGLES:
                    await watcher.receive("signal")
                assert typing_changes(watcher) == [typing_on(tab), typing_off(tab)] * TOGGLES
                assert [event["seq"] for event in await watcher.events_until(1)] == [1]

        for number in range(USERS):
            nursery.start_soon(toggle, f"user-{number}")
    assert count_typists(server) == 0


# A slow tab


async def test_blocked_tab_gets_newest_states(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A tab that cannot receive for a while still gets the newest typing state of every typist in the end.

    Older changes may be left out, even if one typist changes very often.
    """
    async with typing_server(slow_seconds=100).running(port=0) as server, greeted_in_memory(server, token="ada") as ada:
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.endpoint.serve, theirs)
            async with open_manual_socket(ours) as websocket:
                slow = Client(websocket, patience=VIRTUAL_PATIENCE)
                await slow.hello(token="ada")
                await ada.send("typing", active=True)
                assert (await slow.receive("signal"))["data"] == {
                    "by": "user",
                    "id": connection_id(ada),
                    "active": True,
                }
                await ada.say("x" * 20_000)  # not read yet: from here on the server must keep everything for it
                await ada.send("typing", active=False)
                for number in range(3):
                    await ada.completed(await ada.start(f"{number}", "fidget", 101))
                await new_changes(slow)
                assert typing_off(ada) in typing_changes(slow)
                assert len(typing_changes(slow)) < 3 * 102, "nothing had to be left out: this shows nothing"
                newest = {who: active for _, who, active in typing_changes(slow)}
                assert len(newest) == 4
                assert not any(newest.values())
                nursery.cancel_scope.cancel()


# What typing leaves behind


async def test_typing_is_not_an_event(autojump_clock: trio.testing.MockClock) -> None:
    """Typing is not an event: it is not in the log, has no seq, and does not move a client's position."""
    async with typing_server(commands_burst=10_000, control_frames_per_second=10_000).running(port=0) as server:
        async with greeted_in_memory(server, token="ada") as one, greeted_in_memory(server, token="ada") as watcher:
            for number in range(30):
                await one.send("typing", active=True)
                await one.say(f"message {number}")
                await one.send("typing", active=False)
            await one.completed(await one.start("run", "fidget", 50))
            await new_changes(watcher)
            check_history(watcher.events())
            position = watcher.events()[-1]["seq"]
            assert position == 33
            for number in range(100):
                await one.send("typing", active=number % 2 == 0)
            await new_changes(watcher)
        resume = {"epoch": one.welcome["epoch"], "seq": position}
        async with greeted_in_memory(server, token="ada", resume=resume) as again:
            assert (again.welcome["recovered"], again.welcome["latest"]) == (True, position)
            await new_changes(again)
            assert again.events() == []
            assert typing_changes(again) == []
        async with greeted_in_memory(server, token="ada") as last:
            assert {event["type"] for event in await last.events_until(position)} == {
                "user_message",
                "agent_started",
                "agent_output",
                "agent_completed",
            }


async def test_typing_keeps_no_session(autojump_clock: trio.testing.MockClock) -> None:
    """If a tab disconnects while it is typing, neither its session nor a task stays in memory because of that."""
    async with typing_server(idle_seconds=20).running(port=0) as server:
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for number in range(10):
            async with greeted_in_memory(server, token=f"user-{number}") as one:
                await one.send("typing", active=True)
                await trio.sleep(0.5)
        assert server.sessions.statistics().sessions == 10
        await trio.sleep(60)
        assert server.sessions.statistics().sessions == 0
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_no_timer_without_typists(autojump_clock: trio.testing.MockClock) -> None:
    """A session needs at most one task to let the typing of users expire, and no task while no user is typing."""
    async with typing_server().running(port=0) as server, greeted_in_memory(server, token="ada") as one:
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(20):
            await one.send("typing", active=True)
            await new_changes(one)
            assert trio.lowlevel.current_statistics().tasks_living <= before + 1
            await one.send("typing", active=False)
            await new_changes(one)
        await trio.sleep(6)
        assert trio.lowlevel.current_statistics().tasks_living == before
        await wait_for_all_runs(server)


async def test_cut_sockets_end_typing() -> None:
    """A user's typing ends when the connection's real socket is dropped without a close frame."""
    async with typing_server().running(port=0) as server, greeted(server, token="ada") as watcher:
        for _ in range(20):
            async with client(server) as one:
                await one.hello(token="ada")
                await one.send("typing", active=True)
                while typing_changes(watcher)[-1:] != [typing_on(one)]:
                    await watcher.receive("signal")
            while typing_changes(watcher)[-1:] != [typing_off(one)]:
                await watcher.receive("signal")
        await wait_for_connections(server, 1)
        assert count_typists(server) == 0
