"""Nodes on one Valkey suffer harms under load. A seed gives the harms and their order, and a judge looks at the end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
from _scale import scaled
from chaos.harms import OF_LINKS, OF_NODES, draw
from chaos.judge import judge
from chaos.play import play
from chaos.stage import stage
from chaos.users import Crowd
from delivery.agents import Paced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = scaled(150, 1200)
"""Time limit of one schedule. It takes some 15 s in small, and longer on a machine that is busy."""
KINDS = OF_NODES + OF_LINKS
LEASES = [(seed, 1.0) for seed in range(scaled(1, 100))] + [(seed, 8.0) for seed in range(scaled(0, 10))]
"""The seed of each schedule, and the lease of its nodes in seconds."""


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize(("seed", "lease"), LEASES)
async def test_nodes_and_links(
    seed: int, lease: float, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Nodes are killed or stand still, and links break. No event is lost or doubled, and all clients work again."""
    rng = Random(seed)
    harms = draw(rng, KINDS, len(KINDS), 3)
    with trio.fail_after(SECONDS):
        async with stage(tmp_path, 3, lease) as ready:
            crowd = Crowd(rng, ready.nodes, scaled(2, 200), Paced(3, scaled(0.2, 2.0)))
            played = await play(ready, crowd, harms)
    record_property("recovery_seconds", played.recovery)
    assert judge(played.story) == [], harms


def test_schedules_are_reproducible() -> None:
    """A seed always gives the same schedule, and a schedule has every kind of harm."""
    schedules = [draw(Random(1), KINDS, len(KINDS), 3) for _ in range(2)]
    assert schedules[0] == schedules[1]
    assert {harm.kind for harm in schedules[0]} == {*KINDS}
