"""Does a run emit the five events that a page needs?

The emitter of a run is the ``Run`` object that an agent gets. ``app.sessions`` makes one session for each (user,
session) and starts runs in it. The rules tested here:

- One run gives agent_started, agent_thinking, tool_executing, tool_completed, agent_completed: in this order, once.
- Each event has exactly the fields of the protocol's table. Its time is the present, and durations are true.
- The agent gets the input that the client sent, and the client gets the result that the agent returned. Any JSON
  parser reads every message to the same value, with no key twice and no number out of range.
- An emitter's events reach only the user of its run, even if an agent of another user calls it, and even if no tab is
  connected. After the end of its run an emitter emits nothing.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import trio
import trio.testing
from _scale import scaled
from protocol.wire import Client, Frame, greeted, greeted_in_memory
from suites.stage import (
    REQUIRED,
    all_events,
    check_history,
    event_types,
    events_of_run,
    many_clients,
    many_users,
    server_with,
    wait_for_all_runs,
)

from actors import Run, RunClosed

USERS = scaled(50, 1_000)


async def lookup(key: object) -> dict[str, object]:
    """Return the key in a dict."""
    return {"found": key}


async def simple(run: Run, key: Any) -> object:
    """Emit each of the five events once."""
    await run.thinking(f"{run.user} asks {run.session}")
    return await run.call_tool(lookup, key=key)


def parse_strictly(message: str) -> Frame:
    """Parse a message. Fail on a key that comes twice, on NaN, and on integers that JavaScript cannot hold."""

    def no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len({key for key, _ in pairs}) == len(pairs), message
        return dict(pairs)

    def exact(digits: str) -> int:
        assert abs(int(digits)) < 2**53, message
        return int(digits)

    def refused(constant: str) -> None:
        raise AssertionError(constant)

    frame = json.loads(message, object_pairs_hook=no_key_twice, parse_int=exact, parse_constant=refused)
    assert isinstance(frame, dict)
    return frame


async def finished_events(one: Client, run_id: str) -> list[Frame]:
    """Wait for the end of a run and return its events."""
    await one.completed(run_id)
    return events_of_run(one.events(), run_id)


async def test_five_events_in_order() -> None:
    """A simple run with one tool call emits the five required events in order, and no other events."""
    app = server_with(simple)
    async with app.running(port=0) as server, greeted(server, token="ann") as one:
        handle = await app.sessions.get("ann", "s1")
        run_id = await handle.start("simple", "?")
        events = await finished_events(one, run_id)
        assert tuple(event_types(events)) == REQUIRED
        assert events == one.events()
        check_history(events)


async def test_fields_of_the_five_events() -> None:
    """Each of the five events of a simple run has exactly the fields of the protocol, with the correct values."""
    began = time.time()
    async with server_with(simple).running(port=0) as server, greeted(server, token="ann") as one:
        run_id = await one.start("c-1", "simple", {"q": [1, None]})
        events = await finished_events(one, run_id)
        (call_id,) = {event["call_id"] for event in events[2:4]}
        datas = [event.pop("data") for event in events]
        durations = [data.pop("duration_ms") for data in datas[3:]]
        assert datas == [
            {"agent": "simple", "input": {"q": [1, None]}, "command_id": "c-1"},
            {"text": "ann asks s1"},
            {"tool": "lookup", "arguments": {"key": {"q": [1, None]}}},
            {"tool": "lookup", "status": "ok", "result": {"found": {"q": [1, None]}}},
            {"agent": "simple", "status": "ok", "result": {"found": {"q": [1, None]}}},
        ]
        for event in events:
            assert int(began * 1000) <= event.pop("ts") <= time.time() * 1000
        ids = [
            {"run_id": run_id},
            {"run_id": run_id},
            *[{"run_id": run_id, "call_id": call_id}] * 2,
            {"run_id": run_id},
        ]
        expected = [{"seq": number + 1, "type": REQUIRED[number], **ids[number]} for number in range(5)]
        assert events == expected
        assert all(0 <= spent <= (time.time() - began) * 1000 for spent in durations)


async def test_durations(autojump_clock: trio.testing.MockClock) -> None:
    """``duration_ms`` in the end event of a tool call or a run is the time that the call or the run took."""

    async def slow(run: Run) -> None:
        await trio.sleep(2)
        await run.call_tool(trio.sleep, seconds=3)
        await trio.sleep(4)

    async with server_with(slow).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        events = await finished_events(one, await one.start("1", "slow"))
        assert [event["data"]["duration_ms"] for event in events if "duration_ms" in event["data"]] == [3_000, 9_000]


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -1, 2**53 - 1, 0.1, -1e300, "", 'a"b\\c/\n', [], {}, [[[]]], {"": {"a.b": [None]}}],
    ids=repr,
)
async def test_json_round_trips(value: object) -> None:
    """A JSON value that a client sends as input reaches the agent unchanged.

    If the agent emits or returns the value, it reaches the client unchanged again.
    """
    got: list[object] = []

    async def mirror(run: Run, value: Any) -> object:
        got.append(value)
        await run.custom("value", value)
        return value

    async with server_with(mirror).running(port=0) as server, greeted(server, token="ann") as one:
        events = await finished_events(one, await one.start("1", "mirror", value))
        seen = [events[0]["data"]["input"], events[1]["data"]["value"], events[2]["data"]["result"]]
        assert [json.dumps(each) for each in [*got, *seen]] == [json.dumps(value)] * 4


async def test_messages_are_strict_json() -> None:
    """Every message of the server is strict JSON: no repeated key, no NaN, no integer that JavaScript cannot hold."""
    async with server_with(simple).running(port=0) as server, greeted(server, token="ann") as one:
        await one.send("command", id="1", name="run.start", args={"agent": "simple", "input": {"a": 1}})
        messages = []
        while not (replies := [frame for frame in one.frames if frame["type"] == "reply"]) or not any(
            event["type"] == "agent_completed" for event in one.events()
        ):
            messages.append(await one.receive_text())
        run_id = replies[0]["result"]["run_id"]
        frames = [parse_strictly(message) for message in messages]
        assert frames == one.frames[-len(frames) :]
        assert all(parse_strictly(json.dumps(frame)) == frame for frame in frames)
        assert tuple(event_types(events_of_run(one.events(), run_id))) == REQUIRED


async def test_many_users_get_their_own_events() -> None:
    """If many users start runs at the same time, each user gets the five events of its own run and no others."""

    async def talk(name: str, one: Client) -> None:
        run_id = await one.start("1", "simple", name)
        events = await finished_events(one, run_id)
        assert events == one.events()
        assert tuple(event_types(events)) == REQUIRED
        check_history(events)
        assert events[1]["data"]["text"] == f"{name} asks s1"
        assert events[4]["data"]["result"] == {"found": name}
        finished.append(run_id)

    finished: list[str] = []
    async with server_with(simple).running(port=0) as server:
        await many_clients(server, many_users(USERS), talk)
        statistics = server.sessions.statistics()
    assert len(set(finished)) == USERS
    assert (statistics.spawned, statistics.log.events) == (USERS, 5 * USERS)


async def test_concurrent_callers_share_a_session() -> None:
    """Concurrent calls of ``app.sessions.get`` with the same user and session name return the same session."""
    app = server_with(simple)
    async with app.running(port=0) as server:

        async def start(number: int) -> None:
            handle = await app.sessions.get("ann", "s1")
            await handle.start("simple", number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(start, number)
        await wait_for_all_runs(server)
        assert server.sessions.statistics().spawned == 1
        events = await all_events(server, token="ann")
        check_history(events)
        assert sorted(event["data"]["input"] for event in events if event["type"] == "agent_started") == list(range(20))


async def test_tabs_of_a_session() -> None:
    """Every tab of a session gets the five events of a run. Other sessions and other users get none of them."""
    async with server_with(simple).running(port=0) as server:
        async with (
            greeted(server, token="ann") as first,
            greeted(server, token="ann") as second,
            greeted(server, "s2", token="ann") as elsewhere,
            greeted(server, token="bob") as other,
        ):
            run_id = await first.start("1", "simple", 1)
            assert await finished_events(first, run_id) == await finished_events(second, run_id)
            for stranger in (elsewhere, other):
                await stranger.say("mine")
                assert event_types(await stranger.events_until(1)) == ["user_message"]


async def test_emitter_without_a_tab() -> None:
    """If no tab is connected, a run still emits its five events, and a tab that connects later gets them."""
    app = server_with(simple)
    async with app.running(port=0) as server:
        handle = await app.sessions.get("ann", "s1")
        await handle.start("simple", "alone")
        await wait_for_all_runs(server)
        events = await all_events(server, token="ann")
        assert tuple(event_types(events)) == REQUIRED
        assert events[0]["data"] == {"agent": "simple", "input": "alone"}


async def test_borrowed_emitter() -> None:
    """If an agent emits through the Run object of another user's run, the events go only to that other user."""
    lent: list[Run] = []
    returned = trio.Event()

    async def lender(run: Run) -> None:
        lent.append(run)
        await returned.wait()

    async def borrower(run: Run) -> None:
        await lent[0].thinking("whose am I?")
        await lent[0].call_tool(lookup, key=run.user)
        returned.set()

    app = server_with(lender, borrower)
    async with app.running(port=0) as server, greeted(server, token="ann") as ann, greeted(server, token="bob") as bob:
        hers = await ann.start("1", "lender")
        his = await bob.start("1", "borrower")
        assert tuple(event_types(await finished_events(ann, hers))) == REQUIRED
        assert event_types(await finished_events(bob, his)) == ["agent_started", "agent_completed"]
        assert {event["run_id"] for event in ann.events()} == {hers}
        assert {event["run_id"] for event in bob.events()} == {his}


