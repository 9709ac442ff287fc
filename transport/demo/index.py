"""The searchable index of the standard library: one SQLite file.

The ranking is BM25 with a weight for each field, as SQLite's FTS5 has it: it is kept, fast, stems, needs no memory of
ours, and runs without the interpreter's lock. (``bm25s`` and ``rank-bm25`` need numpy and weigh no fields.) FTS5 adds
up the terms of a query alike, so terms are looked up one by one: a synonym weighs less than the word that was typed,
and a term counts once, by the best of its variants. The share of the question that an entry covers then weighs the
sum.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING

import attrs

from transport.demo.entry import Entry
from transport.demo.terms import Term, searchable, stem, terms, words

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from transport.demo.collect import Collected

FORMAT = 1
"""Counted up when what is stored changes: an index of another format is built anew."""

NAME_WEIGHT, MODULE_WEIGHT, SUMMARY_WEIGHT, DOC_WEIGHT = 6.0, 2.0, 5.0, 1.0
CODE_SHARE = 0.2
KIND_FACTOR = {"module": 0.8, "class": 1.1, "exception": 0.7, "function": 1.1, "method": 0.75, "class method": 0.75}
NAMED_BONUS = 0.25
OTHER_VARIANTS = 0.5
MIN_NAMED = 3
CANDIDATES_PER_TERM = 3_000

SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE entry (id INTEGER PRIMARY KEY, module TEXT, name TEXT, kind TEXT, signature TEXT, doc TEXT, file TEXT,
                    line INTEGER, end_line INTEGER, weight REAL);
CREATE INDEX by_name ON entry (module, name);
CREATE VIRTUAL TABLE prose USING fts5(name, module, summary, doc, content='', tokenize='porter unicode61');
CREATE VIRTUAL TABLE code USING fts5(body, content='', tokenize='porter unicode61');
"""


@attrs.frozen
class Hit:
    """An entry that was found; ``matched`` are the words of the question that it has."""

    entry: Entry
    score: float
    matched: tuple[str, ...]


def write(collected: Collected, path: Path) -> None:
    """Write the index of ``collected`` to the new file ``path``."""
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        summaries = {entry.module: entry.summary for entry in collected.entries if not entry.name}
        for number, entry in enumerate(collected.entries, 1):
            _insert(database, number, entry, summaries.get(entry.module, ""), collected.importers.get(entry.module, 0))
        database.execute("INSERT INTO prose (prose) VALUES ('optimize')")


def _insert(database: sqlite3.Connection, number: int, entry: Entry, module_summary: str, importers: int) -> None:
    row = (entry.module, entry.name, entry.kind, entry.signature, entry.doc, entry.file, entry.line, entry.end_line)
    database.execute(
        "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (number, *row, _weight(entry, importers))
    )
    fields = (
        searchable(entry.name or entry.module),
        f"{searchable(entry.module)} {module_summary}",
        " ".join(words(entry.summary)),
        " ".join(words(f"{entry.doc} {entry.signature}")),
    )
    database.execute("INSERT INTO prose (rowid, name, module, summary, doc) VALUES (?, ?, ?, ?, ?)", (number, *fields))
    database.execute("INSERT INTO code (rowid, body) VALUES (?, ?)", (number, " ".join(words(entry.code))))


def _weight(entry: Entry, importers: int) -> float:
    """Return what speaks for an entry whatever is asked: its kind, its docstring, how used its module is."""
    documented = 1.0 if entry.doc else 0.9
    used = 1.0 + 0.04 * min(importers, 50).bit_length()
    shallow = 1.0 - 0.06 * entry.module.count(".")
    return KIND_FACTOR[entry.kind] * documented * used * shallow


