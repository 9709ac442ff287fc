"""Are the events of sub-agents complete, however deep, however many, however they end?

The rules tested here, as a client on its socket sees them:

- G4: a child starts and completes within its parent, to a depth of 10 and with 50 at once. Each event of a child names
  its parent, so that a page can draw the tree.
- A child that fails, times out or is cancelled with its parent is closed before the parent, innermost first, with its
  own status. The parent may continue after a failure. Input reaches the child, and its result reaches the parent.
- Values of any shape arrive unchanged.
- A client that reconnects during a child gets all its events. A crash closes children before parents.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol.wire import Client, Frame, greeted, greeted_in_memory
from suites.stage import check_history, events_of_run, events_of_type, many_clients, many_users, server_with

from actors import MemoryLog, Run, RunClosed, RunFailed, StreamKey
from actors.testing import FaultyLog

DEPTH, WIDTH = 10, 50


def parents(events: list[Frame]) -> dict[str, str | None]:
    """Return the parent of each run. Check that every event of a run names its parent."""
    check_history(events)
    tree = {event["run_id"]: event.get("parent_run_id") for event in events_of_type(events, "agent_started")}
    for event in events:
        assert event.get("run_id") is None or event.get("parent_run_id") == tree[event["run_id"]]
    return tree


def statuses(events: list[Frame]) -> dict[str, str]:
    """Return the status of each run by the name of its agent, in the order in which the runs ended."""
    return {event["data"]["agent"]: event["data"]["status"] for event in events_of_type(events, "agent_completed")}


async def quick(number: int) -> int:
    """Return the number at once."""
    return number


async def dive(run: Run, left: int) -> int:
    """Call this agent again as a sub-agent, ``left`` levels deep, and emit every kind of event on each level."""
    await run.thinking(f"down {left}")
    await run.call_tool(quick, number=left)
    below = 0 if left == 0 else await run.call_agent(dive, left - 1)
    await run.custom("up", left)
    await run.output(str(left))
    return int(below) + 1


async def events_of_agent(agent: Any, input_: object = None, *more: Any) -> list[Frame]:
    """Run an agent on a real socket and return its events."""
    async with server_with(agent, *more).running(port=0) as server, greeted(server, token="ann") as one:
        await one.completed(await one.start("1", agent.__name__, input_))
        return one.events()


async def test_ten_levels() -> None:
    """If agents call sub-agents ten levels deep, each run starts and ends within its parent's run.

    Each level returns its result to the level above it.
    """
    events = await events_of_agent(dive, DEPTH)
    tree = parents(events)
    started = [event["run_id"] for event in events_of_type(events, "agent_started")]
    assert [tree[run_id] for run_id in started] == [None, *started[:-1]]
    assert [event["run_id"] for event in events_of_type(events, "agent_completed")] == started[::-1]
    assert [event["data"]["result"] for event in events_of_type(events, "agent_completed")] == list(range(1, DEPTH + 2))
    assert [event["data"]["input"] for event in events_of_type(events, "agent_started")] == list(range(DEPTH, -1, -1))


async def test_fifty_children() -> None:
    """If a run has fifty concurrent children, each child has all its events, and the parent ends last."""

    async def leaf(run: Run, number: int) -> int:
        for step in range(3):
            await run.output(f"{number}.{step}")
            await run.call_tool(quick, number=step)
        return number * number

    async def root(run: Run) -> list[int]:
        results: dict[int, int] = {}

        async def one(number: int) -> None:
            results[number] = await run.call_agent("leaf", number)

        async with trio.open_nursery() as nursery:
            for number in range(WIDTH):
                nursery.start_soon(one, number)
        return [results[number] for number in range(WIDTH)]

    events = await events_of_agent(root, None, leaf)
    tree = parents(events)
    root_id = events[0]["run_id"]
    assert sorted(map(str, tree.values())) == sorted(["None", *[root_id] * WIDTH])
    assert events[-1]["run_id"] == root_id
    assert events[-1]["data"]["result"] == [number * number for number in range(WIDTH)]
    for child in tree.keys() - {root_id}:
        own = events_of_run(events, child)
        number = own[0]["data"]["input"]
        assert [each["data"]["text"] for each in events_of_type(own, "agent_output")] == [
            f"{number}.{n}" for n in range(3)
        ]


async def test_children_in_sequence() -> None:
    """If a run calls children one after the other, each child ends before the next child begins.

    Here the result of a child is the input of the next child.
    """

    async def adds(run: Run, number: int) -> int:
        async with run.subrun("inline", number) as inline:
            await inline.call_tool(quick, number=number)
            inline.result = number
        return number + 1

    async def root(run: Run) -> object:
        number: object = 0
        for _ in range(WIDTH):
            number = await run.call_agent("adds", number)
        return number

    events = await events_of_agent(root, None, adds)
    tree = parents(events)
    assert len(tree) == 1 + 2 * WIDTH
    assert events[-1]["data"]["result"] == WIDTH
    children = [event for event in events if event.get("parent_run_id") == events[0]["run_id"]]
    assert [event["type"] for event in children] == ["agent_started", "agent_completed"] * WIDTH
    assert [event["data"]["input"] for event in children[::2]] == list(range(WIDTH))
    assert [event["data"]["result"] for event in children[1::2]] == list(range(1, WIDTH + 1))


async def test_failing_child() -> None:
    """If a child fails, its run ends with the error. The parent gets ``RunFailed`` and may continue."""

    async def fails(run: Run) -> None:
        async with run.tool("open"):
            raise LookupError("nothing there")

    async def root(run: Run) -> str:
        with pytest.raises(RunFailed) as failed:
            await run.call_agent("fails")
        assert isinstance(failed.value.__cause__, LookupError)
        return f"{failed.value.status} {failed.value.code}"

    events = await events_of_agent(root, None, fails)
    assert parents(events)
    assert statuses(events) == {"fails": "error", "root": "ok"}
    assert events[-1]["data"]["result"] == "error LookupError"
    assert events[-2]["data"]["error"] == {"code": "LookupError", "message": "nothing there"}


async def test_failure_ten_levels_down() -> None:
    """If a sub-agent ten levels down fails and nothing catches it, every level ends with its error, innermost first."""

    async def falls(run: Run, left: int) -> None:
        if left == 0:
            raise LookupError("bottom")
        async with run.subrun(f"level {left}", {"left": left}) as child:
            await falls(child, left - 1)

    events = await events_of_agent(falls, DEPTH)
    assert parents(events)
    ended = events_of_type(events, "agent_completed")
    assert [event["data"]["agent"] for event in ended] == [*(f"level {n + 1}" for n in range(DEPTH)), "falls"]
    assert {str(event["data"]["error"]) for event in ended} == {str({"code": "LookupError", "message": "bottom"})}


async def test_failing_sibling() -> None:
    """If a child fails in a nursery, its siblings are cancelled and end before their parent."""

    async def root(run: Run) -> None:
        async def waits(number: int) -> None:
            async with run.subrun(f"waits {number}") as child:
                await child.call_tool(trio.sleep_forever)

        async with trio.open_nursery() as nursery:
            for number in range(WIDTH):
                nursery.start_soon(waits, number)
            await trio.testing.wait_all_tasks_blocked()
            async with run.subrun("fails"):
                raise LookupError("no")

    events = await events_of_agent(root)
    assert parents(events)
    ended = statuses(events)
    assert (ended.pop("fails"), ended.pop("root")) == ("error", "error")
    assert list(ended.values()) == ["cancelled"] * WIDTH
    assert {event["data"]["status"] for event in events_of_type(events, "tool_completed")} == {"cancelled"}


async def waits(run: Run) -> None:
    """Call the agent ``hangs`` within a tool call."""
    async with run.tool("outer"):
        await run.call_agent(hangs)


async def hangs(run: Run) -> None:
    """Type, and call a tool that never ends."""
    run.typing(active=True)
    await run.call_tool(trio.sleep_forever)


async def test_child_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a child exceeds its time limit, it ends with the status timeout.

    The parent gets ``RunFailed`` and may continue.
    """

    async def root(run: Run) -> str:
        with pytest.raises(RunFailed) as failed:
            await run.call_agent("short")
        return failed.value.status

    app = server_with(root)
    app.agent(name="short", timeout=2)(hangs)
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await one.completed(await one.start("1", "root"))
        events = one.events()
    assert parents(events)
    assert statuses(events) == {"short": "timeout", "root": "ok"}
    assert events[-2]["data"]["duration_ms"] == 2_000
    assert events[-1]["data"]["result"] == "timeout"


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_ended_parent(autojump_clock: trio.testing.MockClock, how: str) -> None:
    """If a parent run is cancelled or times out, its child runs and tool calls end before it, the innermost first."""
    async with server_with(waits, hangs, run_seconds=20).running(port=0) as server:
        async with greeted_in_memory(server, token="ann") as one:
            run_id = await one.start("1", "waits")
            await one.events_until(4)
            if how == "cancel":
                assert (await one.command("2", "run.cancel", run_id=run_id))["result"] == {"cancelled": True}
            await one.completed(run_id)
            events = one.events()
            assert parents(events)
            ended = events_of_type(events, "tool_completed", "agent_completed")
            labels = [event["data"].get("tool") or event["data"]["agent"] for event in ended]
            assert labels == ["sleep_forever", "hangs", "outer", "waits"]
            assert [event["data"]["status"] for event in ended[:3]] == ["cancelled"] * 3
            assert ended[3]["data"]["status"] == ("cancelled" if how == "cancel" else "timeout")
            while len(signals := [frame["data"]["active"] for frame in one.frames if frame["type"] == "signal"]) < 2:
                await one.receive("signal")
            assert signals == [True, False]


