"""The measure of a slow machine: only time in which the loop was late counts, and not time in which clients wait."""

from __future__ import annotations

import pytest
import trio
from chaos.pace import TICK, Lateness
from trio.testing import MockClock, wait_all_tasks_blocked


async def test_lateness_is_summed_up(mock_clock: MockClock) -> None:
    """A loop that is in time is not late, however long everything waits. One that comes late is late by that much."""
    lateness = Lateness()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lateness.watch)
        for passed in (TICK, TICK, 2.0, TICK, 1.0):
            await wait_all_tasks_blocked()
            mock_clock.jump(passed)
        await wait_all_tasks_blocked()
        assert lateness.seconds == pytest.approx(3.0 - 2 * TICK)
        nursery.cancel_scope.cancel()
