"""Whatever several clients send, in any order and in any pieces, the server keeps its contract for each of them."""

from __future__ import annotations

from _scale import scaled
from fuzz.scripts import Ask, Say, Step, Wait, scripts
from fuzz.tabs import HEAD
from fuzz.worlds import play
from hypothesis import HealthCheck, example, given, settings

HELLO = '{"type": "hello", "session": "s1", "token": "alice"}'


@settings(max_examples=scaled(25, 3000), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(script=scripts(scaled(12, 30)))
@example(script=[Ask(0, HEAD, 1 << 16), Wait(11.0), Say(0, HELLO)])  # a hello that comes too late
def test_any_frames(script: list[Step]) -> None:
    """Each client gets the events of its own session and one reply to each command, or a goodbye with a true reason.

    Nothing is logged as an error, a neighbour is served meanwhile, and at the end no task or connection is left.
    """
    play(script)
