"""Files that are damaged, foreign, of another version, or copied at a crash of the machine."""

# ruff: noqa: ASYNC240 - a few small files, and no other task that would have to wait

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
from typing import TYPE_CHECKING

import attrs
import pytest
from eventlog.sqlite_files import ALL, KEY, OTHER, TS, make_text, refusal

from actors.errors import LogCorrupt, LogSchemaTooNew, LogUnavailable
from actors.eventlog import Head, SqliteLog, _sqlite_file
from actors.testing import event_batch, event_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def test_damaged_row_is_corrupt(tmp_path: Path) -> None:
    """Opening the log or reading events raises LogCorrupt if one of their rows in the file is damaged or missing."""
    path = tmp_path / "x.db"
    async with SqliteLog(path) as log:
        await log.make(KEY)
        for first in (1, 4, 7):
            await log.append([event_batch(KEY, first, 3)])
    for damage in ("UPDATE batches SET count = 4 WHERE first = 7", "DELETE FROM batches WHERE first = 4"):
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(damage)
        with pytest.raises(LogCorrupt):
            async with SqliteLog(path) as log:
                await log.read(KEY, 0, ALL, ALL)


async def log_with_an_index(path: Path, batches: int) -> tuple[bytes, range]:
    """Make a log of ``batches`` rows. Return the bytes of its file, and the range that holds the index's pointers."""
    async with SqliteLog(path) as log:
        await log.make(KEY)
        for first in range(1, batches + 1):
            await log.append([event_batch(KEY, first, 1)])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'row_index'").fetchone()
    whole = path.read_bytes()
    start = (root - 1) * int.from_bytes(whole[16:18], "big")
    assert whole[start] == 0x0A, "a leaf, as the file format calls it"
    return whole, range(start + 8, start + 8 + 2 * batches)


async def test_damaged_index_is_refused(tmp_path: Path) -> None:
    """A log is refused if any pointer in its index is damaged.

    A damaged pointer hides rows, and the checksums of rows cannot show that rows are hidden.
    """
    path = tmp_path / "x.db"
    whole, pointers = await log_with_an_index(path, 20)
    for place in pointers:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        error = await refusal(path)
        assert isinstance(error, LogCorrupt), place
        assert str(path) in str(error)
    path.write_bytes(whole)
    async with SqliteLog(path) as log:
        assert len(await log.read(KEY, 0, ALL, ALL)) == 20


async def test_check_of_a_large_log_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If a log is too large to be checked in time, it is opened nevertheless, and a message is logged."""
    path = tmp_path / "x.db"
    await log_with_an_index(path, 200)
    with caplog.at_level(logging.INFO, "greenroom.eventlog"):
        async with SqliteLog(path):
            assert caplog.messages == []
        monkeypatch.setattr(_sqlite_file, "CHECK_SECONDS", -1.0)
        async with SqliteLog(path) as log:
            assert len(await log.read(KEY, 0, ALL, ALL)) == 200
    assert [message for message in caplog.messages if "too large to be checked" in message]


async def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """Opening a log with a newer schema than this version knows raises LogSchemaTooNew, and changes nothing."""
    path = tmp_path / "x.db"
    async with SqliteLog(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    error = await refusal(path)
    assert isinstance(error, LogSchemaTooNew)
    assert "99" in str(error)
    assert path.read_bytes() == before


FIRST_SCHEMA = f"""
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    user TEXT NOT NULL,
    session TEXT NOT NULL,
    epoch TEXT NOT NULL,
    latest INTEGER NOT NULL,
    total INTEGER NOT NULL,
    state BLOB NOT NULL,
    UNIQUE (user, session)
) STRICT;
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
) STRICT;
CREATE UNIQUE INDEX batches_in_order ON batches (stream, first);
PRAGMA application_id = {0x47524E52};
PRAGMA user_version = 1;
INSERT INTO streams VALUES (1, 'alice', 's1', 'e1', 0, 0, x''), (2, 'bob', 's1', 'e2', 7, 70, x'5b5d');
INSERT INTO batches VALUES (1, 1, 1, 1, {len(event_line(1))}, {len(event_line(1))}, {TS}, {TS}, x'5b5d',
    CAST('{event_line(1).decode()}' AS BLOB));
