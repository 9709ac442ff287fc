"""The search index of the standard library: one SQLite file, which SQLite's full-text search (FTS5) searches.

FTS5 gives each word of a question, and its synonyms, a score for each entry (BM25), with a weight for each column. The
score of an entry is their sum, times the share of the question that it covers. A rare word is a larger share.
"""

import heapq
import json
import math
import re
import sqlite3
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

DATA, STDLIB = Path(__file__).with_name("data"), Path(sysconfig.get_path("stdlib"))
_USES = re.findall(
    r"^\[(.*)\] (.*)\n((?:(?:>>>|\.\.\.).*\n)*)", (DATA / "uses.txt").read_text(encoding="utf-8"), re.MULTILINE
)
USES: dict[str, str] = {symbol: uses for symbol, uses, _ in _USES}
"""Short texts about the purpose of the most popular names, in words that people use in questions."""
SESSIONS: dict[str, str] = {symbol: session for symbol, _, session in _USES if session}
"""Example sessions (``>>> …``) of the most popular names. Their output is missing: ``run_example`` adds it."""

FORMAT = 4  # increased when what is stored changes: then an older index is built anew

# Tuned by the questions in tests/demo/questions.py: a name and its uses say more than a docstring, and a question is
# answered by a function more often than by a method or an exception.
COLUMN_WEIGHTS = {"name": 6, "module": 2, "uses": 8, "summary": 4, "doc": 1}
KIND_WEIGHTS = {"module": 0.7, "exception": 0.6, "method": 0.6, "class method": 0.7, "attribute": 0.6}
SYNONYM_WEIGHT = 0.7
MAX_WORDS, MAX_DOC = 24, 1_000  # words of a question, and characters of a docstring: FTS5 scores long texts lower

_WORDS: dict[str, Any] = tomllib.loads((DATA / "words.toml").read_text(encoding="utf-8"))
STOP_WORDS, POPULAR = frozenset(_WORDS["stop_words"].split()), frozenset(_WORDS["popular"].split())
UNPOPULAR, SKIPPED = tuple(_WORDS["unpopular"].split()), frozenset(_WORDS["skipped"].split())

_SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE entry (symbol, module, weight, json);
CREATE INDEX by_symbol ON entry (symbol);
CREATE VIRTUAL TABLE text USING fts5({", ".join(COLUMN_WEIGHTS)}, content='', tokenize='porter unicode61');
"""
# The last column is 0 for an entry that has the word in its docstring only.
_MATCHES = f"""
SELECT rowid, -bm25(text, {", ".join(map(str, COLUMN_WEIGHTS.values()))}), bm25(text, 1, 1, 1, 1, 0) < 0
FROM text WHERE text MATCH ?"""  # noqa: S608 - constants

Entry: TypeAlias = dict[str, Any]
"""The knowledge about one name, as JSON.

Its fields are ``symbol`` (the whole dotted name), ``module``, ``name`` (in the module), ``kind``, ``signature``,
``doc``, ``summary`` (the first paragraph of ``doc``), ``file``, ``line``, ``end_line`` and ``at`` (``file:line``).
"""
Matches: TypeAlias = dict[int, tuple[float, float]]
"""The entries that match one word of a question: the number of each entry, with a score and a weight.

The weight is 0 if the word is only in the entry's docstring.
"""


def write(entries: Iterable[Entry], path: Path) -> None:
    """Write the index of ``entries`` to the new file ``path``."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(_SCHEMA)
        for number, entry in enumerate(entries, 1):
            row = (entry["symbol"], entry["module"], _weight(entry), json.dumps(entry))
            database.execute("INSERT INTO entry VALUES (?, ?, ?, ?)", row)
            name, uses = entry["name"] or entry["module"], USES.get(entry["symbol"], "")
            texts = (_split(entry["summary"]), _split(entry["doc"][:MAX_DOC]))
            insert = "INSERT INTO text (rowid, name, module, uses, summary, doc) VALUES (?, ?, ?, ?, ?, ?)"
            database.execute(insert, (number, f"{name} {_split(name)}", entry["module"], uses, *texts))


def _weight(entry: Entry) -> float:
    """Return the number by which every score of an entry is multiplied.

    The number depends on the entry's kind, its docstring and the popularity of its module.
    """
    module = entry["module"]
    popular = 0.7 if module.startswith(UNPOPULAR) else 1.2 if module in POPULAR else 1.0
    other = KIND_WEIGHTS.get(entry["kind"], 1.0) * (0.8 if entry["doc"] else 0.6)
    return popular if entry["symbol"] in USES else popular * other