class Index:
    """Read access to an index file. Its methods block for some milliseconds and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._open()) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            (self.size,) = database.execute("SELECT count(*) FROM entry").fetchone()
        if version != FORMAT or not self.size:
            raise sqlite3.DatabaseError(f"{path} is not an index of format {FORMAT}")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)

    def search(self, question: str, limit: int = 10, module: str | None = None) -> list[Hit]:
        """Return the entries that answer ``question`` best, best first, of one ``module`` if it is given."""
        asked = terms(question)
        with closing(self._open()) as database:
            scores = [_term_scores(database, term) for term in asked]
            total = _combined(scores)
            ranked = _weighted(database, total, module, asked)[: max(limit, 0)]
            return [self._hit(database, number, score, asked, scores) for number, score in ranked]

    def modules(self, hits: Iterable[Hit]) -> list[str]:
        """Return the modules of ``hits``, best first: by their best hit, and a little by the next ones."""
        by_module: dict[str, list[float]] = defaultdict(list)
        for hit in hits:
            by_module[hit.entry.module].append(hit.score)
        return sorted(by_module, key=lambda name: -_module_score(by_module[name]))

    def find(self, module: str, name: str) -> Entry | None:
        """Return the entry of that name, or None."""
        with closing(self._open()) as database:
            row = database.execute(f"{_SELECT} WHERE module = ? AND name = ?", (module, name)).fetchone()
        return _entry(row) if row else None

    def names(self, module: str) -> list[str]:
        """All names in ``module``, with dots for those in classes."""
        with closing(self._open()) as database:
            return [
                name
                for (name,) in database.execute("SELECT name FROM entry WHERE module = ? ORDER BY name", (module,))
                if name
            ]

    def _hit(
        self,
        database: sqlite3.Connection,
        number: int,
        score: float,
        asked: tuple[Term, ...],
        scores: list[dict[int, float]],
    ) -> Hit:
        entry = _entry(database.execute(f"{_SELECT} WHERE id = ?", (number,)).fetchone())
        return Hit(entry, score, tuple(term.word for term, found in zip(asked, scores, strict=True) if number in found))


_SELECT = "SELECT module, name, kind, signature, doc, file, line, end_line FROM entry"


def _entry(row: tuple[str, str, str, str, str, str, int, int]) -> Entry:
    module, name, kind, signature, doc, file, line, end_line = row
    return Entry(
        module=module, name=name, kind=kind, signature=signature, doc=doc, file=file, line=line, end_line=end_line
    )


def _term_scores(database: sqlite3.Connection, term: Term) -> dict[int, float]:
    """Return for each entry how well it has this term: by the best of its variants, and a little by the others.

    A module whose summary says "parsing" gives that word to all that is in it; ``DictReader`` says it in its name, too.
    """
    best: dict[int, float] = defaultdict(float)
    total: dict[int, float] = defaultdict(float)
    for word, weight in term.variants:
        for number, score in _word_scores(database, word).items():
            best[number] = max(best[number], score * weight)
            total[number] += score * weight
    return {number: best[number] + OTHER_VARIANTS * (total[number] - best[number]) for number in best}


def _word_scores(database: sqlite3.Connection, word: str) -> dict[int, float]:
    """BM25 (k1 1.2, b 0.75) of one word: of the documentation, and a share of that of the code."""
    weights = f"{NAME_WEIGHT}, {MODULE_WEIGHT}, {SUMMARY_WEIGHT}, {DOC_WEIGHT}"
    prose = f"SELECT rowid, -bm25(prose, {weights}) AS s FROM prose WHERE prose MATCH ? ORDER BY s DESC LIMIT ?"  # noqa: S608 - numbers
    code = "SELECT rowid, -bm25(code) AS s FROM code WHERE code MATCH ? ORDER BY s DESC LIMIT ?"
    found: dict[int, float] = dict(database.execute(prose, (f'"{word}"', CANDIDATES_PER_TERM)))
    for number, score in database.execute(code, (f'"{word}"', CANDIDATES_PER_TERM)):
        found[number] = found.get(number, 0.0) + CODE_SHARE * score
    return found


def _combined(scores: list[dict[int, float]]) -> dict[int, float]:
    """Return the sum over the terms, weighed by the share found: half an answer is worth less than half."""
    worth = [max(found.values(), default=0.0) for found in scores]
    everything = sum(worth) or 1.0
    total: dict[int, float] = defaultdict(float)
    covered: dict[int, float] = defaultdict(float)
    for found, value in zip(scores, worth, strict=True):
        for number, score in found.items():
            total[number] += score
            covered[number] += value / everything
    return {number: score * (0.3 + 0.7 * covered[number]) for number, score in total.items()}


def _weighted(
    database: sqlite3.Connection, total: dict[int, float], wanted: str | None, asked: tuple[Term, ...]
) -> list[tuple[int, float]]:
    where = "" if wanted is None else " WHERE module = ?"
    rows = database.execute(f"SELECT id, weight, module, name FROM entry{where}", () if wanted is None else (wanted,))  # noqa: S608 - one of two constants
    stems = frozenset(stem(term.word) for term in asked if len(term.word) >= MIN_NAMED)
    ranked = [
        (number, total[number] * weight * _named(of, name, stems - frozenset(words(of))))
        for number, weight, of, name in rows
        if number in total
    ]
    return sorted(ranked, key=lambda pair: (-pair[1], pair[0]))


def _named(module: str, name: str, stems: frozenset[str]) -> float:
    """Return more than 1 for a name that says nothing else than what was asked for.

    ``split`` comes before ``join``, whose text speaks of splitting. Names are often written together (``deepcopy``), so
    letters are counted, not words.
    """
    last = name.rpartition(".")[2].replace("_", "").lower()
    if not last or last == module:
        return 1.0
    said = {
        at
        for known in stems
        for start in range(len(last))
        if last.startswith(known, start)
        for at in range(start, start + len(known))
    }
    return 1.0 + NAMED_BONUS * len(said) / len(last)


def _module_score(scores: list[float]) -> float:
    best, *rest = sorted(scores, reverse=True)
    return best + 0.15 * sum(rest[:3])
