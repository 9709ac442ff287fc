"""Faults that only a file has: kill -9, other processes, foreign files, full disks, crashes of the machine."""

# ruff: noqa: ASYNC240 - a few small files, and no other task that would have to wait

from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
import pytest
import trio

from actors.errors import ConfigError, LogCorrupt, LogError, LogSchemaTooNew, LogUnavailable
from actors.eventlog import Batch, Head, MemoryLog, Retention, SqliteLog, StreamKey, _sqlite_file, open_log
from actors.testing import event_batch, event_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

KEY = StreamKey("alice", "s1")
OTHER = StreamKey("bob", "s1")
TS = 1_700_000_000_000
ALL = 1 << 30

WRITER = """
import sys, trio
from actors.eventlog import StreamKey, _sqlite_index, open_log
from actors.testing import event_batch

_sqlite_index.LOT = 20

async def main():
    keys = [StreamKey("alice", str(i)) for i in range(3)]
    async with open_log(sys.argv[1]) as log:
        for key in keys:
            await log.make(key)
        first = 1
        while True:
            await log.append([event_batch(key, first, 7, b"%d" % first) for key in keys])
            first += 7
            print(first - 1, flush=True)

trio.run(main)
"""


@contextlib.contextmanager
def writer_process(path: Path, query: str = "") -> Generator[subprocess.Popen[str]]:
    """Run another process that appends to the log and prints the last seq after each append."""
    command = [sys.executable, "-c", WRITER, f"sqlite:{path}{query}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def printed_seq(process: subprocess.Popen[str]) -> int:
    """Return the next seq that the writer process prints."""
    assert process.stdout is not None
    return int(process.stdout.readline())


async def refusal(path: Path) -> LogError:
    """Return the error of opening a log, which must be one line and name the path."""
    with pytest.raises(LogError) as caught:
        await SqliteLog(path).open()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("appends", "query"), [(1, ""), (5, ""), (40, ""), (200, "?commit=inline")])
async def test_kill_9_loses_no_append(tmp_path: Path, appends: int, query: str) -> None:
    """After a writing process is killed by kill -9, its log has every append that had returned.

    An append that had not returned is in the log completely or not at all.
    """
    path = tmp_path / "x.db"
    with writer_process(path, query) as process:
        acknowledged = [printed_seq(process) for _ in range(appends)][-1]
        process.send_signal(signal.SIGKILL)
        process.wait()
    async with SqliteLog(path) as log:
        heads = [await log.make(key) for key in await log.streams()]
        assert len(heads) == 3
        assert len({(head.latest, head.state) for head in heads}) == 1
        assert heads[0].latest >= acknowledged
        assert heads[0].latest % 7 == 0
        assert heads[0].state == b"%d" % (heads[0].latest - 6)
        for key in await log.streams():
            lines = await log.read(key, 0, ALL, ALL)
            assert [line.split(b",")[0] for line in lines] == [b'{"seq":%d' % i for i in range(1, heads[0].latest + 1)]


async def test_log_in_use_is_refused(tmp_path: Path) -> None:
    """Opening a log that another process has open is refused, and the error contains the id of that process.

    After the death of that process the log can be opened.
    """
    path = tmp_path / "x.db"
    with writer_process(path) as process:
        printed_seq(process)
        error = await refusal(path)
        assert isinstance(error, LogUnavailable)
        assert str(process.pid) in str(error)
        process.kill()
        process.wait()
        async with SqliteLog(path) as log:
            assert await log.streams()


async def test_log_cannot_be_opened_twice(tmp_path: Path) -> None:
    """A process cannot open the same log twice, not even through a symbolic link."""
    alias = tmp_path / "alias.db"
    alias.symlink_to(tmp_path / "x.db")
    async with SqliteLog(tmp_path / "x.db") as log:
        assert isinstance(await refusal(alias), LogUnavailable)
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 1)])
    async with SqliteLog(alias) as log:
        assert (await log.make(KEY)).latest == 1


