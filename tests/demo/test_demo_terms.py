"""How questions and identifiers become words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transport.demo.answer import pieces
from transport.demo.terms import MAX_TERMS, searchable, stem, terms, words


def test_words_of_identifiers() -> None:
    """Identifiers are split at case changes and underscores."""
    assert words("readHTTPHeader_v2 DictReader") == ["read", "http", "header", "v2", "dict", "reader"]


def test_searchable_identifier() -> None:
    """An identifier is indexed whole and in parts."""
    assert searchable("csv.DictReader") == "csv dictreader dict reader"


def test_stem() -> None:
    """The forms of one word have one stem. Short words stay as they are."""
    assert {stem(word) for word in ("parse", "parses", "parsed", "parsing")} == {"pars"}
    assert stem("is") == "is"


def test_stop_words() -> None:
    """Stop words of a question are left out."""
    assert [term.word for term in terms("How do I parse a CSV file?")] == ["parse", "csv", "file"]
    assert terms("how do I do this?") == ()


def test_doer() -> None:
    """A verb also finds the noun for the thing that does it: ``read`` finds ``reader``."""
    (read,), (parse,) = terms("read"), terms("parse")
    assert "reader" in read.variants
    assert "parser" in parse.variants


def test_synonyms() -> None:
    """The variants of a word are first the typed word, then its synonyms."""
    (term,) = terms("folders")
    assert term.variants[0] == "folders"
    assert {"directory", "dir"} < set(term.variants[1:])


@given(st.text())
def test_number_of_terms(text: str) -> None:
    """Any text gives at most ``MAX_TERMS`` terms, each once."""
    found = terms(text)
    assert len(found) <= MAX_TERMS
    assert len({term.word for term in found}) == len(found)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_pieces_are_complete(text: str) -> None:
    """The pieces of any text, joined, are the text."""
    assert "".join(pieces(text)) == text


def test_pieces_are_short() -> None:
    """Each piece is shorter than 25 characters."""
    assert max(map(len, pieces("word " * 100))) < 25
