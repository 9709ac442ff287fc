"""The index: a table of questions with their answers, and the limits of a search."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from demo.questions import QUESTIONS
from hypothesis import given
from hypothesis import strategies as st

from transport.demo.collect import Collected
from transport.demo.entry import Entry
from transport.demo.index import Index, write

if TYPE_CHECKING:
    from pathlib import Path

ENOUGH = 0.88
"""Share of the questions that must find a right answer."""


def test_module_is_in_the_top_3(index: Index) -> None:
    """For at least 88 % of the questions a right module is among the first three."""
    missed = [
        question
        for question, (modules, _) in QUESTIONS.items()
        if not set(modules) & set(_first_modules(index, question))
    ]
    assert len(missed) <= (1 - ENOUGH) * len(QUESTIONS), missed


def test_name_is_in_the_top_5(index: Index) -> None:
    """For at least 88 % of the questions a right name is among the first five hits."""
    missed = [
        question for question, (_, symbols) in QUESTIONS.items() if not set(symbols) & set(_symbols(index, question, 5))
    ]
    assert len(missed) <= (1 - ENOUGH) * len(QUESTIONS), missed


def test_best_hit(index: Index) -> None:
    """The best hit for a csv file with a header is ``csv.DictReader``."""
    assert _symbols(index, "how do I parse a csv file with a header?", 1) == ["csv.DictReader"]


def test_search_in_one_module(index: Index) -> None:
    """A search in one module returns only names of that module."""
    hits = index.search("read a file", 20, "csv")
    assert {hit.entry.module for hit in hits} == {"csv"}


@pytest.mark.parametrize("question", ["", "how do I", "qwertzuiop", "???", '"', "weather in Paris"])
def test_no_hits(index: Index, question: str) -> None:
    """A question without a known word has no hits."""
    assert index.search(question) == []


@pytest.mark.parametrize("question", ["csv' OR 1=1 --", "NEAR(csv file)", 'csv"', "csv AND NOT csv", "name:csv*"])
def test_query_syntax_is_text(index: Index, question: str) -> None:
    """Query syntax of the database in a question is searched as plain words."""
    assert "csv" in _first_modules(index, question)


@given(question=st.text(max_size=60), limit=st.integers(-1, 5))
def test_limit_and_order(index: Index, question: str, limit: int) -> None:
    """A search for any text returns at most ``limit`` hits, the highest score first."""
    hits = index.search(question, limit)
    assert len(hits) <= max(limit, 0)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_name_weighs_more_than_text(tmp_path: Path) -> None:
    """A word in the name counts more than the same word in the docstring."""
    named = Entry(
        module="a", name="pour", kind="function", doc="Something with a cup.", file="a.py", line=1, end_line=2
    )
    described = Entry(
        module="b", name="fill", kind="function", doc="Something: pour a cup.", file="b.py", line=1, end_line=2
    )
    path = tmp_path / "small.sqlite"
    write(Collected((described, named, *_unrelated()), {}), path)
    assert _symbols(Index(path), "pour", 2) == ["a.pour", "b.fill"]


def test_typed_word_weighs_more_than_synonym(tmp_path: Path) -> None:
    """An entry that has the word of the question comes before an entry that has only a synonym."""
    typed = Entry(module="b", name="fill", kind="function", doc="Something with a folder.")
    synonym = Entry(module="a", name="pour", kind="function", doc="Something with a directory.")
    path = tmp_path / "small.sqlite"
    write(Collected((synonym, typed, *_unrelated()), {}), path)
    assert _symbols(Index(path), "folder", 2) == ["b.fill", "a.pour"]


def test_other_format(tmp_path: Path) -> None:
    """An index file of another format is refused."""
    path = tmp_path / "old.sqlite"
    write(Collected(_unrelated(), {}), path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 999")
    with pytest.raises(sqlite3.DatabaseError, match="format"):
        Index(path)


def _unrelated() -> tuple[Entry, ...]:
    """Return entries that no search here finds."""
    return tuple(Entry(module="c", name=f"name{number}", kind="function", doc="Nothing.") for number in range(8))


def _symbols(index: Index, question: str, limit: int) -> list[str]:
    """Return the names of the first hits."""
    return [hit.entry.symbol for hit in index.search(question, limit)]


def _first_modules(index: Index, question: str) -> list[str]:
    """Return the first three modules of the hits."""
    return index.modules(index.search(question, 40))[:3]
