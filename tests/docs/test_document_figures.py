"""The figures in the documents are the same as the figures in bench/RESULTS.md."""

from __future__ import annotations

import re

import pytest
from docs.documents import document

README = document("README.md")
RESULTS = document("bench/RESULTS.md").text


def medians(section: str, title: str) -> dict[str, float]:
    """Return the first figure of each line of a table in RESULTS.md, by the name of the line."""
    part = RESULTS.partition(f"<!-- {section} -->")[2].partition(title)[2]
    lines: list[tuple[str, str]] = re.findall(r"^\| ([^|]+) \| ([\d,]+)[^|]* \|", part, re.MULTILINE)
    found: dict[str, float] = {}
    for name, figure in lines:
        found.setdefault(name.strip("* "), float(figure.replace(",", "")))
    return found


def seconds(title: str, server: str) -> float:
    """Return the CPU seconds for 100,000 events of a server, in a table of paced loads."""
    part = RESULTS.partition("<!-- peers -->")[2].partition(title)[2]
    found = re.search(rf"^\| \**{server}\** \| [^|]+ \| ([\d.]+)", part, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_peer_figures() -> None:
    """The README shows the same results of other servers as bench/RESULTS.md."""
    measured = medians("peers", "### Burst")
    rows: list[tuple[str, str, str, str]] = re.findall(
        r"^\| ([^|]+) \| ([\d,]+) \| ([\d.]+) \S \| ([\d.]+) \S \|", README.text, re.MULTILINE
    )
    assert len(rows) == 5
    for name, figure, memory, sqlite in rows:
        assert float(figure.replace(",", "")) == round(measured[name], -3)
        # The ratio of two medians, where RESULTS has the median of the ratios: they differ by a little.
        assert float(memory) == pytest.approx(measured["Greenroom, memory"] / measured[name], rel=0.05)
        assert float(sqlite) == pytest.approx(measured["Greenroom, sqlite"] / measured[name], rel=0.05)


def test_user_figures() -> None:
    """The README shows the same results for many users as bench/RESULTS.md."""
    users = RESULTS.partition("<!-- users -->")[2]
    said = " ".join(README.prose.split())
    for log, text in (("memory", "from memory"), ("sqlite", "through SQLite")):
        found = re.search(rf"^\| {log} \| load \| 200 \| 200 \| burst \| ([\d,]+)", users, re.MULTILINE)
        assert found is not None
        figure = f"{round(int(found[1].replace(',', '')), -3):,}"
        assert re.search(rf"about {figure} [^.]*{text}", said)
    idle = re.search(r"idle session with its connection[^|]*\| ([\d.]+)", users)
    assert idle is not None
    assert f"takes {round(float(idle[1]))} KB" in said


def test_paced_figures() -> None:
    """The README shows the same results for single events as bench/RESULTS.md."""
    said = " ".join(README.prose.split())
    title = "### Paced: 500 users"
    assert f"take {seconds(title, 'Greenroom, memory'):.1f} s of CPU" in said
    assert f"socket.io {seconds(title, 'Node socket.io, recovery on'):.1f}" in said
    assert f"websockets {seconds(title, 'websockets, uvloop'):.1f}" in said
