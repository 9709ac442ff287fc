"""What is asked is found: a table of questions, and what a search never does."""

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
"""22 of 25."""


def test_the_module_is_among_the_first_three(index: Index) -> None:
    missed = [
        question
        for question, (modules, _) in QUESTIONS.items()
        if not set(modules) & set(_first_modules(index, question))
    ]
    assert len(missed) <= (1 - ENOUGH) * len(QUESTIONS), missed


def test_the_name_is_among_the_first_five(index: Index) -> None:
    missed = [
        question for question, (_, symbols) in QUESTIONS.items() if not set(symbols) & set(_symbols(index, question, 5))
    ]
    assert len(missed) <= (1 - ENOUGH) * len(QUESTIONS), missed


def test_a_csv_file_with_a_header_is_read_by_dictreader(index: Index) -> None:
    assert _symbols(index, "how do I parse a csv file with a header?", 1) == ["csv.DictReader"]


def test_within_one_module_only_its_names_are_found(index: Index) -> None:
    hits = index.search("read a file", 20, "csv")
    assert {hit.entry.module for hit in hits} == {"csv"}


@pytest.mark.parametrize("question", ["", "how do I", "qwertzuiop", "???", '"', "weather in Paris"])
def test_what_is_not_there_is_not_found(index: Index, question: str) -> None:
    assert index.search(question) == []


@pytest.mark.parametrize("question", ["csv' OR 1=1 --", "NEAR(csv file)", 'csv"', "csv AND NOT csv", "name:csv*"])
def test_the_syntax_of_queries_is_taken_for_words(index: Index, question: str) -> None:
    assert "csv" in _first_modules(index, question)


@given(question=st.text(max_size=60), limit=st.integers(-1, 5))
def test_any_question_gives_at_most_so_many_hits_best_first(index: Index, question: str, limit: int) -> None:
    hits = index.search(question, limit)
    assert len(hits) <= max(limit, 0)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_word_in_the_name_counts_more_than_one_in_the_text(tmp_path: Path) -> None:
    named = Entry(
        module="a", name="pour", kind="function", doc="Something with a cup.", file="a.py", line=1, end_line=2
    )
    described = Entry(
        module="b", name="fill", kind="function", doc="Something: pour a cup.", file="b.py", line=1, end_line=2
    )
    path = tmp_path / "small.sqlite"
    write(Collected((described, named, *_unrelated()), {}), path)
    assert _symbols(Index(path), "pour", 2) == ["a.pour", "b.fill"]


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    write(Collected(_unrelated(), {}), path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 999")
    with pytest.raises(sqlite3.DatabaseError, match="format"):
        Index(path)


def _unrelated() -> tuple[Entry, ...]:
    return tuple(Entry(module="c", name=f"name{number}", kind="function", doc="Nothing.") for number in range(8))


def _symbols(index: Index, question: str, limit: int) -> list[str]:
    return [hit.entry.symbol for hit in index.search(question, limit)]


def _first_modules(index: Index, question: str) -> list[str]:
    return index.modules(index.search(question, 40))[:3]