async def test_log_is_complete_after_reopening(tmp_path: Path) -> None:
    """A log that is closed and opened again has the same heads and events. Only a lock file remains beside its file."""
    async with SqliteLog(tmp_path / "x.db") as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 5, b"open")])
        kept = await log.trim(KEY, Retention(events=2), TS)
        await log.make(OTHER)
        await log.append([event_batch(OTHER, 1, 5, b"open")])
        gone = await log.trim(OTHER, Retention(events=0), TS)
    async with SqliteLog(tmp_path / "x.db") as log:
        assert [await log.head(KEY), await log.head(OTHER)] == [kept, gone]
        await log.append([event_batch(KEY, 6, 1), event_batch(OTHER, 6, 1)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.db", "x.db-lock"]


async def test_trim_deletes_from_the_file(tmp_path: Path) -> None:
    """If a trim drops only some events of a batch, it deletes their text from the batch's row in the file too."""
    path = tmp_path / "x.db"
    async with SqliteLog(path) as log:
        await log.make(KEY)
        await log.append([Batch(KEY, 1, [event_line(i, text=f"secret-{i}.") for i in range(1, 6)], b"")])
        await log.trim(KEY, Retention(events=2), TS)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((body,),) = connection.execute("SELECT body FROM batches")
    assert b"secret-3." not in body
    assert b"secret-4." in body


async def test_malformed_lines_are_refused(tmp_path: Path) -> None:
    """An event line that contains a line feed or lacks a ``ts`` is refused, and nothing is stored."""
    async with SqliteLog(tmp_path / "x.db") as log:
        before = await log.make(KEY)
        for line in (b'{"seq":1,"ts":1,\n"a":1}', b'{"seq":1}', b"no json", b"[]", b'{"seq":1,"ts":"1"}'):
            with pytest.raises(LogCorrupt):
                await log.append([Batch(KEY, 1, [line], b"")])
        assert await log.head(KEY) == before
        await log.append([Batch(KEY, 1, [b'{"ts": 5, "seq": 1}'], b"")])
        assert (await log.make(KEY)).oldest_ts == 5


@pytest.mark.parametrize("query", ["", "?commit=inline"])
async def test_full_disk(tmp_path: Path, query: str) -> None:
    """An append to a full disk raises LogUnavailable and stores nothing. It succeeds when there is room again."""
    async with open_log(f"sqlite:{tmp_path}/x.db{query}") as log:
        await log.make(KEY)
        await log.make(OTHER)
        await log.append([event_batch(KEY, 1, 1, b"1")])
        before = [await log.head(KEY), await log.head(OTHER)]
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        large = Batch(OTHER, 1, [event_line(1, text="x" * 3_000_000)], b"")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        try:
            with pytest.raises(LogUnavailable) as caught:
                await log.append([event_batch(KEY, 2, 1), large])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert [await log.head(KEY), await log.head(OTHER)] == before
        await log.append([event_batch(KEY, 2, 1), large])
        assert len(await log.read(OTHER, 0, 1, 1)) == 1


@pytest.mark.parametrize("commit", ["thread", "inline"])
async def test_file_locked_by_another_program(tmp_path: Path, commit: Literal["thread", "inline"]) -> None:
    """A log that another program has locked is unavailable until the lock is released."""
    async with SqliteLog(tmp_path / "x.db", commit=commit, busy_seconds=0.01) as log:
        await log.make(KEY)
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable, match="locked"):
                await log.append([event_batch(KEY, 1, 1)])
            other.execute("ROLLBACK")
        await log.append([event_batch(KEY, 1, 1)])


async def test_reads_during_writes(tmp_path: Path) -> None:
    """A read during an append returns all events of that append or none."""
    async with SqliteLog(tmp_path / "x.db") as log, trio.open_nursery() as nursery:
        await log.make(KEY)
        for first in range(1, 200, 2):
            nursery.start_soon(log.append, [event_batch(KEY, first, 2)])
            lines = await log.read(KEY, 0, ALL, ALL)
            assert len(lines) % 2 == 0


async def test_close_finishes_appends(tmp_path: Path) -> None:
    """If ``close`` is cancelled, it still finishes the appends that were called before it."""
    log = SqliteLog(tmp_path / "x.db")
    await log.open()
    await log.make(KEY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.append, [event_batch(KEY, 1, 50)])
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.close()
    async with SqliteLog(tmp_path / "x.db") as log:
        assert (await log.make(KEY)).latest == 50


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


def make_text(path: Path) -> None:
    path.write_text("notes that are no database, and long enough to be taken for a header " * 20)


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


def test_valkey_is_not_available() -> None:
    """The URL of a valkey log is refused, and the message says that this version has no valkey engine."""
    with pytest.raises(ConfigError, match="valkey engine is not available in this version"):
        open_log("valkey://127.0.0.1:6379/0")


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
