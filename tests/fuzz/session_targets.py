"""A fuzz target: the whole server, with the scripts of hostile clients that hypothesis makes of any bytes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from fuzz.scripts import scripts
from fuzz.target import Target
from fuzz.worlds import play
from hypothesis import given, settings

if TYPE_CHECKING:
    from fuzz.scripts import Step

_LONGEST = 1024


@settings(database=None, deadline=None)
@given(script=scripts(16))
def _play(script: list[Step]) -> None:
    play(script)


def sessions(data: bytes) -> None:
    """Check that the server keeps its contract for the clients whose script these bytes choose."""
    _play.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]  # hypothesis adds it


_SEEDS = tuple(random.Random(number).randbytes(_LONGEST) for number in range(8))

TARGETS = (Target("sessions", sessions, _SEEDS, longest=_LONGEST, weight=4),)
