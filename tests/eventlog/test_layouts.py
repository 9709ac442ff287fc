"""Logs of older layouts, and the state of a stream in the newest one."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
import trio
from delivery.agents import server_on
from protocol.wire import greeted

from actors import verify_log
from actors.errors import LogCorrupt, SessionClosed
from actors.eventlog import Revocation, SqliteLog, StreamKey, _sqlite_layout
from actors.eventlog._rows import checksum
from actors.testing import event_batch
from transport.cli import log_commands

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = StreamKey("anonymous", "s1")
ALL = 1 << 30
OLD = {schema: Path(__file__).with_name(f"schema_{schema}.sql") for schema in (2, 3, 4, 5)}
"""Logs of older versions with the same events. Their servers were killed in the middle of a run."""

OPEN_RUN = "r-b6e1e86c0dd6ef79"
HEADS = {
    "closed": (1, 1, b"[1795704457149,[],1795704457153,["),
    "never used": (1, 0, b""),
    "s1": (1, 12, b'[1795704457145,[["run","%b"' % OPEN_RUN.encode()),
    "trimmed": (2, 1, b'[1795704457156,[],null,[["message-3",'),
}
"""For each session of the old log: the seqs of its oldest and newest event, and the beginning of its state."""


def old_log(path: Path, schema: int = 2) -> Path:
    """Make a log as an older version wrote it. Schema 1 lacks the columns and the table that schema 2 added."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD[max(schema, 2)].read_text())
        if schema == 1:
            connection.executescript(
                """ALTER TABLE streams DROP COLUMN touched; ALTER TABLE batches DROP COLUMN checksum;
                DROP TABLE risk; PRAGMA user_version = 1"""
            )
        connection.execute("PRAGMA journal_mode = WAL")
    return path


async def check(log: SqliteLog) -> None:
    """Check that the log has all streams, states and events of the old log."""
    assert [key.session for key in await log.streams()] == sorted(HEADS)
    for key in await log.streams():
        head = await log.head(key)
        assert head is not None
        oldest, latest, state = HEADS[key.session]
        assert (head.oldest, head.latest, head.state[: len(state)]) == (oldest, latest, state)
        lines = await log.read(key, oldest - 1, ALL, ALL)
        assert [orjson.loads(line)["seq"] for line in lines] == list(range(oldest, latest + 1))
        assert sum(map(len, lines)) == head.size
    assert list(await log.revocations()) == []
    assert list(await log.consumers()) == []
    report = await verify_log(log)
    assert (report.sessions, report.events, report.faults) == (4, 13, ())


async def check_after_opening(path: Path) -> None:
    """Open the log, which migrates it, and check it."""
    async with SqliteLog(path) as log:
        await check(log)


@pytest.mark.parametrize("schema", [1, 2, 3, 4, 5])
async def test_old_log_is_migrated(tmp_path: Path, schema: int) -> None:
    """A log in an old layout keeps all its content when it is opened, even twice, and new events can be appended."""
    path = old_log(tmp_path / "x.db", schema)
    for _ in range(2):
        async with SqliteLog(path) as log:
            await check(log)
    async with SqliteLog(path) as log:
        await log.append([event_batch(KEY, 13, 2, b"[5,[]]", ts=1_800_000_000_000)])
        assert len(await log.read(KEY, 0, ALL, ALL)) == 14
        head = await log.head(KEY)
        assert head is not None
        assert head.state == b"[5,[]]"
        await log.revoke(revocation := Revocation(user="anonymous", at=1, until=3), 2)
        assert list(await log.revocations()) == [revocation]
        await log.start_consumer("billing", from_start=True)
        assert [key.session for key in await log.unread_streams("billing", None, 9)] == ["closed", "s1", "trimmed"]


