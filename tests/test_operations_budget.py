"""What one event may cost from its emit to the socket, counted without a clock: a slowdown fails here.

Calls are those that the server's own code makes and receives (Python functions, resumed coroutines, C functions), seen
by the interpreter's profiler; what the client in the same process does is not counted. The figures are the difference
between a long and a short run, so that starting and ending a run are not in them.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio.testing

import actors
import transport
from actors import AgentCompleted, Run
from transport import Greenroom, connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

_ACTORS = Path(actors.__file__).parent
_TRANSPORT = Path(transport.__file__).parent
_SERVER = tuple(
    str(path)
    for path in (
        *(_ACTORS / room for room in ("sessions", "runs", "streams", "eventlog")),
        *(_ACTORS / "events" / f"{name}.py" for name in ("encoding", "grammar", "line")),
        *(_ACTORS / "loop" / f"{name}.py" for name in ("boundary", "threads")),
        _TRANSPORT / "server",
        # Without _fields, with which the Python client reads each message here. No event makes the server call it.
        *(_TRANSPORT / "protocol" / f"{name}.py" for name in ("server_frames", "client_frames", "websocket")),
    )
)
SHORT, LONG = 160, 1_440
"""Events of the two runs."""


@attrs.define
class Count:
    """Calls of the server's code while a run went on."""

    calls: int = 0
    """Of Python functions and coroutines."""
    builtins: int = 0
    """Of C functions, from them."""
    sends: int = 0
    """Writes to a socket: system calls."""
    turns: Counter[str] = attrs.Factory(Counter[str])
    """Of each task, by its class."""

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event not in {"call", "c_call"} or not frame.f_code.co_filename.startswith(_SERVER):
            return
        if event == "call":
            self.calls += 1
        else:
            self.builtins += 1
            self.sends += arg.__name__ == "send"


async def speak(run: Run, events: int) -> None:
    for _ in range(events):
        await run.output("Searching the knowledge base for documents about it ...")


async def customise(run: Run, events: int) -> None:
    for step in range(events):
        await run.custom("progress", {"step": step, "of": {"tool": "web_search", "agent": "researcher"}})


async def speak_slowly(run: Run, events: int) -> None:
    for _ in range(events):
        await run.output("Searching the knowledge base for documents about it ...")
        await trio.testing.wait_all_tasks_blocked()


class Turns(trio.abc.Instrument):
    """Counts the turns of the server's pumps."""

    def __init__(self) -> None:
        self.taken = Counter[str]()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.taken[task.name.rpartition(".")[0].rpartition(".")[2]] += 1


async def counted(agent: Callable[[Run, int], Awaitable[None]], *sizes: int) -> list[Count]:
    """Run the agent once to warm up and once with each of ``sizes`` events, delivered over a real socket."""
    app = Greenroom(log="memory:")
    app.agent(name="agent")(agent)
    counts: list[Count] = []
    async with app.running(port=0) as server, connect(server.url, session="s1") as client:
        events = client.events()
        for size in (SHORT, *sizes):
            turns = Turns()
            count = Count(turns=turns.taken)
            trio.lowlevel.add_instrument(turns)
            sys.setprofile(count)
            try:
                await client.start("agent", size)
                async for event in events:
                    if isinstance(event, AgentCompleted):
                        break
            finally:
                sys.setprofile(None)
                trio.lowlevel.remove_instrument(turns)
            counts.append(count)
    return counts[1:]


@pytest.mark.parametrize(("agent", "calls", "builtins"), [(speak, 4.0, 8.3), (customise, 6.0, 9.3)])
async def test_an_event_costs_no_more_calls_than_its_budget(
    agent: Callable[[Run, int], Awaitable[None]], calls: float, builtins: float
) -> None:
    short, long = await counted(agent, SHORT, LONG)
    events = LONG - SHORT
    assert 1 <= (long.calls - short.calls) / events <= calls
    assert 1 <= (long.builtins - short.builtins) / events <= builtins


async def test_events_of_a_burst_share_their_system_calls() -> None:
    short, long = await counted(speak, SHORT, LONG)
    assert 1 <= long.sends - short.sends <= (LONG - SHORT) / 12


@pytest.mark.parametrize(("events", "calls", "builtins"), [(100, 42.0, 35.0)])
async def test_an_event_that_comes_alone_is_committed_and_written_in_one_turn(
    events: int, calls: float, builtins: float
) -> None:
    short, long = await counted(speak_slowly, 0, events)
    around = 3  # the first and the last may share their turn with a run's start and end, as the scheduler draws
    assert abs(long.sends - short.sends - events) <= around
    assert 1 <= (long.calls - short.calls) / events <= calls
    assert 1 <= (long.builtins - short.builtins) / events <= builtins
    assert abs(long.turns["Committer"] - short.turns["Committer"] - events) <= around
    assert long.turns["Flusher"] - short.turns["Flusher"] <= around


async def test_an_event_holds_one_copy_of_itself() -> None:
    app = Greenroom(log="memory:", settings={"ring_events": 2 * LONG})
    app.agent(name="agent")(speak)
    async with app.running(port=0) as server:
        handle = await server.sessions.get("alice", "s1")
        tracemalloc.start(1)
        try:
            await handle.start("agent", LONG)
            await trio.testing.wait_all_tasks_blocked()
            statistics = handle.statistics()
            assert statistics is not None
            assert statistics.journal.committed == LONG + 2
            held = tracemalloc.take_snapshot().filter_traces(
                [tracemalloc.Filter(inclusive=True, filename_pattern=f"{path}*") for path in _SERVER]
            )
        finally:
            tracemalloc.stop()
    size = sum(each.size for each in held.statistics("filename"))
    assert 100 <= size / LONG <= 320
