"""The positions of consumers in a SQLite log, as plain blocking calls on a connection."""

# ruff: noqa: S608 - the queries are put together from constants of this module

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.eventlog._names import StreamKey
from actors.eventlog._positions import ConsumerPosition, ConsumerUsage
from actors.eventlog._sqlite_file import transaction
from actors.eventlog._sqlite_index import NEWEST, TAIL

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

# The streams s, each joined with its newest row, and the newest seq of a stream.
_STREAMS = f"streams s LEFT JOIN tail ON tail.stream = s.id LEFT JOIN batches newest ON newest.id = {NEWEST}"
_LATEST = "coalesce(newest.first + newest.count - 1, s.latest)"

_BEGIN_AT_LATEST = f"""
WITH {TAIL} INSERT INTO positions (stream, consumer, seq) SELECT s.id, ?, {_LATEST} FROM {_STREAMS}
"""

_POSITION = """
SELECT s.epoch, coalesce(p.seq, 0) FROM streams s
LEFT JOIN positions p ON p.stream = s.id AND p.consumer = ?
WHERE s.user = ? AND s.session = ?
"""

_UNREAD = f"""
WITH {TAIL}
SELECT s.user, s.session FROM {_STREAMS}
LEFT JOIN positions p ON p.stream = s.id AND p.consumer = ?
WHERE (? OR s.user = ?) AND (? OR (s.user, s.session) > (?, ?)) AND {_LATEST} > coalesce(p.seq, 0)
ORDER BY s.user, s.session LIMIT ?
"""

_USAGE = f"""
WITH {TAIL}
SELECT c.name, coalesce((
    SELECT sum({_LATEST} - coalesce(p.seq, 0)) FROM {_STREAMS}
    LEFT JOIN positions p ON p.stream = s.id AND p.consumer = c.id
), 0), c.lost FROM consumers c ORDER BY c.name
"""

_ACKNOWLEDGE = """
INSERT INTO positions (stream, consumer, seq)
SELECT id, ?, ? FROM streams WHERE user = ? AND session = ? AND epoch = ?
ON CONFLICT (stream, consumer) DO UPDATE SET seq = max(seq, excluded.seq)
"""

# The seq up to which all consumers have read a stream. NULL if there is no consumer.
_READ_BY_ALL = """
SELECT min(coalesce(p.seq, 0)) FROM consumers c LEFT JOIN positions p ON p.consumer = c.id AND p.stream = ?
"""

# Before a stream is removed: its unread events are lost to each consumer.
_COUNT_LOST = f"""
WITH {TAIL}
UPDATE consumers SET lost = lost + (
    SELECT {_LATEST} - coalesce(p.seq, 0) FROM {_STREAMS}
    LEFT JOIN positions p ON p.stream = s.id AND p.consumer = consumers.id
    WHERE s.id = ?
)
"""


def start(connection: sqlite3.Connection, name: str, *, from_start: bool) -> int:
    """Make a consumer, unless it exists. Return the number of events that were removed with their streams."""
    row = connection.execute("SELECT lost FROM consumers WHERE name = ?", (name,)).fetchone()
    if row is not None:
        return int(row[0])
    with transaction(connection):
        consumer = connection.execute("INSERT INTO consumers (name, lost) VALUES (?, 0)", (name,)).lastrowid
        if not from_start:
            connection.execute(_BEGIN_AT_LATEST, (consumer,))
    return 0


def find(connection: sqlite3.Connection, name: str, keys: Sequence[StreamKey]) -> list[ConsumerPosition]:
    """Return a consumer's positions in the streams of ``keys`` that exist."""
    consumer = _id(connection, name)
    found = ((key, connection.execute(_POSITION, (consumer, *key)).fetchone()) for key in keys)
    return [ConsumerPosition(key, *row) for key, row in found if row is not None]


def unread_streams(
    connection: sqlite3.Connection, name: str, after: StreamKey | None, limit: int, user: str | None
) -> list[StreamKey]:
    """Return the streams behind ``after``, perhaps only those of a user, with events beyond the consumer's position."""
    values = (_id(connection, name), user is None, user, after is None, *(after or ("", "")), max(limit, 0))
    return [StreamKey(*row) for row in connection.execute(_UNREAD, values)]


def acknowledge(connection: sqlite3.Connection, name: str, positions: Sequence[ConsumerPosition], lost: int) -> None:
    """Store new positions of a consumer, and forget lost events of which it was told."""
    consumer = _id(connection, name)
    with transaction(connection):
        rows = [(consumer, each.seq, *each.key, each.epoch) for each in positions]
        connection.executemany(_ACKNOWLEDGE, rows)
        if lost:
            connection.execute("UPDATE consumers SET lost = max(0, lost - ?) WHERE id = ?", (lost, consumer))


def usage(connection: sqlite3.Connection) -> list[ConsumerUsage]:
    """Return the state of each consumer."""
    return [ConsumerUsage(*row) for row in connection.execute(_USAGE)]


def remove(connection: sqlite3.Connection, name: str) -> None:
    """Remove a consumer with its positions."""
    with transaction(connection):
        connection.execute("DELETE FROM positions WHERE consumer = (SELECT id FROM consumers WHERE name = ?)", (name,))
        connection.execute("DELETE FROM consumers WHERE name = ?", (name,))


def read_by_all(connection: sqlite3.Connection, stream: int) -> int | None:
    """Return the seq up to which all consumers have read a stream. Return None if there is no consumer."""
    seq: int | None = connection.execute(_READ_BY_ALL, (stream,)).fetchone()[0]
    return seq


def forget_stream(connection: sqlite3.Connection, stream: int) -> None:
    """Remove the positions in a stream that is about to be removed, and count its unread events as lost.

    The caller has begun a transaction.
    """
    connection.execute(_COUNT_LOST, (stream,))
    connection.execute("DELETE FROM positions WHERE stream = ?", (stream,))


def _id(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT id FROM consumers WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise KeyError(name)
    return int(row[0])
