"""Questions and identifiers to words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transport.demo.answer import pieces
from transport.demo.terms import MAX_TERMS, searchable, stem, terms, words


def test_identifiers_are_taken_apart() -> None:
    assert words("readHTTPHeader_v2 DictReader") == ["read", "http", "header", "v2", "dict", "reader"]


def test_an_identifier_is_searchable_whole_and_in_parts() -> None:
    assert searchable("csv.DictReader") == "csv dictreader dict reader"


def test_endings_do_not_matter() -> None:
    assert {stem(word) for word in ("parse", "parses", "parsed", "parsing")} == {"pars"}
    assert stem("is") == "is"


def test_words_that_say_nothing_are_left_out() -> None:
    assert [term.word for term in terms("How do I parse a CSV file?")] == ["parse", "csv", "file"]
    assert terms("how do I do this?") == ()


def test_who_does_it_is_found_too() -> None:
    (read,), (parse,) = terms("read"), terms("parse")
    assert "reader" in read.variants
    assert "parser" in parse.variants


def test_a_synonym_weighs_less_than_the_word() -> None:
    (term,) = terms("folders")
    assert term.variants[0] == "folders"
    assert {"directory", "dir"} < set(term.variants[1:])


@given(st.text())
def test_any_text_becomes_a_bounded_number_of_terms(text: str) -> None:
    found = terms(text)
    assert len(found) <= MAX_TERMS
    assert len({term.word for term in found}) == len(found)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_pieces_lose_nothing(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_pieces_are_small() -> None:
    assert max(map(len, pieces("word " * 100))) < 25
