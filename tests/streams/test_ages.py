"""The age clock: a change of the time of day deletes no young event, and does not change the order of events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import pytest
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol.wire import greeted
from suites.stage import server_with

from actors import MemoryLog, StreamKey
from actors.streams._ages import JUMP_SECONDS, MAX_JUMPS, AgeClock, steady_seconds

if TYPE_CHECKING:
    from actors import Run

DAY = 24 * 3600.0
KEEP = 7 * DAY
START = 1_700_000_000.0


@attrs.define
class Clocks:
    """A steady clock, and a time of day that can be set; both in seconds."""

    steady: float = 5_000.0
    offset: float = START

    def steadily(self) -> float:
        return self.steady

    def time_ms(self) -> int:
        return round((self.steady + self.offset) * 1000)


def clock_of(clocks: Clocks) -> AgeClock:
    return AgeClock(clocks.time_ms, clocks.steadily)


def test_a_clock_that_is_not_set_is_followed() -> None:
    """As long as the time of day is not set, the age clock shows exactly the time of day."""
    clocks = Clocks()
    ages = clock_of(clocks)
    for passed in (0, 0.001, 1, KEEP, 100 * KEEP):
        clocks.steady += passed
        for seconds in (0, 1, KEEP, 1e10, math.inf):
            assert ages.now(seconds) == clocks.time_ms()


@pytest.mark.parametrize(("by", "followed"), [(JUMP_SECONDS, True), (-JUMP_SECONDS, True), (JUMP_SECONDS + 1, False)])
def test_a_small_correction_is_followed(by: float, *, followed: bool) -> None:
    """If the time of day is corrected by at most ``JUMP_SECONDS``, the age clock follows it at once.

    A larger change counts as a jump, and the age clock does not follow it at once.
    """
    clocks = Clocks()
    ages = clock_of(clocks)
    clocks.offset += by
    assert (ages.now(KEEP) == clocks.time_ms()) is followed


@pytest.mark.parametrize("by", [100 * 365 * DAY, 8 * DAY, 10.0, -10.0, -100 * DAY])
def test_a_lasting_jump_is_believed_later(by: float) -> None:
    """The age clock follows a jump of the time of day only when the retention time has passed since the jump.

    Before that, no event becomes too old because of the jump.
    """
    clocks = Clocks()
    ages = clock_of(clocks)
    clocks.offset += by
    for passed in (0.0, 1.0, KEEP - 2.0):
        clocks.steady += passed
        assert ages.now(KEEP) <= round((clocks.steady + START) * 1000)
    clocks.steady += 1.001
    assert ages.now(KEEP) == clocks.time_ms()


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 2 * KEEP),
        st.sampled_from([0.0, 0.0, 0.0, 60.0, DAY, 20 * 365 * DAY, -60.0, -DAY, -20 * 365 * DAY]),
        st.floats(0.0, 1.0),
        st.booleans(),
    ),
    max_size=2 * MAX_JUMPS,
)


@settings(max_examples=scaled(300, 20_000), deadline=None)
@given(steps=STEPS)
def test_no_young_event_is_too_old(steps: list[tuple[float, float, float, bool]]) -> None:
    """No event younger than the limit is ever too old, no matter how often the time of day is set.

    There are two sessions: one has an event at each step, and the other is made anew at each step. In each step the
    time of day is set once, and at the end of the step the clocks are compared.
    """
    clocks = Clocks()
    ages = clock_of(clocks)
    events: list[tuple[float, int]] = []
    newest = 0
    for passed, jump, share, goes_on in steps:
        for part, by in ((share, 0.0), (0.0, jump), (1 - share, 0.0)):
            clocks.steady += passed * part
            clocks.offset += by
            newest = max(newest, clocks.time_ms())
            events.append((clocks.steady, newest if goes_on else clocks.time_ms()))
        horizon = ages.now(KEEP) - KEEP * 1000
        young = [ts for at, ts in events if at >= clocks.steady - KEEP + 0.001]
        assert min(young) >= horizon - 1


def test_jumps_take_bounded_memory() -> None:
    """If the time of day is set again and again, at most ``MAX_JUMPS`` jumps are remembered."""
    clocks = Clocks()
    ages = clock_of(clocks)
    for _ in range(10 * MAX_JUMPS):
        clocks.offset += 60
        ages.now(KEEP)
    assert len(ages._own._eras) <= MAX_JUMPS  # noqa: SLF001 - nothing else shows it


@pytest.mark.parametrize("ahead", [20 * 365 * DAY, DAY, 1.0, 0.0, -1.0, -DAY])
def test_the_earlier_of_two_times_of_day_counts(ahead: float) -> None:
    """If another machine's clock shows an earlier time, ages are counted from that, and else from the own clock."""
    clocks = Clocks(offset=START + ahead)
    ages = clock_of(clocks)
    ages.compare(round((clocks.steady + START) * 1000))
    for passed in (0.0, 60.0, KEEP):
        clocks.steady += passed
        assert ages.now(KEEP) == round((clocks.steady + START + min(ahead, 0.0)) * 1000)


@pytest.mark.parametrize("step", [20 * 365 * DAY, -20 * 365 * DAY])
def test_the_other_time_of_day_may_be_set(step: float) -> None:
    """If the other clock is set, no event becomes too old by that. The own clock limits it for ever."""
    clocks = Clocks()
    ages = clock_of(clocks)
    for offset in (START, START + step, START):
        ages.compare(round((clocks.steady + offset) * 1000))
        clocks.steady += 60.0
        assert ages.now(KEEP) <= clocks.time_ms()
        if step > 0:
            assert ages.now(KEEP) == clocks.time_ms()
    clocks.steady += KEEP + 1.0
    assert ages.now(KEEP) == clocks.time_ms()


def test_the_steady_clock_goes_on() -> None:
    """The steady clock returns positive values that never decrease."""
    assert 0 < steady_seconds() <= steady_seconds()


async def talk(run: Run, count: int) -> str:
    for number in range(count):
        await run.output(f"{number} ")
    return "done"


@pytest.mark.parametrize("days", [36_500.0, 8.0, -8.0])
async def test_clock_jump_hides_no_event(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """After the time of day was set forward or back by years or days, a new client still gets all events.

    The cleaner deletes none of the events, and later events never have an earlier ``ts``.
    """
    clocks, log = Clocks(), MemoryLog()
    monkeypatch.setattr("actors.streams._stream.time", lambda: clocks.time_ms() / 1000)
    monkeypatch.setattr("actors.streams._stream.time_ns", lambda: clocks.time_ms() * 1_000_000)
    async with server_with(talk, log=log).running(port=0) as server:
        for number in range(3):
            async with greeted(server, token="alice") as one:
                assert (one.welcome["oldest"], one.welcome["latest"]) == (1, 12 * number)
                await one.send("command", id=f"k{number}", name="run.start", args={"agent": "talk", "input": 10})
                seen = await one.events_until(12 * (number + 1))
                assert [event["seq"] for event in seen] == list(range(1, 12 * (number + 1) + 1))
                assert sorted(event["ts"] for event in seen) == [event["ts"] for event in seen]
            clocks.offset += days * DAY * (1 if number == 0 else -1)
            await server.sessions.cleaner.clean()
        head = await log.head(StreamKey("alice", "s1"))
        assert head is not None
        assert all(b'"k%d"' % number in head.state for number in range(3))
