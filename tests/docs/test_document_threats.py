"""The page of threats: each threat has its test, each setting exists, and each item of the standard has its verdict."""

from __future__ import annotations

import re

import pytest
from docs.documents import document

from transport.settings import NAMES

PAGE = "transport/server/THREATS.md"
TABLES = re.findall(r"^## (Threats .+)$", document(PAGE).prose, re.MULTILINE)
STANDARD = "OWASP ASVS 4.0, chapter 13"
ITEMS = [f"13.{part}.{number}" for part, count in ((1, 5), (2, 6), (3, 2), (4, 2)) for number in range(1, count + 1)]
CITED = re.compile(r"`tests/[\w/]+\.py(::\w+)?`")


def verdicts() -> list[list[str]]:
    """Return the rows of both tables with verdicts."""
    lines = document(PAGE).section(STANDARD).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if not set(row[0]) <= {"-", " "} and row[-2] != "verdict"]


@pytest.mark.parametrize("title", TABLES)
def test_each_threat_has_its_test(title: str) -> None:
    """Each row of a table of threats cites a test."""
    rows = document(PAGE).table(title)
    assert [row[0] for row in rows if not CITED.search(row[3])] == []


@pytest.mark.parametrize("title", TABLES)
def test_each_setting_of_a_defence_exists(title: str) -> None:
    """The third column of a table of threats has names of settings, or the word ``none``."""
    cells = [row[2] for row in document(PAGE).table(title)]
    names = {name for cell in cells if cell != "none" for name in cell.split(", ")}
    assert names - {f"`{name}`" for name in NAMES} == set()


def test_each_limit_is_a_defence() -> None:
    """Each setting that limits a client is in a table of threats."""
    limit = re.compile(r"(max|handshakes|control|commands)_|.*_per_(user|minute|second)")
    text = "".join(document(PAGE).section(title) for title in TABLES)
    assert [name for name in NAMES if limit.match(name) and f"`{name}`" not in text] == []


def test_each_item_of_the_standard_has_a_verdict() -> None:
    """Each item of chapter 13 of ASVS 4.0 is there once. If the verdict is "met", the row cites a test."""
    assert [row[0] for row in verdicts() if row[0].startswith("13.")] == ITEMS
    assert {row[-2] for row in verdicts()} == {"met", "not applicable", "operator"}
    assert [row[0] for row in verdicts() if row[-2] == "met" and not CITED.search(row[-1])] == []
