"""A log that cannot store events: clients get an error, no half append stays, and the server continues if it can."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from _scale import scaled
from delivery.agents import check_grammar, count_starts, events_in_log, server_on
from delivery.process import GREENROOM, STOPPED, ServerProcess, connect_arguments, server_process
from protocol.wire import greeted

from actors import CommandRefused, LogError, SqliteLog, StreamKey
from actors.testing import event_batch, event_line
from transport import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors import Event
    from transport import Client, Reset

KEY = StreamKey("alice", "s1")
ALL = 1 << 30


@contextlib.contextmanager
def full_disk(server: ServerProcess) -> Iterator[None]:
    """Let no file of the server grow, as on a full disk."""
    pid = server.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    size = max(path.stat().st_size for path in server.folder.glob("log.db*"))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextlib.contextmanager
def locked(server: ServerProcess) -> Iterator[None]:
    """Lock the log file, as another program would."""
    with contextlib.closing(sqlite3.connect(server.log, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def start_run(client: Client, agent: str, input_: object, command_id: str) -> str:
    """Start a run with one command id. Repeat the command until it succeeds."""
    while True:
        try:
            return await client.start(agent, input_, command_id=command_id)  # type: ignore[arg-type]  # JSON
        except CommandRefused as refusal:
            assert refusal.code == "internal", refusal  # noqa: PT017 - any other is a failure


async def write_until_refused(client: Client) -> None:
    """Start runs that write much, until the server refuses one."""
    while True:
        await client.start("wall", {"count": 500, "size": 20_000})


async def read_until_completed(client: Client, seen: list[Event | Reset], run_id: str) -> None:
    """Read events into ``seen`` until a run has ended."""
    async for event in client.events():
        seen.append(event)
        if getattr(event, "type", "") == "agent_completed" and getattr(event, "run_id", "") == run_id:
            return


@pytest.mark.parametrize("fault", [full_disk, locked])
async def test_log_that_refuses_writes(
    tmp_path: Path, fault: Callable[[ServerProcess], contextlib.AbstractContextManager[None]]
) -> None:
    """If the log refuses writes, the server continues to run, and no client sees an event that is not stored."""
    async with server_process(tmp_path) as server:
        async with connect("ws://server/", "s1", **connect_arguments(server, "alice")) as client:
            seen: list[Event | Reset] = []
            await read_until_completed(
                client, seen, await start_run(client, "wall", {"count": 20, "size": 2_000}, "before")
            )
            before = client.statistics().connections
            with fault(server):
                with pytest.raises(CommandRefused) as refusal:
                    await write_until_refused(client)
                assert refusal.value.code in ("internal", "overloaded")
            await read_until_completed(
                client, seen, await start_run(client, "wall", {"count": 20, "size": 2_000}, "after")
            )
            assert client.statistics().connections > before
        assert await server.stop() in STOPPED
    async with SqliteLog(server.log) as log:
        events = await events_in_log(log, KEY)
        assert seen == events
        check_grammar(events)
        assert {"before": 1, "after": 1}.items() <= dict(count_starts(events)).items()


async def make_small_log(path: Path) -> list[bytes]:
    """Write a log of one stream in many rows and close it. Return its lines."""
    async with SqliteLog(path) as log:
        await log.make(KEY)
        for first in range(1, 61, 3):
            await log.append([event_batch(KEY, first, 3, ts=1_700_000_000_000)])
        return list(await log.read(KEY, 0, ALL, ALL))


async def read_all(path: Path) -> list[bytes]:
    """Return all lines of the log, or none if it has no session of this name."""
    async with SqliteLog(path) as log:
        head = await log.head(KEY)
        lines = [] if head is None else list(await log.read(KEY, 0, ALL, ALL))
        assert len(lines) == (0 if head is None else head.latest)
        return lines


async def test_log_that_was_cut_short(tmp_path: Path) -> None:
    """A log file that is cut anywhere in its last page is refused, and the file is not changed."""
    path = tmp_path / "log.db"
    await make_small_log(path)
    whole = path.read_bytes()
    page = int.from_bytes(whole[16:18], "big")
    for cut in range(1, page + 1, scaled(97, 1)):
        path.write_bytes(whole[:-cut])
        with pytest.raises(LogError) as refused:
            await read_all(path)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)
        assert path.read_bytes() == whole[:-cut]
    path.write_bytes(whole)
    assert len(await read_all(path)) == 60


async def test_changed_byte(tmp_path: Path) -> None:
    """A log file with one changed byte is refused, or returns its original events, or none at all.

    It never returns other events.
    """
    path = tmp_path / "log.db"
    lines = await make_small_log(path)
    whole = path.read_bytes()
    refused = 0
    for place in range(100, len(whole), scaled(211, 7)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        try:
            # No lines: the session's name was changed. A client that resumes it finds another epoch and gets a reset.
            assert await read_all(path) in (lines, []), place
        except LogError:
            refused += 1
    assert refused > 5


async def test_write_ahead_log_that_was_cut_short(
    tmp_path: Path,
) -> None:
    """If a write-ahead log is cut anywhere, only whole appends are lost, beginning with the newest one."""
    async with SqliteLog(tmp_path / "log.db") as log:
        await log.make(KEY)
        for first in range(1, 31, 3):
            await log.append([event_batch(KEY, first, 3, b"%d" % first)])
        parts = {name: (tmp_path / name).read_bytes() for name in ("log.db", "log.db-wal")}
    wal = parts["log.db-wal"]
    frame = 24 + int.from_bytes(wal[8:12], "big")
    before = 30
    for cut in range(0, 4 * frame, scaled(397, 1)):
        with tempfile.TemporaryDirectory(dir=tmp_path) as name:
            (Path(name) / "log.db").write_bytes(parts["log.db"])
            (Path(name) / "log.db-wal").write_bytes(wal[: len(wal) - cut])
            lines = await read_all(Path(name) / "log.db")
        assert lines == [event_line(seq, 1_700_000_000_000 + (seq - 1) % 3) for seq in range(1, len(lines) + 1)]
        assert len(lines) % 3 == 0
        assert before - 3 <= len(lines) <= before
        before = len(lines)
    assert before < 30


def run_serve(folder: Path) -> tuple[int, str]:
    """Run ``greenroom serve`` on the log in a folder. Return its exit status and its error output."""
    (folder / "app.py").write_text("from transport import Greenroom\napp = Greenroom(log='sqlite:log.db')\n")
    run = subprocess.run(
        [GREENROOM, "serve", "app:app", "--port", "0", "--http-port", "0"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert run.stdout == ""
    return run.returncode, run.stderr


def newer(path: Path) -> None:
    """Give the log the schema number of a newer version."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def cut(path: Path) -> None:
    """Cut the last 100 bytes off the log."""
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path: Path) -> None:
    """Replace the log by a text file."""
    path.write_text("no log at all, and long enough to have a header, as one would expect of a file " * 20)


