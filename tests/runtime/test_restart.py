"""The rules of restarts: after which exit reasons, how often, and after which delay. They are pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Backoff, ExitReason, Failure, Killed, Normal, Restart, Shutdown
from actors.runtime._restart import Window, should_restart

REASONS: list[ExitReason] = [Normal(), Shutdown(), Failure(ValueError()), Killed()]


@pytest.mark.parametrize("reason", REASONS)
def test_should_restart(reason: ExitReason) -> None:
    """Permanent children are always restarted, transient ones only after a failure or kill, temporary ones never."""
    graceful = isinstance(reason, (Normal, Shutdown))
    assert should_restart(Restart.PERMANENT, reason)
    assert should_restart(Restart.TRANSIENT, reason) is not graceful
    assert not should_restart(Restart.TEMPORARY, reason)


@given(st.integers(0, 5), st.lists(st.floats(0, 4), max_size=40))
def test_window_limits_restarts_in_any_span(limit: int, gaps: list[float]) -> None:
    """In any period of the window's length, the window allows at most ``limit`` restarts."""
    window, now, times = Window(limit, 5.0), 0.0, list[float]()
    for gap in gaps:
        now += gap
        times.append(now)
        within = sum(time > now - 5.0 for time in times)
        assert window.record(now) == (within <= limit)


@given(st.floats(0.001, 10), st.floats(0, 100), st.floats(0, 1), st.floats(0, 0.999), st.integers(0, 5000))
def test_backoff_stays_within_its_bounds(least: float, more: float, factor: float, random: float, attempt: int) -> None:
    """The delay of a restart lies between the minimum and the maximum plus the random part.

    It never gets shorter with more attempts.
    """
    backoff = Backoff(least, least + more, factor)
    delay = backoff.delay(attempt, random)
    assert least <= delay <= (least + more) * (1 + factor)
    assert backoff.delay(attempt, random) <= backoff.delay(attempt + 1, random)


def test_backoff_doubles() -> None:
    """The delay of a restart doubles with each attempt, up to the maximum. The random part is added to it."""
    assert [Backoff(1, 8).delay(attempt, 0.5) for attempt in range(5)] == [1, 2, 4, 8, 8]
    assert Backoff(1, 8, 0.2).delay(1, 0.5) == pytest.approx(2.2)
    assert Backoff(1, 8).healthy_after == pytest.approx(4.5)
