"""The search index of the standard library: one SQLite file.

The ranking is BM25 with a weight for each field, by SQLite's FTS5. FTS5 keeps its index in the file, is fast, searches
for the stems of words, needs no memory of the server, and runs without the interpreter's lock. (``bm25s`` and
``rank-bm25`` need numpy and have no fields.)
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import attrs

from transport.demo.entry import Entry
from transport.demo.terms import coverage, searchable, stem, terms, words

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from transport.demo.collect import Collected

FORMAT = 2
"""Number of the file format. It is increased when the stored columns change; then an older index is built anew."""

# Weights of the fields for BM25, and of the kinds. Tuned by the questions in tests/demo/questions.py: a name says more
# than a text, and a question is answered by a function more often than by a method or an exception.
FIELD_WEIGHTS = "6.0, 2.0, 5.0, 1.0, 0.2"
KIND_FACTOR = {"module": 0.8, "class": 1.2, "exception": 0.7, "function": 1.1, "method": 0.75, "class method": 0.75}
SYNONYM_WEIGHT = 0.8
NAMED_BONUS = 0.25
MIN_NAMED = 3
CANDIDATES = 3_000
"""Number of entries, the best by BM25 (the text search's score), to which the other factors are applied."""

SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE entry (id INTEGER PRIMARY KEY, module TEXT, name TEXT, kind TEXT, signature TEXT, doc TEXT, file TEXT,
                    line INTEGER, end_line INTEGER, weight REAL);
CREATE INDEX by_name ON entry (module, name);
CREATE VIRTUAL TABLE text USING fts5(name, module, summary, doc, code, content='', tokenize='porter unicode61');
"""

_COLUMNS = "module, name, kind, signature, doc, file, line, end_line"
_MATCHES = f"""
SELECT * FROM (SELECT rowid AS number, -bm25(text, {FIELD_WEIGHTS}) * ? AS score FROM text WHERE text MATCH ?
               ORDER BY score DESC LIMIT {CANDIDATES})"""  # noqa: S608 - constants
_SEARCH = f"""
WITH found AS (SELECT number, sum(score) AS score FROM ({_MATCHES} UNION ALL {_MATCHES}) GROUP BY number)
SELECT {_COLUMNS}, score * weight * named(module, name) AS total FROM found JOIN entry ON id = number
WHERE module = ifnull(?, module) ORDER BY total DESC, id LIMIT ?
"""  # noqa: S608 - constants


@attrs.frozen
class Hit:
    """An entry that was found. ``matched`` has the words of the question that occur in the entry."""

    entry: Entry
    score: float
    matched: tuple[str, ...]


def write(collected: Collected, path: Path) -> None:
    """Write the index of ``collected`` to the new file ``path``."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        summaries = {entry.module: entry.summary for entry in collected.entries if not entry.name}
        for number, entry in enumerate(collected.entries, 1):
            weight = _weight(entry, collected.importers.get(entry.module, 0))
            row = (number, *attrs.astuple(entry)[:-1], weight)
            database.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            fields = (
                searchable(entry.name or entry.module),
                f"{searchable(entry.module)} {summaries.get(entry.module, '')}",
                " ".join(words(entry.summary)),
                " ".join(words(f"{entry.doc} {entry.signature}")),
                " ".join(words(entry.code)),
            )
            columns = "rowid, name, module, summary, doc, code"
            database.execute(f"INSERT INTO text ({columns}) VALUES (?, ?, ?, ?, ?, ?)", (number, *fields))  # noqa: S608 - a constant
        database.execute("INSERT INTO text (text) VALUES ('optimize')")


def _weight(entry: Entry, importers: int) -> float:
    """Return the factor of an entry for every question, by the kind, the docstring, and the use of the module."""
    documented = 1.0 if entry.doc else 0.9
    used = 1.0 + 0.04 * min(importers, 50).bit_length()
    shallow = 1.0 - 0.06 * entry.module.count(".")
    return KIND_FACTOR[entry.kind] * documented * used * shallow


class Index:
    """Read access to an index file. Its methods block for some milliseconds, and any thread may call them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = 0
        """Number of entries."""
        with closing(self._open()) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == FORMAT:
                (self.size,) = database.execute("SELECT count(*) FROM entry").fetchone()
        if not self.size:
            raise sqlite3.DatabaseError(f"{path} is not an index of format {FORMAT}")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)

    def search(self, question: str, limit: int = 10, module: str | None = None) -> list[Hit]:
        """Return the entries that answer ``question`` best, best first, of one ``module`` if it is given."""
        asked = terms(question)
        if not asked:
            return []
        stems = frozenset(stem(term.word) for term in asked if len(term.word) >= MIN_NAMED)
        typed = " OR ".join(f'"{term.word}"' for term in asked)
        variants = " OR ".join(f'"{word}"' for term in asked for word in term.variants)
        with closing(self._open()) as database:
            database.create_function("named", 2, partial(_named, stems), deterministic=True)
            weighed = (1 - SYNONYM_WEIGHT, typed, SYNONYM_WEIGHT, variants)
            rows = database.execute(_SEARCH, (*weighed, module, max(limit, 0))).fetchall()
        entries = [(Entry.of(*row[:-1]), row[-1]) for row in rows]
        return [Hit(entry, score, coverage(question, f"{entry.symbol} {entry.doc}")[1]) for entry, score in entries]

    def modules(self, hits: Iterable[Hit]) -> list[str]:
        """Return the modules of ``hits``, best first: by their best hit, and a little by the next three."""
        by_module: dict[str, list[float]] = defaultdict(list)
        for hit in hits:
            by_module[hit.entry.module].append(hit.score)
        for scores in by_module.values():
            scores.sort(reverse=True)
        return sorted(by_module, key=lambda name: -by_module[name][0] - 0.15 * sum(by_module[name][1:4]))

    def find(self, module: str, name: str) -> Entry | None:
        """Return the entry of a name, or None."""
        with closing(self._open()) as database:
            query = f"SELECT {_COLUMNS} FROM entry WHERE module = ? AND name = ?"  # noqa: S608 - a constant
            row = database.execute(query, (module, name)).fetchone()
        return Entry.of(*row) if row else None

    def names(self, module: str) -> list[str]:
        """Return all names in ``module``, with dots for names in classes."""
        query = "SELECT name FROM entry WHERE module = ? AND name != '' ORDER BY name"
        with closing(self._open()) as database:
            return [name for (name,) in database.execute(query, (module,))]


def _named(stems: frozenset[str], module: str, name: str) -> float:
    """Return a factor of more than 1 for a name that consists of words of the question.

    So ``split`` comes before ``join``, although the text of ``join`` mentions splitting. Names often join two words
    (``deepcopy``), so letters are counted, not words. The words of the module's name do not count: all its names share
    them.
    """
    last = name.rpartition(".")[2].replace("_", "").lower()
    if not last or last == module:
        return 1.0
    covered = {
        at
        for known in stems - frozenset(words(module))
        for start in range(len(last))
        if last.startswith(known, start)
        for at in range(start, start + len(known))
    }
    return 1.0 + NAMED_BONUS * len(covered) / len(last)
