"""The resume decision: nothing is ever replayed in part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Position
from actors.streams.resume import Start, decide


@pytest.mark.parametrize(
    ("resume", "from_latest", "expected"),
    [
        (None, False, Start(4, recovered=False)),
        (None, True, Start(9, recovered=False)),
        (Position("e", 4), False, Start(4, recovered=True)),
        (Position("e", 9), True, Start(9, recovered=True)),
        (Position("e", 3), False, Start(4, recovered=False, reset="trimmed")),
        (Position("e", 10), False, Start(4, recovered=False, reset="ahead")),
        (Position("other", 10), False, Start(4, recovered=False, reset="epoch_changed")),
    ],
)
def test_what_a_position_gets_from_a_log_that_keeps_5_to_9(
    resume: Position | None, from_latest: bool, expected: Start
) -> None:
    assert decide(epoch="e", oldest=5, latest=9, resume=resume, from_latest=from_latest) == expected


def test_the_newest_position_recovers_although_everything_expired() -> None:
    start = decide(epoch="e", oldest=10, latest=9, resume=Position("e", 9), from_latest=False)
    assert start == Start(9, recovered=True)


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 60))
def test_recovered_means_that_nothing_after_the_position_is_missing(oldest: int, kept: int, seq: int) -> None:
    latest = oldest + kept - 1
    start = decide(epoch="e", oldest=oldest, latest=latest, resume=Position("e", seq), from_latest=False)
    assert start.recovered == (oldest - 1 <= seq <= latest)
    assert start.after == (seq if start.recovered else oldest - 1)
