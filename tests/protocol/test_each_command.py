"""Commands: their effects, the codes of their refusals, and both sides of each limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from protocol.agents import nothing, order
from protocol.wire import greeted_in_memory
from suites.stage import check_history, events_of_run, events_of_type, server_with

if TYPE_CHECKING:
    from protocol.wire import Client

    from actors import Run


async def waits(run: Run) -> None:
    """Run for 20 seconds."""
    await trio.sleep(20)


async def asks(run: Run, timeout: float | None) -> Any:  # noqa: ASYNC109 - the question's
    """Ask; if there is no answer in time, ask again without a limit."""
    try:
        return await run.ask_user("Which one?", schema={"type": "string"}, timeout=timeout)
    except TimeoutError:
        await run.output("nobody answered")
        return await run.ask_user("And now?")


async def question(one: Client) -> dict[str, Any]:
    """Wait for a question. Return the ids of the newest one."""
    while not (asked := events_of_type(one.events(), "input_requested")):
        await one.receive("events")
    return {name: asked[-1][name] for name in ("run_id", "call_id")}


def error(reply: dict[str, Any]) -> str | None:
    """Return the code of a refusal, or None if the command was done."""
    assert reply["ok"] is ("error" not in reply)
    return None if reply["ok"] else str(reply["error"]["code"])


# Refusals

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("run.begin", {}, "unknown_command"),
    ("", {}, "unknown_command"),
    ("run.start", {}, "bad_args"),
    ("run.start", {"agent": 5}, "bad_args"),
    ("run.start", {"agent": ""}, "bad_args"),
    ("run.start", {"agent": "a" * 129}, "bad_args"),
    ("run.start", {"agent": "nobody"}, "unknown_agent"),
    ("run.start", {"agent": "nothing", "input": 1}, "bad_input"),
    ("run.start", {"agent": "order", "input": {"item": "tea"}}, "bad_input"),
    ("run.start", {"agent": "nothing", "input": "\ud800"}, "bad_args"),
    ("run.start", {"agent": "nothing", "input": 2**53}, "bad_args"),
    ("run.cancel", {}, "bad_args"),
    ("run.cancel", {"run_id": 5}, "bad_args"),
    ("run.cancel", {"command_id": 5}, "bad_args"),
    ("input.answer", {}, "bad_args"),
    ("input.answer", {"run_id": "r", "call_id": "c", "value": 1}, "unknown_run"),
    ("message.send", {}, "bad_args"),
    ("message.send", {"text": 5}, "bad_args"),
    ("message.send", {"text": "\ud800"}, "bad_args"),
    ("message.send", {"text": "x" * 200}, "bad_args"),
]


@pytest.mark.parametrize(("name", "args", "code"), REFUSED, ids=str)
async def test_refusal_has_its_code(
    name: str, args: dict[str, Any], code: str, autojump_clock: trio.testing.MockClock
) -> None:
    """If a command cannot be executed, it is refused with the error code for the reason, and no event is made."""
    app = server_with(nothing, order, max_event_bytes=200)
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        assert error(await one.command("1", name, **args)) == code
        await one.say("the connection lives")
        assert [event["type"] for event in await one.events_until(1)] == ["user_message"]


async def test_long_name_is_cut_in_the_message(autojump_clock: trio.testing.MockClock) -> None:
    """If a client sends a command with a very long name, the error message shows only the first 100 characters."""
    async with server_with(nothing).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        for length, shown in ((100, "x" * 100), (101, "x" * 100 + "…")):
            reply = await one.command(f"{length}", "x" * length)
            assert reply["error"]["message"] == f"there is no command '{shown}'"
        reply = await one.command("agent", "run.start", agent="y" * 128)
        assert reply["error"]["message"] == f"there is no agent '{'y' * 128}'"


async def test_similar_agent_is_suggested(autojump_clock: trio.testing.MockClock) -> None:
    """A start of an agent that does not exist is refused with the name of a similar agent, if there is one."""
    async with server_with(nothing).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        for agent, hint in (("nothink", "; did you mean 'nothing'?"), ("everything", "")):
            reply = await one.command(agent, "run.start", agent=agent)
            assert reply["error"]["message"] == f"there is no agent '{agent}'{hint}"


# Cancelling


@pytest.mark.parametrize("by", ["run_id", "command_id"])
async def test_cancel_ends_the_named_run(by: str, autojump_clock: trio.testing.MockClock) -> None:
    """``run.cancel`` ends the run that it names, and no other. The reply says whether there was such a run."""
    async with server_with(waits).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        runs = {id_: await one.start(id_, "waits") for id_ in ("first", "second")}
        name = {by: runs["first"] if by == "run_id" else "first"}
        assert (await one.command("c1", "run.cancel", **name))["result"] == {"cancelled": True}
        assert (await one.completed(runs["first"]))["data"]["status"] == "cancelled"
        assert (await one.command("c2", "run.cancel", **name))["result"] == {"cancelled": False}
        assert events_of_type(events_of_run(one.events(), runs["second"]), "agent_completed") == []
        assert (await one.command("c3", "run.cancel", **{by: "unknown"}))["result"] == {"cancelled": False}
        assert (await one.completed(runs["second"]))["data"]["status"] == "ok"


@pytest.mark.parametrize("when", ["running", "waiting"])
async def test_cancel_of_a_running_or_queued_start(when: str, autojump_clock: trio.testing.MockClock) -> None:
    """If a running run is cancelled, the next queued run begins. If a queued start is cancelled, it makes no event."""
    async with (
        server_with(waits, runs_per_user=1, ping_seconds=1_000).running(port=0) as server,
        greeted_in_memory(server, token="ann") as one,
    ):
        await one.start("first", "waits")
        for id_ in ("second", "third"):
            await one.send("command", id=id_, name="run.start", args={"agent": "waits"})
        target = {"running": "first", "waiting": "second"}[when]
        assert (await one.command("c", "run.cancel", command_id=target))["result"] == {"cancelled": True}
        begun = ["first", "third"] if when == "waiting" else ["first", "second", "third"]
        while len(events_of_type(one.events(), "agent_completed")) < len(begun):
            await one.receive("events")
        check_history(one.events())
        assert [event["data"]["command_id"] for event in events_of_type(one.events(), "agent_started")] == begun
        replies = {frame["id"]: error(frame) for frame in one.frames if frame["type"] == "reply"}
        assert replies["second"] == ("cancelled" if when == "waiting" else None)
        assert replies["third"] is None


# Limits


async def test_runs_of_a_user_are_limited(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a user already has ``runs_per_user`` runs, in all sessions together, a further start is queued.

    If the queue is full, the start is refused.
    """
    app = server_with(waits, runs_per_user=2, queued_runs_per_user=2)
    async with (
        app.running(port=0) as server,
        greeted_in_memory(server, "s1", token="ann") as one,
        greeted_in_memory(server, "s2", token="ann") as two,
        greeted_in_memory(server, "s1", token="bob") as bob,
    ):
        await one.start("1", "waits")
        await two.start("2", "waits")
        for client, id_ in ((one, "3"), (two, "4")):
            await client.send("command", id=id_, name="run.start", args={"agent": "waits"})
            await trio.testing.wait_all_tasks_blocked()
        runs = server.sessions.statistics().runs
        assert (runs.running, runs.queued) == (2, 2)
        assert error(await one.command("5", "run.start", agent="waits")) == "overloaded"
        assert error(await bob.command("1", "run.start", agent="waits")) is None
        await one.reply("3")
        await two.reply("4")
        assert trio.current_time() == 20
        runs = server.sessions.statistics().runs
        assert (runs.running, runs.queued) == (2, 0)


