"""What a SQLite log does with its connections, in plain blocking calls: each class is for one caller at a time."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from actors.errors import LogCorrupt, Trimmed
from actors.eventlog._lines import Surplus, bounded, check_names, checksum, following, split, timestamp
from actors.eventlog._sqlite_file import transaction
from actors.eventlog.base import Head, StreamKey

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from actors.eventlog.base import Batch, Retention

_REMEMBERED = 65_536
"""Streams whose end the writer remembers, so that an append asks nothing: 300 bytes each. The oldest entry goes."""

_FIND = """
SELECT s.id, coalesce(newest.total, s.total), s.epoch,
    coalesce(oldest.first, s.latest + 1),
    coalesce(newest.first + newest.count - 1, s.latest),
    coalesce(newest.total - oldest.total + oldest.size, 0),
    coalesce(oldest.first_ts, 0),
    coalesce(newest.state, s.state),
    coalesce(newest.last_ts, s.touched)
FROM streams s
LEFT JOIN batches oldest ON oldest.id = (SELECT id FROM batches WHERE stream = s.id ORDER BY first LIMIT 1)
LEFT JOIN batches newest ON newest.id = (SELECT id FROM batches WHERE stream = s.id ORDER BY first DESC LIMIT 1)
WHERE s.user = ? AND s.session = ?
"""

_ROWS_FROM = """
SELECT stream, first, count, body, state, checksum FROM batches
WHERE stream = :stream AND first >= (SELECT max(first) FROM batches WHERE stream = :stream AND first <= :first)
ORDER BY first
"""

_APPEND = """
INSERT INTO batches (stream, first, count, size, total, first_ts, last_ts, state, body, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class _End(NamedTuple):
    """Where a stream ends: all that an append must know of it."""

    id: int
    latest: int
    total: int


@attrs.frozen
class _Stream:
    end: _End
    head: Head


@attrs.frozen
class _Boundary:
    """The row in which what is kept begins, and what is left of it."""

    id: int
    lines: list[bytes]
    state: bytes


class Reader:
    """Reads what is committed, each call one consistent state of it, beside whatever is being written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def head(self, key: StreamKey) -> Head | None:
        stream = _find(self._connection, key)
        return None if stream is None else stream.head

    def read(self, key: StreamKey, after: int, limit: int, size: int) -> list[bytes]:
        self._connection.execute("BEGIN")
        try:
            return self._read(key, after, limit, size)
        finally:
            self._connection.execute("ROLLBACK")

    def _read(self, key: StreamKey, after: int, limit: int, size: int) -> list[bytes]:
        stream = _existing(self._connection, key)
        if after + 1 < stream.head.oldest:
            raise Trimmed(stream.head.oldest)
        if after >= stream.head.latest:
            return []
        wanted = {"stream": stream.end.id, "first": after + 1}
        with contextlib.closing(self._connection.execute(_ROWS_FROM, wanted)) as rows:
            return bounded(following(rows, after + 1), limit, size)

    def streams(self) -> list[StreamKey]:
        return sorted(StreamKey(*row) for row in self._connection.execute("SELECT user, session FROM streams"))


class Writer:
    """Changes the log; remembers where streams end, since nobody else moves that."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ends: dict[StreamKey, _End] = {}

    @property
    def remembered(self) -> int:
        """Streams in memory."""
        return len(self._ends)

    def make(self, key: StreamKey) -> Head:
        stream = _find(self._connection, key)
        if stream is None:
            check_names(key)
            with transaction(self._connection):
                self._connection.execute(
                    """INSERT INTO streams (user, session, epoch, latest, total, state, touched)
                    VALUES (?, ?, ?, 0, 0, x'', ?)""",
                    (*key, secrets.token_hex(8), time.time_ns() // 1_000_000),
                )
            stream = _existing(self._connection, key)
        self._remember(key, stream.end)
        return stream.head

    def append(self, batches: Sequence[Batch]) -> int:
        """Append the batches; the number of events in them."""
        ends: dict[StreamKey, _End] = {}
        rows = [self._row(batch, ends) for batch in batches]
        if not rows:
            return 0
        with transaction(self._connection):
            self._connection.executemany(_APPEND, rows)
        for key, end in ends.items():
            self._remember(key, end)
        return sum([row[2] for row in rows])

    def mark(self, key: StreamKey, state: bytes) -> None:
        """Put the state where it is looked for: into the newest row, or into the stream's own where there is none."""
        stream = _existing(self._connection, key).end.id
        newest = "SELECT id, first, body FROM batches WHERE stream = ? ORDER BY first DESC LIMIT 1"
        with transaction(self._connection):
            self._connection.execute("UPDATE streams SET state = ? WHERE id = ?", (state, stream))
            row = self._connection.execute(newest, (stream,)).fetchone()
            if row is not None:
                id_, first, body = row
                values = (state, checksum(stream, first, body, state), id_)
                self._connection.execute("UPDATE batches SET state = ?, checksum = ? WHERE id = ?", values)

    def trim(self, key: StreamKey, keep: Retention, now: int) -> tuple[Head, bool]:
        """Drop what is not to be kept; the head, and whether anything was dropped."""
        stream = _existing(self._connection, key)
        count = stream.head.latest + 1 - stream.head.oldest
        surplus = Surplus.of(keep, now, count, stream.head.size)
        boundary = self._walk(stream.end.id, surplus)
        if surplus.count == count:
            return stream.head, False
        with transaction(self._connection):
            self._drop(stream, surplus.count, boundary)
        return _existing(self._connection, key).head, True

    def remove(self, key: StreamKey) -> None:
        stream = _find(self._connection, key)
        if stream is None:
            return
        with transaction(self._connection):
            self._connection.execute("DELETE FROM batches WHERE stream = ?", (stream.end.id,))
            self._connection.execute("DELETE FROM streams WHERE id = ?", (stream.end.id,))
        self._ends.pop(key, None)

    def _row(self, batch: Batch, ends: dict[StreamKey, _End]) -> tuple[Any, ...]:
        lines, count = batch.lines, len(batch.lines)
        end = ends.get(batch.key) or self._end(batch.key)
        if not count:
            raise ValueError(f"an empty batch for {batch.key}")
        if batch.first != end.latest + 1:
            raise LogCorrupt(f"{batch.key} is at {end.latest}: {batch.first} cannot follow")
        body = b"\n".join(lines)
        if body.count(b"\n") != count - 1:
            raise LogCorrupt(f"a raw line feed in a line of {batch.key} from {batch.first}")
        size = len(body) - count + 1
        total = end.total + size
        ends[batch.key] = _End(end.id, end.latest + count, total)
        first_ts = timestamp(lines[0])
        last_ts = first_ts if count == 1 else timestamp(lines[-1])
        check = checksum(end.id, batch.first, body, batch.state)
        return end.id, batch.first, count, size, total, first_ts, last_ts, batch.state, body, check

    def _walk(self, stream: int, surplus: Surplus) -> _Boundary | None:
        """Let ``surplus`` see the stream's rows from the oldest on; the row that is to be cut, if one is."""
        query = "SELECT id, count, size, first_ts, last_ts FROM batches WHERE stream = ? ORDER BY first"
        with contextlib.closing(self._connection.execute(query, (stream,))) as rows:
            for row, count, size, first_ts, last_ts in rows:
                if surplus.settled(first_ts):
                    break
                if surplus.drop_whole(count, size, last_ts):
                    continue
                query = "SELECT body, state FROM batches WHERE id = ?"
                body, state = self._connection.execute(query, (row,)).fetchone()
                lines = split(body, count)
                dropped = surplus.drop(lines)
                if dropped < count:
                    return _Boundary(row, lines[dropped:], state)
        return None

    def _drop(self, stream: _Stream, kept: int, boundary: _Boundary | None) -> None:
        head, end = stream.head, stream.end
        oldest = head.latest + 1 - kept
        if not kept:
            values = (head.latest, end.total, head.state, head.touched, end.id)
            self._connection.execute(
                "UPDATE streams SET latest = ?, total = ?, state = ?, touched = ? WHERE id = ?", values
            )
        if boundary is not None:
            lines, body = boundary.lines, b"\n".join(boundary.lines)
            check = checksum(end.id, oldest, body, boundary.state)
            self._connection.execute(
                "UPDATE batches SET first = ?, count = ?, size = ?, first_ts = ?, body = ?, checksum = ? WHERE id = ?",
                (oldest, len(lines), sum(map(len, lines)), timestamp(lines[0]), body, check, boundary.id),
            )
        self._connection.execute("DELETE FROM batches WHERE stream = ? AND first < ?", (end.id, oldest))

    def _end(self, key: StreamKey) -> _End:
        end = self._ends.get(key)
        if end is None:
            end = _existing(self._connection, key).end
            self._remember(key, end)
        return end

    def _remember(self, key: StreamKey, end: _End) -> None:
        if key not in self._ends and len(self._ends) >= _REMEMBERED:
            del self._ends[next(iter(self._ends))]
        self._ends[key] = end


def _existing(connection: sqlite3.Connection, key: StreamKey) -> _Stream:
    stream = _find(connection, key)
    if stream is None:
        raise KeyError(key)
    return stream


def _find(connection: sqlite3.Connection, key: StreamKey) -> _Stream | None:
    row = connection.execute(_FIND, key).fetchone()
    if row is None:
        return None
    stream, total, epoch, oldest, latest, size, oldest_ts, state, touched = row
    return _Stream(_End(stream, latest, total), Head(epoch, oldest, latest, size, oldest_ts, state, touched))
