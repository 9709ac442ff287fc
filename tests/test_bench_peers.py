"""The conclusions of bench/peers.py: ratios of two servers in each repetition, goals, and a line for every server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import _peer_tables
import peers
import pytest
from _goals import AIMS, Aim, paired
from _kills import Client, Lost
from _peer_loads import BURST, PACED, figures
from _peer_subjects import FOLDER, SERVERS, Server
from _verdicts import Goal

if TYPE_CHECKING:
    from pathlib import Path

AT_LEAST = Aim(Goal("rate", 2, at_least=True), "rate", "ours", "theirs")
AT_MOST = Aim(Goal("cost", 1), "cost", "ours", "theirs")


def series(figure: str, values: list[float]) -> list[dict[str, float]]:
    return [{figure: value} for value in values]


def test_paired_ratio() -> None:
    """The ratio of two servers is computed for each repetition, and the median of these ratios counts."""
    measured = {"ours": series("rate", [100, 200, 300]), "theirs": series("rate", [50, 400, 10])}
    assert AT_LEAST.line(measured)[-2:] == ["2.000 (0.500 to 30.000)", "yes"]
    # The ratio of the medians and the mean of the ratios are still above the bound; the median of the ratios is not.
    assert AT_LEAST.line(measured | {"theirs": series("rate", [51, 400, 10])})[-1] == "no"


@pytest.mark.parametrize(("value", "met"), [(200, "yes"), (199.9, "no")])
def test_at_least_bound(value: float, met: str) -> None:
    """A goal with a lower bound is met if the value is exactly the bound."""
    measured = {"ours": series("rate", [value]), "theirs": series("rate", [100])}
    assert AT_LEAST.line(measured)[-1] == met


@pytest.mark.parametrize(("value", "met"), [(4, "yes"), (4.01, "no")])
def test_at_most_bound(value: float, met: str) -> None:
    """A goal with an upper bound is met if the value is exactly the bound."""
    measured = {"ours": series("cost", [value]), "theirs": series("cost", [4])}
    assert AT_MOST.line(measured)[-1] == met


def test_goal_without_a_peer() -> None:
    """If a goal is about one server alone, the median of the measured values decides whether it is met."""
    aim = Aim(Goal("p99", 5, "ms"), "p99", "ours")
    assert aim.line({"ours": series("p99", [1, 5, 99])})[-1] == "yes"
    assert aim.line({"ours": series("p99", [1, 5.1, 99])})[-1] == "no"


def test_goal_that_always_holds() -> None:
    """If a goal must hold in every repetition, the worst repetition decides whether it is met."""
    aim = Aim(Goal("longest", 50, "ms"), "longest", "ours", always=True)
    assert aim.line({"ours": series("longest", [1, 50])})[-1] == "yes"
    assert aim.line({"ours": series("longest", [1, 1, 51])})[-1] == "no"


@pytest.mark.parametrize("measured", [{}, {"ours": series("rate", [1])}, {"theirs": series("rate", [1])}])
def test_missing_side(measured: dict[str, list[dict[str, float]]]) -> None:
    """If one of the two servers that a goal compares was not measured, the goal counts as not decided."""
    assert AT_LEAST.line(measured) == ["rate: ≥ 2 times", "not measured", "", "", "not decided"]


def test_unit_without_a_figure() -> None:
    """The line of a goal without a second server names the unit, even if nothing was measured."""
    assert Aim(Goal("p99", 5, "ms"), "p99", "ours").line({})[0] == "p99: ≤ 5 ms"


def test_incomplete_repetitions() -> None:
    """Two servers are compared only by the repetitions in which both have a value."""
    measured = {"ours": [{"rate": 1.0}, {}, {"rate": 3.0}], "theirs": [{}, {"rate": 2.0}, {"rate": 6.0}]}
    assert paired(measured, "rate", "ours", "theirs") == [(3, 6)]


def a_round(**figures: float) -> dict[str, Any]:
    usual = {
        "events": 100,
        "seconds": 1.0,
        "server_cpu": 1.0,
        "busy": 0.1,
        "waited": 0.2,
        "p50": 1000,
        "p99": 2000,
        "longest": 3000,
    }
    return usual | figures


def test_sum_of_rounds() -> None:
    """If a load is sent several times (in rounds), the figures of all rounds are combined into one.

    For the longest delay, the longest of all rounds is kept.
    """
    rounds = [a_round(), a_round(seconds=3.0, server_cpu=2.0, busy=0.5, p99=4000, longest=9000)]
    assert figures(rounds) == {
        "rate": 50,
        "cpu": 1500,
        "server": 75,
        "busy": 50,
        "waited": 20,
        "p50": 1,
        "p99": 3,
        "longest": 9,
    }


def test_paced_load() -> None:
    """A load at a fixed rate has more events than can be sent in its time.

    The load is cut off when the time is over.
    """
    paced = PACED.words(2, "plain")
    assert (paced.window, paced.cut, paced.dialect) == (2, True, "plain")
    assert paced.events >= paced.rate * (paced.warm + paced.window)


def test_burst_load() -> None:
    """A burst of events is repeated until its time is over. The first repetition is not counted."""
    burst = BURST.words(2, "plain")
    assert (burst.events, burst.rate, burst.rounds, burst.lasting) == (200, 0, 1 + BURST.uncounted, 2)


def test_goals_are_measured() -> None:
    """The goals of the benchmark name only servers and figures that the benchmark measures."""
    names = {server.name for server in SERVERS}
    columns = (*_peer_tables.BURST, *_peer_tables.PACED, *_peer_tables.TAIL)
    assert {aim.server for aim in AIMS} | {aim.peer for aim in AIMS if aim.peer} <= names
    assert {aim.figure for aim in AIMS} <= {column.figure for column in columns}


def test_peers_are_complete() -> None:
    """Every other server in the benchmark has its script and its list of missing features."""
    others = [server for server in SERVERS if not server.ours]
    assert all((FOLDER / server.script).is_file() and server.lacks for server in others)


def test_absent_server() -> None:
    """A server that is not installed still has a line in every table, which says so."""
    text = _peer_tables.report(SERVERS, {}, {server.name: "not installed (it)" for server in SERVERS})
    lines = [2 * (not server.stores) + server.in_tail + server.keeps for server in SERVERS]
    assert text.count("not installed (it)") == sum(lines)
    assert text.count("not decided") == len(AIMS)


@pytest.mark.parametrize(
    "words",
    [
        ["--repetitions", "0"],
        ["--repetitions", "x"],
        ["--seconds", "nan"],
        ["--seconds", "0"],
        ["--seconds", "x"],
        ["--only", "x"],
    ],
)
def test_wrong_options(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If an option is wrong, the command ends with one error message that names the option and its value."""
    monkeypatch.setattr("sys.argv", ["peers.py", *words])
    with pytest.raises(SystemExit) as ended:
        peers.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {words[0]}: " in said
    assert words[1] in said


