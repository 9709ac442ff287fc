"""The cost of one event on its way from emit to the socket, counted in function calls: a slowdown makes a test fail.

A clock is not used. Calls are those that the server's own code makes and receives (Python functions, resumed
coroutines, C functions), as the interpreter's profiler sees them; calls of the client in the same process are not
counted. The figures are the difference between a long and a short run, so that starting and ending a run are not in
them.
"""

from __future__ import annotations

import asyncio
import itertools
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
from actors import AgentCompleted, AsyncioRun, Run
from actors.streams import _stream
from transport import Greenroom, connect
from transport.hosting import hosted

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
        *(_ACTORS / "loop" / f"{name}.py" for name in ("asyncio_host", "boundary", "stack", "threads")),
        _TRANSPORT / "server",
        # Without _fields, with which the Python client reads each message here. No event makes the server call it.
        *(_TRANSPORT / "protocol" / f"{name}.py" for name in ("server_frames", "client_frames", "websocket")),
    )
)
SHORT, LONG = 160, 1_440
"""Numbers of events in the short and in the long run."""


@attrs.define
class Count:
    """Numbers of calls in the server's code during a run."""

    calls: int = 0
    """Number of calls of Python functions and coroutines."""
    builtins: int = 0
    """Number of calls of C functions by the server's code."""
    sends: int = 0
    """Number of writes to a socket (system calls)."""
    turns: Counter[str] = attrs.Factory(Counter[str])
    """Number of turns that trio's scheduler gave to tasks, by the name of the tasks' class."""

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event not in {"call", "c_call"} or not frame.f_code.co_filename.startswith(_SERVER):
            return
        if event == "call":
            self.calls += 1
        else:
            self.builtins += 1
            self.sends += arg.__name__ == "send"


async def emit_output(run: Run, events: int) -> None:
    """Emit text events in a burst, without waiting between them."""
    for _ in range(events):
        await run.output("Searching the knowledge base for documents about it ...")


async def emit_custom(run: Run, events: int) -> None:
    """Emit custom events in a burst, without waiting between them."""
    for step in range(events):
        await run.custom("progress", {"step": step, "of": {"tool": "web_search", "agent": "researcher"}})


async def emit_one_by_one(run: Run, events: int) -> None:
    """Emit text events, each only after the event before it was delivered."""
    for _ in range(events):
        await run.output("Searching the knowledge base for documents about it ...")
        await trio.testing.wait_all_tasks_blocked()


class TurnCounter(trio.abc.Instrument):
    """A trio instrument that counts the turns of tasks, by the class of the task."""

    def __init__(self) -> None:
        self.taken = Counter[str]()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.taken[task.name.rpartition(".")[0].rpartition(".")[2]] += 1


async def count_run(agent: Callable[[Run, int], Awaitable[None]], *sizes: int) -> list[Count]:
    """Return the counts of one run of the agent for each number of events in ``sizes``, delivered over a real socket.

    Another run before them warms the process up, and is not counted.
    """
    app = Greenroom(log="memory:")
    app.agent(name="agent")(agent)
    counts: list[Count] = []
    async with app.running(port=0) as server, connect(server.url, session="s1") as client:
        events = client.events()
        for size in (SHORT, *sizes):
            turns = TurnCounter()
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


BATCH_CALLS, BATCH_BUILTINS = 28, 21
"""Function calls for one commit and its write, for any number of events in it. Trio's scheduler decides that number."""


@pytest.mark.parametrize(("agent", "calls", "builtins"), [(emit_output, 2.5, 6.4), (emit_custom, 4.5, 8.3)])
async def test_calls_of_an_event(agent: Callable[[Run, int], Awaitable[None]], calls: float, builtins: float) -> None:
    """An event in a burst, and each batch of events, makes no more function calls than its budget allows."""
    short, long = await count_run(agent, SHORT, LONG)
    events, batches = LONG - SHORT, long.sends - short.sends
    assert events <= long.calls - short.calls <= events * calls + batches * BATCH_CALLS
    assert events <= long.builtins - short.builtins <= events * builtins + batches * BATCH_BUILTINS


async def test_burst_shares_system_calls() -> None:
    """The events of a burst are written to the socket together: on average at least twelve in each write."""
    short, long = await count_run(emit_output, SHORT, LONG)
    assert 1 <= long.sends - short.sends <= (LONG - SHORT) / 12


