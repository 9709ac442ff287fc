"""The search index of the standard library: one SQLite file, which SQLite's full-text search (FTS5) searches.

Each word of a question is searched for itself, with its synonyms. FTS5 gives each match a score (BM25) with a weight
for each column. The score of an entry is the sum over all words of the question, times the share of the question that
the entry covers. A rare word is a larger share than a frequent one.
"""

import heapq
import math
import re
import sqlite3
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from transport.demo.entry import DATA, Entry
from transport.demo.examples import USES

FORMAT = 3
"""Number of the file format. It is increased when the stored columns change; then an older index is built anew."""

# Tuned by the questions in tests/demo/questions.py: a name and its uses say more than a docstring, and a question is
# answered by a function more often than by a method or an exception.
COLUMN_WEIGHTS = {"name": 6, "module": 2, "uses": 8, "summary": 4, "doc": 1}
KIND_WEIGHTS = {"module": 0.7, "exception": 0.6, "method": 0.6, "class method": 0.7, "attribute": 0.6}
SYNONYM_WEIGHT = 0.7
MAX_WORDS = 24
"""Maximum number of words of a question that are searched. Further words are ignored."""
MAX_DOC = 1_000
"""Number of characters of a docstring that are searched, because FTS5 lowers the scores of long texts."""

_WORDS: dict[str, Any] = tomllib.loads((DATA / "words.toml").read_text(encoding="utf-8"))
STOP_WORDS, POPULAR = frozenset(_WORDS["stop_words"].split()), frozenset(_WORDS["popular"].split())
UNPOPULAR = tuple(_WORDS["unpopular"].split())

_SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE entry (module, name, kind, signature, doc, file, line, end_line, weight);
CREATE INDEX by_name ON entry (module, name);
CREATE VIRTUAL TABLE text USING fts5({", ".join(COLUMN_WEIGHTS)}, content='', tokenize='porter unicode61');
"""
# The last column is 0 for an entry that has the word in its docstring only.
_MATCHES = f"""
SELECT rowid, -bm25(text, {", ".join(map(str, COLUMN_WEIGHTS.values()))}), bm25(text, 1, 1, 1, 1, 0) < 0
FROM text WHERE text MATCH ?"""  # noqa: S608 - constants
_INSERT = f"INSERT INTO text (rowid, {', '.join(COLUMN_WEIGHTS)}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_ENTRY = "SELECT module, name, kind, signature, doc, file, line, end_line FROM entry WHERE "


def write(entries: Iterable[Entry], path: Path) -> None:
    """Write the index of ``entries`` to the new file ``path``."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(_SCHEMA)
        for number, entry in enumerate(entries, 1):
            row = (*attrs.astuple(entry), _weight(entry))
            database.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            name, uses = entry.name or entry.module, USES.get(entry.symbol, "")
            texts = (f"{name} {_split(name)}", entry.module, uses, _split(entry.summary), _split(entry.doc[:MAX_DOC]))
            database.execute(_INSERT, (number, *texts))


def _weight(entry: Entry) -> float:
    """Return the factor of an entry for every question, by its kind and by the popularity of its module."""
    popular = 0.7 if entry.module.startswith(UNPOPULAR) else 1.2 if entry.module in POPULAR else 1.0
    if entry.symbol in USES:
        return popular
    return popular * KIND_WEIGHTS.get(entry.kind, 1.0) * (0.8 if entry.doc else 0.6)


def _split(text: str) -> str:
    """Return ``text`` with a space between the words of an identifier: ``DictReader`` becomes ``Dict Reader``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)


def words(question: str) -> list[str]:
    """Return the words of ``question`` in lower case, each once, without numbers and without common words."""
    typed = re.findall(r"[^\W_]+", f"{question} {_split(question)}".lower())
    return [word for word in dict.fromkeys(typed) if word not in STOP_WORDS and not word.isdecimal()][:MAX_WORDS]


def variants(word: str) -> dict[str, float]:
    """Return the words that are searched for ``word``, with their weights: the word itself and its synonyms."""
    doer = f"{word}r" if word.endswith("e") else f"{word}er"  # read: reader
    forms = (word, word.removesuffix("s"), word.removesuffix("ing"))
    synonyms = next((_WORDS["synonyms"][form] for form in forms if form in _WORDS["synonyms"]), ())
    return dict.fromkeys([doer, *synonyms], SYNONYM_WEIGHT) | {word: 1.0}


class Index:
    """Read access to an index file. Its methods block for some milliseconds, and any thread may call them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._open()) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version != FORMAT:
                raise sqlite3.DatabaseError(f"{path} is not an index of format {FORMAT}")
            (self.size,) = database.execute("SELECT count(*) FROM entry").fetchone()

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)

    def search(self, question: str, limit: int = 10, module: str | None = None) -> list[dict[str, Any]]:
        """Return the entries that answer ``question`` best, best first, of one ``module`` if it is given.

        Each is an :meth:`Entry.described <transport.demo.entry.Entry.described>` with three more fields: ``score``;
        ``covered``, the share of the question, from 0 to 1, that occurs in more than the docstring of the entry; and
        ``matched``, the words of the question that the entry has.
        """
        with closing(self._open()) as database:
            found = {word: _matches(database, word) for word in words(question)}
            of_module = "SELECT rowid, weight FROM entry WHERE module = ifnull(?, module)"
            ranked = self._ranked(found, dict(database.execute(of_module, (module,))))
            return [
                {
                    **Entry(*database.execute(f"{_ENTRY} rowid = ?", (-number,)).fetchone()).described(),
                    "score": round(score, 2),
                    "covered": round(covered, 2),
                    "matched": matched,
                }
                for score, number, covered, matched in heapq.nlargest(max(limit, 0), ranked)
            ]

    def _ranked(
        self, found: dict[str, dict[int, tuple[float, float]]], weights: dict[int, float]
    ) -> Iterator[tuple[float, int, float, list[str]]]:
        """Yield score, negative number, coverage and matched words of each entry that is in ``weights``."""
        rarity = {word: math.log(1 + self.size / (1 + len(matches))) for word, matches in found.items()}
        for number in weights.keys() & set[int]().union(*found.values()):
            matches = {word: matches[number] for word, matches in found.items() if number in matches}
            covered = sum(rarity[word] * weight for word, (_, weight) in matches.items()) / sum(rarity.values())
            score = sum(score for score, _ in matches.values()) * (0.1 + covered) * weights[number]
            yield score, -number, covered, list(matches)

    def find(self, module: str, name: str) -> Entry | None:
        """Return the entry of a name, or None."""
        with closing(self._open()) as database:
            row = database.execute(f"{_ENTRY} module = ? AND name = ?", (module, name)).fetchone()
        return Entry(*row) if row else None

    def names(self, module: str) -> list[str]:
        """Return all names in ``module``, with dots for names in classes."""
        query = "SELECT name FROM entry WHERE module = ? AND name != '' ORDER BY name"
        with closing(self._open()) as database:
            return [name for (name,) in database.execute(query, (module,))]


def _matches(database: sqlite3.Connection, word: str) -> dict[int, tuple[float, float]]:
    """Return the entries that have ``word`` or a synonym, by number: the best score, and the weight of the best match.

    The weight is 0 for an entry that has the word in its docstring only.
    """
    found: dict[int, tuple[float, float]] = {}
    for variant, weight in variants(word).items():
        for number, score, strong in database.execute(_MATCHES, (f'"{variant}"',)):
            best = found.get(number, (0.0, 0.0))
            found[number] = (max(best[0], weight * score), max(best[1], weight * strong))
    return found
