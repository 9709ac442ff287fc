"""The layouts (schemas) of a SQLite log: the steps from each to the next, and views that read an older one.

A published step must never change, not even in the bytes that it looks for: files of that layout exist.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    Step: TypeAlias = "str | Callable[[sqlite3.Connection], None]"

APPLICATION_ID = 0x47524E52
"""The application id in the header of a log file, ``GRNR`` in ASCII. A database with another id is no log."""

RECENT_SECONDS = 3600.0
"""Maximum age of a run's start that the migration to schema 3 stores as a done command, in seconds.

Clients do not repeat an older start.
"""


def remember_starts(connection: sqlite3.Connection) -> None:
    """Store the recent starts of runs as done commands, in the states of their streams.

    A done command is not carried out again. Up to schema 2 a restarted server searched the events for recent starts.
    From schema 3 on a restarted server reads only the states.
    """
    since = time.time_ns() // 1_000_000 - int(RECENT_SECONDS * 1000)
    for stream, state in connection.execute("SELECT id, state FROM streams").fetchall():
        starts = list(_starts(connection, stream, since))
        if starts and (more := _with_starts(state, starts)) is not None:
            connection.execute("UPDATE streams SET state = ? WHERE id = ?", (more, stream))


def _starts(connection: sqlite3.Connection, stream: int, since: int) -> Iterator[list[Any]]:
    rows = connection.execute("SELECT last_ts, body FROM batches WHERE stream = ? ORDER BY first DESC", (stream,))
    for last_ts, body in rows:
        if last_ts < since:
            break
        # Search for the bytes first. Few lines have them, and decoding every line of a large log would take minutes.
        for line in body.split(b"\n"):
            if b'"command_id":' in line and b'"type":"agent_started"' in line:
                yield from _start(line, since)


def _start(line: bytes, since: int) -> Iterator[list[Any]]:
    try:
        event = orjson.loads(line)
        command_id = event["data"].get("command_id")
        # The same bytes may be inside the text of any other event.
        if event["type"] == "agent_started" and isinstance(command_id, str) and event["ts"] >= since:
            yield [command_id, event["ts"], {"run_id": event["run_id"]}]
    except (ValueError, TypeError, LookupError, AttributeError):
        return  # a damaged line, which is reported when the events are read


def _with_starts(state: bytes, starts: list[list[Any]]) -> bytes | None:
    try:
        ts, items, *rest = orjson.loads(state)
        closed_at: int | None = rest[0] if rest else None
        done: list[list[Any]] = rest[1] if rest else []
        return orjson.dumps([ts, items, closed_at, sorted(done + starts, key=_ts)])
    except (ValueError, TypeError, LookupError):
        return None  # a damaged state, which is reported when the session reads it


def _ts(done: list[Any]) -> int:
    return int(done[1])


STEPS: tuple[tuple[Step, ...], ...] = (
    (
        # One row for each stream. latest and total are valid only while the stream has no batch: otherwise they follow
        # from its newest batch.
        """
        CREATE TABLE streams (
            id INTEGER PRIMARY KEY,
            user TEXT NOT NULL,
            session TEXT NOT NULL,
            epoch TEXT NOT NULL,
            latest INTEGER NOT NULL,
            total INTEGER NOT NULL,
            state BLOB NOT NULL,
            UNIQUE (user, session)
        ) STRICT
        """,
        # One row for each batch. total: bytes of all events of the stream up to the end of this row, dropped events
        # included, so that a stream's size is a difference. A table in order of arrival with an index beside it takes
        # 200 rows of five events six times as fast as a table clustered by (stream, first).
        """
        CREATE TABLE batches (
            id INTEGER PRIMARY KEY,
            stream INTEGER NOT NULL,
            first INTEGER NOT NULL,
            count INTEGER NOT NULL,
            size INTEGER NOT NULL,
            total INTEGER NOT NULL,
            first_ts INTEGER NOT NULL,
            last_ts INTEGER NOT NULL,
            state BLOB NOT NULL,
            body BLOB NOT NULL
        ) STRICT
        """,
        "CREATE UNIQUE INDEX batches_in_order ON batches (stream, first)",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    (
        # When a stream without events was made or had its newest event (ms). Retention removes the stream by this.
        "ALTER TABLE streams ADD COLUMN touched INTEGER NOT NULL DEFAULT 0",
        "UPDATE streams SET touched = CAST(strftime('%s', 'now') AS INTEGER) * 1000",
        # The checksum of a row's body and state. Rows of the first layout have none.
        "ALTER TABLE batches ADD COLUMN checksum INTEGER",
        # One row: the boot of the machine at whose end appends may be lost. Empty if none can be lost.
        "CREATE TABLE risk (boot TEXT NOT NULL) STRICT",
        "INSERT INTO risk VALUES ('')",
    ),
    (
        # The state is kept once for each stream, and written only when it changed. Older rows keep their state, because
        # their checksums cover it. In rows written since, the state is empty.
        """
        UPDATE streams SET state = coalesce(
            (SELECT state FROM batches WHERE stream = streams.id ORDER BY first DESC LIMIT 1), state
        )
        """,
        remember_starts,
        # The checksum of the state. NULL if the state was not written since.
        "ALTER TABLE streams ADD COLUMN checksum INTEGER",
    ),
    (
        # The revoked tokens: all tokens of a user that were issued until `at`, or one token. Times in s since 1970.
        """
        CREATE TABLE revocations (
            kind TEXT NOT NULL,
            name TEXT NOT NULL,
            at REAL NOT NULL,
            until REAL NOT NULL,
            PRIMARY KEY (kind, name)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX revocations_by_end ON revocations (until)",
    ),
    (
        # The consumers. lost: number of events that were removed with their streams before this consumer read them.
        "CREATE TABLE consumers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, lost INTEGER NOT NULL) STRICT",
        # The seq up to which a consumer has handled a stream. A stream without a row is at 0. The stream comes first in
        # the key, since each trim of a stream asks for its positions.
        """
        CREATE TABLE positions (
            stream INTEGER NOT NULL,
            consumer INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            PRIMARY KEY (stream, consumer)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        # The index of the rows, which is filled in lots (see _sqlite_index). It was an index of SQLite's before, which
        # wrote nearly a page for each row.
        """
        CREATE TABLE row_index (
            stream INTEGER NOT NULL,
            first INTEGER NOT NULL,
            id INTEGER NOT NULL,
            PRIMARY KEY (stream, first)
        ) STRICT, WITHOUT ROWID
        """,
        "INSERT INTO row_index SELECT stream, first, id FROM batches ORDER BY stream, first",
        # One row: the id up to which the rows are in the index.
        "CREATE TABLE indexed (until INTEGER NOT NULL) STRICT",
        "INSERT INTO indexed SELECT coalesce(max(id), 0) FROM batches",
        "DROP INDEX batches_in_order",
    ),
)
"""The migration steps from each layout to the next: ``STEPS[n]`` leads from layout n to n + 1.

A new file goes through all steps.
"""

SCHEMA = len(STEPS)
"""The number of the newest layout. This version reads all layouts up to this number, and writes only this layout."""

_STREAMS_OF_OLD = """
CREATE TEMP VIEW streams AS SELECT id, user, session, epoch, latest, total, {touched} AS touched, NULL AS checksum,
    coalesce(
        nullif((SELECT state FROM main.batches WHERE stream = s.id ORDER BY first DESC LIMIT 1), x''), s.state
    ) AS state
FROM main.streams s
"""
_NO_REVOCATIONS = "CREATE TEMP TABLE revocations (kind TEXT, name TEXT, at REAL, until REAL)"
_NO_CONSUMERS = (
    "CREATE TEMP TABLE consumers (id INTEGER, name TEXT, lost INTEGER)",
    "CREATE TEMP TABLE positions (stream INTEGER, consumer INTEGER, seq INTEGER)",
)
_ROW_INDEX = (
    "CREATE TEMP VIEW row_index AS SELECT stream, first, id FROM main.batches",
    f"CREATE TEMP VIEW indexed AS SELECT {(1 << 63) - 1} AS until",
)
_VIEWS = {
    1: (
        _STREAMS_OF_OLD.format(touched=0),
        "CREATE TEMP VIEW batches AS SELECT *, NULL AS checksum FROM main.batches",
        _NO_REVOCATIONS,
        *_NO_CONSUMERS,
        *_ROW_INDEX,
    ),
    2: (_STREAMS_OF_OLD.format(touched="touched"), _NO_REVOCATIONS, *_NO_CONSUMERS, *_ROW_INDEX),
    3: (_NO_REVOCATIONS, *_NO_CONSUMERS, *_ROW_INDEX),
    4: (*_NO_CONSUMERS, *_ROW_INDEX),
    5: _ROW_INDEX,
}


def bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Upgrade a log from schema ``version`` to the newest schema.

    The caller must have begun a transaction: the log is then upgraded completely or not at all.
    """
    for step in STEPS[version:]:
        for each in step:
            if isinstance(each, str):
                connection.execute(each)
            else:
                each(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA}")


def show_as_new(connection: sqlite3.Connection, version: int) -> None:
    """Make temporary views so that a read-only connection sees a log of schema ``version`` in the newest layout."""
    connection.execute("PRAGMA temp_store = MEMORY")
    for view in _VIEWS.get(version, ()):
        connection.execute(view)
