"""The rows that an append adds to a SQLite log: how they are built, and the statements that insert them."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from actors.errors import LogCorrupt
from actors.eventlog._rows import checksum
from actors.events.line import check_numbers, timestamp

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from actors.eventlog.base import Batch

    Row: TypeAlias = "tuple[int, int, int, int, int, int, int, int, bytes, int]"

_INSERT = """
INSERT OR ROLLBACK INTO batches (id, stream, first, count, size, total, first_ts, last_ts, state, body, checksum) VALUES
"""
_VALUES = "(?, ?, ?, ?, ?, ?, ?, ?, x'', ?, ?)"

MOST_ROWS = 128
"""Maximum number of rows in one statement."""

# The number of rows of each statement is a power of two, so that sqlite3 keeps few prepared statements. A statement for
# many rows releases the interpreter once; with a statement for each row, the committing thread would have to win the
# interpreter back from the event loop after each of them. OR ROLLBACK undoes the whole transaction if a row cannot be
# stored, which is what an append wants, and saves SQLite a journal for undoing one statement of many rows.
_INSERTS = {1 << power: f"{_INSERT}{', '.join([_VALUES] * (1 << power))}" for power in range(MOST_ROWS.bit_length())}


class End(NamedTuple):
    """The end of a stream: the values that an append to this stream needs.

    ``state`` is the hash of the stream's state. If a batch's state has the same hash, the state did not change, and the
    append does not write it again. Keeping the state itself would cost too much memory. An attacker cannot make two
    states with the same hash, because Python's 64-bit hash has a random key in each process.
    """

    id: int
    latest: int
    total: int
    state: int


def row_of(id_: int, batch: Batch, end: End) -> tuple[Row, End]:
    """Return the row to insert for a batch (consecutive events of one stream), and the stream's end after it.

    ``id_`` is the row's id, and ``end`` the stream's end before the batch.

    Raises:
        LogCorrupt: The batch does not follow ``end``, a line has a wrong ``seq`` or no ``ts``, or a line has a raw line
            feed.
        ValueError: The batch is empty.
    """
    lines, first, count = batch.lines, batch.first, len(batch.lines)
    if not count:
        raise ValueError(f"an empty batch for {batch.key}")
    if first != end.latest + 1:
        raise LogCorrupt(f"{batch.key} is at {end.latest}: {first} cannot follow")
    check_numbers(batch.key, first, lines, count)
    body = lines[0] if count == 1 else b"\n".join(lines)
    # A line feed inside a line would make two lines of it when the body is split.
    if body.count(b"\n") != count - 1:
        raise LogCorrupt(f"a raw line feed in a line of {batch.key} from {first}")
    size = len(body) - count + 1
    total = end.total + size
    first_ts = timestamp(lines[0])
    last_ts = first_ts if count == 1 else timestamp(lines[-1])
    row = (id_, end.id, first, count, size, total, first_ts, last_ts, body, checksum(end.id, first, body, b""))
    return row, End(end.id, end.latest + count, total, hash(batch.state))


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert rows in a transaction that the caller has begun. If a row cannot be stored, the transaction is undone."""
    begin, count = 0, MOST_ROWS
    while begin < len(rows):
        while count > len(rows) - begin:
            count >>= 1
        connection.execute(_INSERTS[count], tuple(chain.from_iterable(rows[begin : begin + count])))
        begin += count
