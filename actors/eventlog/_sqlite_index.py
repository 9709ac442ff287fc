"""The index of a SQLite log: each row by its stream and first seq. It is filled in lots.

A row of ``batches`` is found by ``row_index (stream, first, id)``. If each commit wrote the entries of its rows, nearly
every row would write a page of the index: neighbours in the index belong to the same stream, so they come in other
commits. Instead the entries of some thousand rows are written together, in the order of the index. Then neighbours
share pages.

The rows without an entry are the *tail*: all rows with an id above ``indexed.until``. Every query looks there too. The
ids of rows rise with each append. So in the tail the order of ids is the order of a stream's events, and the rows of a
stream in the tail come after its other rows.
"""

# ruff: noqa: S608 - the queries are put together from constants

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from actors.eventlog._rows import checksum

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator

    Stored: TypeAlias = "tuple[int, int, int, bytes, bytes, int | None]"

LOT = 2_000
"""Number of rows in the tail from which they get their entries in the index.

A larger lot writes fewer pages, but a query that looks for a stream reads the whole tail, and the commits that come
while a lot is written wait for it.
"""

_IN_TAIL = "id > (SELECT until FROM indexed)"

TAIL = f"""
tail AS MATERIALIZED (SELECT stream, min(id) AS oldest, max(id) AS newest FROM batches WHERE {_IN_TAIL} GROUP BY stream)
"""
"""The oldest and the newest row of each stream in the tail, for a ``WITH`` clause. To be joined as ``tail``."""

TAIL_OF_ONE = f"""
tail AS MATERIALIZED (
    SELECT stream, min(id) AS oldest, max(id) AS newest FROM batches
    WHERE {_IN_TAIL} AND stream = :stream GROUP BY stream
)
"""
"""The same for the one stream ``:stream``, which is faster."""

OLDEST = "coalesce((SELECT id FROM row_index WHERE stream = s.id ORDER BY first LIMIT 1), tail.oldest)"
"""The id of the oldest row of a stream ``s`` that is joined with its ``tail``; NULL if the stream has no row."""

NEWEST = "coalesce(tail.newest, (SELECT id FROM row_index WHERE stream = s.id ORDER BY first DESC LIMIT 1))"
"""The id of the newest row of a stream ``s`` that is joined with its ``tail``; NULL if the stream has no row."""

# The rows from the one that contains :first on: those with an entry, and those in the tail.
_INDEXED_FROM = """
SELECT b.stream, b.first, b.count, b.body, b.state, b.checksum FROM row_index i JOIN batches b ON b.id = i.id
WHERE i.stream = :stream
    AND i.first >= coalesce((SELECT max(first) FROM row_index WHERE stream = :stream AND first <= :first), 0)
    AND b.first + b.count > :first
ORDER BY i.first
"""
_TAIL_FROM = f"""
SELECT stream, first, count, body, state, checksum FROM batches
WHERE {_IN_TAIL} AND stream = :stream AND first + count > :first ORDER BY id
"""

_FILL = f"INSERT INTO row_index SELECT stream, first, id FROM batches WHERE {_IN_TAIL} ORDER BY stream, first"
_MOVE = "UPDATE indexed SET until = max(until, coalesce((SELECT max(id) FROM batches), 0))"

_COMPARE = """
SELECT count(*), coalesce(sum(i.id IS b.id), 0), (SELECT count(*) FROM row_index)
FROM batches b LEFT JOIN row_index i ON i.stream = b.stream AND i.first = b.first
WHERE b.id <= (SELECT until FROM indexed)
"""


def rows_from(connection: sqlite3.Connection, stream: int, first: int) -> Generator[Stored]:
    """Yield the rows of a stream, in order. The first row contains the event ``first``."""
    wanted = {"stream": stream, "first": first}
    yield from connection.execute(_INDEXED_FROM, wanted)
    yield from connection.execute(_TAIL_FROM, wanted)


def next_id(connection: sqlite3.Connection) -> int:
    """Return the id of the next row. It is above the ids of all rows that have or had an entry in the index."""
    query = "SELECT max(until, coalesce((SELECT max(id) FROM batches), 0)) + 1 FROM indexed"
    id_: int = connection.execute(query).fetchone()[0]
    return id_


def fill(connection: sqlite3.Connection) -> None:
    """Give each row of the tail its entry in the index. The caller has begun a transaction.

    Raises:
        sqlite3.IntegrityError: A stream has two rows that begin with the same event.
    """
    connection.execute(_FILL)
    connection.execute(_MOVE)


def find_damage(connection: sqlite3.Connection) -> str | None:
    """Compare the index with its table, and check the rows of the tail. Return None if all is well.

    SQLite's own check cannot do this: for SQLite the index is a table like any other.
    """
    if connection.execute("SELECT count(until) FROM indexed").fetchone() != (1,):
        return "the end of the index is lost"
    rows, matching, entries = connection.execute(_COMPARE).fetchone()
    if not rows == matching == entries:
        return f"{rows} rows have {matching} of {entries} entries in the index"
    # The index says which stream a row belongs to. Without an entry, only the row's checksum does.
    query = f"SELECT stream, first, body, state, checksum FROM batches WHERE {_IN_TAIL}"
    for stream, first, body, state, total in connection.execute(query):
        if not isinstance(body, bytes) or not isinstance(state, bytes) or checksum(stream, first, body, state) != total:
            return f"the row of stream {stream} from {first} does not match its checksum"
    return None
