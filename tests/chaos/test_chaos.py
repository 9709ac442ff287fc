"""Nodes on one Valkey suffer harms under load. A seed gives the harms and their order, and a judge looks at the end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
from _scale import SOAK
from chaos.harms import OF_CLIENTS, OF_LINKS, OF_NODES, OF_VALKEY, Kind, draw
from chaos.judge import judge
from chaos.play import play
from chaos.stage import stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEEPING = OF_NODES + OF_LINKS + OF_CLIENTS
"""The harms after which nothing may be missing, and no session may have a new epoch."""
SMALL = (
    (Kind.KILL, Kind.STALL, Kind.CLIENT_HOLE),
    (Kind.PAUSE, Kind.CLOCK, Kind.CUT, Kind.CLIENT_CUT),
    (Kind.HOLE, Kind.LATE, Kind.CLIENT_STALL),
    (Kind.RESTART, Kind.STALL),
    (Kind.OLDER, Kind.EMPTY, Kind.FLUSH),
)
"""The schedules of ``make test``."""
HARMS = 10
"""Number of harms in each schedule of ``make soak-chaos``."""
LEASE = 4.0
"""The lease of its nodes, in seconds. With 200 clients and all nodes on two cores, a beat can take a second."""
LARGE = (
    [(f"nodes-{seed}", seed, KEEPING, LEASE) for seed in range(100)]
    + [(f"restarts-{seed}", seed, (*KEEPING, Kind.RESTART), LEASE) for seed in range(100, 150)]
    + [(f"losses-{seed}", seed, (*KEEPING, *OF_VALKEY), LEASE) for seed in range(150, 200)]
    + [(f"default-lease-{seed}", seed, KEEPING, 8.0) for seed in range(200, 210)]
)
"""The schedules of ``make soak-chaos``: name, seed, kinds of harms, and lease of the nodes in seconds."""


MOST_LATE = 3
"""The recovery may take so many times its limit, however late the process of the test was."""


def recovery_limit(lease: float) -> float:
    """Return the seconds after the last harm within which each client must have got an answer.

    The time in which the process of the test was late does not count.
    """
    return 5 + 10 * lease / 8


@pytest.mark.timeout(180)
async def test_small_schedules(tmp_path: Path) -> None:
    """Nodes, links and Valkey suffer every kind of harm. No event is doubled or lost without a new epoch."""
    with trio.fail_after(150):
        async with stage(tmp_path, 3, 1.0) as ready:
            for seed, kinds in enumerate(SMALL):
                played = await play(ready, seed, kinds, len(kinds))
                assert (seed, judge(played.story)) == (seed, [])


@pytest.mark.left_out_if(not SOAK, "it takes hours: make soak-chaos")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("seed", "kinds", "lease"), [each[1:] for each in LARGE], ids=[each[0] for each in LARGE])
async def test_large_schedules(
    seed: int, kinds: tuple[Kind, ...], lease: float, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The same with 200 users and more harms. All clients work again within seconds after the last harm."""
    with trio.fail_after(870):
        async with stage(tmp_path, 3, lease) as ready:
            played = await play(ready, seed, kinds, HARMS)
    for name in ("recovery", "half", "late", "rest"):
        record_property(f"{name}_seconds", round(getattr(played, name), 2))
    assert judge(played.story) == []
    assert played.recovery - played.late <= recovery_limit(lease)
    assert played.recovery <= MOST_LATE * recovery_limit(lease)


def test_schedules_are_reproducible() -> None:
    """A seed always gives the same schedule, and a schedule has every kind of harm."""
    kinds = tuple(Kind)
    schedules = [draw(Random(1), kinds, len(kinds), 3) for _ in range(2)]
    assert schedules[0] == schedules[1]
    assert {harm.kind for harm in schedules[0]} == {*Kind}


def test_small_schedules_have_every_kind_of_harm() -> None:
    """No kind of harm is left to ``make soak-chaos`` alone."""
    assert {kind for kinds in SMALL for kind in kinds} == {*Kind}
