"""``greenroom forget`` on a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import trio
from eventlog.log_contents import fill

from actors import SqliteLog
from actors.eventlog import _sqlite_scrub
from transport.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


def test_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The user is removed from the file. The command prints the number of sessions, and can be repeated."""
    path = tmp_path / "a.db"

    async def prepare() -> None:
        async with SqliteLog(path) as log:
            await fill(log)

    trio.run(prepare)
    assert b"state of" in path.read_bytes()
    assert main(["forget", "ann", str(path)]) == 0
    assert main(["forget", "ann", f"sqlite:{path}", "--json"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{path}: 4 sessions were removed"
    assert json.loads(second) == {"user": "ann", "log": f"sqlite:{path}", "sessions": 0}
    assert b"state of" not in path.read_bytes()
    assert b"ann" not in path.read_bytes()


def test_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--quick`` the unused parts of the file's pages are not looked at. The texts are removed all the same."""
    path = tmp_path / "a.db"
    looked: list[int] = []
    unused = _sqlite_scrub.unused_parts

    def noted(page: bytes, number: int, usable: int) -> Iterator[tuple[int, int]]:
        looked.append(number)
        return unused(page, number, usable)

    async def prepare() -> None:
        async with SqliteLog(path) as log:
            await fill(log)

    trio.run(prepare)
    monkeypatch.setattr(_sqlite_scrub, "unused_parts", noted)
    assert main(["forget", "ann", str(path), "--quick"]) == 0
    assert looked == []
    assert b"state of" not in path.read_bytes()
    assert main(["forget", "ann", str(path)]) == 0
    assert looked


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that a server uses, that does not exist, or that is in memory is refused with status 2."""

    async def hold() -> int:
        async with SqliteLog(tmp_path / "a.db"):
            return await trio.to_thread.run_sync(main, ["forget", "ann", f"{tmp_path}/a.db"])

    assert trio.run(hold) == 2
    assert main(["forget", "ann", "memory:"]) == 2
    assert main(["forget", "ann", f"{tmp_path}/b.db"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"greenroom: {tmp_path}/a.db is in use by process ")
    assert lines[1:] == [
        "greenroom: log 'memory:' ends with its process: it cannot be changed",
        f"greenroom: there is no file {tmp_path}/b.db",
    ]
