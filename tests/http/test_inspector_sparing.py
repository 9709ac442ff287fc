"""Results that took much CPU time are shown again for a while, so that an open inspector costs little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from _inspector import cancelled, inspected, started

from transport.inspector import _sparing
from transport.inspector._sparing import CHEAP_SECONDS, MOST, OLDEST_SECONDS, Meter, Recent, shown_for

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize(
    ("cost", "seconds"),
    [(0.0, 0.0), (CHEAP_SECONDS, 0.0), (0.006, 1.2), (0.04, 8.0), (0.05, OLDEST_SECONDS), (9.0, OLDEST_SECONDS)],
)
def test_time_for_which_a_result_is_shown(cost: float, seconds: float) -> None:
    """A cheap result is not shown again. Another is shown for 200 times its cost, and for 10 s at most."""
    assert shown_for(cost) == pytest.approx(seconds)


class Finder:
    """Finds numbers, each at the same cost."""

    def __init__(self, cost: float) -> None:
        self.cost = cost
        self.found = 0

    async def __call__(self, meter: Meter) -> int:
        """Return how often something was found."""
        await trio.lowlevel.checkpoint()
        meter.seconds = self.cost
        self.found += 1
        return self.found


async def test_dear_result_is_shown_again(autojump_clock: MockClock) -> None:
    """A dear result is found anew after its time, for another question, and once all is forgotten."""
    recent, find = Recent[int](), Finder(0.01)
    assert [await recent.get("a", find), await recent.get("a", find), await recent.get("b", find)] == [1, 1, 2]
    await trio.sleep(1.999)
    assert await recent.get("a", find) == 1
    await trio.sleep(0.001)
    assert [await recent.get("a", find), await recent.get("a", find)] == [3, 3]
    recent.forget()
    assert await recent.get("a", find) == 4


async def test_cheap_result_is_found_anew() -> None:
    """A cheap result is never kept."""
    recent, find = Recent[int](), Finder(CHEAP_SECONDS)
    assert [await recent.get("a", find) for _ in range(3)] == [1, 2, 3]


async def test_number_of_kept_results(autojump_clock: MockClock) -> None:
    """The newest results are kept, and no more than MOST."""
    recent, find = Recent[int](), Finder(1.0)
    for number in range(MOST + 1):
        assert await recent.get(str(number), find) == number + 1
    assert await recent.get(str(MOST), find) == MOST + 1
    assert await recent.get("1", find) == 2
    assert await recent.get("0", find) == MOST + 2


class Clock:
    """A clock of CPU time that tasks set forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def thread_time(self) -> float:
        """Return the CPU time so far."""
        return self.now


async def test_time_of_other_tasks_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A meter does not count what other tasks do at its checkpoints."""
    clock = Clock()
    monkeypatch.setattr(_sparing, "time", clock)
    meter = Meter()

    async def work() -> None:
        for _ in range(20):
            clock.now += 100.0
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        for _ in range(10):
            clock.now += 1.0
            await meter.checkpoint()
    assert meter.seconds == 10.0


async def test_pages_of_a_large_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of runs is shown again, with the ages of now. After a cancellation it is a new one."""
    monkeypatch.setattr(_sparing, "CHEAP_SECONDS", -1.0)
    monkeypatch.setattr(_sparing, "SHARE", 1e-9)
    async with inspected() as site:
        first = await started(site, "ann", "s1", "slow")
        (seen,) = (await site.json("api/runs"))["runs"]
        await started(site, "ann", "s2", "slow")
        (again,) = (await site.json("api/runs"))["runs"]
        assert (again["run"], again["age"] >= seen["age"]) == (first, True)
        assert len((await site.json("api/runs?user=ann"))["runs"]) == 2
        assert await cancelled(site, "ann", "s1", first)
        await trio.testing.wait_all_tasks_blocked()
        assert [run["session"] for run in (await site.json("api/runs"))["runs"]] == ["s2"]
