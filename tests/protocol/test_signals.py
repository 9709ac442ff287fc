"""Signals of agents: any JSON value under any name. No signal harms a connected client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from protocol.wire import greeted, greeted_in_memory

from actors import UnserialisableEvent
from transport import Greenroom

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import Run
    from transport import Server


def house(agent: Callable[[Run], Awaitable[None]], **settings: int) -> Greenroom:
    """Return an app with one agent."""
    app = Greenroom(log="memory:", settings=settings)
    app.agent(name="agent")(agent)
    return app


VALUES: list[object] = [{"step": 1}, 0.5, "half", [1, None], True, None]


async def test_signal_carries_any_json_value() -> None:
    """An agent can send a signal with any JSON value, and the clients get this value."""

    async def agent(run: Run) -> None:
        for value in VALUES:
            run.signal("progress", value)
        run.signal("done")

    async with house(agent).running(port=0) as server, greeted(server) as one:
        await one.start("1", "agent")
        signals = [await one.receive("signal") for _ in range(len(VALUES) + 1)]
        assert signals == [
            *({"type": "signal", "name": "progress", "data": value} for value in VALUES),
            {"type": "signal", "name": "done", "data": None},
        ]


async def test_signal_does_not_overtake_the_start_of_its_run() -> None:
    """A run's first signal arrives after the reply to its start and ``agent_started``, also if many runs start."""

    async def agent(run: Run) -> None:
        run.signal("begun")

    async def start(server: Server, number: int) -> None:
        async with greeted_in_memory(server, f"s{number}") as one:
            await one.send("command", id="1", name="run.start", args={"agent": "agent"})
            await one.receive("signal")
            assert {frame["type"] for frame in one.frames} == {"welcome", "reply", "events", "signal"}

    app = house(agent, max_connections_per_user=50, runs_per_user=50)
    async with app.running(port=0) as server, trio.open_nursery() as nursery:
        for number in range(40):  # more than a commit waits for, and as many orders in which trio can run the tasks
            nursery.start_soon(start, server, number)


async def test_signal_name_with_lone_surrogate() -> None:
    """If the name of a signal contains a lone surrogate (half a character), ``signal()`` raises in the agent.

    It raises whether or not a client is connected.
    """
    refused: list[str] = []

    async def agent(run: Run) -> None:
        with pytest.raises(UnserialisableEvent) as caught:
            run.signal("half \ud800", {})
        refused.append(str(caught.value))

    app = house(agent)
    async with app.running(port=0) as server:
        await (await app.sessions.get("anonymous", "s1")).start("agent")
        async with greeted(server) as one:
            await one.completed(await one.start("1", "agent"))
    assert len(refused) == 2


async def test_agent_signals_named_typing() -> None:
    """If an agent calls its own signals ``typing``, they are treated like other signals: the newest 64 are kept."""

    async def agent(run: Run) -> None:
        for number in range(100):
            run.signal("typing", number)

    async with house(agent).running(port=0) as server, greeted(server) as one:
        await one.completed(await one.start("1", "agent"))
        await one.say("alive")
        assert [frame["data"] for frame in one.frames if frame["type"] == "signal"] == list(range(36, 100))