@pytest.mark.parametrize("schema", [1, 2, 3, 4, 5])
async def test_old_log_is_read_without_changes(
    tmp_path: Path, schema: int, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Read-only access, ``verify`` and ``export`` find everything in a log of an old layout and change nothing."""
    path = old_log(tmp_path / "x.db", schema)
    before = path.read_bytes()
    async with SqliteLog(path, read_only=True) as log:
        await check(log)
    assert await log_commands.verify(str(path)) == 0
    capsysbinary.readouterr()
    await log_commands.export(str(path), None, None)
    assert len(capsysbinary.readouterr().out.splitlines()) == 13
    assert path.read_bytes() == before


async def test_server_continues_an_old_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server can continue with a log that an older version wrote in an old layout.

    The server closes the open run, remembers executed commands and starts, and keeps closed sessions closed.
    """
    monkeypatch.setattr(_sqlite_layout, "RECENT_SECONDS", 1e9)
    log = SqliteLog(old_log(tmp_path / "x.db"))
    settings = {"command_memory_seconds": 1e9, "retain_seconds": 1e9}
    async with server_on(log, **settings).running(port=0) as server, greeted(server, "s1") as one:
        events = await one.events_until(14)
        assert [event["type"] for event in events[-2:]] == ["tool_completed", "agent_completed"]
        assert events[-1]["run_id"] == OPEN_RUN
        for id_, result in (("message-1", {"seq": 9}), ("start-2", {"run_id": OPEN_RUN})):
            reply = await one.command(id_, "run.cancel", run_id="none")
            assert (reply["result"], reply["duplicate"]) == (result, True)
        with pytest.raises(SessionClosed):
            await server.sessions.get("anonymous", "closed")


def started(seq: int, ts: int, command_id: str, kind: str = "agent_started") -> bytes:
    """Return the line of an event that contains the id of a command, as a session writes it."""
    data = {"agent": "a", "input": None, "command_id": command_id}
    return orjson.dumps({"seq": seq, "ts": ts, "type": kind, "run_id": f"r{seq}", "data": data})


def fill(path: Path, lines: Iterable[bytes], state: bytes) -> None:
    """Append the lines to the session that has no events, as schema 2 stored them: one row for each line."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        total = 0
        for seq, line in enumerate(lines, 1):
            total, ts = total + len(line), orjson.loads(line)["ts"] if line.startswith(b"{") else 0
            connection.execute(
                "INSERT INTO batches (stream, first, count, size, total, first_ts, last_ts, state, body, checksum)"
                " VALUES (4, ?, 1, ?, ?, ?, ?, ?, ?, ?)",
                (seq, len(line), total, ts, ts, state, line, checksum(4, seq, line, state)),
            )


async def state_of(path: Path) -> bytes:
    """Open the log and return the state of the session that :func:`fill` filled."""
    async with SqliteLog(path) as log:
        head = await log.head(StreamKey("anonymous", "never used"))
        assert head is not None
        return head.state


async def test_recent_starts_are_remembered(tmp_path: Path) -> None:
    """When an old log is migrated, the starts of runs in the last hour are remembered as executed commands.

    Older starts are not remembered, and neither are events that only contain the text of a start.
    """
    path, now = old_log(tmp_path / "x.db"), time.time_ns() // 1_000_000
    quoted = orjson.dumps(
        {"seq": 4, "ts": now - 8, "type": "user_message", "data": {"text": started(1, 1, "d").decode()}}
    )
    lines = [
        started(1, now - 4_000_000, "too old"),
        started(2, now - 3_000_000, "a"),
        started(3, now - 9, "b", kind="custom"),
        quoted,
        started(5, now - 7, "c"),
    ]
    fill(path, lines, orjson.dumps([now - 7, [], None, [["m", now - 8, {"seq": 4}]]]))
    wanted = [["a", now - 3_000_000, {"run_id": "r2"}], ["m", now - 8, {"seq": 4}], ["c", now - 7, {"run_id": "r5"}]]
    assert orjson.loads(await state_of(path)) == [now - 7, [], None, wanted]


@pytest.mark.parametrize("state", [b"", b"no json", b"[]", b"[1,[]]"])
async def test_unreadable_state_is_kept(tmp_path: Path, state: bytes) -> None:
    """If the state of a stream in an old log cannot be read, the migration leaves this state unchanged.

    If the state can be read, the migration adds the recent start to it.
    """
    path, now = old_log(tmp_path / "x.db"), time.time_ns() // 1_000_000
    fill(path, [started(1, now, "a"), b'no json but "command_id": and "type":"agent_started"'], state)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE batches SET last_ts = ? WHERE stream = 4", (now,))
    sound = orjson.dumps([1, [], None, [["a", now, {"run_id": "r1"}]]])
    assert await state_of(path) == (sound if state == b"[1,[]]" else state)


KILLER = """
import os, signal, sqlite3, sys, trio
from actors.eventlog import SqliteLog, _sqlite_file

def killing(left):
    connect = _sqlite_file._connect
    def traced(*args):
        connection = connect(*args)
        def count(statement):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        connection.set_trace_callback(count)
        return connection
    _sqlite_file._connect = traced

for number, path in enumerate(sys.argv[1:], 1):
    child = os.fork()
    if not child:
        killing(number)
        trio.run(SqliteLog(path).open)
        os._exit(0)
    print(os.WIFSIGNALED(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("schema", [2, 5])
def test_kill_9_during_migration(tmp_path: Path, schema: int) -> None:
    """If a migration is killed at any statement, the log has either the complete old layout or the complete new one."""
    paths = [old_log(tmp_path / f"{number}.db", schema) for number in range(40)]
    done = subprocess.run([sys.executable, "-c", KILLER, *map(str, paths)], capture_output=True, text=True, check=True)
    killed = done.stdout.splitlines()
    assert killed[:15] == ["True"] * 15
    assert killed[-1] == "False"
    layouts: set[int] = set()
    for path in paths:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            layouts.add(connection.execute("PRAGMA user_version").fetchone()[0])
        trio.run(check_after_opening, path)
    assert layouts == {schema, _sqlite_layout.SCHEMA}


async def test_unchanged_state_is_not_written(tmp_path: Path) -> None:
    """An append writes the stream's state only if it differs from the last state that was written.

    The state is never written into the row of a batch.
    """
    path = tmp_path / "x.db"
    async with SqliteLog(path) as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 1, b"one")])
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE streams SET state = CAST('other' AS BLOB), checksum = NULL")
        await log.append([event_batch(KEY, 2, 1, b"one"), event_batch(KEY, 3, 1, b"one")])
        head = await log.head(KEY)
        assert head is not None
        assert head.state == b"other"
        await log.append([event_batch(KEY, 4, 1, b"one"), event_batch(KEY, 5, 1, b"two")])
        head = await log.head(KEY)
        assert head is not None
        assert head.state == b"two"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT sum(length(state)) FROM batches").fetchone() == (0,)


