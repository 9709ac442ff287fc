"""Does every tool call emit exactly one pair of events, in every outcome?

The rules tested here, as a client on its socket sees them:

- Every call has one tool_executing and one tool_completed with its call_id, before its run completes. This holds for
  a return, each family of exceptions, a timeout, a cancellation, a tool that ignores either, a crash of the session
  and a kill of the process.
- The status tells the outcome. The agent gets what its tool returned or raised.
- Arguments and results are serialised at the moment of the call and of its end, and secrets in arguments are redacted.
  A value that is not JSON is refused at the line of the call, and no half pair is left.
- Concurrent calls of one tool have different ids, also a thousand of them.

Repeated calls are in ``test_tool_retries.py``.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from _scale import scaled
from browser.serving import ServerProcess
from protocol.wire import Client, greeted, greeted_in_memory
from suites import player
from suites.stage import (
    SurvivingLog,
    call_pairs,
    events_of_type,
    many_clients,
    many_users,
    outcome_of_call,
    remote_client,
    server_with,
)

from actors import MemoryLog, Run, StreamKey, ToolTimeout, UnserialisableEvent
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOOLS = scaled(300, 1_000)
FOREVER = 1e6


async def run_one_call(one: Client, agent: str, input_: object = None) -> dict[str, Any]:
    """Run an agent that makes one call. Return the outcome of the call."""
    await one.completed(await one.start("1", agent, input_))
    return outcome_of_call(one.events())


class Odd(BaseException):
    """An exception class that derives from ``BaseException`` directly, not from ``Exception``."""


class Mute(Exception):
    """An exception with a text that cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


FAILURES: list[tuple[BaseException, str, str]] = [
    (ValueError("no"), "ValueError", "no"),
    (OSError(5, "I/O error"), "OSError", "[Errno 5] I/O error"),
    (KeyError("k"), "KeyError", "'k'"),
    (TimeoutError("the tool's own"), "TimeoutError", "the tool's own"),
    (trio.TooSlowError(), "TooSlowError", ""),
    (asyncio.CancelledError("another loop's"), "CancelledError", "another loop's"),
    (StopIteration(1), "RuntimeError", "coroutine raised StopIteration"),
    (StopAsyncIteration("2"), "StopAsyncIteration", "2"),
    (RecursionError("deep"), "RecursionError", "deep"),
    (MemoryError(), "MemoryError", ""),
    (SystemExit(3), "SystemExit", "3"),
    (GeneratorExit("g"), "GeneratorExit", "g"),
    (Odd("odd"), "Odd", "odd"),
    (Mute(), "Mute", ""),
    (ValueError("\ud800 \0 \u2028"), "ValueError", "? \0 \u2028"),
    (ExceptionGroup("one", [ExceptionGroup("in one", [LookupError("leaf")])]), "LookupError", "leaf"),
    (
        ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
        "ExceptionGroup",
        "two (2 sub-exceptions); ValueError: a; KeyError: 'b'",
    ),
]


@pytest.mark.parametrize(("error", "code", "message"), FAILURES, ids=lambda value: type(value).__name__)
async def test_tool_that_raises(error: BaseException, code: str, message: str) -> None:
    """If a tool raises an exception, its call ends with the status error.

    The agent gets the exception and can continue.
    """
    caught: list[BaseException] = []

    async def raises() -> None:
        raise error

    async def agent(run: Run) -> str:
        try:
            await run.call_tool(raises)
        except BaseException as got:  # noqa: BLE001 - whatever it is
            caught.append(got)
        return "went on"

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        ended = await run_one_call(one, "agent")
        assert ended == {"status": "error", "error": {"code": code, "message": message}}
        assert caught == [error] or isinstance(caught[0], RuntimeError)
        assert one.events()[-1]["data"]["result"] == "went on"


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), Odd("odd"), GeneratorExit()], ids=repr)
async def test_uncaught_exception(error: BaseException) -> None:
    """An exception that an agent does not catch ends only this agent's run. First its open calls get an end event."""

    async def raises() -> None:
        raise error

    async def fails(run: Run) -> None:
        async with run.tool("outer"):
            await run.call_tool(raises)

    async def lives(run: Run) -> object:
        await run.call_tool(trio.sleep, seconds=0.01)
        return await run.ask_user("still there?")

    async with (
        server_with(fails, lives).running(port=0) as server,
        greeted(server, token="ann") as ann,
        greeted(server, token="bob") as bob,
    ):
        waits = await bob.start("1", "lives")
        ended = await ann.completed(await ann.start("1", "fails"))
        assert ended["data"]["status"] == "error"
        assert ended["data"]["error"]["code"] == type(error).__name__
        assert [completed["data"]["status"] for _, completed in call_pairs(ann.events()).values()] == ["error", "error"]
        while not (asked := events_of_type(bob.events(), "input_requested")):
            await bob.receive("events")
        assert (await bob.command("2", "input.answer", run_id=waits, call_id=asked[0]["call_id"], value="yes"))["ok"]
        assert (await bob.completed(waits))["data"]["result"] == "yes"
        await ann.say("and the session lives")


