"""The conclusions of bench/hosted.py, and the sections of bench/RESULTS.md that the scripts write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import _results
import hosted
import pytest
from _peer_loads import BURST, PACED

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCH = Path(hosted.__file__).parent


def test_goals_are_measured() -> None:
    """The goals name only servers and figures that the benchmark measures."""
    names = {subject.name for subject in hosted.SUBJECTS}
    assert {aim.server for aim in hosted.AIMS} | {aim.peer for aim in hosted.AIMS if aim.peer} <= names
    assert {aim.figure for aim in hosted.AIMS} <= {column.figure for column in hosted.COLUMNS}


@pytest.mark.parametrize(("scale", "users"), [(1, (PACED.users, BURST.users)), (0.1, (50, 20)), (0.0001, (1, 1))])
def test_scale(scale: float, users: tuple[int, int]) -> None:
    """The option --scale multiplies the number of users, of which at least one is left."""
    loads = hosted.Extent(1, scale).loads()
    assert tuple(load.users for load in loads) == users
    assert [load.rate for load in loads] == [PACED.rate, BURST.rate]


def test_line_for_each_measured_server() -> None:
    """The table has a line for each measured server, and no line for the others."""
    figures = {column.figure: 1.0 for column in hosted.COLUMNS}
    text = hosted.report({"native": [figures], "mount": [figures]})
    assert text.count("1.00 (1.00 to 1.00) | 1.000 (1.000 to 1.000) | 1 (1 to 1)") == 2
    assert text.count("not decided") == len([aim for aim in hosted.AIMS if aim.server not in {"native", "mount"}])


def written() -> Iterator[str]:
    for script in BENCH.glob("*.py"):
        yield from re.findall(r"(?:publish|write)\(\s*options\.results,\s*\"(\w+)\"", script.read_text())


def test_sections_have_a_place() -> None:
    """Each section that a script writes has a place in RESULTS.md, so that no table is dropped.

    The section ``runs`` is counted by hand.
    """
    sections = set(written())
    assert "hosted" in sections
    assert sections | {"runs"} == set(_results.ORDER)


def test_section_is_written(tmp_path: Path) -> None:
    """A script replaces its own section of the results, and leaves the others as they are."""
    results = tmp_path / "RESULTS.md"
    _results.write(results, "hosted", "Hosted", "first")
    _results.write(results, "peers", "Peers", "second")
    _results.write(results, "hosted", "Hosted", "third")
    text = results.read_text()
    assert "first" not in text
    assert text.index("second") < text.index("third")


def test_text_outside_of_sections_is_kept(tmp_path: Path) -> None:
    """A script refuses results with text outside of all sections, and leaves the file as it is."""
    results = tmp_path / "RESULTS.md"
    _results.write(results, "hosted", "Hosted", "first")
    with results.open("a") as file:
        file.write("\n## Counted by hand\n")
    before = results.read_text()
    with pytest.raises(ValueError, match="Counted by hand"):
        _results.write(results, "hosted", "Hosted", "second")
    assert results.read_text() == before
