"""Valkey itself suffers harms under its nodes: it is restarted with all of its data, with older data or without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _scale import SOAK, scaled
from chaos.harms import OF_LINKS, OF_NODES, OF_VALKEY, Kind
from chaos.judge import judge
from chaos.play import SECONDS, perform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEEPING = (Kind.RESTART, *OF_NODES, *OF_LINKS) if SOAK else (Kind.RESTART,)
LOSING = (*OF_VALKEY, *OF_NODES, *OF_LINKS) if SOAK else (Kind.OLDER, Kind.EMPTY, Kind.FLUSH)


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("seed", range(scaled(1, 100)))
@pytest.mark.parametrize("kinds", [KEEPING, LOSING], ids=["keeping", "losing"])
async def test_valkey_harms(
    seed: int, kinds: tuple[Kind, ...], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """After a restart of Valkey no event is missing. After a loss of data no epoch has two events of one number."""
    played = await perform(tmp_path, seed, kinds)
    record_property("recovery_seconds", played.recovery)
    assert judge(played.story) == []