async def test_cancelled_child() -> None:
    """A client can cancel a child run by the child's run id. The parent run continues."""

    async def root(run: Run) -> str:
        with pytest.raises(RunFailed) as failed:
            await run.call_agent("hangs")
        await run.output("on it goes")
        return failed.value.status

    async with server_with(root, hangs).running(port=0) as server, greeted(server, token="ann") as one:
        run_id = await one.start("1", "root")
        child = (await one.events_until(3))[1]["run_id"]
        assert (await one.command("2", "run.cancel", run_id=child))["result"] == {"cancelled": True}
        assert (await one.completed(run_id))["data"]["result"] == "cancelled"
        assert statuses(one.events()) == {"hangs": "cancelled", "root": "ok"}
        assert parents(one.events())
        assert (await one.command("3", "run.cancel", run_id=child))["result"] == {"cancelled": False}


async def test_child_left_open() -> None:
    """If a parent returns while a child run is still open, the child is closed first, then the parent.

    After that the child can emit nothing.
    """
    left: list[Any] = []

    async def root(run: Run) -> str:
        scope = run.subrun("left open")
        child = await scope.__aenter__()
        call = child.tool("left open too")
        await call.__aenter__()
        left.extend([scope, child, call])
        return "done"

    async with server_with(root).running(port=0) as server, greeted(server, token="ann") as one:
        await one.completed(await one.start("1", "root"))
        assert parents(one.events())
        assert statuses(one.events()) == {"left open": "cancelled", "root": "ok"}
        with pytest.raises(RunClosed):
            await left[1].output("late")
        with pytest.raises(RunClosed):
            async with left[1].subrun("later"):
                pass
        await one.say("after")
        assert (await one.events_until(7))[-1]["type"] == "user_message"


