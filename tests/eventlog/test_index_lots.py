"""The index of a SQLite log, which is filled in lots, and the rows that are not in it yet."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from actors.errors import LogCorrupt
from actors.eventlog import Retention, SqliteLog, StreamKey, _sqlite_index, _sqlite_store
from actors.testing import event_batch

if TYPE_CHECKING:
    from pathlib import Path

KEY = StreamKey("alice", "s1")
OTHER = StreamKey("bob", "s1")
ALL = 1 << 30


@pytest.fixture(autouse=True)
def small_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every ten rows get their entries in the index together."""
    monkeypatch.setattr(_sqlite_index, "LOT", 10)


def value(path: Path, query: str) -> int:
    """Return the one number that a query of the file returns."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        number: int = connection.execute(query).fetchone()[0]
        return number


def change(path: Path, statement: str) -> None:
    """Change the file, as damage or another program does."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount


async def append_rows(log: SqliteLog, first: int, count: int, key: StreamKey = KEY) -> None:
    """Append ``count`` rows of one event."""
    for seq in range(first, first + count):
        await log.append([event_batch(key, seq, 1, b"open")])


def killed(path: Path, target: Path) -> Path:
    """Copy an open log as a kill of its process would leave it."""
    target.mkdir()
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{target / path.name}{ending}")
    return target / path.name


async def test_tail_is_bounded(tmp_path: Path) -> None:
    """There is never more than a lot of rows that are not in the index. After ``close`` there are none."""
    path = tmp_path / "x.db"
    async with SqliteLog(path) as log:
        await log.make(KEY)
        for seq in range(1, 36):
            await append_rows(log, seq, 1)
            assert value(path, "SELECT count(*) FROM row_index") == seq // 10 * 10
    assert value(path, "SELECT count(*) FROM row_index") == 35


async def test_tail_of_a_killed_process(tmp_path: Path) -> None:
    """After a kill the rows without an entry are read, also by a second process. The next open writes the entries."""
    async with SqliteLog(tmp_path / "x.db") as log:
        await log.make(KEY)
        await log.make(OTHER)
        await append_rows(log, 1, 15)
        await append_rows(log, 1, 4, OTHER)
        path = killed(tmp_path / "x.db", tmp_path / "killed")
        heads = [await log.head(KEY), await log.head(OTHER)]
        lines = list(await log.read(KEY, 0, ALL, ALL))
    for read_only, entries in ((True, 10), (False, 19)):
        async with SqliteLog(path, read_only=read_only) as log:
            assert [await log.head(KEY), await log.head(OTHER)] == heads
            assert list(await log.read(KEY, 0, ALL, ALL)) == lines
            assert [len(await log.read(KEY, after, ALL, ALL)) for after in (9, 10, 11, 14)] == [6, 5, 4, 1]
            assert value(path, "SELECT count(*) FROM row_index") == entries


async def test_failed_lot_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a lot cannot be written, the append before it counts nevertheless, and the next append tries again."""
    path = tmp_path / "x.db"

    def fail(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with SqliteLog(path) as log:
        await log.make(KEY)
        with monkeypatch.context() as patch:
            patch.setattr(_sqlite_store, "fill", fail)
            await append_rows(log, 1, 12)
            assert value(path, "SELECT count(*) FROM row_index") == 0
            assert len(await log.read(KEY, 0, ALL, ALL)) == 12
        await append_rows(log, 13, 1)
        assert value(path, "SELECT count(*) FROM row_index") == 13


async def test_ids_are_not_used_again(tmp_path: Path) -> None:
    """If the newest rows are removed, later rows are found nevertheless, also after the log was opened again."""
    path = tmp_path / "x.db"
    for _ in range(2):
        async with SqliteLog(path) as log:
            for _ in range(2):
                await log.make(KEY)
                await append_rows(log, 1, 13)
                await log.trim(KEY, Retention(events=0), 0)
                await append_rows(log, 14, 3)
                assert len(await log.read(KEY, 13, ALL, ALL)) == 3
                await log.remove(KEY)
    assert value(path, "SELECT count(*) FROM batches") == value(path, "SELECT count(*) FROM row_index") == 0


DAMAGES = {
    "an entry of another row": "UPDATE row_index SET id = 2 WHERE first = 1",
    "a missing entry": "DELETE FROM row_index WHERE first = 2",
    "an entry without a row": "INSERT INTO row_index VALUES (1, 99, 99)",
    "a row of another stream": "UPDATE batches SET stream = 2 WHERE id = 3",
    "a row with another seq": "UPDATE batches SET first = 77 WHERE id = 3",
    "a new row of another stream": "UPDATE batches SET stream = 2 WHERE id = 15",
    "a new row with another text": "UPDATE batches SET body = x'7b7d' WHERE id = 15",
    "a lost end of the index": "DELETE FROM indexed",
    "an end of the index that is too low": "UPDATE indexed SET until = 5",
    "an end of the index that is too high": "UPDATE indexed SET until = 99",
    "a new row with an entry": "INSERT INTO row_index VALUES (1, 15, 15)",
    "the same event in two rows": """INSERT INTO batches SELECT id + 1, stream, first, count, size, total, first_ts,
        last_ts, state, body, checksum FROM batches WHERE id = 15""",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damaged_index_is_found(tmp_path: Path, damage: str) -> None:
    """A log whose index does not match its rows is refused, and so is a damaged row that has no entry yet.

    *A damaged index hid the end of a stream, and new events got the numbers of the hidden events.*
    """
    async with SqliteLog(tmp_path / "x.db") as log:
        await log.make(KEY)
        await log.make(OTHER)
        await append_rows(log, 1, 15)
        path = killed(tmp_path / "x.db", tmp_path / "killed")
    change(path, DAMAGES[damage])
    for _ in range(2):
        with pytest.raises(LogCorrupt, match=str(path)):
            await SqliteLog(path).open()
