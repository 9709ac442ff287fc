"""The reads and writes of a SQLite log, as plain blocking calls.

Each object is for one caller at a time: :class:`~actors.eventlog.SqliteLog` calls them in threads.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING

import attrs

from actors.errors import LogCorrupt, Trimmed
from actors.eventlog import _sqlite_index
from actors.eventlog._retention import RetentionWalk, bounded
from actors.eventlog._rows import checksum, lines_from, split
from actors.eventlog._sqlite_append import End, insert, row_of
from actors.eventlog._sqlite_file import transaction
from actors.eventlog._sqlite_index import NEWEST, OLDEST, TAIL, TAIL_OF_ONE, fill, next_id, rows_from
from actors.eventlog._sqlite_positions import forget_stream, read_by_all
from actors.eventlog.base import Head, Revocation, StreamKey, UserUsage, check_names, check_new
from actors.events.line import timestamp

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from actors.eventlog._sqlite_append import Row
    from actors.eventlog.base import Batch, Retention

_REMEMBERED = 65_536
"""Maximum number of streams of which the writer keeps the end (newest seq, state) in memory.

An append to one of these streams needs no query. The entry of a stream takes 300 bytes of memory.
"""

# The streams s, each joined with its oldest and its newest row (batch).
_ROWS = f"""
FROM streams s LEFT JOIN tail ON tail.stream = s.id
LEFT JOIN batches oldest ON oldest.id = {OLDEST}
LEFT JOIN batches newest ON newest.id = {NEWEST}
"""

# The head of a stream. If it has batches, the oldest and the newest of them have the values; the stream's own row has
# them only if all its events were trimmed.
_FIND = f"""
WITH {TAIL_OF_ONE}
SELECT s.id, coalesce(newest.total, s.total), s.epoch,
    coalesce(oldest.first, s.latest + 1),
    coalesce(newest.first + newest.count - 1, s.latest),
    coalesce(newest.total - oldest.total + oldest.size, 0),
    coalesce(oldest.first_ts, 0),
    coalesce(newest.last_ts, s.touched)
{_ROWS} WHERE s.id = :stream
"""

# The number and the size of a user's streams. It reads two entries of the index for each stream, and no event.
_USAGE = f"""
WITH {TAIL}
SELECT count(*), coalesce(sum(coalesce(newest.total - oldest.total + oldest.size, 0) + length(s.state)), 0)
{_ROWS} WHERE s.user = ?
"""

_OLDEST_STREAMS = f"""
WITH {TAIL}
SELECT s.user, s.session {_ROWS} WHERE s.user = ? AND oldest.id IS NOT NULL
ORDER BY oldest.first_ts, s.session LIMIT ?
"""

_REVOKE = """
INSERT INTO revocations (kind, name, at, until) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, name) DO UPDATE SET at = max(at, excluded.at), until = max(until, excluded.until)
"""
_USER, _TOKEN = "user", "token"
"""The kinds of revocations in the file: a user's tokens, or one token."""

# What a trim needs of a stream's rows to decide about most of them, while all rows are in the index.
_SIZES = """
SELECT b.id, b.first, b.count, b.size, b.first_ts, b.last_ts FROM row_index i JOIN batches b ON b.id = i.id
WHERE i.stream = ? ORDER BY i.first
"""
_DELETE_ROWS = "DELETE FROM batches WHERE id IN (SELECT id FROM row_index WHERE stream = ? AND first < ?)"

_MAKE = """
INSERT INTO streams (user, session, epoch, latest, total, state, touched) VALUES (?, ?, ?, 0, 0, x'', ?) RETURNING id
"""

_RESTORE = """
INSERT INTO streams (user, session, epoch, latest, touched, total, state) VALUES (?, ?, ?, ?, ?, 0, x'') RETURNING id
"""

_SET_STATE = "UPDATE streams SET state = ?, checksum = ? WHERE id = ?"


