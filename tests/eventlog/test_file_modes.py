"""Files with secrets or with users' data can be read by their owner only, whatever the umask of the process is."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

import pytest

from actors.eventlog import SqliteLog, StreamKey
from actors.private_files import make_private, warn_if_open_to_others
from actors.testing import event_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = StreamKey("alice", "s1")
logger = logging.getLogger("greenroom.test")


@pytest.fixture(params=[0o000, 0o022, 0o277], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Return the mode of each file in a folder."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.usefixtures("_umask")
async def test_log_files_are_private(tmp_path: Path) -> None:
    """Only the owner can read a new log and the three files beside it, while the log is open and after that."""
    async with SqliteLog(tmp_path / "x.db") as log:
        await log.make(KEY)
        await log.append([event_batch(KEY, 1, 2, b"x")])
        assert modes(tmp_path) == dict.fromkeys(["x.db", "x.db-wal", "x.db-shm", "x.db-lock"], 0o600)
    assert set(modes(tmp_path).values()) == {0o600}


@pytest.mark.usefixtures("_umask")
async def test_private_from_its_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private file has no right for others when it is made, before its mode is set."""
    monkeypatch.setattr(os, "fchmod", lambda descriptor, mode: None)
    make_private(tmp_path / "key", b"secret")
    assert modes(tmp_path)["key"] & 0o177 == 0
    assert (tmp_path / "key").stat().st_size == len(b"secret")


async def test_existing_file_is_not_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A log that every user can read keeps its mode. A warning names the file and the command that mends it."""
    path = tmp_path / "x.db"
    async with SqliteLog(path) as log:
        await log.make(KEY)
    path.chmod(0o644)
    async with SqliteLog(path):
        assert modes(tmp_path)["x.db"] == 0o644
    assert caplog.messages == [f"{path} is open to every user of this machine (mode 0644): chmod o-rwx {path}"]
    assert make_private(path, b"other") is False
    async with SqliteLog(path) as log:
        assert await log.streams() == [KEY]


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o660, 0), (0o604, 1), (0o602, 1)])
def test_group_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: int) -> None:
    """A file that a group can read or write causes no warning, and neither does a file that does not exist."""
    warn_if_open_to_others(tmp_path / "missing", logger)
    (tmp_path / "key").touch()
    (tmp_path / "key").chmod(mode)
    warn_if_open_to_others(tmp_path / "key", logger)
    assert len(caplog.messages) == warned