async def test_child_is_entered_once() -> None:
    """A child run (``run.subrun``) can be entered only once: a second ``async with`` raises ``RunClosed``."""

    async def root(run: Run) -> None:
        scope = run.subrun("twice")
        async with scope:
            pass
        with pytest.raises(RunClosed):
            async with scope:
                pass

    events = await events_of_agent(root)
    assert parents(events)
    assert statuses(events) == {"twice": "ok", "root": "ok"}


async def test_bad_child() -> None:
    """Calling an unknown agent, or an agent with wrong input, raises an exception and emits no event."""

    async def typed(run: Run, number: int) -> int:
        return number

    async def root(run: Run) -> list[str]:
        codes = []
        for agent, value in (("nobody", 1), ("typed", "one"), ("typed", None)):
            try:
                await run.call_agent(agent, value)
            except Exception as error:  # noqa: BLE001 - the result shows which one
                codes.append(str(getattr(error, "code", error)))
        return codes

    events = await events_of_agent(root, None, typed)
    assert events[-1]["data"]["result"] == ["unknown_agent", "bad_input", "bad_input"]
    assert [event["type"] for event in events] == ["agent_started", "agent_completed"]


_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(state=_json)
@settings(max_examples=scaled(25, 300))
def test_states_round_trip(state: object) -> None:
    """A JSON value of any shape is unchanged after it was the input and the result of a child run."""

    async def middle(run: Run, value: Any) -> Any:
        return await run.call_agent("leaf", value)

    async def leaf(run: Run, value: Any) -> Any:
        await run.custom("state", value)
        return value

    async def main() -> None:
        async with server_with(middle, leaf).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
            # A command carries the state, so its size must be within the limit of a command.
            await one.completed(await one.start("1", "middle", state))
            seen = [
                event["data"][name]
                for event in one.events()
                for name in ("input", "value", "result")
                if name in event["data"]
            ]
            assert seen == [state] * 5

    trio.run(main)


