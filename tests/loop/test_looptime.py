"""The time that stands still while the event loop does."""

from __future__ import annotations

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.loop.clock import PATIENCE, LoopTime, loop_time

TICK = 0.25
WAIT = PATIENCE * TICK


@attrs.define
class Clocks:
    """Trio's clock and the system's, which a test moves together or apart."""

    trio: float = 100.0
    wall: float = 5_000.0

    def pass_by(self, seconds: float) -> None:
        self.trio += seconds
        self.wall += seconds

    def time(self) -> LoopTime:
        return LoopTime(lambda: self.trio, lambda: self.wall)


def test_a_loop_that_ticks_loses_no_time() -> None:
    clocks = Clocks()
    time = clocks.time()
    with time.ticking(TICK):
        for _ in range(100):
            clocks.pass_by(WAIT)
            assert time.now() == clocks.trio
            assert time.tick() == 0
    assert time.lost == 0


def test_a_stall_is_taken_off_before_and_after_its_tick() -> None:
    """Whatever runs first after a stall sees the same time: the one that looks, or the tick."""
    clocks = Clocks()
    time = clocks.time()
    with time.ticking(TICK):
        clocks.pass_by(12)
        assert time.now() == pytest.approx(100 + WAIT)
        assert time.tick() == pytest.approx(12)
        assert time.now() == pytest.approx(100 + WAIT)
        clocks.pass_by(0.4)
        assert time.now() == pytest.approx(100 + WAIT + 0.4)
    assert time.lost == pytest.approx(12 - WAIT)


def test_nothing_is_taken_off_where_nothing_ticks() -> None:
    clocks = Clocks()
    time = clocks.time()
    clocks.pass_by(1_000)
    assert time.now() == clocks.trio
    with time.ticking(TICK):
        clocks.pass_by(5)
    lost = time.lost
    clocks.pass_by(1_000)
    assert time.now() == pytest.approx(clocks.trio - lost)


def test_a_clock_that_jumps_by_itself_is_no_stall() -> None:
    """Virtual time of a test passes without the system's; a busy machine passes time without the virtual one."""
    clocks = Clocks()
    time = clocks.time()
    with time.ticking(TICK):
        clocks.trio += 3_600
        clocks.wall += 3
        assert time.now() == clocks.trio
        assert time.tick() == 0
        clocks.wall += 3_600
        assert time.now() == clocks.trio


@given(st.lists(st.tuples(st.floats(0, 50), st.booleans()), max_size=40))
def test_it_never_goes_back_nor_ahead(steps: list[tuple[float, bool]]) -> None:
    """Its steps are those of trio's clock or shorter, and what is missing in the end is what is said to be lost."""
    clocks = Clocks()
    time = clocks.time()
    with time.ticking(TICK):
        for seconds, ticks in steps:
            before = time.now()
            clocks.pass_by(seconds)
            assert -1e-9 <= time.now() - before <= seconds + 1e-9
            if ticks:
                time.tick()
    assert time.now() == pytest.approx(clocks.trio - time.lost)


async def test_a_run_has_one_time() -> None:
    assert loop_time() is loop_time()
    assert loop_time().now() == pytest.approx(trio.current_time())