@pytest.mark.parametrize(("events", "calls", "builtins"), [(100, 33.0, 29.5)])
async def test_single_event_takes_one_turn(
    monkeypatch: pytest.MonkeyPatch, events: int, calls: float, builtins: float
) -> None:
    """If events are emitted one by one, quickly, each is committed and written in one turn of the scheduler.

    Its function calls stay within their budget.
    """
    monkeypatch.setattr(_stream, "time", itertools.count(1_900_000_000.0, _stream.QUIET_SECONDS / 4).__next__)
    short, long = await count_run(emit_one_by_one, 0, events)
    around = 3  # the first and the last event may share a turn with the start and the end of the run
    assert abs(long.sends - short.sends - events) <= around
    assert 1 <= (long.calls - short.calls) / events <= calls
    assert 1 <= (long.builtins - short.builtins) / events <= builtins
    assert abs(long.turns["LogKeeper"] - short.turns["LogKeeper"] - events) <= around
    assert long.turns["Flusher"] - short.turns["Flusher"] <= around


@pytest.mark.parametrize(("events", "calls", "builtins"), [(100, 32.5, 31.5)])
async def test_lone_event_takes_no_turn(
    monkeypatch: pytest.MonkeyPatch, events: int, calls: float, builtins: float
) -> None:
    """If each event comes after a quiet time, it is committed and written within its emit, without a task's turn.

    Its function calls stay within their budget.
    """
    monkeypatch.setattr(_stream, "time", itertools.count(1_900_000_000.0, 2 * _stream.QUIET_SECONDS).__next__)
    short, long = await count_run(emit_one_by_one, 0, events)
    around = 3  # as above
    assert abs(long.sends - short.sends - events) <= around
    assert 1 <= (long.calls - short.calls) / events <= calls
    assert 1 <= (long.builtins - short.builtins) / events <= builtins
    for task in ("LogKeeper", "Flusher"):
        assert long.turns[task] - short.turns[task] <= around


RUNS = 3
"""Number of runs that are counted, of which the most counts."""
RUN_CALLS, RUN_BUILTINS = 194, 135
TOOL_CALLS, TOOL_BUILTINS = 89.0, 57.5
ASYNCIO_RUN_CALLS, ASYNCIO_RUN_BUILTINS = 204, 104


async def do_nothing(run: Run, _: int) -> None:
    """End the run when its start was delivered."""
    del run
    await trio.testing.wait_all_tasks_blocked()


async def call_tools(run: Run, tools: int) -> None:
    """Make tool calls, each only after the event before it was delivered."""
    await trio.testing.wait_all_tasks_blocked()
    for step in range(tools):
        async with run.tool("search", {"query": "tea", "step": step}) as call:
            call.result = "tea"
        await trio.testing.wait_all_tasks_blocked()


async def test_calls_of_a_run() -> None:
    """A run that does nothing stays within its budget, from the command of its client to its two delivered events."""
    counts = await count_run(do_nothing, *[0] * RUNS)
    assert 100 <= max(each.calls for each in counts) <= RUN_CALLS
    assert 100 <= max(each.builtins for each in counts) <= RUN_BUILTINS
    # The reply waits for the commit of the first event, and leaves with this event.
    assert max(each.turns["Flusher"] for each in counts) == 0


async def test_calls_of_a_tool_call() -> None:
    """A tool call stays within its budget, with its two events and their delivery."""
    short, long = await count_run(call_tools, 0, 50)
    assert 20 <= (long.calls - short.calls) / 50 <= TOOL_CALLS
    assert 20 <= (long.builtins - short.builtins) / 50 <= TOOL_BUILTINS


def test_calls_of_an_asyncio_run() -> None:
    """A run of an agent on asyncio that does nothing stays within its budget. It has no client."""
    counts = asyncio.run(count_asyncio_runs())
    assert 80 <= min(each.calls for each in counts) <= ASYNCIO_RUN_CALLS
    assert 40 <= min(each.builtins for each in counts) <= ASYNCIO_RUN_BUILTINS


async def count_asyncio_runs() -> list[Count]:
    """Return the counts of some runs of an asyncio agent. Another run before them is not counted."""
    app = Greenroom(log="memory:")

    @app.agent(host="asyncio")
    async def agent(run: AsyncioRun) -> None:
        del run

    counts: list[Count] = []
    async with hosted(app):
        session = app.sessions_aio.get("alice", "s1")
        events = session.events()
        for _ in range(RUNS + 1):
            counts.append(Count())
            sys.setprofile(counts[-1])
            try:
                await session.start("agent")
                async for event in events:
                    if isinstance(event, AgentCompleted):
                        break
            finally:
                sys.setprofile(None)
        await events.aclose()
    return counts[1:]


async def test_event_is_held_once() -> None:
    """The server keeps only one copy of an event in memory, in at most 320 bytes."""
    app = Greenroom(log="memory:", settings={"ring_events": 2 * LONG})
    app.agent(name="agent")(emit_output)
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
