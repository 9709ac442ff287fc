"""The conclusions of bench/cluster.py: the parts of a figure, and goals that name only what is measured."""

from __future__ import annotations

from typing import Any

import cluster
import pytest
from _cluster_cases import BESIDE, Case, Place, case_figures, cases
from _peer_loads import BURST, PACED

CASES = cases(2, (1000, 20_000), 4000)


def a_round(events: int, *cpus: float) -> dict[str, Any]:
    figures = {"seconds": 1.0, "busy": 0.1, "waited": 0.2, "p50": 1000, "p99": 2000, "longest": 3000}
    return figures | {"events": events, "server_cpu": sum(cpus), "each_cpu": list(cpus)}


def test_parts_of_the_cpu_time() -> None:
    """The CPU time of an event is summed over all rounds, apart for each node and for the server of Valkey."""
    found = case_figures([a_round(100_000, 1.0, 2.0, 0.5), a_round(300_000, 3.0, 2.0, 1.5)])
    assert (found["nodes"], found["first"], found["second"], found["valkey"]) == (2.0, 1.0, 1.0, 0.5)
    assert found["cpu"] == 2.5


def test_one_node_has_no_second() -> None:
    """If there is one node, the CPU time of the nodes is its own."""
    found = case_figures([a_round(100_000, 1.0, 0.5)])
    assert (found["nodes"], found["first"], found["second"]) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("cores", [2, 4])
def test_goals_are_measured(cores: int) -> None:
    """The goals name only cases, logs and servers that the benchmark measures, and figures that these have."""
    figures = {case.name: set(case_figures([a_round(1, 1.0, 1.0, 1.0)])) for case in CASES}
    figures |= {name: {column.figure for column in cluster.COMMIT_COLUMNS} for name in cluster.COMMITS}
    figures |= {server.name: {column.figure for column in cluster.PEER_COLUMNS} for server in BESIDE}
    goals = cluster.aims(1000, 20_000, cores)
    for aim in goals:
        assert aim.figure in figures[aim.server]
        assert aim.peer is None or aim.figure in figures[aim.peer]
    assert len({aim.goal.what for aim in goals}) == len(goals)


@pytest.mark.parametrize(("cores", "figure"), [(2, "nodes"), (3, "rate")])
def test_two_nodes_without_a_spare_core(cores: int, figure: str) -> None:
    """Events per second of two nodes count only where the generator has a core too. Otherwise their CPU time counts."""
    goals = cluster.aims(1000, 20_000, cores)
    assert {aim.figure for aim in goals if aim.server.endswith(Place.BOTH.value)} == {figure}


def test_loads_of_the_places() -> None:
    """Two nodes have twice the users of one node. Clients at another node are as many as those of one node."""
    users = {case.name: case.load.users for case in CASES}
    for load in (PACED, BURST):
        assert users[f"{load.name}, {Place.BOTH.value}"] == 2 * users[f"{load.name}, {Place.HERE.value}"]
        assert users[f"{load.name}, {Place.ELSEWHERE.value}"] == users[f"{load.name}, {Place.HERE.value}"]


def test_mirrors_have_one_rate_together() -> None:
    """Few and many mirrors have the same number of events per second in all."""
    mirrors = [case for case in CASES if "mirrors" in case.name]
    assert [case.load.users for case in mirrors] == [1000, 20_000]
    assert {case.load.users * case.load.rate for case in mirrors} == {4000}
    assert {case.place for case in mirrors} == {Place.ELSEWHERE}


def test_lines_of_the_report() -> None:
    """The report has a line for each case that was measured, and a verdict for each goal, decided or not."""
    case: Case = CASES[0]
    goals = cluster.aims(1000, 20_000, 2)
    text = "\n".join(cluster.report({case.name: [case_figures([a_round(100_000, 1.0, 0.5)])]}, CASES, goals))
    assert text.count(f"| {case.name} |") == 1
    assert text.count("not decided") == len(goals)
