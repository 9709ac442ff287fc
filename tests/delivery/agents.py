"""Agents for the delivery tests, and checks of a session's history."""

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
"""File in the working folder of the process. An agent writes one line for each of its calls: the user and the run."""


@attrs.frozen
class Work:
    """The input of ``worker``: a number of steps, which ``seed`` chooses.

    ``pace`` is the longest pause between two steps in seconds. It is near 0, except on a ``trio.testing.MockClock``.
    """

    seed: int
    steps: int
    pace: float = 1.0


async def auth_by_name(credentials: Credentials) -> User:
    """Return a user named after the token."""
    return User(str(credentials.token))


def server_on(log: str | EventLog, *, auth: Any = None, **settings: object) -> Greenroom:
    """Return a server with this log and the agents below."""
    limits = {"drain_seconds": 0, "commands_burst": 1_000, "handshakes_per_address_per_second": 10_000}
    app = Greenroom(log=log, auth=auth, settings={**limits, **settings})
    for agent in (worker, wall, patient, named, chatter, signaller, calls, paced, fatal):
        app.agent(agent)
    return app


async def worker(run: Run, work: Work) -> int:
    """Do every action that a run can do, in an order that the seed decides."""
    rng = random.Random(work.seed)
    for number in range(work.steps):
        await _step(run, rng, number)
        if rng.random() < 0.3:
            await trio.sleep(rng.uniform(0, work.pace))
    if rng.random() < 0.2:
        raise ValueError("the agent failed, as its seed said")
    return work.steps


async def _step(run: Run, rng: random.Random, number: int) -> None:
    """Do one action, which ``rng`` chooses."""
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
    """Run a sub-agent, which may fail."""
    with suppress(ValueError):
        async with run.subrun("child", number) as child:
            await child.output(f"child of {number}")
            if fails:
                raise ValueError("the child failed, as its seed said")


@attrs.frozen
class Wall:
    """The input of ``wall`` and ``signaller``: how many texts, and how many characters in each."""

    count: int
    size: int


async def wall(run: Run, wall: Wall) -> int:
    """Emit numbered texts of one size."""
    for number in range(wall.count):
        await run.output(f"{number}:".ljust(wall.size, "x"))
    return wall.count


async def named(run: Run, count: int) -> None:
    """Emit the user's name with every event, in tool calls and sub-agents that can be interrupted."""
    for number in range(count):
        async with run.tool(run.user, {"number": number}), run.subrun(run.user) as child:
            await child.output(f"{run.user} {number}")


async def calls(run: Run, count: int) -> None:
    """Write this call into a file first, then do the same as ``named``."""
    note_call(run)
    await named(run, count)


@attrs.frozen
class Paced:
    """The input of ``paced``: a number of steps, and the pause after each in seconds."""

    count: int
    pause: float


async def paced(run: Run, work: Paced) -> None:
    """Do the same as ``calls``, with pauses, so that a run of many clients is seldom at its end."""
    note_call(run)
    for _ in range(work.count):
        await named(run, 1)
        await trio.sleep(work.pause)


async def fatal(run: Run) -> None:
    """Write this call into a file, then kill the process."""
    note_call(run)
    os.kill(os.getpid(), signal.SIGKILL)


def note_call(run: Run) -> None:
    """Append the user and the id of this run to the file of calls."""
    with Path(CALLS).open("a") as file:
        file.write(f"{run.user} {run.id}\n")


async def chatter(run: Run, count: int) -> None:
    """Emit ``count`` texts of 500 characters without a pause."""
    for _ in range(count):
        await run.output("z" * 500)


async def signaller(run: Run, wall: Wall) -> None:
    """Send signals. The run emits no events except its start and its end."""
    for number in range(wall.count):
        run.signal("progress", {"number": number, "text": "s" * wall.size})


async def patient(run: Run) -> None:
    """Wait until the run is stopped."""
    await run.thinking("waiting")
    await trio.sleep_forever()


async def events_in_log(log: EventLog, key: StreamKey = KEY) -> list[Event]:
    """Return all events that the log keeps of a session. They are read directly, not through a server."""
    head = await log.head(key)
    assert head is not None
    lines: list[bytes] = []
    while len(lines) < head.latest - head.oldest + 1:
        lines += await log.read(key, head.oldest - 1 + len(lines), 10_000, 1 << 26)
    return [decode_event(orjson.loads(line)) for line in lines]


def check_order(events: Sequence[Event]) -> Grammar:
    """Check rules G1 to G4 on a history that begins with its first event. Return the open runs and calls."""
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
    """Check rules G1 to G5 on a history that has ended: no gap, and every run and call is closed once, in order."""
    assert check_order(events).open == ()
    started = Counter(event.run_id for event in events if isinstance(event, AgentStarted))
    completed = Counter(event.run_id for event in events if isinstance(event, AgentCompleted))
    assert started == completed
    assert set(started.values()) <= {1}


def count_starts(events: Sequence[Event]) -> Counter[Any]:
    """Return how many runs each start command began."""
    return Counter(event.command_id for event in events if isinstance(event, AgentStarted) and event.command_id)