def test_only_absent_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """If none of the requested servers is installed, the command ends with one error message that says so."""

    def missing(_server: Server) -> list[str]:
        return ["it"]

    monkeypatch.setattr(Server, "missing", missing)
    monkeypatch.setattr("sys.argv", ["peers.py", "--only", "ws"])
    with pytest.raises(SystemExit, match=r"nothing to measure: ws is not installed \(it\)"):
        peers.main()


def test_arithmetic_of_the_goals() -> None:
    """The explanation of the goals is printed only if all servers that it compares were measured."""

    def one(cpu: float, net: float) -> list[dict[str, float]]:
        return [{"paced cpu": cpu, "paced net": net, "tail cpu": cpu - 1, "burst cpu": net, "burst rate": 1e5 * cpu}]

    measured = {
        "greenroom-memory": one(6, 3),
        "greenroom-sqlite": one(8, 5),
        "picows": one(2, 1),
        "socket.io": one(5, 4),
        "ws": one(2, 1),
        "python-socketio": one(0.2, 0.1),
    }
    text = " ".join(_peer_tables.limits(measured).split())
    assert "pacing loop takes 3.00 and socket.io altogether 5.00. Of 1.35 times that, 3.75 are left" in text
    assert "3.00 from memory and 5.00 through sqlite: 2.00 and 4.00 for actor" in text
    assert "took 5.00 from memory and 7.00 through sqlite" in text
    assert "takes 30.00 µs from memory and 50.00 through sqlite" in text
    assert "2.50 µs (20 times python-socketio), 1.43 (3.5 times ws)" in text
    assert not _peer_tables.limits({name: measured[name] for name in measured if name != "picows"})


def test_sums_of_kills() -> None:
    """The table of the servers that store has the sums of all kills; a server that was not killed has none."""
    lost = {"emitted": 100.0, "lost": 2.0, "twice": 0.0, "untold": 1.0}
    one = {f"{kind} {name}": value for kind in ("connected", "away") for name, value in lost.items()}
    assert _peer_tables.Sums([one, one | {"away lost": 5.0}]).cells() == ["4 of 200", "7 of 200", "0", "4"]
    assert set(_peer_tables.Sums([{"burst rate": 1.0}]).cells()) == {_peer_tables.NOTHING}


def a_client(folder: Path, noted: list[str], got: list[str], *, told: bool = False) -> Client:
    (folder / "noted").write_text("\n".join(noted))
    return Client("greenroom", folder / "noted", got, told)


@pytest.mark.parametrize(
    ("got", "told", "lost"),
    [
        (["1", "2", "3"], False, Lost(3, 0, 0, 0)),
        (["1", "3"], False, Lost(3, 1, 0, 1)),
        (["1", "3"], True, Lost(3, 1, 0, 0)),
        (["1", "2", "2", "3"], False, Lost(3, 0, 1, 0)),
        (["1", "2", "3", "4"], False, Lost(3, 0, 0, 0)),  # it came, and the process was killed before it was noted
    ],
)
def test_lost_events(tmp_path: Path, got: list[str], told: bool, lost: Lost) -> None:
    """Lost are the events that the agent noted and the client did not get."""
    assert a_client(tmp_path, ["1", "2", "3"], got, told=told).result() == lost
