"""Backups of a log while it is used, and logs that are restored from them with new epochs."""

from __future__ import annotations

import shutil
import stat
from typing import TYPE_CHECKING

import attrs
import pytest
from eventlog.log_contents import EMPTY, EVENTS, GONE, PART, SOUND, TS, WHOLE, contents, fill

from actors.errors import LogError, LogUnavailable
from actors.eventlog import MemoryLog, Retention, SqliteLog, StreamKey
from actors.eventlog.backup import back_up_file, back_up_log, restore_file, restore_log
from actors.testing import FaultyLog, event_batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ALL = (PART, GONE, EMPTY, WHOLE)


def ignore(*_: int) -> None:
    """Show no progress."""


def names(folder: Path) -> set[str]:
    """Return the names of all files in a folder."""
    return {path.name for path in folder.iterdir()}


def size_of(path: Path) -> int:
    """Return the size of a file."""
    return path.stat().st_size


async def of_file(path: Path, *, epochs: bool = True) -> list[object]:
    """Return everything that the log in a file keeps."""
    async with SqliteLog(path, read_only=True) as log:
        return await contents(log, epochs=epochs)


async def made(path: Path) -> None:
    """Make a log file with something of each kind."""
    async with SqliteLog(path) as log:
        await fill(log)


async def test_backup_of_a_log_in_use(tmp_path: Path) -> None:
    """A backup has all committed events of the open log, also those in the write-ahead log, and nothing later.

    It is one file, which only its owner may read.
    """
    folder = tmp_path / "backups"
    folder.mkdir()
    async with SqliteLog(tmp_path / "a.db") as log:
        await fill(log)
        before = await contents(log)
        report = await back_up_file(tmp_path / "a.db", folder / "b.db", ignore)
        await log.append([event_batch(WHOLE, 11, 1)])
        assert await of_file(folder / "b.db") == before
    assert (report.sessions, report.events) == (4, 5 + EVENTS)
    assert names(folder) == {"b.db"}
    assert stat.S_IMODE((folder / "b.db").stat().st_mode) == 0o600


async def test_commits_during_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of a backup lets the server commit. The backup has the state of its beginning, and ends."""
    monkeypatch.setattr("actors.eventlog._sqlite_backup.STEP_PAGES", 1)
    async with SqliteLog(tmp_path / "a.db", commit="inline") as log:
        await fill(log)
        before, append, steps = await contents(log), log.appender(), list[tuple[int, int]]()
        assert append is not None

        def commit(done: int, pages: int) -> None:
            append([event_batch(WHOLE, 11 + len(steps), 1)])
            steps.append((done, pages))

        await back_up_file(tmp_path / "a.db", tmp_path / "b.db", commit)
        assert await of_file(tmp_path / "b.db") == before
        head = await log.head(WHOLE)
        assert head is not None
        assert head.latest == EVENTS + len(steps)
    assert len(steps) > 5
    assert steps[-1][0] == steps[-1][1]


class Stopped(Exception):
    """Somebody stopped the command."""


async def test_target_is_whole_or_unchanged(tmp_path: Path) -> None:
    """A backup that is stopped leaves nothing behind, and an existing file unchanged, even if it may be replaced."""
    await made(tmp_path / "a.db")
    (tmp_path / "old.db").write_text("old")
    before = names(tmp_path)

    def stop(*_: int) -> None:
        raise Stopped

    for target, replaces in (("new.db", False), ("old.db", True)):
        for action in (back_up_file, restore_file):
            with pytest.raises(Stopped):
                await action(tmp_path / "a.db", tmp_path / target, stop, replaces=replaces)
    # SQLite leaves its files beside a file that was only read.
    assert names(tmp_path) - before == {"new.db-lock", "old.db-lock", "a.db-wal", "a.db-shm"}
    assert (tmp_path / "old.db").read_text() == "old"


async def test_existing_files_are_kept(tmp_path: Path) -> None:
    """A file that exists is replaced only on demand, and never while a server has it open."""
    await made(tmp_path / "a.db")
    await made(tmp_path / "b.db")
    for action in (back_up_file, restore_file):
        with pytest.raises(LogError, match=r"b\.db exists already"):
            await action(tmp_path / "a.db", tmp_path / "b.db", ignore)
        async with SqliteLog(tmp_path / "b.db"):
            with pytest.raises(LogUnavailable, match=r"b\.db is in use by"):
                await action(tmp_path / "a.db", tmp_path / "b.db", ignore, replaces=True)
        await action(tmp_path / "a.db", tmp_path / "b.db", ignore, replaces=True)
        assert await of_file(tmp_path / "b.db", epochs=False) == await of_file(tmp_path / "a.db", epochs=False)
        with pytest.raises(LogUnavailable, match="there is no directory"):
            await action(tmp_path / "a.db", tmp_path / "x" / "b.db", ignore)
        with pytest.raises(LogUnavailable, match="is a directory"):
            await action(tmp_path / "a.db", tmp_path, ignore)


async def test_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    """A file that another program makes during the backup is not replaced."""
    await made(tmp_path / "a.db")

    def appear(*_: int) -> None:
        (tmp_path / "b.db").write_text("other")

    with pytest.raises(LogError, match="exists already"):
        await back_up_file(tmp_path / "a.db", tmp_path / "b.db", appear)
    assert (tmp_path / "b.db").read_text() == "other"


async def test_restored_sessions_have_new_epochs(tmp_path: Path) -> None:
    """A restored log has everything of the backup but the epochs: these are new, each time."""
    await made(tmp_path / "a.db")
    epochs: set[str] = set()
    for target in ("b.db", "c.db"):
        report = await restore_file(tmp_path / "a.db", tmp_path / target, ignore)
        assert report.sessions == 4
        assert await of_file(tmp_path / target, epochs=False) == await of_file(tmp_path / "a.db", epochs=False)
    for name in ("a.db", "b.db", "c.db"):
        async with SqliteLog(tmp_path / name) as log:
            epochs |= {(await log.make(key)).epoch for key in ALL}
            await log.append([event_batch(EMPTY, 1, 1), event_batch(WHOLE, 11, 1)])
    assert len(epochs) == 3 * len(ALL)


async def test_write_ahead_log_of_a_killed_server_is_not_applied(tmp_path: Path) -> None:
    """A log that takes the place of one whose server was killed does not get the killed server's last commits."""
    await made(tmp_path / "a.db")
    async with SqliteLog(tmp_path / "live.db") as log:
        await log.make(StreamKey("eve", "s"))
        for ending in ("", "-wal", "-shm"):
            shutil.copy(f"{tmp_path}/live.db{ending}", f"{tmp_path}/b.db{ending}")
    assert size_of(tmp_path / "b.db-wal")
    await restore_file(tmp_path / "a.db", tmp_path / "b.db", ignore, replaces=True)
    assert await of_file(tmp_path / "b.db", epochs=False) == await of_file(tmp_path / "a.db", epochs=False)