@pytest.mark.parametrize(
    ("damage", "says"), [(newer, "has schema 99"), (cut, "is cut short"), (foreign, "not a Greenroom log")]
)
async def test_unusable_log(tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    """A server that cannot use its log prints one line of error, ends with status 2, and does not change the log."""
    await make_small_log(tmp_path / "log.db")
    damage(tmp_path / "log.db")
    before = (tmp_path / "log.db").read_bytes()
    status, error = await trio.to_thread.run_sync(run_serve, tmp_path)
    assert (status, error.count("\n")) == (2, 1), error
    assert says in error
    assert "log.db" in error
    assert (tmp_path / "log.db").read_bytes() == before


@pytest.fixture
def unprivileged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a new folder, as a user without root's rights: file permissions do not apply to root."""
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        folder.chmod(0o755)
        monkeypatch.chdir(folder)
        if user == 0:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)


async def test_read_only_log(
    unprivileged: Path,
) -> None:
    """A server does not start if it may not write its log. Once it has the permission, it starts with all events."""
    path = unprivileged / "log.db"
    lines = await make_small_log(path)
    path.chmod(0o444)
    before = path.read_bytes()
    with pytest.raises((LogError, ExceptionGroup)) as refused:
        async with server_on(SqliteLog(path)).running(port=0):
            pass
    assert "may not be written" in str(first_leaf(refused.value))
    assert path.read_bytes() == before
    path.chmod(0o644)
    async with server_on(SqliteLog(path)).running(port=0) as server, greeted(server):
        assert server.sessions.statistics().log.engine == "sqlite"
    assert await read_all(path) == lines


def first_leaf(error: BaseException) -> BaseException:
    """Return the first exception in nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
