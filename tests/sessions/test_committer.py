"""The pump that commits: how long what it commits has waited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from actors import Batch, MemoryLog, StreamKey
from actors.sessions._committer import WAIT_STEP_SECONDS, WAIT_STEPS, Committer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from actors import LogError

COMMIT_SECONDS = 0.001


class SlowLog(MemoryLog):
    """Takes a while for each commit, as a disk does."""

    def __init__(self, seconds: float = COMMIT_SECONDS) -> None:
        super().__init__()
        self.seconds = seconds
        self.commits: list[tuple[float, int]] = []
        """When each commit began, and how many sessions were in it."""

    async def append(self, batches: Sequence[Batch]) -> None:
        self.commits.append((trio.current_time(), len(batches)))
        await trio.sleep(self.seconds)


@attrs.define(eq=False)
class Talker:
    """A source that has one event whenever it is marked."""

    number: int

    def batch(self) -> Batch:
        return Batch(StreamKey("alice", f"s{self.number}"), 1, [b'{"seq":1,"ts":1}'], b"")

    def committed(self, batch: Batch) -> None:
        pass

    def failed(self, error: LogError) -> None:
        raise error


@pytest.mark.parametrize(
    ("seconds", "step"),
    [
        (0.5 * WAIT_STEP_SECONDS, 0),
        (1.5 * WAIT_STEP_SECONDS, 1),
        ((WAIT_STEPS - 0.5) * WAIT_STEP_SECONDS, WAIT_STEPS - 1),
        ((WAIT_STEPS + 0.5) * WAIT_STEP_SECONDS, WAIT_STEPS),
        (100 * WAIT_STEPS * WAIT_STEP_SECONDS, WAIT_STEPS),
    ],
)
async def test_each_batch_is_counted_once_by_the_time_that_it_waited(
    autojump_clock: MockClock, nursery: trio.Nursery, seconds: float, step: int
) -> None:
    committer = Committer(SlowLog(seconds))
    nursery.start_soon(committer.run)
    committer.mark(Talker(1))
    committer.mark(Talker(2))
    assert committer.statistics().waiting == 2
    await committer.barrier()
    statistics = committer.statistics()
    assert statistics.waiting == 0
    assert [(at, count) for at, count in enumerate(statistics.waits) if count] == [(step, 2)]


async def test_what_comes_during_a_commit_waits_for_its_end_too(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    committer = Committer(SlowLog(10.5 * WAIT_STEP_SECONDS))
    nursery.start_soon(committer.run)
    committer.mark(Talker(1))
    await trio.sleep(4.25 * WAIT_STEP_SECONDS)
    committer.mark(Talker(2))
    await committer.barrier()
    waits = committer.statistics().waits
    assert [at for at, count in enumerate(waits) if count] == [10, 16]
