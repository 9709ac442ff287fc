"""The terms that are searched for a question: its words except stop words, and synonyms of these words."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import attrs

from transport.demo.samples import DATA

_WORDS: dict[str, Any] = tomllib.loads((DATA / "words.toml").read_text(encoding="utf-8"))

STOP_WORDS = frozenset(_WORDS["stop_words"].split())
"""Common words (such as ``the``) that are ignored in a question."""

SYNONYMS: dict[str, list[str]] = _WORDS["synonyms"]
"""Synonyms: words that the documentation uses, by the words that programmers use in questions."""

MAX_TERMS = 24
"""Maximum number of words of a question that are searched. Further words are ignored."""
MIN_STEM = 3

_WORD = re.compile(r"[A-Za-z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@attrs.frozen
class Term:
    """A word of a question, and all words that count as this word in a text. The word itself is the first of them."""

    word: str
    variants: tuple[str, ...]


def words(text: str) -> list[str]:
    """Return the words in ``text`` in lower case; ``readHTTPHeader_v2`` is read, http, header and v2."""
    return [part.lower() for word in _WORD.findall(text) for part in _CAMEL.split(word)]


def stem(word: str) -> str:
    """Return the word without its ending (such as ``ing``, ``ed`` or ``s``), so that forms of one word are equal."""
    for ending in ("ings", "ing", "ies", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= MIN_STEM:
            return word.removesuffix(ending)
    return word


def searchable(identifier: str) -> str:
    """Return the words by which an identifier is found: ``DictReader`` by ``dictreader``, ``dict`` and ``reader``."""
    whole = [word.lower() for word in _WORD.findall(identifier)]
    return " ".join(dict.fromkeys([*whole, *words(identifier)]))


def terms(question: str) -> tuple[Term, ...]:
    """Return the terms of ``question``: none if all its words are stop words."""
    typed = [*(word.lower() for word in _WORD.findall(question)), *words(question)]
    asked = list(dict.fromkeys(word for word in typed if word not in STOP_WORDS))[:MAX_TERMS]
    return tuple(Term(word, _variants(word)) for word in asked)


def coverage(question: str, text: str) -> tuple[float, tuple[str, ...]]:
    """Return the share of the question's words that occur in ``text``, and these words. A synonym counts half."""
    asked = terms(question)
    has = {stem(word) for word in words(text)}
    worth = {
        term.word: max((1.0 if word == term.word else 0.5 for word in term.variants if stem(word) in has), default=0.0)
        for term in asked
    }
    return sum(worth.values()) / max(len(asked), 1), tuple(word for word, share in worth.items() if share)


def _variants(word: str) -> tuple[str, ...]:
    """Return the word, its form in ``er`` (``read``: ``reader``), and the synonyms of the word or of its basic form."""
    doer = f"{word}r" if word.endswith("e") else f"{word}er"
    forms = (word, word.removesuffix("s"), word.removesuffix("ing"))
    synonyms = next((SYNONYMS[form] for form in forms if form in SYNONYMS), list[str]())
    return tuple(dict.fromkeys((word, doer, *synonyms)))