@pytest.mark.parametrize(("own", "seconds"), [(None, 9), (3, 3), (15, 15)])
async def test_late_run_ends_as_timeout(
    own: float | None, seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    """A run that takes too long ends as ``timeout``.

    The limit is the time limit of its agent, or ``run_seconds`` if the agent has none.
    """
    app = server_with(run_seconds=9)
    app.agent(name="waits", timeout=own)(waits)
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "waits"))
        assert (completed["data"]["status"], completed["data"]["duration_ms"]) == ("timeout", seconds * 1_000)
        assert completed["data"]["error"]["code"] == "timeout"


async def test_run_just_in_time_is_ok(autojump_clock: trio.testing.MockClock) -> None:
    """A run that ends just before its time limit has the status ``ok``."""
    async with (
        server_with(waits, run_seconds=20.001).running(port=0) as server,
        greeted_in_memory(server, token="ann") as one,
    ):
        assert (await one.completed(await one.start("1", "waits")))["data"]["status"] == "ok"


# Questions


@pytest.mark.parametrize("value", ["red", "", 0, False, None, [], {"a": [1]}], ids=repr)
async def test_answer_reaches_agent_and_tabs(value: object, autojump_clock: trio.testing.MockClock) -> None:
    """The agent gets the answer to its question, and an event shows to every client which connection answered."""
    async with (
        server_with(asks).running(port=0) as server,
        greeted_in_memory(server, token="ann") as one,
        greeted_in_memory(server, token="ann") as other,
    ):
        run_id = await one.start("1", "asks")
        ids = await question(other)
        assert error(await other.command("2", "input.answer", **ids, value=value)) is None
        assert (await one.completed(run_id))["data"]["result"] == value
        requested, received = events_of_type(one.events(), "input_requested", "input_received")
        assert requested["data"] == {"prompt": "Which one?", "schema": {"type": "string"}}
        assert received["data"] == {"value": value, "by": other.welcome["connection"]}
        assert received["call_id"] == requested["call_id"]
        check_history(one.events())