async def test_emitter_of_an_ended_run() -> None:
    """After the end of a run, every method of its ``Run`` object raises ``RunClosed`` and emits nothing."""
    kept: list[Run] = []

    async def leaves(run: Run) -> None:
        kept.append(run)

    async with server_with(leaves).running(port=0) as server, greeted(server, token="ann") as one:
        await one.completed(await one.start("1", "leaves"))
        run = kept[0]
        for emit in (run.thinking, run.output, run.custom):
            with pytest.raises(RunClosed):
                await emit("too late")
        with pytest.raises(RunClosed):
            await run.call_tool(lookup, key=1)
        with pytest.raises(RunClosed):
            await run.ask_user("too late?")
        with pytest.raises(RunClosed):
            run.signal("late", {})
        with pytest.raises(RunClosed):
            run.typing(active=True)
        with pytest.raises(RunClosed):
            async with run.subrun("late"):
                pass
        await one.say("after")
        assert event_types(await one.events_until(3)) == ["agent_started", "agent_completed", "user_message"]
        assert not any(frame["type"] == "signal" for frame in one.frames)


async def test_user_of_an_emitter() -> None:
    """A ``Run`` object has the correct id, agent, user, session and parent of its run as attributes."""
    seen: list[tuple[object, ...]] = []

    async def who(run: Run) -> None:
        seen.append((run.id, run.agent, run.user, run.session, run.parent))

    async with server_with(who).running(port=0) as server, greeted(server, "s:~.9", token="ann") as one:
        run_id = await one.start("1", "who")
        await one.completed(run_id)
    assert seen == [(run_id, "who", "ann", "s:~.9", None)]


async def test_concurrent_runs() -> None:
    """If five runs of a session emit at the same time, the events of each run stay in order."""

    async def counts(run: Run, name: str) -> None:
        for number in range(100):
            await run.output(f"{name}{number}")

    async with server_with(counts).running(port=0) as server, greeted(server, token="ann") as one:
        runs = {name: await one.start(name, "counts", name) for name in "abcde"}
        for name, run_id in runs.items():
            events = await finished_events(one, run_id)
            assert [event["data"].get("text") for event in events[1:-1]] == [f"{name}{n}" for n in range(100)]
        check_history(one.events())
