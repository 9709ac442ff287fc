"""The loop's time (``LoopTime``), which stands still while the event loop is blocked."""

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
    """Trio's clock and the system's clock. A test moves them by the same time, or only one of them."""

    trio: float = 100.0
    wall: float = 5_000.0

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by the same time."""
        self.trio += seconds
        self.wall += seconds

    def loop_time(self) -> LoopTime:
        """Return a LoopTime that uses these clocks."""
        return LoopTime(lambda: self.trio, lambda: self.wall)


def test_ticking_loop_loses_no_time() -> None:
    """As long as ``tick`` is called on time, the loop time is the same as trio's time."""
    clocks = Clocks()
    time = clocks.loop_time()
    with time.ticking(TICK):
        for _ in range(100):
            clocks.advance(WAIT)
            assert time.now() == clocks.trio
            assert time.tick() == 0
    assert time.lost == 0


def test_stall_is_subtracted() -> None:
    """If the loop is blocked, that time is subtracted from the loop time, both before and after the next tick."""
    clocks = Clocks()
    time = clocks.loop_time()
    with time.ticking(TICK):
        clocks.advance(12)
        assert time.now() == pytest.approx(100 + WAIT)
        assert time.tick() == pytest.approx(12)
        assert time.now() == pytest.approx(100 + WAIT)
        clocks.advance(0.4)
        assert time.now() == pytest.approx(100 + WAIT + 0.4)
    assert time.lost == pytest.approx(12 - WAIT)


def test_without_ticks_nothing_is_subtracted() -> None:
    """If no task calls ``tick``, the loop time is the same as trio's time."""
    clocks = Clocks()
    time = clocks.loop_time()
    clocks.advance(1_000)
    assert time.now() == clocks.trio
    with time.ticking(TICK):
        clocks.advance(5)
    lost = time.lost
    clocks.advance(1_000)
    assert time.now() == pytest.approx(clocks.trio - lost)


def test_jump_of_one_clock_is_no_stall() -> None:
    """If only one of the two clocks jumps, the loop was not blocked, and no time is subtracted.

    A virtual clock or a busy machine can cause such a jump.
    """
    clocks = Clocks()
    time = clocks.loop_time()
    with time.ticking(TICK):
        clocks.trio += 3_600
        clocks.wall += 3
        assert time.now() == clocks.trio
        assert time.tick() == 0
        clocks.wall += 3_600
        assert time.now() == clocks.trio


@given(st.lists(st.tuples(st.floats(0, 50), st.booleans()), max_size=40))
def test_loop_time_is_monotonic(steps: list[tuple[float, bool]]) -> None:
    """The loop time never goes back, and never runs faster than trio's clock.

    In the end, the loop time is behind trio's clock by exactly ``lost``.
    """
    clocks = Clocks()
    time = clocks.loop_time()
    with time.ticking(TICK):
        for seconds, ticks in steps:
            before = time.now()
            clocks.advance(seconds)
            assert -1e-9 <= time.now() - before <= seconds + 1e-9
            if ticks:
                time.tick()
    assert time.now() == pytest.approx(clocks.trio - time.lost)


async def test_run_has_one_loop_time() -> None:
    """All callers in the same trio run get the same LoopTime object."""
    assert loop_time() is loop_time()
    assert loop_time().now() == pytest.approx(trio.current_time())