async def test_backup_of_any_log(tmp_path: Path) -> None:
    """A log of another kind is backed up to a file, session by session, and restored to an empty log of any kind."""
    seen: list[tuple[int, int, int]] = []

    def note(done: int, sessions: int, events: int) -> None:
        seen.append((done, sessions, events))

    async with MemoryLog() as log, MemoryLog() as other:
        await fill(log)
        report = await back_up_log(log, tmp_path / "b.db", note)
        assert await of_file(tmp_path / "b.db") == await contents(log)
        assert (report.sessions, seen[-1]) == (4, (4, 4, 5 + EVENTS))
        assert names(tmp_path) == {"b.db"}
        async with SqliteLog(tmp_path / "b.db", read_only=True) as backup:
            await restore_log(backup, other, ignore)
            assert await contents(other, epochs=False) == await contents(log, epochs=False)
            assert not {(await log.make(key)).epoch for key in ALL} & {(await other.make(key)).epoch for key in ALL}
            with pytest.raises(LogError, match="has sessions already"):
                await restore_log(backup, other, ignore)


class Trimmed(MemoryLog):
    """A log that drops events while it is read, ``times`` times."""

    times = 0

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
        """Drop an event of the session, and then read."""
        if key == WHOLE and self.times:
            self.times -= 1
            await self.trim(key, Retention(events=EVENTS - 1 - self.times), TS)
        return await super().read(key, after, limit, size)


async def test_session_that_loses_events_is_copied_anew(tmp_path: Path) -> None:
    """A session of which events are dropped during the copy is copied again. The copy has no gap."""
    async with Trimmed() as log:
        await fill(log, SOUND)
        log.times = 2
        report = await back_up_log(log, tmp_path / "b.db", ignore)
        assert await of_file(tmp_path / "b.db") == await contents(log)
        assert (report.faults, (await log.make(WHOLE)).oldest) == ((), 3)


async def test_failed_restore_leaves_nothing(tmp_path: Path) -> None:
    """A restore that fails leaves the target empty, so that it can be repeated."""
    await made(tmp_path / "a.db")
    async with FaultyLog(MemoryLog()) as log, SqliteLog(tmp_path / "a.db", read_only=True) as backup:
        hold = log.hold("append")
        hold.released.set()
        log.fail("append")
        with pytest.raises(LogUnavailable):
            await restore_log(backup, log, ignore)
        assert not await log.streams()
        report = await restore_log(backup, log, ignore)
    assert attrs.astuple(report)[:2] == (4, 5 + EVENTS)