"""  # noqa: S608 - literals


async def test_first_schema_is_migrated(tmp_path: Path) -> None:
    """Opening a log of schema 1 migrates it: it keeps all its streams and events, and new events can be appended."""
    path = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_SCHEMA)
    for _ in range(2):
        async with SqliteLog(path) as log:
            assert await log.head(KEY) == Head("e1", 1, 1, len(event_line(1)), TS, b"[]")
            assert await log.head(OTHER) == Head("e2", 8, 7, 0, 0, b"[]")
            assert list(await log.read(KEY, 0, 9, ALL)) == [event_line(1)]
            other = await log.head(OTHER)
            assert other is not None
            assert other.touched > TS
    async with SqliteLog(path) as log:
        await log.append([event_batch(KEY, 2, 1), event_batch(OTHER, 8, 1)])


async def test_failed_migration_changes_nothing(tmp_path: Path) -> None:
    """If another program has locked a log of schema 1, the migration fails, and the log stays at schema 1."""
    path = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_SCHEMA)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable, match="locked"):
            await SqliteLog(path, busy_seconds=0.01).open()
        connection.execute("ROLLBACK")
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def crash_image(path: Path, target: Path, boot: str | None) -> Path:
    """Copy an open log as a crash of the machine would leave it, in the boot named ``boot`` if it is given."""
    target.mkdir()
    for part in path.parent.glob(f"{path.name}*"):
        if not part.name.endswith(("-lock", "-shm")):
            shutil.copy(part, target / part.name)  # with its mode, as a disk keeps it
    if boot is not None:
        with contextlib.closing(sqlite3.connect(target / path.name)) as connection, connection:
            connection.execute("UPDATE risk SET boot = ? WHERE boot <> ''", (boot,))
    return target / path.name


async def test_crash_of_the_machine_renews_epochs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the machine, and not only the process, crashed with an open log, each stream gets one new epoch."""
    async with SqliteLog(tmp_path / "x.db") as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 3, b"open")])
        before = await log.make(KEY)
        killed = crash_image(tmp_path / "x.db", tmp_path / "killed", None)
        ended = crash_image(tmp_path / "x.db", tmp_path / "ended", "another boot")
    async with SqliteLog(killed) as log:
        assert await log.make(KEY) == before
    async with SqliteLog(tmp_path / "x.db") as log:
        assert await log.make(KEY) == before
    assert caplog.messages == []
    async with SqliteLog(ended) as log:
        after = await log.make(KEY)
    assert after.epoch != before.epoch
    assert attrs.evolve(after, epoch=before.epoch) == before
    assert "1 sessions begin a new epoch" in caplog.text
    async with SqliteLog(ended) as log:
        assert await log.make(KEY) == after


async def test_full_durability_keeps_epochs(tmp_path: Path) -> None:
    """With synchronous=FULL, no append can be lost, so a crash of the machine does not change the epoch."""
    async with SqliteLog(tmp_path / "x.db", "FULL") as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 3)])
        before = await log.make(KEY)
        ended = crash_image(tmp_path / "x.db", tmp_path / "ended", "another boot")
    async with SqliteLog(ended) as log:
        assert await log.make(KEY) == before


def make_foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE streams (id INTEGER PRIMARY KEY)")


@pytest.mark.parametrize("make", [make_text, make_foreign])
async def test_foreign_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A file that is not a log is refused. The file stays unchanged, and no new file is left beside it."""
    path = tmp_path / "notes"
    make(path)
    before = path.read_bytes()
    error = await refusal(path)
    assert isinstance(error, LogCorrupt)
    assert "not a Greenroom log" in str(error)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
