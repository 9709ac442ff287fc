"""The limits of events and bytes per second: emits of one user wait in turn, and no other user waits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from sessions.test_quotas import asked, reached, sessions_with

from actors import ConfigError, MemoryLog, Run, SessionSettings, SqliteLog, StreamKey

if TYPE_CHECKING:
    from pathlib import Path

    from actors import Sessions


class Emitter:
    """An agent that emits events, and the times of these events in seconds, by user."""

    def __init__(self, size: int = 0) -> None:
        self.text = "x" * size
        self.times: list[tuple[str, float]] = []

    async def emits(self, run: Run, count: int) -> None:
        for _ in range(count):
            self.times.append((run.user, trio.current_time()))
            await run.output(self.text)

    def of(self, user: str) -> list[float]:
        return [at for name, at in self.times if name == user]


async def ended(sessions: Sessions) -> None:
    """Wait longer than any run of these tests takes."""
    await trio.sleep(60)
    assert sessions.statistics().runs.running == 0


async def test_events_per_second(autojump_clock: trio.testing.MockClock) -> None:
    """A user can emit ``events_per_second`` events at once. After that, each emit waits for its part of a second.

    The emits of the user's other sessions wait too. The emits of other users do not wait.
    """
    emitter = Emitter()
    async with sessions_with(emitter.emits, events_per_second=4) as sessions:
        await (await sessions.get("ann", "s1")).start("emits", 7)  # agent_started is an event too
        await trio.testing.wait_all_tasks_blocked()
        await (await sessions.get("bob", "s1")).start("emits", 3)
        await trio.testing.wait_all_tasks_blocked()
        assert len(emitter.of("bob")) == 3
        assert sessions.statistics().quotas.waiting == 1
        await ended(sessions)
        begin = emitter.of("ann")[0]
        assert [at - begin for at in emitter.of("ann")] == pytest.approx([0, 0, 0, 0, 0.25, 0.5, 0.75])
        assert reached(sessions, "events_per_second") == 4
        assert sessions.statistics().quotas.waiting == 0
        await trio.sleep(10)
        await (await sessions.get("ann", "s2")).start("emits", 3)
        await trio.testing.wait_all_tasks_blocked()
        assert reached(sessions, "events_per_second") == 4


async def test_bytes_per_second(autojump_clock: trio.testing.MockClock) -> None:
    """A user can emit ``bytes_per_second`` bytes at once.

    After that, each emit waits until the rate allows its bytes.
    """
    emitter, log = Emitter(1_000), MemoryLog()
    async with sessions_with(emitter.emits, log=log, bytes_per_second=10_000) as sessions:
        await (await sessions.get("ann", "s1")).start("emits", 30)
        await ended(sessions)
        lines = await log.read(StreamKey("ann", "s1"), 0, 100, 10**9)
        before, begin = len(lines[0]), emitter.of("ann")[0]
        for line, at in zip(lines[1:], emitter.of("ann"), strict=False):
            assert at - begin == pytest.approx(max(0, (before - 10_000) / 10_000))
            before += len(line)
        assert reached(sessions, "bytes_per_second") == 22
        assert reached(sessions, "events_per_second") == 0


async def test_no_limit_by_default(autojump_clock: trio.testing.MockClock) -> None:
    """With the default settings no emit waits for a rate."""
    emitter = Emitter(1_000)
    async with sessions_with(emitter.emits) as sessions:
        await (await sessions.get("ann", "s1")).start("emits", 2_000)
        await ended(sessions)
        assert emitter.of("ann")[-1] - emitter.of("ann")[0] < 1
        assert not sessions.statistics().quotas.reached


async def test_emitters_of_a_user_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    """If several runs of a user emit without a pause, each gets the same share of the events."""
    counts = [0] * 4

    async def emits(run: Run, number: int) -> None:
        while True:
            await run.output("")
            counts[number] += 1

    async with sessions_with(emits, events_per_second=10) as sessions:
        for number in range(4):
            await (await sessions.get("ann", f"s{number % 2}")).start("emits", number)
        await trio.sleep(100)
        assert sum(counts) == pytest.approx(1_000, abs=20)
        assert max(counts) - min(counts) <= 10


async def test_wait_can_be_cancelled_and_counts(autojump_clock: trio.testing.MockClock) -> None:
    """A run can be cancelled while its emit waits for the rate. The wait counts towards the timeout of the run.

    In both cases the event that waits is in the log.
    """
    emitter, log = Emitter(), MemoryLog()
    async with sessions_with(emitter.emits, log=log, events_per_second=1, run_seconds=5) as sessions:
        ann = await sessions.get("ann", "s1")
        run_id = await ann.start("emits", 100)
        await trio.sleep(2.5)
        assert await ann.cancel(run_id)
        await trio.testing.wait_all_tasks_blocked()
        assert sessions.statistics().runs.running == 0
        bob = await sessions.get("bob", "s1")
        await bob.start("emits", 100)
        await trio.sleep(5.5)
        assert sessions.statistics().runs.running == 0
        for user, status in (("ann", "cancelled"), ("bob", "timeout")):
            events = [orjson.loads(line) for line in await log.read(StreamKey(user, "s1"), 0, 1_000, 10**9)]
            assert events[-1]["data"]["status"] == status
            assert len(events) == 2 + len(emitter.of(user))


async def test_messages_beyond_a_rate_are_refused(autojump_clock: trio.testing.MockClock) -> None:
    """If a user has made more events than the rate allows, a further ``message.send`` is refused as ``rate_limited``.

    The session cannot wait with this command. It still carries out other commands.
    """
    emitter = Emitter()
    async with sessions_with(emitter.emits, events_per_second=2) as sessions:
        codes = [(await asked(sessions, "ann", "s1", "message.send", text="x")).code for _ in range(5)]
        assert codes == [None, None, None, "rate_limited", "rate_limited"]
        assert reached(sessions, "events_per_second") == 2
        assert (await asked(sessions, "ann", "s1", "run.cancel", run_id="r-1")).code is None
        await trio.sleep(0.5)
        assert (await asked(sessions, "ann", "s1", "message.send", text="x")).code is None


async def test_events_of_the_application_wait(autojump_clock: trio.testing.MockClock) -> None:
    """If a user has emitted more events than the rate allows, ``handle.emit`` waits.

    Meanwhile the session still carries out commands.
    """
    async with sessions_with(events_per_second=1) as sessions:
        ann, done = await sessions.get("ann", "s1"), list[float]()
        begin = trio.current_time()

        async def emit() -> None:
            await ann.emit("n")
            done.append(trio.current_time() - begin)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(emit)
            await trio.testing.wait_all_tasks_blocked()
            assert (await asked(sessions, "ann", "s1", "run.cancel", run_id="r-1")).code is None
            assert trio.current_time() == begin
        assert done == pytest.approx([0, 1, 2, 3])


async def test_rate_holds_with_a_log_on_disk(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """With a log on disk, the start and end events of tools and sub-agents count for ``events_per_second`` too.

    The order of the events still follows the rules of the grammar.
    """

    async def tool() -> None: ...

    async def works(run: Run) -> None:
        begin = trio.current_time()
        for _ in range(3):
            await run.call_tool(tool)
            async with run.subrun("inner") as child:
                await child.output("x")
        took.append(trio.current_time() - begin)
        done.set()

    took, done = list[float](), trio.Event()
    async with sessions_with(works, log=SqliteLog(tmp_path / "log.db"), events_per_second=5) as sessions:
        await (await sessions.get("ann", "s1")).start("works")
        await done.wait()
        assert took[0] >= (1 + 3 * 4 + 2 - 5) / 5  # the start, and all but the last events of the sub-agents
        assert all(each.audit.sound for each in sessions.of())


async def test_new_session_does_not_reset_a_debt(autojump_clock: trio.testing.MockClock) -> None:
    """If a user has emitted more events than the rate allows, the user cannot get round this with a new session.

    The events still count after all sessions of the user have ended.
    """
    async with sessions_with(events_per_second=1, idle_seconds=1) as sessions:
        ann = await sessions.get("ann", "s1")
        with trio.move_on_after(0.1):
            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(partial(ann.emit, "n"))
        await ann.close()
        await trio.sleep(5)
        assert len(sessions.of()) == 0
        assert (await asked(sessions, "ann", "s2", "message.send", text="x")).code == "rate_limited"
        await trio.sleep(60)
        assert sessions.statistics().quotas.users == 0


@settings(max_examples=scaled(30, 500))
@given(
    users=st.lists(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=3), max_size=3),
    rate=st.integers(1, 5),
)
def test_rate_is_never_exceeded(users: list[list[tuple[int, int]]], rate: int) -> None:
    """In t seconds, a user emits at most ``rate * t`` events, and ``rate`` more, and one more for each run.

    All events are emitted in the end. The events of one user do not delay the events of another.
    """

    async def main() -> None:
        times: dict[str, list[float]] = {}

        async def emits(run: Run, plan: list[int]) -> None:
            count, pause = plan
            for _ in range(count):
                times.setdefault(run.user, []).append(trio.current_time())
                await run.output("")
                await trio.sleep(pause / 8)

        async with sessions_with(emits, events_per_second=rate, runs_per_user=10) as sessions:
            for number, runs in enumerate(users):
                for each, plan in enumerate(runs):
                    await (await sessions.get(f"u{number}", f"s{each}")).start("emits", plan)
            await trio.sleep(1_000)
            for number, runs in enumerate(users):
                own = sorted(times[f"u{number}"])
                assert len(own) == sum(count for count, _ in runs)
                for first, begin in enumerate(own):
                    for last in range(first, len(own)):
                        most = rate * (own[last] - begin) + rate + len(runs)
                        assert last - first + 1 <= most + 1e-6
                # Together they need at most the time for all events, and all pauses of the slowest run.
                events = len(own) + 2 * len(runs)
                slowest = max(count * pause / 8 for count, pause in runs)
                assert own[-1] - own[0] <= events / rate + slowest + 1e-6

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("name", ["events_per_second", "bytes_per_second", "starts_per_minute"])
def test_rates_are_numbers(name: str) -> None:
    """A rate that is negative or no number is refused, and the error names it. 0 means no limit."""
    wrong: tuple[Any, ...] = (-1, "1", None, float("nan"))
    for value in wrong:
        with pytest.raises(ConfigError, match=name):
            SessionSettings(**{name: value})
    assert getattr(SessionSettings(**{name: 0}), name) == 0
