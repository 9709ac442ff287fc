"""If a session is just stopping, a message to it is handled exactly once, before its end or after it is made again."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import orjson
import pytest
import trio
import trio.testing
from _scale import scaled

from actors import Agents, Batch, MemoryLog, Run, Sessions, SessionSettings, StreamKey, SupervisorSpec, open_system
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

SESSIONS = 10


class SlowLog(FaultyLog):
    """A slow log, so that a stop takes time."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(MemoryLog())
        self._rng = rng

    async def append(self, batches: Sequence[Batch]) -> None:
        await trio.sleep(self._rng.random() / 3)
        await super().append(batches)


async def nothing(run: Run, number: int) -> int:
    return number


@pytest.mark.parametrize("room", [SESSIONS, 3])
async def test_message_to_a_stopping_session(room: int, autojump_clock: MockClock) -> None:
    """If messages come while idle sessions are being stopped to make room, every message is handled exactly once."""
    rng, count = random.Random(room), scaled(300, 10_000)
    log, agents = SlowLog(rng), Agents()
    agents.add(nothing)
    settings = SessionSettings(idle_seconds=1, max_sessions=room, queued_runs_per_user=count, starts_per_minute=count)
    sessions = Sessions(log, agents, settings)
    turns = trio.CapacityLimiter(room)

    async def send(number: int) -> None:
        await trio.sleep(rng.random() * count / 5)
        async with turns:
            handle = await sessions.get("alice", f"s{number % SESSIONS}")
            # At the moment when it stops: after a second of being idle, at one of the four sweeps of a second.
            await trio.sleep(rng.choice((0, 1, 1.25)) + rng.random() / 4)
            if number % 2:
                await handle.emit("n", number)
            else:
                await handle.start("nothing", number)

    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(send, number)
        await trio.sleep(10)
        seen: Counter[int] = Counter()
        for number in range(SESSIONS):
            for line in await log.read(StreamKey("alice", f"s{number}"), 0, count * 4, 1 << 30):
                data = orjson.loads(line)["data"]
                if "input" in data or "value" in data:
                    seen[data["input"] if "input" in data else data["value"]] += 1
        assert seen == Counter(range(count))
        statistics = sessions.statistics()
        assert statistics.crashed == 0
        assert statistics.reaped > count / 20