async def test_tool_timeout(autojump_clock: trio.testing.MockClock) -> None:
    """A tool call that exceeds its timeout ends with the status timeout. The agent gets ``ToolTimeout``."""

    async def agent(run: Run) -> str:
        with pytest.raises(ToolTimeout):
            await run.call_tool(trio.sleep, timeout=3, seconds=FOREVER)
        return "went on"

    async with server_with(agent).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        ended = await run_one_call(one, "agent")
        assert (ended["status"], ended["error"]["code"]) == ("timeout", "timeout")
        completed = events_of_type(one.events(), "tool_completed")[0]
        assert completed["data"]["duration_ms"] == 3_000
        assert one.events()[-1]["data"]["status"] == "ok"


@pytest.mark.parametrize("how", ["cancel", "run timeout", "shutdown"])
async def test_calls_of_an_ended_run(autojump_clock: trio.testing.MockClock, how: str) -> None:
    """If a run is cancelled, times out or is shut down, its open tool calls end as cancelled first, innermost first."""

    async def agent(run: Run) -> None:
        async with run.tool("outer"):
            await run.call_tool(trio.sleep, seconds=FOREVER)

    app = server_with(agent, log=SurvivingLog(), run_seconds=9)
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("1", "agent")
        if how == "cancel":
            await one.command("2", "run.cancel", run_id=run_id)
        if how != "shutdown":
            await one.completed(run_id)
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        events = await one.events_until(one.welcome["latest"])
        assert [completed["data"]["status"] for _, completed in call_pairs(events).values()] == ["cancelled"] * 2
        assert [event["data"].get("tool") for event in events[-3:]] == ["sleep", "outer", None]
        assert events[-1]["data"]["status"] == ("timeout" if how == "run timeout" else "cancelled")


async def stubborn() -> str:
    """Ignore a cancellation for 20 seconds, then return."""
    with trio.CancelScope(shield=True):
        await trio.sleep(20)
    return "finished"


async def deaf() -> None:
    """Ignore every cancellation and never end."""
    while True:
        with trio.CancelScope(shield=True):
            await trio.sleep(FOREVER)


async def test_tool_that_ignores_cancellation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a tool ignores the cancellation of its run, the call ends when the tool ends.

    Then the run ends as cancelled.
    """

    async def agent(run: Run) -> None:
        await run.call_tool(stubborn)
        await run.thinking("after it")
        await trio.sleep(FOREVER)

    async with server_with(agent).running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("1", "agent")
        assert (await one.command("2", "run.cancel", run_id=run_id))["result"] == {"cancelled": True}
        completed = await one.completed(run_id)
        assert completed["data"]["status"] == "cancelled"
        assert completed["data"]["duration_ms"] == 20_000
        assert outcome_of_call(one.events()) == {"status": "ok", "result": "finished"}


async def test_tool_that_cannot_be_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A tool that never ends does not prevent the end of its server. Its call still gets an end event (cancelled)."""

    async def agent(run: Run) -> None:
        await run.call_tool(deaf)

    app = server_with(agent, log=SurvivingLog(), drain_seconds=5)
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        run_id = await one.start("1", "agent")
        assert (await one.command("2", "run.cancel", run_id=run_id))["ok"]
    assert trio.current_time() < 1_000
    async with app.running(port=0) as server, greeted_in_memory(server, token="ann") as one:
        events = await one.events_until(one.welcome["latest"])
        assert outcome_of_call(events)["status"] == "cancelled"
        assert events[-1]["data"]["status"] == "cancelled"


