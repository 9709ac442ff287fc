"""The agents whose events are delivered, and the checks of a history."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import trio

from actors import (
    AgentCompleted,
    AgentStarted,
    Event,
    StreamKey,
    decode_event,
)
from actors.events.grammar import Grammar
from transport import Credentials, Greenroom, User

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors import EventLog, Run

KEY = StreamKey("anonymous", "s1")
CALLS = "calls.txt"
"""File in which agents note their calls, in the folder of their process: a line with user and run for each."""


@attrs.frozen
class Work:
    """The input of a worker: a number of steps, drawn by a seed.

    ``pace`` is the longest pause between two steps in seconds, next to nothing if the clock is no
    ``trio.testing.MockClock``.
    """

    seed: int
    steps: int
    pace: float = 1.0


async def auth_by_name(credentials: Credentials) -> User:
    """Return a user named after the token."""
    return User(str(credentials.token))


def server_on(log: str | EventLog, *, auth: Any = None, **settings: object) -> Greenroom:
    """Return a server with the agents below."""
    app = Greenroom(log=log, auth=auth, settings={"drain_seconds": 0, "commands_burst": 1_000, **settings})
    for agent in (worker, wall, patient, named, chatter, signaller, calls, fatal):
        app.agent(agent)
    return app


async def worker(run: Run, work: Work) -> int:
    """Do everything that a run can do, in an order that the seed gives."""
    rng = random.Random(work.seed)
    for number in range(work.steps):
        await _step(run, rng, number)
        if rng.random() < 0.3:
            await trio.sleep(rng.uniform(0, work.pace))
    if rng.random() < 0.2:
        raise ValueError("the agent failed, as its seed said")
    return work.steps


async def _step(run: Run, rng: random.Random, number: int) -> None:
    kind = rng.randrange(8)
    if kind == 0:
        await run.thinking(f"step {number}")
    elif kind == 1:
        async with run.tool("look", {"number": number}) as call:
            call.result = "x" * rng.randrange(100)
    elif kind == 2:
        run.typing(active=rng.random() < 0.5)
        run.signal("progress", {"step": number})
    elif kind == 3:
        await _child(run, number, fails=rng.random() < 0.3)
    else:
        await run.output(f"{number}:" + "y" * rng.choice([0, 10, 300, 5_000]))


async def _child(run: Run, number: int, *, fails: bool) -> None:
    with suppress(ValueError):
        async with run.subrun("child", number) as child:
            await child.output(f"child of {number}")
            if fails:
                raise ValueError("the child failed, as its seed said")


@attrs.frozen
class Wall:
    """An input with the amount to emit."""

    count: int
    size: int


async def wall(run: Run, wall: Wall) -> int:
    for number in range(wall.count):
        await run.output(f"{number}:".ljust(wall.size, "x"))
    return wall.count


async def named(run: Run, count: int) -> None:
    """Emit the user's name with every event, and do things that can be interrupted."""
    for number in range(count):
        async with run.tool(run.user, {"number": number}), run.subrun(run.user) as child:
            await child.output(f"{run.user} {number}")


async def calls(run: Run, count: int) -> None:
    """Write the call into a file before anything else, then do as ``named``."""
    note_call(run)
    await named(run, count)


async def fatal(run: Run) -> None:
    """Write the call into a file, then kill the process."""
    note_call(run)
    os.kill(os.getpid(), signal.SIGKILL)


def note_call(run: Run) -> None:
    with Path(CALLS).open("a") as file:
        file.write(f"{run.user} {run.id}\n")


async def chatter(run: Run, count: int) -> None:
    """Emit nearly without end."""
    for _ in range(count):
        await run.output("z" * 500)


async def signaller(run: Run, wall: Wall) -> None:
    """Send signals, without events but the first and the last."""
    for number in range(wall.count):
        run.signal("progress", {"number": number, "text": "s" * wall.size})


async def patient(run: Run) -> None:
    """Go on until stopped."""
    await run.thinking("waiting")
    await trio.sleep_forever()


async def events_in_log(log: EventLog, key: StreamKey = KEY) -> list[Event]:
    """Return the events in the log, read without the server."""
    head = await log.head(key)
    assert head is not None
    lines: list[bytes] = []
    while len(lines) < head.latest - head.oldest + 1:
        lines += await log.read(key, head.oldest - 1 + len(lines), 10_000, 1 << 26)
    return [decode_event(orjson.loads(line)) for line in lines]


def check_order(events: Sequence[Event]) -> Grammar:
    """Check G1 to G4 of a history from its first event. Return the runs and calls that are open at its end."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    grammar = Grammar()
    for event in events:
        grammar.apply(
            event.type,
            event.run_id,
            event.call_id,
            parent_run_id=event.parent_run_id,
            name=str(getattr(event, "agent", getattr(event, "tool", ""))),
            ts=event.ts,
        )
    return grammar


def check_grammar(events: Sequence[Event]) -> None:
    """Check G1 to G5 of a history that has ended: no gap, and everything that was opened is closed once, in order."""
    assert check_order(events).open == ()
    started = Counter(event.run_id for event in events if isinstance(event, AgentStarted))
    completed = Counter(event.run_id for event in events if isinstance(event, AgentCompleted))
    assert started == completed
    assert set(started.values()) <= {1}


def count_starts(events: Sequence[Event]) -> Counter[Any]:
    """Return how often each start command was done."""
    return Counter(event.command_id for event in events if isinstance(event, AgentStarted) and event.command_id)
