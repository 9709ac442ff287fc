"""From a question to the terms that are looked up: words that say something, and other words for the same thing.

The stemming is done by the index (SQLite's ``porter``). The table of synonyms holds no answers: it says which words
programmers use for what the documentation of the library calls by another name.
"""

from __future__ import annotations

import re

import attrs

_STOP_WORDS = """
    a about after all also am an and any are as at be been best between but by can code could did different do does
    doing easily example for from get give had has have help how i if in inside into is it its just let library like
    make me my need no not of on one onto or our out please program python quickly show simple some something
    standard stdlib than that the their them then there these they thing this to too turn two understand up us use
    used using via want was way we what when where which while who why will with within without would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that say nothing about what is looked for."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "argument": ("arg", "option"),
    "arguments": ("arg", "option"),
    "async": ("asyncio", "coroutine"),
    "backoff": ("exponential",),
    "cache": ("lru", "memoize"),
    "column": ("field",),
    "command": ("subprocess", "process", "program"),
    "compress": ("gzip", "zlib", "zip"),
    "concurrently": ("parallel", "thread", "gather"),
    "convert": ("serialize",),
    "copy": ("duplicate",),
    "count": ("counter", "tally"),
    "date": ("datetime",),
    "dates": ("datetime", "date"),
    "delete": ("remove", "unlink"),
    "dict": ("dictionary", "mapping"),
    "dictionary": ("dict", "mapping"),
    "diff": ("delta", "compare"),
    "difference": ("delta", "subtract"),
    "directory": ("dir", "folder", "path"),
    "download": ("urlopen", "retrieve", "url"),
    "email": ("mail", "sendmail", "smtp", "message"),
    "encode": ("dump", "encoder"),
    "fetch": ("urlopen", "retrieve", "open"),
    "file": ("path",),
    "folder": ("directory", "dir"),
    "frequent": ("common", "count"),
    "hash": ("digest",),
    "header": ("fieldnames",),
    "http": ("url",),
    "line": ("lines",),
    "list": ("iterable", "sequence", "array"),
    "log": ("logging", "logger"),
    "median": ("average",),
    "memoise": ("cache", "lru"),
    "merge": ("chain", "combine"),
    "object": ("obj",),
    "parallel": ("concurrent", "thread", "pool", "executor"),
    "parse": ("read", "reader", "parser", "load"),
    "password": ("secret", "token"),
    "permutation": ("arrangement",),
    "pick": ("choose", "choice"),
    "print": ("pprint", "format"),
    "priority": ("heap",),
    "random": ("randomly", "choice"),
    "read": ("load", "reader", "open"),
    "recursively": ("recursive", "tree", "walk"),
    "regex": ("regular", "re", "pattern"),
    "regexp": ("regular", "re", "pattern"),
    "regular": ("regex", "re"),
    "remove": ("delete", "unlink"),
    "replace": ("sub", "substitute"),
    "retry": ("retries", "retrying"),
    "run": ("execute", "call"),
    "save": ("dump", "write"),
    "schedule": ("scheduler", "event"),
    "search": ("find", "match"),
    "secure": ("secret", "cryptographically"),
    "serialize": ("dump", "pickle"),
    "serialise": ("serialize", "dump", "pickle"),
    "server": ("serve",),
    "shell": ("subprocess",),
    "sort": ("sorted", "order"),
    "sorted": ("sort", "order"),
    "speed": ("timeit", "time"),
    "split": ("tokenize", "divide"),
    "string": ("str", "text"),
    "substring": ("pattern", "search"),
    "sum": ("total", "add"),
    "task": ("coroutine",),
    "temp": ("temporary",),
    "text": ("string", "str"),
    "timer": ("time", "timeout"),
    "timestamp": ("datetime", "time"),
    "timezone": ("zoneinfo", "tzinfo"),
    "traverse": ("walk",),
    "unique": ("set", "distinct"),
    "unzip": ("zipfile", "extract"),
    "url": ("urllib",),
    "walk": ("traverse", "tree"),
    "webpage": ("url", "html"),
    "wrap": ("fill", "textwrap"),
    "xml": ("etree", "element"),
    "zip": ("zipfile",),
}

SYNONYM_WEIGHT = 0.45
DOER_WEIGHT = 0.7
MAX_TERMS = 24
MIN_STEM = 3

_WORD = re.compile(r"[A-Za-z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@attrs.frozen
class Term:
    """One thing that was asked for: the word itself and what else may stand for it, each with its weight."""

    word: str
    variants: tuple[tuple[str, float], ...]


def words(text: str) -> list[str]:
    """Return the words in ``text`` in lower case; ``readHTTPHeader_v2`` is read, http, header and v2."""
    return [part.lower() for word in _WORD.findall(text) for part in _CAMEL.split(word)]


def stem(word: str) -> str:
    """Return the word without its commonest endings: as much as telling a name from another one needs."""
    for ending in ("ings", "ing", "ies", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= MIN_STEM:
            return word.removesuffix(ending)
    return word


def searchable(identifier: str) -> str:
    """Return an identifier as it is indexed: whole and in parts: ``dictreader`` and ``dict reader`` find it."""
    whole = [word.lower() for word in _WORD.findall(identifier)]
    return " ".join(dict.fromkeys([*whole, *words(identifier)]))


def terms(question: str) -> tuple[Term, ...]:
    """Return what to look up for ``question``; nothing when it has no word that says something."""
    typed = [*(word.lower() for word in _WORD.findall(question)), *words(question)]
    asked = list(dict.fromkeys(word for word in typed if word not in STOP_WORDS))[:MAX_TERMS]
    return tuple(Term(word, _variants(word)) for word in asked)


def _variants(word: str) -> tuple[tuple[str, float], ...]:
    """Return the word, who does it (``read``: ``reader``), and its synonyms, each with its weight."""
    doer = f"{word}r" if word.endswith("e") else f"{word}er"
    others = {**dict.fromkeys(_synonyms(word), SYNONYM_WEIGHT), doer: DOER_WEIGHT}
    return ((word, 1.0), *others.items())


def _synonyms(word: str) -> tuple[str, ...]:
    """Those of the word or of its singular."""
    return SYNONYMS.get(word) or SYNONYMS.get(word.removesuffix("s")) or SYNONYMS.get(word.removesuffix("ing")) or ()
