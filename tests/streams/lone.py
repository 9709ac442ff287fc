"""Two sessions with a tab each, and an agent whose events come alone, each after a quiet time."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import orjson
import pytest
import trio
import trio.testing
from sessions.borders import Tab

from actors import Agents, MemoryLog, Sessions, SupervisorSpec, open_system
from actors.streams import _stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import EventLog, Run

PACE = 0.01
"""Seconds by which the time of day moves from one event to the next. Each event comes after a quiet time."""


def set_pace(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the time of day move by ``seconds`` from one event of an agent to the next."""
    monkeypatch.setattr(_stream, "time", itertools.count(1_900_000_000.0, seconds).__next__)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    set_pace(monkeypatch, PACE)


def emit(run: Run, text: str) -> None:
    """Emit from code that is not async, such as a listener."""
    with suppress(StopIteration):
        run.output(text).send(None)
        raise AssertionError("the emit waits")


async def calm(run: Run) -> None:
    """Emit a first event. It is not delivered within its emit, as it follows ``agent_started``. The next one is."""
    await run.custom("calm")
    await trio.testing.wait_all_tasks_blocked()


@attrs.define(eq=False)
class Stage:
    """Two sessions with one tab each. An agent in the first emits; one in the second has begun and waits."""

    log: EventLog = attrs.Factory(MemoryLog)
    tabs: dict[str, Tab] = attrs.Factory(lambda: {"s1": Tab(), "s2": Tab()})
    runs: dict[str, Run] = attrs.Factory(dict[str, "Run"])
    within: list[bool] = attrs.Factory(list[bool])
    """For each emit of the agent, whether the tab had the event when the emit returned."""
    emits: bool = False
    """Whether the agent is inside an emit."""
    more: list[Tab] = attrs.Factory(list[Tab])
    """More tabs of the first session."""
    failure: BaseException | None = None
    """The exception that an emit raised in the agent."""

    async def waiting(self, run: Run, value: object) -> None:
        self.runs["s2"] = run
        await calm(run)
        await trio.sleep_forever()

    async def talking(self, run: Run, count: int) -> str:
        self.runs["s1"] = run
        await calm(run)
        for number in range(count):
            await trio.testing.wait_all_tasks_blocked()
            self.emits = True
            try:
                await run.output(f"{number} ")
            except BaseException as error:
                self.failure = error
                raise
            finally:
                self.emits = False
            self.within.append(self.has("s1", f"{number} "))
        return "done"

    def has(self, session: str, text: str) -> bool:
        return b'"text":"%b"' % text.encode() in b"".join(self.tabs[session].lines)

    def texts(self, session: str) -> list[str]:
        """Return the texts that a tab got. Check that no event came twice or is missing."""
        events = [orjson.loads(line) for line in self.tabs[session].lines]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        return [event["data"]["text"].strip() for event in events if event["type"] == "agent_output"]

    async def play(self, count: int, before: Callable[[Sessions], None] = lambda _: None) -> None:
        """Run the agent to its end, after a call of ``before``."""
        agents = Agents()
        agents.add(self.waiting)
        agents.add(self.talking)
        sessions = Sessions(self.log, agents)
        async with open_system() as system:
            await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
            for session, tab in self.tabs.items():
                await tab.attach(sessions, session)
            for tab in self.more:
                await tab.attach(sessions)
            await (await sessions.get("alice", "s2")).start("waiting")
            await trio.testing.wait_all_tasks_blocked()
            before(sessions)
            await (await sessions.get("alice", "s1")).start("talking", count)
            await trio.testing.wait_all_tasks_blocked()
            while sessions.statistics().runs.running > 1:
                await trio.testing.wait_all_tasks_blocked()
