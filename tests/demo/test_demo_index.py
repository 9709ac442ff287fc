"""The index: the questions with their answers, how a question becomes words, and the limits of a search."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from demo.questions import DETAILED, SHORT, UNANSWERABLE
from hypothesis import given
from hypothesis import strategies as st

from transport.demo.answer import SURE
from transport.demo.index import MAX_WORDS, USES, Entry, Index, variants, words, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("question", DETAILED | SHORT)
def test_right_name_is_first(index: Index, question: str) -> None:
    """The best hit for a question is a name that answers it."""
    assert symbols(index, question, 1)[0] in (DETAILED | SHORT)[question]


def test_answers_are_sure(index: Index) -> None:
    """For each question in the test's tables, the best hit has enough words of the question to count as sure."""
    assert [question for question in DETAILED | SHORT if not is_sure(index, question)] == []


@pytest.mark.parametrize("question", UNANSWERABLE)
def test_no_sure_answer(index: Index, question: str) -> None:
    """If the standard library has no answer to a question, there is no hit, or the best hit is not sure."""
    assert not is_sure(index, question)


def test_search_in_one_module(index: Index) -> None:
    """A search in one module returns only names of that module."""
    assert {hit["module"] for hit in index.search("read a file", 20, "csv")} == {"csv"}


@pytest.mark.parametrize("question", ["", "how do I", "qwertzuiop", "???", '"', "weather in Paris", "42"])
def test_no_hits(index: Index, question: str) -> None:
    """A question without a known word has no hits."""
    assert index.search(question) == []


@pytest.mark.parametrize("question", ["csv' OR 1=1 --", "NEAR(csv file)", 'csv"', "csv AND NOT csv", "name:csv*"])
def test_query_syntax_is_text(index: Index, question: str) -> None:
    """If a question contains query syntax of the database, such as AND or quotes, it is searched as plain words."""
    assert "csv" in [hit["module"] for hit in index.search(question, 10)]


@given(question=st.text(max_size=60), limit=st.integers(-1, 5))
def test_limit_and_order(index: Index, question: str, limit: int) -> None:
    """A search for any text returns at most ``limit`` hits, ordered by their score from high to low.

    The value ``covered`` of each hit, its share of the question, is from 0 to 1.
    """
    hits = index.search(question, limit)
    assert len(hits) <= max(limit, 0)
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert all(0 <= hit["covered"] <= 1 for hit in hits)


def test_uses_are_names(index: Index) -> None:
    """Each name for which the code has a hand-written description of its uses is in the index."""
    assert [symbol for symbol in USES if index.find(symbol) is None] == []


def test_name_weighs_more_than_text(tmp_path: Path) -> None:
    """A word in the name counts more than the same word in the docstring."""
    named = entry("a", "pour", "Something with a cup.")
    described = entry("b", "fill", "Something.\n\nPour a cup.")
    assert symbols(index_of(tmp_path, described, named), "pour", 2) == ["a.pour", "b.fill"]


def test_typed_word_weighs_more_than_synonym(tmp_path: Path) -> None:
    """An entry that has the word of the question comes before an entry that has only a synonym."""
    typed = entry("b", "fill", "Something with a folder.")
    synonym = entry("a", "pour", "Something with a directory.")
    assert symbols(index_of(tmp_path, synonym, typed), "folder", 2) == ["b.fill", "a.pour"]


def test_more_words_weigh_more(tmp_path: Path) -> None:
    """An entry with all words of the question comes before an entry with only one of the words, but several times."""
    both = entry("b", "fill", "Pour the milk, then wait a while before it is ready.")
    one = entry("a", "pour", "Pour, pour.")
    hits = index_of(tmp_path, one, both).search("pour milk")
    assert [hit["symbol"] for hit in hits] == ["b.fill", "a.pour"]
    assert hits[0]["covered"] == 1
    assert hits[1]["covered"] < SURE
    assert hits[1]["matched"] == ["pour"]


def test_docstring_alone_is_not_sure(tmp_path: Path) -> None:
    """A word of the question that is only found after a docstring's summary does not count for ``covered``.

    ``covered`` is the share of the question's words that a search result contains.
    """
    (hit,) = index_of(tmp_path, entry("a", "fill", "Something.\n\nPour a cup.")).search("pour")
    assert (hit["covered"], hit["matched"]) == (0, ["pour"])


def test_other_format(tmp_path: Path) -> None:
    """If the index file was written in another format (another version number), opening it raises DatabaseError."""
    path = tmp_path / "old.sqlite"
    write([], path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 999")
    with pytest.raises(sqlite3.DatabaseError, match="format"):
        Index(path)


def test_words_of_identifiers() -> None:
    """Identifiers are searched whole and in parts: they are split at case changes and underscores."""
    assert words("readHTTPHeader_v2 DictReader") == [
        "readhttpheader",
        "v2",
        "dictreader",
        "read",
        "http",
        "header",
        "dict",
        "reader",
    ]


def test_stop_words() -> None:
    """The search ignores common words and numbers in a question, for example "how", "do" and "12"."""
    assert words("How do I parse a CSV file of 12 columns?") == ["parse", "csv", "file", "columns"]
    assert words("how do I do this?") == []


def test_doer() -> None:
    """A verb also finds the noun for the thing that does it: ``read`` finds ``reader``."""
    assert "reader" in variants("read")
    assert "parser" in variants("parse")


def test_synonyms() -> None:
    """A plural word also finds the synonyms of its singular: ``folders`` finds ``directory``.

    Each synonym has a lower weight than the word of the question.
    """
    found = variants("folders")
    assert {"directory", "dir"} <= set(found)
    assert max(found, key=lambda word: found[word]) == "folders"


@given(st.text())
def test_number_of_words(text: str) -> None:
    """From a text of any length, the search uses at most ``MAX_WORDS`` words, and each word only once."""
    found = words(text)
    assert len(found) <= MAX_WORDS
    assert len(set(found)) == len(found)


def index_of(folder: Path, *entries: Entry) -> Index:
    """Return an index of these entries, and of others that no search here finds."""
    unrelated = (entry("c", f"name{number}", "Nothing.") for number in range(8))
    write([*entries, *unrelated], folder / "small.sqlite")
    return Index(folder / "small.sqlite")


def entry(module: str, name: str, doc: str) -> Entry:
    """Return the entry of a function."""
    texts = {"doc": doc, "summary": doc.partition("\n")[0]}
    return {"symbol": f"{module}.{name}", "module": module, "name": name, "kind": "function", **texts}


def symbols(index: Index, question: str, limit: int) -> list[str]:
    """Return the names of the first hits."""
    return [hit["symbol"] for hit in index.search(question, limit)]


def is_sure(index: Index, question: str) -> bool:
    """Return whether the best hit is a sure answer."""
    return any(hit["covered"] >= SURE for hit in index.search(question, 1))