async def test_state_of_a_failed_append(tmp_path: Path) -> None:
    """If an append fails, the next append with the same state writes it: only a committed state counts as written."""
    async with SqliteLog(tmp_path / "x.db", busy_seconds=0.01) as log:
        await log.make(KEY)
        with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Exception, match="locked"):
                await log.append([event_batch(KEY, 1, 1, b"one")])
        await log.append([event_batch(KEY, 1, 1, b"one")])
        head = await log.head(KEY)
        assert head is not None
        assert head.state == b"one"


@pytest.mark.parametrize("damage", ["CAST('onf' AS BLOB)", "x''"])
async def test_damaged_state_is_corrupt(tmp_path: Path, damage: str) -> None:
    """Calls that need a stream's damaged state raise LogCorrupt until the state is replaced.

    Events can still be read.
    """
    path = tmp_path / "x.db"
    async with SqliteLog(path) as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 3, b"one")])
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE streams SET state = {damage}")  # noqa: S608 - a literal
    async with SqliteLog(path) as log:
        for call in (log.head(KEY), log.make(KEY), log.append([event_batch(KEY, 4, 1, b"one")])):
            with pytest.raises(LogCorrupt, match="state"):
                await call
        assert len(await log.read(KEY, 0, ALL, ALL)) == 3
        await log.mark(KEY, b"mended")
        assert (await log.make(KEY)).state == b"mended"