async def test_late_result_of_a_thread() -> None:
    """If a sync tool times out, its thread continues, since a thread cannot be stopped. Its late result is dropped."""
    released, ended = threading.Event(), threading.Event()

    def blocks() -> str:
        released.wait(30)
        ended.set()
        return "late"

    async def agent(run: Run) -> str:
        with pytest.raises(ToolTimeout):
            await run.call_tool(blocks, timeout=0.2)
        return "went on"

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        assert (await run_one_call(one, "agent"))["status"] == "timeout"
        released.set()
        assert await trio.to_thread.run_sync(ended.wait, 30)
        await one.say("after")
        assert len(events_of_type(await one.events_until(5), "tool_completed")) == 1
        assert "late" not in str(one.events())


async def test_kinds_of_tools() -> None:
    """A tool can be any callable, sync or async. The events of its calls contain the name of the callable."""

    class Adder:
        async def __call__(self, x: int) -> int:
            return x + 1

    class Tools:
        def method(self, x: int) -> int:
            return x + 1

        @staticmethod
        async def static(x: int) -> int:
            return x + 1

    async def plain(x: int) -> int:
        return x + 1

    tools: list[Callable[..., object]] = [
        plain,
        partial(plain),
        Adder(),
        Tools().method,
        Tools.static,
        lambda x: x + 1,
        lambda *, x: plain(x),  # not async itself, but it returns an awaitable
    ]

    async def agent(run: Run) -> list[int]:
        return [await run.call_tool(tool, x=number) for number, tool in enumerate(tools)]

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "agent"))
        assert completed["data"]["result"] == list(range(1, len(tools) + 1))
        expected = ["plain", "plain", "Adder", "method", "static", "<lambda>", "<lambda>"]
        calls = call_pairs(one.events()).values()
        assert [executing["data"]["tool"] for executing, _ in calls] == expected
        assert [each["data"]["result"] for _, each in calls] == completed["data"]["result"]


async def test_values_are_copied() -> None:
    """A tool call's arguments are serialised when the call begins, and its result when the call ends.

    If these objects are changed later, the events do not change.
    """

    @attrs.define
    class Query:
        text: str
        limits: list[int]
        api_key: str = "sesame"

    async def changes(query: Query, seen: list[int]) -> Query:
        query.limits.append(99)
        seen.append(99)
        return query

    async def agent(run: Run) -> None:
        query = Query("q", [1])
        result = await run.call_tool(changes, query=query, seen=[])
        assert result is query
        query.text = "later"
        await run.thinking("after")

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        await one.completed(await one.start("1", "agent"))
        ((executing, completed),) = call_pairs(one.events()).values()
        arguments = {"query": {"text": "q", "limits": [1], "api_key": "[redacted]"}, "seen": []}
        assert executing["data"]["arguments"] == arguments
        assert completed["data"]["result"] == {"text": "q", "limits": [1, 99], "api_key": "sesame"}


def cyclic_list() -> list[object]:
    """Return a list that contains itself."""
    loop: list[object] = []
    loop.append(loop)
    return loop


def nested_list(depth: int) -> list[object]:
    """Return a list with a number of levels."""
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


UNSENDABLE: list[tuple[str, Callable[[], object]]] = [
    ("bytes", lambda: b"x"),
    ("NaN", lambda: float("nan")),
    ("infinity", lambda: [{"x": float("-inf")}]),
    ("cycle", cyclic_list),
    ("depth", lambda: nested_list(100_000)),
    ("set", lambda: {1}),
    ("object", object),
    ("surrogate", lambda: "\ud800"),
    ("key", lambda: {1: 2}),
    ("size", lambda: "x" * (1024 * 1024 + 1)),
]


@pytest.mark.parametrize(("name", "make"), UNSENDABLE, ids=[name for name, _ in UNSENDABLE])
async def test_arguments_that_are_not_json(name: str, make: Callable[[], object]) -> None:
    """If the arguments of a tool call have no JSON form, the call raises: no tool is called, no event is emitted."""
    called: list[object] = []

    async def agent(run: Run) -> None:
        with pytest.raises(UnserialisableEvent):
            await run.call_tool(called.append, value=make())
        with pytest.raises(UnserialisableEvent):
            async with run.tool("by hand", {"value": make()}):
                called.append("entered")

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "agent"))
        assert completed["data"]["status"] == "ok", completed
        assert call_pairs(one.events()) == {}
        assert called == []


