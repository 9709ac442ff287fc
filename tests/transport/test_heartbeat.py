"""The heartbeat, which calls connections at certain times: calls come in time, and ended connections leave nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from transport.server._heartbeat import FORGOTTEN, Heartbeat

if TYPE_CHECKING:
    from trio.testing import MockClock


@attrs.define(eq=False)
class Ticking:
    """A connection that notes the times of its calls, and asks for the next call ``every`` seconds later."""

    every: float
    beats: list[float] = attrs.Factory(list[float])

    def beat(self, now: float) -> float:
        self.beats.append(now)
        return now + self.every

    def on_failed(self, error: BaseException) -> None:
        raise error


def left_in(heartbeat: Heartbeat) -> int:
    """Return the number of entries in the heartbeat's heap."""
    return len(heartbeat._heap)  # noqa: SLF001 - nothing else shows it


@pytest.mark.parametrize("staying", [0, 10, 1_000])
async def test_heap_is_compacted(staying: int) -> None:
    """However many connections have ended, the heap has at most two entries per live connection, plus ``FORGOTTEN``."""
    heartbeat = Heartbeat()
    for _ in range(staying):
        heartbeat.add(Ticking(1), 20.0)
    for wave in range(5):
        crowd = [Ticking(1) for _ in range(1_000)]
        for one in crowd:
            heartbeat.add(one, 20.0 + wave)
        for one in crowd:
            heartbeat.remove(one)
            heartbeat.remove(one)
        assert left_in(heartbeat) <= 2 * staying + FORGOTTEN


async def test_calls_stay_in_time_after_a_compaction(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """After entries of many ended connections were removed from the heap, other connections are called in time."""
    heartbeat = Heartbeat()
    nursery.start_soon(heartbeat.run)
    start = trio.current_time()
    early, late = Ticking(2.0), Ticking(3.0)
    crowd = [Ticking(1.0) for _ in range(1_000)]
    heartbeat.add(late, start + 3.0)
    for one in crowd:
        heartbeat.add(one, start + 1.0)
    heartbeat.add(early, start + 2.0)
    for one in crowd:
        heartbeat.remove(one)
    await trio.sleep(6.5)
    assert [at - start for at in early.beats] == pytest.approx([2.0, 4.0, 6.0])
    assert [at - start for at in late.beats] == pytest.approx([3.0, 6.0])
    assert not any(one.beats for one in crowd)


async def test_second_add_replaces_the_first(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """If a connection is added again with another time, it is called at that time, and not at the earlier one."""
    heartbeat = Heartbeat()
    nursery.start_soon(heartbeat.run)
    start = trio.current_time()
    one, other = Ticking(10.0), Ticking(10.0)
    for when in (1.0, 5.0):
        heartbeat.add(one, start + when)
    for when in (5.0, 1.0):
        heartbeat.add(other, start + when)
    await trio.sleep(12)
    assert [at - start for at in one.beats] == pytest.approx([5.0])
    assert [at - start for at in other.beats] == pytest.approx([1.0, 11.0])
    heartbeat.remove(one)
    heartbeat.remove(other)
    await trio.sleep(100)
    assert (len(one.beats), len(other.beats)) == (1, 2)
