"""The copy of a log: everything is the same, it goes on after an interruption, and differences are found."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs
import orjson
import pytest
import trio
from eventlog.log_contents import EMPTY, EVENTS, GONE, PART, WHOLE, contents, fill

from actors.errors import LogError, LogUnavailable
from actors.eventlog import MemoryLog, SqliteLog, StreamKey, open_log
from actors.eventlog.copying import copy_log
from actors.testing import FaultyLog, event_batch
from transport.cli._main import main

if TYPE_CHECKING:
    from pathlib import Path

    from actors.eventlog.base import Revocation


@pytest.mark.parametrize(("source", "target"), [("memory", "sqlite"), ("sqlite", "memory"), ("sqlite", "sqlite")])
async def test_copy_is_the_same(tmp_path: Path, source: str, target: str) -> None:
    """A copy has the epochs, seqs, lines, states, times, revoked tokens and positions of consumers. It can be repeated.

    Clients and consumers can go on with the copy: the next event of each stream is accepted.
    """
    urls = [
        f"sqlite:{tmp_path}/{name}.db" if kind == "sqlite" else "memory:"
        for name, kind in (("a", source), ("b", target))
    ]
    async with open_log(urls[0]) as one, open_log(urls[1]) as two:
        await fill(one)
        seen: list[tuple[int, int, int]] = []
        report = await copy_log(one, two, lambda *numbers: seen.append(numbers))
        assert await contents(two) == await contents(one)
        assert attrs.astuple(report) == (4, 5 + EVENTS, 5 + EVENTS, 2, 2)
        assert (seen[0], seen[-1]) == ((0, 4, 0), (4, 4, 5 + EVENTS))
        assert (await copy_log(one, two)).copied == 0
        for key, seq in ((PART, 11), (GONE, 11), (EMPTY, 1), (WHOLE, 11)):
            await two.append([event_batch(key, seq, 1)])


async def test_interrupted_copy_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that failed in the middle of a stream is repeated: only the rest is copied. The source may be marked."""
    monkeypatch.setattr("actors.eventlog.copying._BATCH_BYTES", 1)
    async with MemoryLog() as one, FaultyLog(MemoryLog()) as two:
        await fill(one)
        hold = two.hold("append")
        for _ in range(6):
            two.hold("append").released.set()
        hold.released.set()
        two.fail("append")
        with pytest.raises(LogUnavailable):
            await copy_log(one, two)
        assert two.statistics().events == 7
        await one.mark(PART, b"marked later")
        assert (await copy_log(one, two)).copied == 5 + EVENTS - 7
        assert await contents(two) == await contents(one)


async def test_other_target_is_refused() -> None:
    """A target with another stream, or another one of the same name, or a longer one is refused before a change."""
    async with MemoryLog() as one, MemoryLog() as two:
        await fill(one)
        await two.make(StreamKey("eve", "x"))
        with pytest.raises(LogError, match="the target has another session 'x' of user 'eve': give an empty log"):
            await copy_log(one, two)
        await two.remove(StreamKey("eve", "x"))
        await two.make(WHOLE)
        with pytest.raises(LogError, match="another session 'whole'"):
            await copy_log(one, two)
        await two.remove(WHOLE)
        await copy_log(one, two)
        await two.append([event_batch(WHOLE, 11, 1)])
        with pytest.raises(LogError, match="another session 'whole'"):
            await copy_log(one, two)


class Forgetful(MemoryLog):
    """A log that loses what is listed, when it is written."""

    def __init__(self, loses: str) -> None:
        super().__init__()
        self._loses = loses

    async def restore(self, key: StreamKey, *, epoch: str, latest: int, state: bytes, touched: int) -> None:
        """Lose the state, or the time."""
        state, touched = b"" if self._loses == "state" else state, 1 if self._loses == "time" else touched
        await super().restore(key, epoch=epoch, latest=latest, state=state, touched=touched)

    async def read(self, key: StreamKey, after: int, limit: int, size: int) -> list[bytes]:
        """Return other bytes than those that were appended."""
        lines = await super().read(key, after, limit, size)
        return [line.replace(b'"n"', b'"m"') if self._loses == "bytes" else line for line in lines]

    async def revoke(self, revocation: Revocation, now: float) -> None:
        """Lose the revoked tokens."""
        if self._loses != "tokens":
            await super().revoke(revocation, now)

    async def acknowledge(self, name: str, positions: object, lost: int = 0) -> None:
        """Lose the positions."""
        await super().acknowledge(name, [] if self._loses == "positions" else positions, lost)  # type: ignore[arg-type]  # one list for both kinds


@pytest.mark.parametrize(
    ("loses", "told"),
    [
        ("state", "session 'gone' of user 'ann' differs"),
        ("time", "session 'empty' of user 'ann' differs"),
        ("bytes", "session 'part' of user 'ann' differs"),
        ("tokens", "other revoked tokens"),
        ("positions", "other consumers"),
    ],
)
async def test_differences_are_found(loses: str, told: str) -> None:
    """At its end, a copy compares both logs, and names the first difference."""
    async with MemoryLog() as one, Forgetful(loses) as two:
        await fill(one)
        with pytest.raises(LogError, match=told):
            await copy_log(one, two)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """``greenroom copy`` prints one line, or JSON. Progress is shown only on a terminal."""

    async def prepare() -> None:
        async with SqliteLog(tmp_path / "a.db") as log:
            await fill(log)

    trio.run(prepare)
    one, two = f"{tmp_path}/a.db", f"sqlite:{tmp_path}/b.db"
    assert main(["copy", one, two]) == 0
    counts = "4 sessions, 15 events (15 copied now), 2 revoked tokens, 2 consumers"
    assert capsys.readouterr() == (f"{two}: {counts}: the same as {one}\n", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["copy", one, two, "--json"]) == 0
    out, err = capsys.readouterr()
    numbers = {"sessions": 4, "events": 15, "copied": 0, "revocations": 2, "consumers": 2}
    assert orjson.loads(out) == {"from": one, "to": two} | numbers
    assert err.startswith("\rgreenroom: 0 of 4 sessions, 0 events copied\r ")


def test_refused_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Logs that cannot be copied, or are in use, are refused with status 2 and one line."""
    one, two = tmp_path / "a.db", tmp_path / "b.db"

    async def hold(source: Path | str, target: Path) -> int:
        async with SqliteLog(one):
            return await trio.to_thread.run_sync(main, ["copy", str(source), str(target)])

    assert main(["copy", str(one), str(two)]) == 2
    assert trio.run(hold, one, two) == 2
    assert trio.run(hold, two, one) == 2
    assert main(["copy", str(one), f"sqlite:{one}"]) == 2
    assert main(["copy", "memory:", str(one)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"greenroom: there is no file {one}"
    assert lines[1].startswith(f"greenroom: {one} is in use by process ")
    assert lines[2] == f"greenroom: there is no file {two}"
    assert lines[3] == f"greenroom: {one} and sqlite:{one} are the same log"
    assert lines[4] == "greenroom: log 'memory:' ends with its process: it cannot be copied"
