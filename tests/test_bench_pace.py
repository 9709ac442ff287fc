"""The rate of bench/scale.py and bench/watched.py, and the longest steps that the latter measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import _generator
import _pace
import pytest
import trio
import watched
from _steps import LongestSteps

if TYPE_CHECKING:
    from _generator import Report


def report(*, events: int, cpu: float, waited: float = 0.0, seconds: float = 2.0) -> Report:
    """Return the report of a round."""
    return {"events": events, "seconds": seconds, "server_cpu": cpu, "waited": waited}


@pytest.mark.parametrize(
    ("measured", "rate"),
    [
        (report(events=2000, cpu=0.2), 5000.0),  # 0.1 ms an event: half of a core are 5,000
        (report(events=2000, cpu=0.21), 4700.0),  # two digits, rounded down
        (report(events=2000, cpu=0.2, waited=0.1), 2500.0),  # it got its core half of the time
        (report(events=2000, cpu=0.01), _pace.MOST),
        (report(events=100, cpu=1.0), 50.0),
    ],
)
def test_affordable_rate(measured: Report, rate: float) -> None:
    """The rate leaves half of the time that the server gets of its core, and is never above the most."""
    assert _pace.affordable(measured) == pytest.approx(rate)


@pytest.mark.parametrize(("events", "keeps_up"), [(1800, True), (1799, False)])
def test_server_that_keeps_up(events: int, *, keeps_up: bool) -> None:
    """A server keeps up from 90 % of the wanted rate on. The message names both rates."""
    rounds = [report(events=events, cpu=1.0)]
    if keeps_up:
        _pace.check(rounds, 1000)
    else:
        with pytest.raises(_pace.Behind, match="900 of 1,000 events a second"):
            _pace.check(rounds, 1000)


@pytest.mark.parametrize("failure", [_pace.Behind("too much"), _generator.Failed("too much")])
def test_half_of_the_rate_after_a_failure(failure: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    """A measurement that does not keep up is made again at half of the rate. That is told."""

    def measure(rate: float) -> str:
        if rate > 2000:
            raise failure
        return "measured"

    assert _pace.kept_up(None, lambda: 8000.0, measure) == (2000.0, "measured")
    assert capsys.readouterr().err.count("too much; once more at half of that") == 2


@pytest.mark.parametrize(("fixed", "attempts"), [(None, [800.0, 400.0, 200.0]), (600.0, [600.0])])
def test_end_of_the_attempts(fixed: float | None, attempts: list[float]) -> None:
    """The last failure is the message of the exit. A rate that was asked for is tried once."""
    tried: list[float] = []

    def measure(rate: float) -> None:
        tried.append(rate)
        raise _pace.Behind(f"failed at {rate:g}")

    with pytest.raises(SystemExit, match=f"failed at {attempts[-1]:g}; try a lower --rate"):
        _pace.kept_up(fixed, lambda: 800.0, measure)
    assert tried == attempts


def test_runs_last_for_all_rounds() -> None:
    """All rounds of bench/watched.py measure the same runs, so these emit for longer than all rounds together."""
    wanted = watched.load(1000, 500.0, 8.0, 11)
    assert (wanted.keep, wanted.cut, wanted.rounds) == (True, True, 11)
    assert wanted.events / wanted.rate > 11 * (wanted.warm + wanted.window)


async def test_longest_step_of_a_folder() -> None:
    """The longest step is that of a task with code in the folder, wherever it waits. Other tasks do not count."""
    own, other = LongestSteps(["/test_bench_pace.py"]), LongestSteps(["/nowhere/"])

    async def work() -> None:
        for _ in range(3):
            sum(range(20_000))
            await trio.lowlevel.checkpoint()

    for each in (own, other):
        trio.lowlevel.add_instrument(each)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
    for each in (own, other):
        trio.lowlevel.remove_instrument(each)
    assert own.longest_seconds > other.longest_seconds == 0.0