def _split(text: str) -> str:
    """Return ``text`` with a space between the words of an identifier: ``DictReader`` becomes ``Dict Reader``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)


def words(question: str) -> list[str]:
    """Return the words of ``question`` in lower case, each once, without numbers and without common words."""
    typed = re.findall(r"[^\W_]+", f"{question} {_split(question)}".lower())
    return [word for word in dict.fromkeys(typed) if word not in STOP_WORDS and not word.isdecimal()][:MAX_WORDS]


def variants(word: str) -> dict[str, float]:
    """Return the words to search for if a question has ``word``, with weights: ``word`` itself and its synonyms."""
    doer = f"{word}r" if word.endswith("e") else f"{word}er"  # read: reader
    forms = (word, word.removesuffix("s"), word.removesuffix("ing"))
    synonyms = next((_WORDS["synonyms"][form] for form in forms if form in _WORDS["synonyms"]), ())
    return dict.fromkeys([doer, *synonyms], SYNONYM_WEIGHT) | {word: 1.0}


class Index:
    """Read access to an index file. Its methods block for some milliseconds, and any thread may call them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if self._rows("PRAGMA user_version") != [(FORMAT,)]:
            raise sqlite3.DatabaseError(f"{path} is not an index of format {FORMAT}")
        ((self.size,),) = self._rows("SELECT count(*) FROM entry")

    def _rows(self, query: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchall()

    def search(self, question: str, limit: int = 10, module: str | None = None) -> list[Entry]:
        """Return the entries that fit ``question`` best, the best first. With ``module``, search only that module.

        The field ``doc`` is removed from each entry, and three fields are added: ``score``; ``matched``, the words of
        the question that were found; and ``covered``, a number from 0 to 1. ``covered`` is the share of the question
        that the entry fits. Words that are found only in the entry's docstring do not count for ``covered``.
        """
        found = {word: self._matches(word) for word in words(question)}
        weights = self._rows("SELECT rowid, weight FROM entry WHERE module = ifnull(?, module)", module)
        best = heapq.nlargest(max(limit, 0), self._ranked(found, dict(weights)))
        return [
            json.loads(text) | {"score": round(score, 2), "covered": round(covered, 2), "matched": matched}
            for score, number, covered, matched in best
            for (text,) in self._rows("SELECT json_remove(json, '$.doc') FROM entry WHERE rowid = ?", -number)
        ]

    def _matches(self, word: str) -> Matches:
        found: Matches = {}
        for variant, weight in variants(word).items():
            for number, score, strong in self._rows(_MATCHES, f'"{variant}"'):
                best = found.get(number, (0.0, 0.0))
                found[number] = (max(best[0], weight * score), max(best[1], weight * strong))
        return found

    def _ranked(
        self, found: dict[str, Matches], weights: dict[int, float]
    ) -> Iterator[tuple[float, int, float, list[str]]]:
        """Yield a tuple for each entry in ``weights`` that has a word of the question.

        The tuple has the entry's score, the negative of the entry's number, the share of the question that the entry
        covers, and the matched words. ``found`` has the matching entries of each word.
        """
        rarity = {word: math.log(1 + self.size / (1 + len(matches))) for word, matches in found.items()}
        for number in weights.keys() & set[int]().union(*found.values()):
            matches = {word: matches[number] for word, matches in found.items() if number in matches}
            covered = sum(rarity[word] * weight for word, (_, weight) in matches.items()) / sum(rarity.values())
            score = sum(score for score, _ in matches.values()) * (0.1 + covered) * weights[number]
            yield score, -number, covered, list(matches)

    def find(self, symbol: str) -> Entry | None:
        """Return the entry of a name such as ``csv.DictReader``, with its docstring. Return None if it is unknown."""
        return next(
            (json.loads(text) for (text,) in self._rows("SELECT json FROM entry WHERE symbol = ?", symbol)), None
        )

    def names(self, module: str) -> list[str]:
        """Return all names in ``module``. The name of a class member has a dot: ``DictReader.fieldnames``."""
        return [
            symbol.removeprefix(f"{module}.")
            for (symbol,) in self._rows("SELECT symbol FROM entry WHERE module = ?", module)
        ]
