"""Nodes on one Valkey suffer harms under load. A seed gives the harms and their order, and a judge looks at the end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from _scale import SOAK, scaled
from chaos.harms import OF_LINKS, OF_NODES, Kind, draw
from chaos.judge import judge
from chaos.play import SECONDS, perform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = OF_NODES + OF_LINKS
FEW = (Kind.KILL, Kind.PAUSE, Kind.STALL, Kind.HOLE, Kind.CLIENT_HOLE)
LEASES = [(seed, 1.0) for seed in range(scaled(1, 100))] + [(seed, 8.0) for seed in range(scaled(0, 10))]
"""The seed of each schedule, and the lease of its nodes in seconds: a short one, or the default."""


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize(("seed", "lease"), LEASES)
async def test_nodes_and_links(
    seed: int, lease: float, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Nodes are killed or stand still, and links break. No event is lost or doubled, and all clients work again."""
    played = await perform(tmp_path, seed, KINDS if SOAK else FEW, lease)
    record_property("recovery_seconds", played.recovery)
    assert judge(played.story) == []


def test_schedules_are_reproducible() -> None:
    """A seed always gives the same schedule, and a schedule has every kind of harm."""
    schedules = [draw(Random(1), KINDS, len(KINDS), 3) for _ in range(2)]
    assert schedules[0] == schedules[1]
    assert {harm.kind for harm in schedules[0]} == {*KINDS}