@pytest.mark.parametrize(("name", "make"), UNSENDABLE, ids=[name for name, _ in UNSENDABLE])
async def test_result_that_is_not_json(name: str, make: Callable[[], object]) -> None:
    """If the result of a tool has no JSON form, the call ends with the status error, and raises in the agent."""

    async def returns() -> object:
        return make()

    async def agent(run: Run) -> None:
        with pytest.raises(UnserialisableEvent):
            await run.call_tool(returns)
        with pytest.raises(UnserialisableEvent):
            async with run.tool("by hand") as call:
                call.result = make()

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "agent"))
        assert completed["data"]["status"] == "ok", completed
        errors = [each["data"]["error"]["code"] for _, each in call_pairs(one.events()).values()]
        assert errors == ["UnserialisableEvent"] * 2


async def test_call_is_entered_once() -> None:
    """A tool call (``run.tool``) can be entered only once: a second ``async with`` raises ``RuntimeError``."""

    async def agent(run: Run) -> None:
        call = run.tool("twice")
        async with call:
            with pytest.raises(RuntimeError):
                await call.__aenter__()
        with pytest.raises(RuntimeError):
            async with call:
                pass

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        completed = await one.completed(await one.start("1", "agent"))
        assert completed["data"]["status"] == "ok", completed
        assert len(call_pairs(one.events())) == 1


async def test_concurrent_calls_of_one_tool() -> None:
    """If one tool is called twice at the same time, the two calls have different ids, each with its own result."""
    both_in, turns = trio.Event(), {"first": trio.Event(), "second": trio.Event()}

    async def tool(name: str) -> str:
        await turns[name].wait()
        return name

    async def agent(run: Run) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(run.call_tool, tool, name="first"))
            nursery.start_soon(partial(run.call_tool, tool, name="second"))
            await both_in.wait()
            turns["second"].set()
            await trio.testing.wait_all_tasks_blocked()
            turns["first"].set()

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        run_id = await one.start("1", "agent")
        while len(events_of_type(one.events(), "tool_executing")) < 2:
            await one.receive("events")
        both_in.set()
        await one.completed(run_id)
        calls = call_pairs(one.events()).values()
        assert all(opened["data"]["arguments"]["name"] == closed["data"]["result"] for opened, closed in calls)
        results = [event["data"]["result"] for event in events_of_type(one.events(), "tool_completed")]
        assert results == ["second", "first"]


async def test_a_thousand_calls() -> None:
    """Each of a thousand concurrent tool calls (300 in a short run) has its start event, end event and result."""

    async def tool(number: int) -> int:
        if number % 5 == 4:
            raise LookupError(number)
        if number % 5 == 3:
            await trio.sleep_forever()
        await trio.sleep(number % 7 / 1000)
        return number

    async def call(run: Run, number: int) -> None:
        with suppress(LookupError, ToolTimeout):
            await run.call_tool(tool, timeout=0.2 if number % 5 == 3 else None, number=number)

    async def agent(run: Run) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(TOOLS):
                nursery.start_soon(call, run, number)

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        await one.completed(await one.start("1", "agent"))
        calls = call_pairs(one.events())
        assert len(calls) == TOOLS
        for executing, completed in calls.values():
            number = executing["data"]["arguments"]["number"]
            status = {3: "timeout", 4: "error"}.get(number % 5, "ok")
            assert completed["data"]["status"] == status
            assert completed["data"].get("result") == (number if status == "ok" else None)


async def test_a_thousand_cancelled_calls() -> None:
    """If a run with a thousand open tool calls (300 in a short run) is cancelled, each call gets its end event."""

    async def agent(run: Run) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(TOOLS):
                nursery.start_soon(partial(run.call_tool, trio.sleep_forever))

    async with server_with(agent).running(port=0) as server, greeted(server, token="ann") as one:
        run_id = await one.start("1", "agent")
        await one.events_until(TOOLS + 1)
        await one.command("2", "run.cancel", run_id=run_id)
        assert (await one.completed(run_id))["data"]["status"] == "cancelled"
        calls = call_pairs(one.events())
        assert {completed["data"]["status"] for _, completed in calls.values()} == {"cancelled"}
        assert len(calls) == TOOLS


