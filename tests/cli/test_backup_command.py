"""``greenroom backup`` and ``greenroom restore``, with a server and a client."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from _valkey import Server
from eventlog.log_contents import SOUND, contents, fill
from protocol.agents import make_app

from actors import Event, SqliteLog, open_log
from transport import Reset, connect
from transport.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from actors.events.types import Position
    from transport import Client

SECONDS = 60.0


async def command(*words: object) -> int:
    """Run a command in a thread, and return its exit status."""
    return await trio.to_thread.run_sync(main, [str(word) for word in words])


async def run_once(client: Client) -> list[Event | Reset]:
    """Run an agent, and return what the client reads until the end of its run."""
    run, seen = await client.start("echo", "again"), list[Event | Reset]()
    async for item in client.events():
        seen.append(item)
        if not isinstance(item, Reset) and (item.type, item.run_id) == ("agent_completed", run):
            break
    return seen


async def test_client_that_was_ahead_of_the_backup(tmp_path: Path) -> None:
    """A client that has seen events that the backup does not have is told so, and then gets exactly the log's events.

    The backup is made while the server runs.
    """
    live, copy = tmp_path / "live.db", tmp_path / "copy.db"
    app = make_app(f"sqlite:{live}")
    position: Position | None
    with trio.fail_after(SECONDS):
        async with app.running(port=0) as server, connect(server.url, session="s1") as client:
            first = await run_once(client)
            assert await command("backup", live, copy) == 0
            await run_once(client)
            position = client.position
        assert position is not None
        assert position.seq == 2 * len(first)
        assert await command("restore", copy, live, "--force") == 0
        async with app.running(port=0) as server, connect(server.url, session="s1", resume=position) as client:
            seen = await run_once(client)
            assert client.position is not None
            assert client.position.epoch != position.epoch
    assert [item.reason for item in seen if isinstance(item, Reset)] == ["epoch_changed"]
    assert isinstance(seen[0], Reset)
    assert [item.seq for item in seen if not isinstance(item, Reset)] == [*range(1, 2 * len(first) + 1)]


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands print one line, or JSON. Progress is shown only on a terminal."""

    async def prepare() -> None:
        async with SqliteLog(tmp_path / "a.db") as log:
            await fill(log, SOUND)

    trio.run(prepare)
    one, two, three = (f"{tmp_path}/{name}.db" for name in "abc")
    assert main(["backup", one, two]) == 0
    assert main(["restore", two, three]) == 0
    counts = "4 sessions, 15 events"
    assert capsys.readouterr() == (f"{two}: {counts} from {one}\n{three}: {counts} from {two}\n", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["backup", one, f"sqlite:{two}", "--force", "--json"]) == 0
    assert main(["restore", two, three, "--force", "--json"]) == 0
    out, err = capsys.readouterr()
    numbers = {"sessions": 4, "events": 15, "faults": []}
    assert [json.loads(line) for line in out.splitlines()] == [
        {"from": one, "to": f"sqlite:{two}"} | numbers,
        {"from": two, "to": three} | numbers,
    ]
    assert "% copied" in err


def test_faults_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log with faults is backed up, too. The command names them, and ends with status 1."""

    async def prepare() -> None:
        async with SqliteLog(tmp_path / "a.db") as log:
            await fill(log, SOUND)
            await log.mark((await log.streams())[0], b"no state")

    trio.run(prepare)
    assert main(["backup", f"{tmp_path}/a.db", f"{tmp_path}/b.db"]) == 1
    out, err = capsys.readouterr()
    assert "4 sessions, 15 events" in out
    assert "'ann' empty: seq 0: state: what is open cannot be read" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backup", "memory:", "b.db"], "log 'memory:' ends with its process: it cannot be backed up"),
        (["backup", "no.db", "b.db"], "there is no file no.db"),
        (["backup", "a.db", "valkey://localhost"], "valkey://localhost is no file: a backup is a SQLite file"),
        (["backup", "a.db", "sqlite:a.db"], "a.db and sqlite:a.db are the same file"),
        (["backup", "a.db", "old.db"], "old.db exists already: give another name, or --force to replace it"),
        (["restore", "a.db", "old.db"], "old.db exists already: give another name, or --force to replace it"),
        (["restore", "a.db", "memory:"], "log 'memory:' ends with its process: it cannot be restored"),
        (
            ["restore", "valkey://localhost", "b.db"],
            "valkey://localhost is no file: restore takes a file that greenroom backup has made",
        ),
        (
            ["restore", "a.db", "valkey://localhost", "--force"],
            "--force is for files: give a log in Valkey without sessions, or another valkey_prefix",
        ),
        (["backup", "old.db", "b.db"], "old.db is not a Greenroom log: file is not a database"),
    ],
)
def test_refusals(
    words: list[str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be backed up or restored is refused with status 2 and one line, and nothing is changed."""
    monkeypatch.chdir(tmp_path)

    async def prepare() -> None:
        async with SqliteLog("a.db"):
            pass

    trio.run(prepare)
    (tmp_path / "old.db").write_text("old" * 100)
    assert main(words) == 2
    assert capsys.readouterr() == ("", f"greenroom: {told}\n")
    assert not (tmp_path / "b.db").exists()


async def test_log_in_valkey(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log in Valkey is backed up to a file while a server uses it, and restored when none does."""
    with Server() as valkey, Server() as other, trio.fail_after(SECONDS):
        async with open_log(valkey.url) as log:
            await fill(log, SOUND)
            assert await command("backup", valkey.url, tmp_path / "b.db") == 0
            async with SqliteLog(tmp_path / "b.db", read_only=True) as copy:
                assert await contents(copy) == await contents(log)
            assert await command("restore", tmp_path / "b.db", other.url) == 0
            async with open_log(other.url) as restored:
                assert await contents(restored, epochs=False) == await contents(log, epochs=False)
        capsys.readouterr()
        assert await command("restore", tmp_path / "b.db", other.url) == 2
        assert "the log has sessions already: give an empty one" in capsys.readouterr().err
