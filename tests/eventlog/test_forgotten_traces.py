"""Forgotten users: nothing of them is left in the files of a SQLite log."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import pytest
import trio
from _scale import scaled

from actors.errors import LogCorrupt, LogUnavailable
from actors.eventlog import Batch, MemoryLog, Retention, SqliteLog, StreamKey, _sqlite_scrub
from actors.eventlog._sqlite_file import open_database
from actors.eventlog._sqlite_scrub import Scrub
from actors.testing import event_batch, event_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actors.eventlog import EventLog

TS = 1_700_000_000_000
USER = "ann-of-the-test"
MARK = b"SECRETTEXT"
"""A text in every event and every state of the user."""
TRACES = (MARK, USER.encode(), b"my-session")


def traces(path: Path) -> dict[str, int]:
    """Return how often each trace of the user is in the files of a log."""
    files = [file.read_bytes() for file in path.parent.glob(f"{path.name}*")]
    return {trace.decode(): sum(file.count(trace) for file in files) for trace in TRACES}


NOTHING = {trace.decode(): 0 for trace in TRACES}


class Writer:
    """Appends to sessions of several users in turns, as a server does. The sizes are random, but always the same."""

    def __init__(self, log: EventLog, seed: int) -> None:
        self._log = log
        self._random = random.Random(seed)
        self.keys = [StreamKey(user, f"my-session-{number}") for user in (USER, "bob", "eve") for number in range(3)]
        self._seqs = dict.fromkeys(self.keys, 0)

    def _text(self, key: StreamKey, least: int, most: int) -> str:
        word = MARK.decode() if key.user == USER else "otherwords"
        return word * (self._random.randint(least, most) // len(word) + 1)

    async def work(self, steps: int) -> None:
        """Append, mark and trim at random."""
        for key in self.keys:
            await self._log.make(key)
        for _ in range(steps):
            batches: list[Batch] = []
            for key in self._random.sample(self.keys, 3):
                most = self._random.choice((40, 400, 4_000, 9_000))
                first, count = self._seqs[key] + 1, self._random.randint(1, 3)
                lines = [event_line(first + i, TS, self._text(key, 1, most)) for i in range(count)]
                batches.append(Batch(key, first, lines, self._text(key, 0, most // 8).encode()))
                self._seqs[key] += count
            await self._log.append(batches)
            key = self._random.choice(self.keys)
            match self._random.randrange(6):
                case 0:
                    await self._log.trim(key, Retention(events=self._random.randint(0, 9)), TS)
                case 1:
                    await self._log.mark(key, self._text(key, 0, 600).encode())
                case _:
                    pass


@pytest.mark.parametrize("commit", ["thread", "inline"])
@pytest.mark.parametrize("seed", range(scaled(3, 40)))
async def test_nothing_is_left_in_the_files(tmp_path: Path, seed: int, commit: Literal["thread", "inline"]) -> None:
    """The texts, states and names of a forgotten user are in no byte of the file, or of what is beside it.

    The log is open meanwhile, and goes on. Events were trimmed and states replaced before.
    """
    path = tmp_path / "a.db"
    async with SqliteLog(path, commit=commit) as log:
        writer = Writer(log, seed)
        await writer.work(scaled(150, 400))
        assert min(traces(path).values()) > 0
        assert await log.forget(USER, thorough=True) == 3
        left = traces(path)
        assert {**left, "my-session": 0} == NOTHING
        writer.keys = [key for key in writer.keys if key.user != USER]
        await writer.work(20)
    assert {**traces(path), "my-session": 0} == NOTHING
    async with SqliteLog(path) as log:  # which checks the whole file
        assert len(await log.streams()) == 6


@pytest.mark.parametrize("commit", ["thread", "inline"])
async def test_commits_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: Literal["thread", "inline"]
) -> None:
    """A thorough removal looks at few pages at once. Between them other users' events are committed, and none is lost.

    *The file was written anew: commits of all users waited 4.5 s for a file of 109 MB.*
    """
    path = tmp_path / "a.db"
    monkeypatch.setattr(_sqlite_scrub, "LOT_PAGES", 4)
    monkeypatch.setattr(_sqlite_scrub, "LOT_ROWS", 4)
    looked: list[int] = []
    unused = _sqlite_scrub.unused_parts

    def noted(page: bytes, number: int, usable: int) -> Iterator[tuple[int, int]]:
        looked.append(number)
        return unused(page, number, usable)

    monkeypatch.setattr(_sqlite_scrub, "unused_parts", noted)
    async with SqliteLog(path, commit=commit) as log:
        writer = Writer(log, 1)
        await writer.work(100)
        live = StreamKey("bob", "live")
        await log.make(live)
        over, rounds = trio.Event(), list[int]()

        async def go_on() -> None:
            while not over.is_set():
                await log.append([event_batch(live, len(rounds) + 1, 1)])
                rounds.append(len(looked))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on)
            assert await log.forget(USER, thorough=True) == 3
            assert {**traces(path), "my-session": 0} == NOTHING
            over.set()
        pages = path.stat().st_size // 4_096
        assert len(set(looked)) > pages / 2
        # Besides a lot, the pages that the commits before it wrote.
        assert max(after - before for before, after in pairwise(rounds)) < pages / 4
        assert len(await log.read(live, 0, 10_000, 1 << 30)) == len(rounds)
    assert {**traces(path), "my-session": 0} == NOTHING


def test_page_that_is_written_between_two_lots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a page with old bytes is written after its lot, it is looked at again. No content of the file changes."""
    path = tmp_path / "a.db"
    monkeypatch.setattr(_sqlite_scrub, "LOT_PAGES", 2)
    with closing(open_database(path, "NORMAL", 0)) as database:
        writer = database.writer
        writer.execute("CREATE TABLE small (id INTEGER PRIMARY KEY, text TEXT)")
        writer.execute("INSERT INTO small VALUES (1, 'some')")
        page = writer.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'small'").fetchone()[0]
        scrub = Scrub(writer, database.descriptor, path)
        while scrub.position <= page:
            assert scrub.lot()
        assert not scrub.done
        os.pwrite(database.descriptor, MARK, (page - 1) * 4_096 + 100)
        writer.execute("UPDATE small SET text = 'more' WHERE id = 1")
        while not scrub.done:
            assert scrub.lot()
        assert scrub.end()
        assert traces(path) == NOTHING
        assert writer.execute("SELECT text FROM small").fetchone() == ("more",)
        assert writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert writer.execute("PRAGMA wal_autocheckpoint").fetchone() == (1_000,)