@attrs.frozen
class _Position:
    """The summary of a stream, without the stream's state. The state can be large, and most callers do not need it."""

    id: int
    total: int
    epoch: str
    oldest: int
    latest: int
    size: int
    oldest_ts: int
    touched: int

    def head(self, state: bytes) -> Head:
        return Head(self.epoch, self.oldest, self.latest, self.size, self.oldest_ts, state, self.touched)

    def end(self, state: bytes) -> End:
        return End(self.id, self.latest, self.total, hash(state))


@attrs.frozen
class _Boundary:
    """The row with the first event that a trim keeps, and the kept lines of this row."""

    id: int
    first: int
    lines: list[bytes]
    state: bytes


class Reader:
    """The reading half of a SQLite log. Each call sees one committed state of the file, also while the writer works."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = self.connection = connection

    def head(self, key: StreamKey) -> Head | None:
        with self._snapshot():
            stream = _find(self._connection, key)
            return None if stream is None else stream.head(_state(self._connection, key, stream.id))

    def read(self, key: StreamKey, after: int, limit: int, size: int) -> list[bytes]:
        with self._snapshot():
            return self._read(key, after, limit, size)

    @contextlib.contextmanager
    def _snapshot(self) -> Generator[None]:
        """Make all queries in the ``with`` block see the same committed state of the file."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def _read(self, key: StreamKey, after: int, limit: int, size: int) -> list[bytes]:
        stream = _existing(self._connection, key)
        if after + 1 < stream.oldest:
            raise Trimmed(stream.oldest)
        if after >= stream.latest:
            return []
        with contextlib.closing(rows_from(self._connection, stream.id, after + 1)) as rows:
            return bounded(lines_from(rows, after + 1), limit, size)

    def user_streams(self, user: str, after: str, limit: int) -> list[StreamKey]:
        query = "SELECT user, session FROM streams WHERE user = ? AND session > ? ORDER BY session LIMIT ?"
        return [StreamKey(*row) for row in self._connection.execute(query, (user, after, max(limit, 0)))]

    def usage(self, user: str) -> UserUsage:
        return UserUsage(*self._connection.execute(_USAGE, (user,)).fetchone())

    def oldest_streams(self, user: str, limit: int) -> list[StreamKey]:
        return [StreamKey(*row) for row in self._connection.execute(_OLDEST_STREAMS, (user, limit))]

    def revocations(self) -> list[Revocation]:
        rows = self._connection.execute("SELECT kind, name, at, until FROM revocations")
        return [_revocation(*row) for row in rows]

    def streams(self, after: StreamKey | None, limit: int | None) -> list[StreamKey]:
        most = -1 if limit is None else max(limit, 0)
        where, values = ("", ()) if after is None else ("WHERE (user, session) > (?, ?)", after)
        query = f"SELECT user, session FROM streams {where} ORDER BY user, session LIMIT ?"  # noqa: S608 - two constants
        return [StreamKey(*row) for row in self._connection.execute(query, (*values, most))]


