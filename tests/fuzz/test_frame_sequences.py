"""Whatever several clients send, in any order and in any pieces, the server keeps its contract for each of them."""

from __future__ import annotations

from _scale import scaled
from fuzz.scripts import Step, scripts
from fuzz.worlds import play
from hypothesis import HealthCheck, given, settings


@settings(max_examples=scaled(25, 3000), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(script=scripts(scaled(12, 30)))
def test_any_frames(script: list[Step]) -> None:
    """Each client gets the events of its own session and one reply to each command, or a goodbye with a true reason.

    Nothing is logged as an error, a neighbour is served meanwhile, and at the end no task or connection is left.
    """
    play(script)
