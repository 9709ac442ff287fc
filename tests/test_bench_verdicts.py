"""The conclusions of the benchmarks, tested with values on both sides of each bound."""

from __future__ import annotations

import math

import _verdicts
import pytest
from _verdicts import Goal

AT_MOST = Goal("p99", 5, "ms")
AT_LEAST = Goal("events", 1.8, at_least=True)


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [(AT_MOST, 5, True), (AT_MOST, 5.001, False), (AT_LEAST, 1.8, True), (AT_LEAST, 1.799, False)],
)
def test_bound_of_a_goal(goal: Goal, value: float, *, met: bool) -> None:
    """A goal is met if the value is exactly at the bound, and missed beyond the bound."""
    assert goal.met(value) is met


@pytest.mark.parametrize(("figures", "met"), [([1.0, 5.0, 9.0], "yes"), ([1.0, 5.1, 9.0], "no")])
def test_median_decides(figures: list[float], met: str) -> None:
    """The median of a figure decides whether its goal is met."""
    assert AT_MOST.by_itself(figures)[-1] == met


@pytest.mark.parametrize(("figures", "met"), [([1.0, 2.0, 5.0], "yes"), ([1.0, 2.0, 5.1], "no")])
def test_worst_decides(figures: list[float], met: str) -> None:
    """With ``always``, the worst value of a figure decides whether its goal is met."""
    assert AT_MOST.by_itself(figures, always=True)[-1] == met
    assert AT_LEAST.by_itself([1.8, 3.0], always=True)[-1] == "yes"
    assert AT_LEAST.by_itself([1.7, 3.0], always=True)[-1] == "no"


def test_ratio() -> None:
    """The ratio of two servers is computed for each repetition, and the median of these ratios counts."""
    goal = Goal("CPU", 1.2, "s", 1)
    line = goal.beside([1.0, 30.0, 2.4], [1.0, 10.0, 2.0])
    assert line == ["CPU: ≤ 1.2 times", "2.4 (1.0 to 30.0) s", "2.0 (1.0 to 10.0) s", "1.200 (1.000 to 3.000)", "yes"]
    assert goal.beside([1.0, 30.0, 2.5], [1.0, 10.0, 2.0])[-1] == "no"


def test_ratio_needs_both_sides() -> None:
    """If one of two servers has no value in some repetition, their ratio raises ValueError."""
    with pytest.raises(ValueError, match="longer"):
        _verdicts.ratios([1.0], [1.0, 2.0])


def test_undecided_goal() -> None:
    """If a goal cannot be decided, its line gives the reason and says "not decided"."""
    assert AT_LEAST.undecided("no core to spare") == ["events: ≥ 1.8 times", "no core to spare", "", "", "not decided"]


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ([4, 4, 0, 0], 0.5, 1.0),
        ([4, 4, 0, 0], 0.25, 0.5),
        ([0, 4, 4, 0], 0.75, 2.5),
        ([0, 0, 0, 4], 0.5, math.inf),
        ([3, 0, 0, 1], 0.75, 1.0),
        ([3, 0, 0, 1], 0.76, math.inf),
        ([0, 0], 0.5, 0.0),
    ],
)
def test_quantile(counts: list[int], share: float, value: float) -> None:
    """A quantile that falls inside a step of the histogram is interpolated within this step."""
    assert _verdicts.quantile_of_steps(counts, 1.0, share) == pytest.approx(value)


def test_summed_histograms() -> None:
    """Histograms are summed step by step, even if they have different lengths."""
    assert _verdicts.summed([[1, 2], [10, 20, 30], []]) == [11, 22, 30]
    assert _verdicts.summed([]) == []


def test_steps_per_octave() -> None:
    """The steps of the histogram of ages grow: the age at a step is twice the age four steps before."""
    assert _verdicts.step_ms(0) == 0.001
    assert _verdicts.step_ms(44) == pytest.approx(2 * _verdicts.step_ms(40))


def test_older() -> None:
    """For the end of each step of the histogram, ``older`` returns the share of events that are older than that."""
    ages, shares = _verdicts.older([0, 0, 0, 6, 1, 1])
    assert shares == [1.0, 1.0, 1.0, 0.25, 0.125]
    assert ages[3] == 0.002
    assert _verdicts.older([]) == ([], [])


@pytest.mark.parametrize(("busy", "said"), [(0.9, "was not the limit"), (0.91, "it was the limit, not the server")])
def test_busy_generator(busy: float, said: str) -> None:
    """If the load generator was busy more than 90 % of the time, the report says that it was the limit, not the server.

    Otherwise the report says that the generator was not the limit.
    """
    assert said in _verdicts.note_on_generator([0.1, busy])


@pytest.mark.parametrize(("files", "fitting"), [(20_100, 20_000), (20_099, 19_999), (1024, 924), (3, 1)])
def test_sessions_that_fit(files: int, fitting: int) -> None:
    """If the process may not open enough files, the benchmark uses fewer sessions, so that 100 files stay free.

    It always uses at least one session.
    """
    assert _verdicts.sessions_that_fit(20_000, files) == fitting


@pytest.mark.parametrize(("cores", "spare"), [(3, True), (2, False)])
def test_spare_core(cores: int, *, spare: bool) -> None:
    """A machine has a core to spare for two servers and the load generator only if it has three cores."""
    assert _verdicts.has_spare_core(cores, servers=2) is spare


@pytest.mark.parametrize(("waited", "disturbed"), [([0.1, 0.1, 0.9], False), ([0.0, 0.11, 0.12], True)])
def test_busy_machine(waited: list[float], disturbed: bool) -> None:
    """If the servers waited for their core for more than a tenth of the time, the note says that figures are wrong."""
    said = _verdicts.note_on_machine(waited)
    assert ("disturbed the figures" in said) is disturbed
    assert f"{max(waited):.0%} at most" in said