class Writer:
    """The writing half of a SQLite log.

    The writer keeps the ends of streams in memory. This is safe, because no other process writes to the file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = self.connection = connection
        self._ends: dict[StreamKey, End] = {}
        self._next_id = next_id(connection)
        self._unindexed = 0

    @property
    def remembered(self) -> int:
        """Number of streams of which the writer keeps the end (newest seq, state) in memory."""
        return len(self._ends)

    def make(self, key: StreamKey) -> Head:
        stream = _find(self._connection, key)
        if stream is None:
            check_names(key)
            with transaction(self._connection):
                stream = self._insert_stream(key)
        state = _state(self._connection, key, stream.id)
        self._remember(key, stream.end(state))
        return stream.head(state)

    def _insert_stream(self, key: StreamKey) -> _Position:
        epoch, now = secrets.token_hex(8), time.time_ns() // 1_000_000
        id_: int = self._connection.execute(_MAKE, (*key, epoch, now)).fetchone()[0]
        return _Position(id_, 0, epoch, 1, 0, 0, 0, now)

    def restore(self, key: StreamKey, epoch: str, latest: int, state: bytes, touched: int) -> None:
        check_new(key, exists=_find(self._connection, key) is not None)
        with transaction(self._connection):
            id_: int = self._connection.execute(_RESTORE, (*key, epoch, latest, touched)).fetchone()[0]
            self._connection.execute(_SET_STATE, (state, checksum(id_, 0, b"", state), id_))

    def append(self, batches: Sequence[Batch]) -> int:
        """Append batches (each: consecutive events of one stream) in one transaction. Return the number of events."""
        ends: dict[StreamKey, End] = {}
        states: dict[int, bytes] = {}
        rows: list[Row] = []
        events = 0
        for batch in batches:
            # An earlier batch of the same append may belong to the same stream: then this batch follows that one.
            end = ends.get(batch.key) or self._end(batch.key)
            row, ends[batch.key] = row_of(self._next_id + len(rows), batch, end)
            rows.append(row)
            events += len(batch.lines)
            if ends[batch.key].state != end.state:
                states[end.id] = batch.state
        if rows:
            self._insert(rows, states)
        # Only after the commit: if it fails, the streams end where they did before.
        for key, end in ends.items():
            self._remember(key, end)
        if self._unindexed >= _sqlite_index.LOT:
            # The append is done. If the index cannot be written now, the rows stay in the tail, and the next append
            # tries again.
            with contextlib.suppress(sqlite3.Error):
                self.fill_index()
        return events

    def fill_index(self) -> None:
        """Write the entries in the index of all rows that have none yet."""
        if not self._unindexed:
            return
        with transaction(self._connection):
            fill(self._connection)
        self._unindexed = 0

    def _insert(self, rows: Sequence[Row], states: Mapping[int, bytes]) -> None:
        try:
            with transaction(self._connection):
                insert(self._connection, rows)
                if states:
                    values = [(state, checksum(id_, 0, b"", state), id_) for id_, state in states.items()]
                    self._connection.executemany(_SET_STATE, values)
        except sqlite3.IntegrityError:
            # Another program has written rows, in spite of the lock: its rows count, and their ids are taken. What this
            # writer remembers of streams may be wrong.
            self._ends.clear()
            self._next_id = next_id(self._connection)
            raise
        self._next_id += len(rows)
        self._unindexed += len(rows)

    def mark(self, key: StreamKey, state: bytes) -> None:
        stream = _existing(self._connection, key)
        with transaction(self._connection):
            self._connection.execute(_SET_STATE, (state, checksum(stream.id, 0, b"", state), stream.id))
        self._remember(key, stream.end(state))

    def trim(self, key: StreamKey, keep: Retention, now: int) -> tuple[Head, bool]:
        """Drop the stream's events beyond the limits ``keep``.

        Return the stream's new summary (its oldest and newest seq, its size …), and whether events were dropped.
        """
        self.fill_index()
        stream = _existing(self._connection, key)
        state = _state(self._connection, key, stream.id)
        count = stream.latest + 1 - stream.oldest
        read = read_by_all(self._connection, stream.id)
        walk = RetentionWalk.of(keep, now, count, stream.size, None if read is None else stream.latest - read)
        boundary = self._boundary(stream.id, walk)
        if walk.count == count:
            return stream.head(state), False
        with transaction(self._connection):
            self._drop(stream, walk.count, boundary)
        return _existing(self._connection, key).head(state), True

    def remove(self, key: StreamKey) -> None:
        stream = _find(self._connection, key)
        if stream is None:
            return
        self.fill_index()
        with transaction(self._connection):
            forget_stream(self._connection, stream.id)
            self._delete_rows(stream.id, stream.latest + 1)
            self._connection.execute("DELETE FROM streams WHERE id = ?", (stream.id,))
        self._ends.pop(key, None)

    def revoke(self, revocation: Revocation, now: float) -> None:
        kind = _USER if revocation.user is not None else _TOKEN
        with transaction(self._connection):
            self._connection.execute("DELETE FROM revocations WHERE until <= ?", (now,))
            self._connection.execute(_REVOKE, (kind, revocation.name, revocation.at, revocation.until))

    def _boundary(self, stream: int, walk: RetentionWalk) -> _Boundary | None:
        """Advance ``walk``, a search through the stream's lines, to the first event that a trim keeps.

        If the row of this event also has events that the trim drops, return the row. Otherwise return None.
        """
        with contextlib.closing(self._connection.execute(_SIZES, (stream,))) as rows:
            # Most rows are decided by their columns. Only a row at the boundary is read and split into lines.
            for row, first, count, size, first_ts, last_ts in rows:
                if walk.settled(first_ts):
                    break
                if walk.drop_whole(count, size, last_ts):
                    continue
                query = "SELECT body, state FROM batches WHERE id = ?"
                body, state = self._connection.execute(query, (row,)).fetchone()
                lines = split(body, count)
                dropped = walk.drop(lines)
                if dropped < count:
                    return _Boundary(row, first, lines[dropped:], state)
        return None

    def _drop(self, stream: _Position, kept: int, boundary: _Boundary | None) -> None:
        """Delete a stream's events except the ``kept`` newest events.

        ``boundary`` is the row that has both kept and deleted events; None if no row has both. This row is shortened.
        """
        oldest = stream.latest + 1 - kept
        if not kept:  # no batch will be left to take these values from
            values = (stream.latest, stream.total, stream.touched, stream.id)
            self._connection.execute("UPDATE streams SET latest = ?, total = ?, touched = ? WHERE id = ?", values)
        if boundary is not None:
            lines, body = boundary.lines, b"\n".join(boundary.lines)
            check = checksum(stream.id, oldest, body, boundary.state)
            self._connection.execute(
                "UPDATE batches SET first = ?, count = ?, size = ?, first_ts = ?, body = ?, checksum = ? WHERE id = ?",
                (oldest, len(lines), sum(map(len, lines)), timestamp(lines[0]), body, check, boundary.id),
            )
            moved = (oldest, stream.id, boundary.first)
            self._connection.execute("UPDATE row_index SET first = ? WHERE stream = ? AND first = ?", moved)
        self._delete_rows(stream.id, oldest)

    def _delete_rows(self, stream: int, oldest: int) -> None:
        """Delete the rows of a stream, and their entries in the index, that begin before the event ``oldest``."""
        rows = (stream, oldest)
        self._connection.execute(_DELETE_ROWS, rows)
        self._connection.execute("DELETE FROM row_index WHERE stream = ? AND first < ?", rows)

    def _end(self, key: StreamKey) -> End:
        end = self._ends.get(key)
        if end is None:
            stream = _existing(self._connection, key)
            end = stream.end(_state(self._connection, key, stream.id))
            self._remember(key, end)
        return end

    def _remember(self, key: StreamKey, end: End) -> None:
        if key not in self._ends and len(self._ends) >= _REMEMBERED:
            # The oldest entry: dicts keep the order of insertion.
            del self._ends[next(iter(self._ends))]
        self._ends[key] = end


def _existing(connection: sqlite3.Connection, key: StreamKey) -> _Position:
    stream = _find(connection, key)
    if stream is None:
        raise KeyError(key)
    return stream


def _find(connection: sqlite3.Connection, key: StreamKey) -> _Position | None:
    # In two steps, because the second reads the tail of the index: a stream that does not exist is found at once.
    found = connection.execute("SELECT id FROM streams WHERE user = ? AND session = ?", key).fetchone()
    return None if found is None else _Position(*connection.execute(_FIND, {"stream": found[0]}).fetchone())


def _revocation(kind: str, name: str, at: float, until: float) -> Revocation:
    if kind == _USER:
        return Revocation(user=name, at=at, until=until)
    return Revocation(token_id=name, at=at, until=until)


def _state(connection: sqlite3.Connection, key: StreamKey, stream: int) -> bytes:
    """Return the state of a stream. Raise ``LogCorrupt`` if the stored state is damaged."""
    state, total = connection.execute("SELECT state, checksum FROM streams WHERE id = ?", (stream,)).fetchone()
    # A damaged row may hold a value of any type.
    if not isinstance(state, bytes) or (total is not None and total != checksum(stream, 0, b"", state)):
        raise LogCorrupt(f"the state of {key} is damaged")
    return state