async def test_first_answer_counts(autojump_clock: trio.testing.MockClock) -> None:
    """The agent gets the first answer to its question.

    Later answers, answers for a wrong run or question, and answers without a value are refused.
    """
    async with server_with(asks).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("1", "asks", 5)
        ids = await question(one)
        other = await one.start("2", "asks")
        assert error(await one.command("a", "input.answer", **{**ids, "run_id": other}, value=1)) == "not_waiting"
        assert error(await one.command("b", "input.answer", **{**ids, "call_id": "x"}, value=1)) == "not_waiting"
        assert error(await one.command("c", "input.answer", **ids)) == "bad_args"
        assert error(await one.command("d", "input.answer", **ids, value="first")) is None
        assert error(await one.command("e", "input.answer", **ids, value="second")) in {"not_waiting", "unknown_run"}
        assert (await one.completed(run_id))["data"]["result"] == "first"
        assert error(await one.command("f", "input.answer", **ids, value="third")) == "unknown_run"
        assert len(events_of_type(one.events(), "input_received")) == 1


async def test_unanswered_question_is_withdrawn(autojump_clock: trio.testing.MockClock) -> None:
    """If a question gets no answer in time, a late answer is refused, and the agent can ask another question."""
    async with server_with(asks).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("1", "asks", 5)
        late = await question(one)
        while not events_of_type(one.events(), "agent_output"):
            await one.receive("events")
        assert trio.current_time() == 5
        assert error(await one.command("2", "input.answer", **late, value="late")) == "not_waiting"
        assert error(await one.command("3", "input.answer", **await question(one), value="in time")) is None
        assert (await one.completed(run_id))["data"]["result"] == "in time"


async def test_question_outlives_its_tab(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a client leaves while a question is open, the question stays open. A client that comes later can answer it."""
    async with server_with(asks, run_seconds=10_000).running(port=0) as server:
        async with greeted_in_memory(server, token="ann") as one:
            run_id = await one.start("1", "asks")
            await question(one)
        await trio.sleep(1_000)
        async with greeted_in_memory(server, token="ann") as one:
            assert error(await one.command("2", "input.answer", **await question(one), value="back")) is None
            assert (await one.completed(run_id))["data"]["result"] == "back"


# Signals


async def test_signal_is_no_event(autojump_clock: trio.testing.MockClock) -> None:
    """A signal reaches the clients that are connected.

    It is not stored, so a client that comes later does not get it.
    """

    async def signals(run: Run) -> None:
        run.signal("progress", {"percent": 50})
        await run.output("half")

    async with server_with(signals).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        await one.completed(await one.start("1", "signals"))
        if not [frame for frame in one.frames if frame["type"] == "signal"]:  # it may come before the events
            await one.receive("signal")
        sent = [frame for frame in one.frames if frame["type"] == "signal"]
        assert sent == [{"type": "signal", "name": "progress", "data": {"percent": 50}}]
        assert len(one.events()) == 3
        async with greeted_in_memory(server, token="ann") as late:
            await late.events_until(3)
            assert not [frame for frame in late.frames if frame["type"] == "signal"]
