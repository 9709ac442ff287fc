"""The chapter of clusters: each failure has its test, and what the chapter names exists."""

from __future__ import annotations

import re

import attrs
from docs.documents import document

from actors.cluster._statistics import ClusterStatistics
from transport.settings import NAMES

CHAPTER = document("actors/cluster/GUIDE.md")
FAILURES = CHAPTER.table("Failures")


def test_each_failure_has_its_test() -> None:
    """Each row of the table of failures cites one test, and no test is cited twice."""
    cited = [row[-1] for row in FAILURES]
    assert [cell for cell in cited if not re.fullmatch(r"`tests/[\w/]+\.py::\w+`", cell)] == []
    assert sorted(set(cited)) == sorted(cited)


def test_each_counter_exists() -> None:
    """Each counter of the table of failures is a field of the statistics of a node."""
    named = {name for row in FAILURES for name in re.findall(r"`(\w+)`", row[3])}
    assert named - {field.name for field in attrs.fields(ClusterStatistics)} == set()
    assert named


def test_each_setting_exists() -> None:
    """Each name in the chapter that looks like a setting of Greenroom is one."""
    looks = re.compile(r"`((?:valkey|retain|ring|lease|patience|forward|drain|max|runs|failover)_\w+)\b")
    assert set(looks.findall(CHAPTER.text)) - set(NAMES) == set()