@pytest.mark.parametrize(
    ("page", "parts"),
    [
        (bytes(100), []),  # of a long row
        (b"\r\0\0\0\1\0\x50\0", [(10, 80)]),
        (b"\x05\0\0\0\1\0\x50\0", [(14, 80)]),
        (b"\r\0\x58\0\1\0\x50\0" + bytes(80) + b"\0\0\0\x08", [(10, 80), (92, 96)]),
        (b"\r\0\0\0\1\0\5\0", None),
        (b"\r\0\x58\0\1\0\x50\0" + bytes(80) + b"\0\0\0\x80", None),
    ],
)
def test_parts_without_content(page: bytes, parts: list[tuple[int, int]] | None) -> None:
    """The parts of a page without content are found. A damaged page is refused."""
    found = _sqlite_scrub.unused_parts(page.ljust(100, b"\0"), 2, 100)
    if parts is None:
        with pytest.raises(LogCorrupt):
            list(found)
    else:
        assert list(found) == parts


async def test_reader_prevents_a_thorough_removal(tmp_path: Path) -> None:
    """While another program reads the file, a thorough removal raises. It works when that program has ended."""
    path = tmp_path / "a.db"
    key = StreamKey(USER, "my-session")
    async with SqliteLog(path, busy_seconds=0) as log:
        await log.make(key)
        await log.append([Batch(key, 1, [event_line(1, TS, MARK.decode())], b"")])
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM streams").fetchone()
            with pytest.raises(LogUnavailable, match="another program reads the file"):
                await log.forget(USER, thorough=True)
        assert await log.forget(USER, thorough=True) == 0
        assert traces(path) == NOTHING


async def test_traces_of_an_older_version(tmp_path: Path) -> None:
    """A thorough removal finds traces of events that were deleted without being overwritten."""
    path = tmp_path / "a.db"
    key, other = StreamKey(USER, "my-session"), StreamKey("bob", "s")
    async with SqliteLog(path) as log:
        for each in (key, other):
            await log.make(each)
            await log.append([Batch(each, 1, [event_line(1, TS, "x" * 20_000)], b"")])
        await log.append([Batch(key, 2, [event_line(2, TS, MARK.decode() * 2_000)], b"")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM row_index WHERE first = 2")
        connection.execute("DELETE FROM batches WHERE first = 2")
    assert traces(path)[MARK.decode()] > 100
    async with SqliteLog(path) as log:
        await log.forget(USER, thorough=True)
        assert traces(path) == NOTHING
        await log.append([event_batch(other, 2, 1)])
        assert len(await log.read(other, 0, 9, 1 << 20)) == 2


async def test_reader_of_the_file(tmp_path: Path) -> None:
    """While another program reads the file, its write-ahead log cannot be emptied: that is an error, to be repeated."""
    path = tmp_path / "a.db"
    key = StreamKey(USER, "my-session")
    async with SqliteLog(path, busy_seconds=0) as log:
        await log.make(key)
        await log.append([Batch(key, 1, [event_line(1, TS, MARK.decode())], b"")])
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM streams").fetchone()
            with pytest.raises(LogUnavailable, match="another program reads the file"):
                await log.forget(USER)
        assert await log.forget(USER) == 0
        assert traces(path) == NOTHING


async def test_log_in_memory() -> None:
    """A log in memory has nothing more to remove than the sessions."""
    async with MemoryLog() as log:
        await log.make(StreamKey(USER, "s"))
        assert await log.forget(USER) == 1
