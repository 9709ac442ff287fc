"""Where a file can be, what its URL sets, how its write-ahead log shrinks, and copies that can only be read."""

# ruff: noqa: ASYNC240 - a few small files, and no other task that would have to wait

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from eventlog.sqlite_files import ALL, KEY, make_text, refusal

from actors.errors import ConfigError, LogCorrupt, LogUnavailable
from actors.eventlog import Batch, MemoryLog, SqliteLog, _sqlite_file, open_log
from actors.testing import event_batch, event_line

if TYPE_CHECKING:
    from collections.abc import Iterator


async def test_impossible_paths_are_refused(tmp_path: Path) -> None:
    """Opening a log fails if its path is a directory or a fifo, or in a missing directory. The error says why."""
    os.mkfifo(tmp_path / "fifo")
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "missing" / "x.db", "no directory"),
        (tmp_path / "fifo", "not a file"),
    ):
        error = await refusal(path)
        assert isinstance(error, LogUnavailable)
        assert reason in str(error)


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder, and a process without root's rights: file permissions do not apply to root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "x.db").touch(0o444)
        (folder / "x.db").chmod(0o444)
        user = os.geteuid()
        if user == 0:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


async def test_unwritable_paths_are_refused(unprivileged_folder: Path) -> None:
    """Opening a log fails if its file or folder may not be written. The error says why."""
    error = await refusal(unprivileged_folder / "x.db")
    assert isinstance(error, LogUnavailable)
    assert "may not be written" in str(error)
    unprivileged_folder.chmod(0o555)
    error = await refusal(unprivileged_folder / "new.db")
    assert isinstance(error, LogUnavailable)
    assert "Permission denied" in str(error)


async def test_open_after_a_refused_open(tmp_path: Path) -> None:
    """If ``open`` of a SqliteLog fails because its file is not a log, ``open`` succeeds after the file was deleted."""
    path = tmp_path / "x.db"
    make_text(path)
    log = SqliteLog(path)
    with pytest.raises(LogCorrupt):
        await log.open()
    path.unlink()
    await log.open()
    await log.make(KEY)
    await log.close()


async def test_log_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL ``memory:`` selects a log in memory, and ``sqlite:PATH`` a SQLite log in the file PATH."""
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_log("memory:"), MemoryLog)
    for url, path in (("sqlite:a.db", "a.db"), (f"sqlite:{tmp_path}/b.db", "b.db"), ("sqlite::memory:", ":memory:")):
        async with open_log(url) as log:
            assert log.statistics().engine == "sqlite"
        assert (tmp_path / path).exists()


@pytest.mark.parametrize(("query", "level"), [("", 1), ("?synchronous=NORMAL", 1), ("?synchronous=FULL", 2)])
async def test_url_sets_durability(tmp_path: Path, query: str, level: int) -> None:
    """The ``synchronous`` parameter of a log's URL sets the durability: NORMAL, the default, or FULL.

    Only with NORMAL the log stores the id of the machine's boot, because a crash of the machine may lose appends.
    """
    async with open_log(f"sqlite:{tmp_path}/a.db{query}"):
        with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
            (boot,) = connection.execute("SELECT boot FROM risk").fetchone()
    assert (boot == "") == (level == 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "a.db-lock"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "memory:x",
        "sqlite",
        "sqlite:",
        "sqlite://x.db",
        "sqlite:a\0b",
        "sqlite:/",
        "SQLITE:x",
        "x.db",
        "redis://h",
        "sqlite:x.db?synchronous=OFF",
        "sqlite:x.db?synchronous=full",
        "sqlite:x.db?synchronous",
        "sqlite:x.db?mode=ro",
        "sqlite:x.db?commit=later",
        "sqlite:x.db?commit=inline&",
        "sqlite:x.db?commit=inline&commit=thread",
        "memory:?synchronous=FULL",
    ],
)
def test_invalid_urls_are_refused(url: str) -> None:
    """An invalid URL of a log is refused with a message of one line that contains the URL or its path."""
    with pytest.raises(ConfigError) as caught:
        open_log(url)
    assert "\n" not in str(caught.value)
    assert repr(url.removeprefix("sqlite:") if "path" in str(caught.value).split(":")[0] else url) in str(caught.value)


def test_invalid_synchronous_is_refused() -> None:
    """A SqliteLog refuses any value of ``synchronous`` other than NORMAL and FULL."""
    with pytest.raises(ConfigError, match="NORMAL or FULL"):
        SqliteLog("x.db", "OFF")  # type: ignore[arg-type]  # the point of the test


async def grow(log: SqliteLog, first: int, count: int) -> int:
    """Append ``count`` rows of 100 kB. Return the number of the next event."""
    for seq in range(first, first + count):
        await log.append([Batch(KEY, seq, [event_line(seq, text="x" * 100_000)], b"")])
    return first + count


async def test_write_ahead_log_shrinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While another program reads, the write-ahead log grows, and one warning is logged. After the read it shrinks."""
    monkeypatch.setattr(_sqlite_file, "WAL_BYTES", 100_000)
    monkeypatch.setattr(_sqlite_file, "LARGE_WAL_BYTES", 5_000_000)
    monkeypatch.setattr(_sqlite_file, "LOOK_SECONDS", 0.0)
    path, wal = tmp_path / "x.db", tmp_path / "x.db-wal"
    async with SqliteLog(path) as log:
        await log.make(KEY)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM batches").fetchone()
            following = await grow(log, 1, 60)
            assert log.statistics().wal_bytes == wal.stat().st_size > 6_000_000
        assert [message for message in caplog.messages if "write-ahead log has" in message] == caplog.messages != []
        assert len(caplog.messages) == 1
        await grow(log, following, 2)
        assert log.statistics().wal_bytes == wal.stat().st_size < 500_000
        assert len(await log.read(KEY, 0, ALL, ALL)) == 62


async def test_write_ahead_log_is_measured_rarely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the write-ahead log in the statistics is measured at most once in ``LOOK_SECONDS``."""
    monkeypatch.setattr(_sqlite_file, "LOOK_SECONDS", 1e9)
    async with SqliteLog(tmp_path / "x.db") as log:
        await log.make(KEY)
        before = log.statistics().wal_bytes
        await grow(log, 1, 2)
        assert log.statistics().wal_bytes == before > 0


@pytest.mark.parametrize("index", [False, True])
async def test_read_only_copy(tmp_path: Path, unprivileged_folder: Path, *, index: bool) -> None:
    """A copy of an open log in a read-only folder can be read if the write-ahead log's index (-shm) was copied too.

    Without the index the copy is refused.
    """
    del tmp_path
    source = unprivileged_folder / "source"
    source.mkdir()
    copy = unprivileged_folder / "copy"
    copy.mkdir()
    async with SqliteLog(source / "x.db") as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 3)])
        for ending in ("", "-wal", *(["-shm"] if index else [])):
            target = copy / f"x.db{ending}"
            target.write_bytes((source / f"x.db{ending}").read_bytes())
            target.chmod(0o444)
    copy.chmod(0o555)
    try:
        log = SqliteLog(copy / "x.db", read_only=True)
        if index:
            async with log:
                assert len(await log.read(KEY, 0, ALL, ALL)) == 3
        else:
            with pytest.raises(LogUnavailable, match="which cannot be read"):
                await log.open()
    finally:
        copy.chmod(0o755)
        for path in (*copy.iterdir(), *source.iterdir()):
            path.unlink()
