"""The resume decision: events are never replayed in part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.events.types import Position, ResetReason
from actors.streams.resume import ResumeDecision, decide


@pytest.mark.parametrize(
    ("resume", "from_latest", "expected"),
    [
        (None, False, ResumeDecision(4, recovered=False)),
        (None, True, ResumeDecision(9, recovered=False)),
        (Position("e", 4), False, ResumeDecision(4, recovered=True)),
        (Position("e", 9), True, ResumeDecision(9, recovered=True)),
        (Position("e", 3), False, ResumeDecision(4, recovered=False, reset=ResetReason.TRIMMED)),
        (Position("e", 10), False, ResumeDecision(4, recovered=False, reset=ResetReason.AHEAD)),
        (Position("other", 10), False, ResumeDecision(4, recovered=False, reset=ResetReason.EPOCH_CHANGED)),
    ],
)
def test_decisions_for_a_log_of_events_5_to_9(
    resume: Position | None, from_latest: bool, expected: ResumeDecision
) -> None:
    """With events 5 to 9 in the log, a client continues without loss from the positions 4 to 9 of the same epoch.

    Any other position gets a reset. A client without a position begins at the oldest event, or at the next new one.
    """
    assert decide(epoch="e", oldest=5, latest=9, resume=resume, from_latest=from_latest) == expected


def test_the_newest_position_recovers_from_an_empty_log() -> None:
    """A client that has the newest event can resume without loss, even if the log has dropped all events."""
    start = decide(epoch="e", oldest=10, latest=9, resume=Position("e", 9), from_latest=False)
    assert start == ResumeDecision(9, recovered=True)


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 60))
def test_recovered_means_complete(oldest: int, kept: int, seq: int) -> None:
    """A resuming client gets ``recovered`` if and only if the log has every event after the client's position.

    If an event is missing, or if the position is above the newest event, the client reads from the oldest event.
    """
    latest = oldest + kept - 1
    start = decide(epoch="e", oldest=oldest, latest=latest, resume=Position("e", seq), from_latest=False)
    assert start.recovered == (oldest - 1 <= seq <= latest)
    assert start.after == (seq if start.recovered else oldest - 1)