async def test_tools_of_many_users() -> None:
    """If many users call tools at the same time, each user gets only the results of its own calls."""

    async def tool(owner: str, number: int) -> str:
        await trio.lowlevel.checkpoint()
        return f"{owner}/{number}"

    async def agent(run: Run) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(partial(run.call_tool, tool, owner=run.user, number=number))

    async def talk(name: str, one: Client) -> None:
        await one.completed(await one.start("1", "agent"))
        results = sorted(completed["data"]["result"] for _, completed in call_pairs(one.events()).values())
        assert results == [f"{name}/{number}" for number in range(5)]

    async with server_with(agent).running(port=0) as server:
        await many_clients(server, many_users(scaled(25, 500)), talk)


async def test_calls_of_a_crashed_session() -> None:
    """If a session crashes during tool calls, the restarted session closes the open calls as interrupted."""

    async def agent(run: Run) -> None:
        async with run.tool("outer"):
            await run.call_tool(trio.sleep_forever)

    async with server_with(agent).running(port=0) as server:
        async with greeted(server, token="ann") as one:
            run_id = await one.start("1", "agent")
            before = await one.events_until(3)
            (await server.sessions.get_or_spawn(StreamKey("ann", "s1"))).kill()
            assert (await one.ended()).code == 4006
        async with greeted(server, token="ann") as one:
            await one.completed(run_id)
            events = one.events()
        assert events[: len(before)] == before
        assert [completed["data"]["status"] for _, completed in call_pairs(events).values()] == ["interrupted"] * 2
        assert [event["data"].get("tool") for event in events[-3:]] == ["sleep_forever", "outer", None]


@pytest.mark.parametrize("append", [1, 2, 3, 4])
async def test_log_that_fails_during_a_call(append: int) -> None:
    """If the log fails during a tool call, the call never keeps only one of its two events (start and end)."""

    async def agent(run: Run) -> None:
        for number in range(3):
            await run.call_tool(lookup, number=number)
            await trio.testing.wait_all_tasks_blocked()

    async def lookup(number: int) -> int:
        await trio.testing.wait_all_tasks_blocked()
        return number

    log = FaultyLog(MemoryLog())
    async with server_with(agent, log=log).running(port=0) as server:
        async with greeted(server, token="ann") as one:
            for _ in range(append - 1):
                log.hold("append").released.set()
            log.fail("append")
            await one.send("command", id="1", name="run.start", args={"agent": "agent"})
            assert (await one.ended()).code == 4006
            before = one.events()
        async with greeted(server, token="ann") as one:
            await one.say("after")
            while not events_of_type(one.events(), "user_message"):
                await one.receive("events")
            events = one.events()
        assert events[: len(before)] == before
        statuses = [completed["data"]["status"] for _, completed in call_pairs(events).values()]
        assert set(statuses[:-1]) <= {"ok"}
        assert events_of_type(events, "agent_completed")[-1:] == events[-2:-1] or append == 1


async def test_calls_of_a_killed_process(tmp_path: Path) -> None:
    """After the server process was killed and started again, every open tool call is closed once, as interrupted."""
    process = ServerProcess(tmp_path, "serve", "player:app", apps=player.HERE)
    try:
        async with remote_client(process.ws_url) as one:
            run_id = await one.start("1", "hangs", 20)
            done = await one.start("2", "finishes", 3)
            await one.completed(done)
            while len(events_of_type(one.events(), "tool_executing")) < 23:
                await one.receive("events")
            process.kill()
            before = one.events()
        process.start()
        position = {"epoch": one.welcome["epoch"], "seq": before[-1]["seq"]}
        async with remote_client(process.ws_url, resume=position) as one:
            assert one.welcome["recovered"]
            await one.completed(run_id)
            events = before + one.events()
            calls = call_pairs(events)
            assert len(calls) == 23
            ends = [closed["data"]["status"] for opened, closed in calls.values() if opened["run_id"] == run_id]
            assert ends == ["interrupted"] * 20
            last = events[-1]
            assert (last["type"], last["run_id"], last["data"]["status"]) == ("agent_completed", run_id, "interrupted")
            assert (await one.command("1", "run.start", agent="hangs", input=20))["result"] == {"run_id": run_id}
            assert (await one.completed(await one.start("3", "finishes", 1)))["data"]["status"] == "ok"
    finally:
        process.stop()
