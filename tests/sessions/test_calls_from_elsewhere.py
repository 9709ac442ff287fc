"""A call into a run or session works in its event loop and in the threads of this loop. Elsewhere it changes nothing.

These tests use the real clock, since a virtual clock does not wait for threads. No test depends on a duration.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from sessions._one_run import ends, events_of

from actors import Agents, MemoryLog, Run, RunClosed, Sessions, SupervisorSpec, open_system

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import SessionHandle


def drive(awaitable: Any) -> None:
    """Run a coroutine without a loop, up to its first wait."""
    try:
        awaitable.send(None)
    finally:
        awaitable.close()


async def enter(manager: Any) -> None:
    async with manager:
        pass


async def awaited(make: Callable[[], Awaitable[object]]) -> object:
    return await make()


def set_usage(run: Run) -> None:
    run.usage = {"tokens": 1}


SYNC: dict[str, Callable[[Run], object]] = {
    "signal": lambda run: run.signal("progress", 1),
    "typing": lambda run: run.typing(active=True),
    "usage": set_usage,
    "cancelled": lambda run: run.cancelled,
    "stop": lambda run: run.stop(),
    "tool": lambda run: run.tool("t"),
    "subrun": lambda run: run.subrun("s"),
}

ASYNC: dict[str, Callable[[Run], Awaitable[object]]] = {
    "thinking": lambda run: run.thinking("t"),
    "output": lambda run: run.output("o"),
    "custom": lambda run: run.custom("c"),
    "call_tool": lambda run: awaited(lambda: run.call_tool(trio.lowlevel.checkpoint)),
    "tool": lambda run: awaited(lambda: enter(run.tool("t"))),
    "subrun": lambda run: awaited(lambda: enter(run.subrun("s"))),
    "call_agent": lambda run: run.call_agent("fine"),
    "ask_user": lambda run: run.ask_user("well?", timeout=0),
}


def in_a_thread(function: Callable[[], object]) -> object:
    """Call the function in a thread that trio did not start. Return the exception it raised, or "nothing"."""
    raised: list[object] = ["nothing"]

    def call() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - returned
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return raised[-1]


ELSEWHERE: dict[str, Callable[[Callable[[], Awaitable[object]]], object]] = {
    "by hand": lambda call: in_a_thread(lambda: drive(call())),
    "asyncio": lambda call: in_a_thread(lambda: asyncio.run(awaited(call))),
    "trio": lambda call: in_a_thread(lambda: trio.run(call)),
}


@pytest.mark.parametrize("name", [name for name in SYNC if name not in ("tool", "subrun")])
async def test_sync_call_in_a_tool_thread(name: str) -> None:
    """A sync tool can call the non-async methods of its run directly from its thread."""

    async def agent(run: Run) -> None:
        with run.shield():  # stop() is among the calls
            await run.call_tool(partial(SYNC[name], run))

    events = await events_of(agent)
    assert ends(events, "tool_completed") == [("ok", None)]
    assert len(ends(events)) == 2


@pytest.mark.parametrize("name", ASYNC)
async def test_async_call_in_a_tool_thread(name: str) -> None:
    """A sync tool can call the async methods of its run through ``trio.from_thread.run``."""

    async def agent(run: Run) -> str:
        def tool() -> str:
            try:
                trio.from_thread.run(ASYNC[name], run)
            except TimeoutError:  # the user's answer
                return "late"
            return "done"

        return str(await run.call_tool(tool))

    events = await events_of(agent)
    assert ends(events, "agent_completed")[-2:] == [("ok", None)] * 2
    assert ends(events, "tool_completed")[-1] == ("ok", None)


@pytest.mark.parametrize("place", ["thread", *ELSEWHERE])
@pytest.mark.parametrize("name", SYNC)
async def test_sync_call_from_elsewhere(name: str, place: str) -> None:
    """A method of a run that is called from an unrelated thread or event loop raises RuntimeError and does nothing.

    The error says how to call the method correctly.
    """
    raised: list[object] = []

    async def agent(run: Run) -> None:
        async def call() -> None:
            SYNC[name](run)

        raised.append(in_a_thread(lambda: SYNC[name](run)) if place == "thread" else ELSEWHERE[place](call))
        assert run.usage is None
        assert not run.cancelled

    events = await events_of(agent)
    assert isinstance(raised[0], RuntimeError)
    assert "trio.from_thread.run" in str(raised[0])
    assert [event["type"] for event in events[:2]] == ["agent_started", "agent_completed"]
    assert ends(events) == [("ok", None)] * 2


@pytest.mark.parametrize("place", ELSEWHERE)
@pytest.mark.parametrize("name", ASYNC)
async def test_async_call_from_elsewhere(name: str, place: str) -> None:
    """If an async method of a run is awaited in another event loop, or in none, it raises RuntimeError.

    No event is emitted.
    """
    raised: list[object] = []

    async def agent(run: Run) -> None:
        raised.append(ELSEWHERE[place](lambda: ASYNC[name](run)))

    events = await events_of(agent)
    assert isinstance(raised[0], RuntimeError)
    assert "trio.from_thread.run" in str(raised[0])
    assert [event["type"] for event in events[:2]] == ["agent_started", "agent_completed"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_call_from_a_loop_of_a_tool() -> None:
    """If a sync tool runs its own event loop in its thread, emitting an event from this loop raises RuntimeError."""

    async def agent(run: Run) -> list[str]:
        def tool(run_loop: Callable[..., object]) -> str:
            try:
                run_loop()
            except RuntimeError as error:
                return str(error)
            return "emitted"

        loops: list[Callable[[], object]] = [partial(trio.run, run.output, "o"), lambda: asyncio.run(run.output("o"))]
        return [await run.call_tool(partial(tool, loop)) for loop in loops]

    events = await events_of(agent)
    ended = next(event for event in events if event["type"] == "agent_completed")
    assert all("outside of the trio loop" in text for text in ended["data"]["result"])
    assert sum(event["type"] == "agent_output" for event in events) == 1  # the one of the second agent


HANDLE: dict[str, Callable[[Sessions, SessionHandle], Awaitable[object]]] = {
    "start": lambda _, handle: handle.start("fine"),
    "cancel": lambda _, handle: handle.cancel("r-1"),
    "emit": lambda _, handle: handle.emit("c"),
    "close": lambda _, handle: handle.close(),
    "lease": lambda _, handle: awaited(lambda: enter(handle.lease())),
    "get": lambda sessions, _: sessions.get("alice", "another"),
    "revoke": lambda sessions, _: sessions.revoke(user="alice"),
}


@pytest.mark.parametrize("place", ELSEWHERE)
async def test_handle_in_another_loop(place: str) -> None:
    """A handle on a session can be used only in the event loop of the session. Elsewhere its methods raise.

    Only ``statistics()`` also works in threads that this event loop started.
    """

    async def fine(_: Run) -> None: ...

    agents = Agents()
    agents.add(fine)
    sessions = Sessions(MemoryLog(), agents)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get("alice", "s1")
        before = handle.statistics(), sessions.statistics()
        for call in HANDLE.values():
            raised = ELSEWHERE[place](partial(call, sessions, handle))
            assert isinstance(raised, RuntimeError)
            assert "trio.from_thread.run" in str(raised)
        assert isinstance(in_a_thread(handle.statistics), RuntimeError)
        assert (handle.statistics(), sessions.statistics()) == before
        assert await trio.to_thread.run_sync(handle.statistics) == before[0]
        await trio.to_thread.run_sync(lambda: trio.from_thread.run(handle.emit, "c"))


@pytest.mark.parametrize("name", ["call_tool", "ask_user"])
async def test_calls_of_a_tool_thread_end_with_the_run(name: str) -> None:
    """If a run ends while its sync tool waits, through trio, for an async call of the run, this call is cancelled."""
    waits, told = trio.Event(), threading.Event()
    raised: list[BaseException] = []

    async def hang() -> None:
        waits.set()
        await trio.sleep_forever()

    async def ask(run: Run) -> None:
        waits.set()
        await run.ask_user("well?")

    async def agent(run: Run) -> None:
        def tool() -> None:
            call = (lambda: run.call_tool(hang)) if name == "call_tool" else (lambda: ask(run))
            try:
                trio.from_thread.run(call)
            except BaseException as error:  # noqa: BLE001 - looked at below
                raised.append(error)
            told.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.call_tool, tool)
            await waits.wait()
            run.stop()

    events = await events_of(agent)
    assert ends(events)[0] == ("cancelled", "cancelled")
    await trio.to_thread.run_sync(told.wait)
    assert isinstance(raised[0], (RunClosed, trio.Cancelled))