async def test_rejoin_during_a_child() -> None:
    """A client that disconnects while child runs are open, and resumes, gets each missed event once."""
    go_on = trio.Event()

    async def child(run: Run) -> None:
        await run.output("before")
        async with run.tool("over the gap") as call:
            await go_on.wait()
            call.result = "crossed"
        await run.output("after")

    async def root(run: Run) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(partial(run.call_agent, "child"))

    async with server_with(root, child).running(port=0) as server:
        async with greeted(server, token="ann") as one:
            run_id = await one.start("1", "root")
            before = list(await one.events_until(10))
        go_on.set()
        position = {"epoch": one.welcome["epoch"], "seq": before[-1]["seq"]}
        async with greeted(server, token="ann", resume=position) as one:
            assert one.welcome["recovered"]
            await one.completed(run_id)
            after = one.events()
        events = before + after
        tree = parents(events)
        assert len(tree) == 4
        assert [event["data"]["result"] for event in events_of_type(after, "tool_completed")] == ["crossed"] * 3
        async with greeted(server, token="ann") as one:
            assert await one.events_until(events[-1]["seq"]) == events


async def test_welcome_during_a_child() -> None:
    """The welcome of a new client lists every open run, including children."""
    async with server_with(waits, hangs).running(port=0) as server, greeted(server, token="ann") as one:
        await one.start("1", "waits")
        started = events_of_type(await one.events_until(4), "agent_started")
        async with greeted(server, token="ann") as late:
            assert late.welcome["runs"] == [
                {"run_id": event["run_id"], "agent": event["data"]["agent"], "started": event["ts"]}
                for event in started
            ]


@pytest.mark.parametrize("how", ["killed", "the log fails"])
async def test_crash_with_children(how: str) -> None:
    """After a session crashes, open child runs are closed as interrupted before their parents.

    Each closing event of a child still names its parent run.
    """
    log = FaultyLog(MemoryLog())
    async with server_with(waits, hangs, log=log).running(port=0) as server:
        async with greeted(server, token="ann") as one:
            run_id = await one.start("1", "waits")
            before = list(await one.events_until(4))
            if how == "killed":  # the session closes its runs before it ends
                (await server.sessions.get_or_spawn(StreamKey("ann", "s1"))).kill()
            else:  # nothing can be written: the restarted session closes the runs
                log.fail("append")
                await one.send("command", id="2", name="message.send", args={"text": "lost"})
            assert (await one.ended()).code == 4006
        async with greeted(server, token="ann") as one:
            await one.completed(run_id)
            events = one.events()
        assert events[:4] == before
        assert parents(events)
        ended = events[4:]
        labels = [event["data"].get("tool") or event["data"]["agent"] for event in ended]
        assert labels == ["sleep_forever", "hangs", "outer", "waits"]
        assert {event["data"]["status"] for event in ended} == {"interrupted"}


async def test_trees_of_many_users() -> None:
    """If many users start runs with sub-agents at the same time, each user gets only the events of its own runs."""

    async def talk(name: str, one: Client) -> None:
        await one.completed(await one.start("1", "dive", 5))
        assert len(parents(one.events())) == 6

    async with server_with(dive).running(port=0) as server:
        await many_clients(server, many_users(scaled(20, 400)), talk)
