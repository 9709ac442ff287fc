"""A disk that stalls: what of a server lives on, with commits in a thread and with inline commits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import pytest
import trio
from _scale import scaled
from delivery.agents import server_on
from protocol.wire import PATIENCE, Client, greeted

from actors import SqliteLog
from actors.eventlog._sqlite_store import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from actors import Batch


class Disk:
    """A disk that stalls in one commit, until a heartbeat of another client arrives or ``seconds`` are over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._append = Writer.append
        self.will_stall = self.is_stalled = False
        self.heartbeat = threading.Event()
        self.had_heartbeat: bool | None = None

    def append(self, writer: Writer, batches: Sequence[Batch]) -> int:
        if self.will_stall:
            self.will_stall, self.is_stalled = False, True
            self.had_heartbeat = self.heartbeat.wait(self._seconds)
            self.is_stalled = False
        return self._append(writer, batches)


async def beat(client: Client, disk: Disk) -> None:
    """Send pings, and note each answer that arrives while the disk stalls."""
    while True:
        pong = await client.socket.ping()  # type: ignore[attr-defined]  # a connection of websockets
        await pong.wait()
        if disk.is_stalled:
            disk.heartbeat.set()


@pytest.mark.parametrize(
    ("commit", "lives_on", "seconds"), [("thread", True, PATIENCE), ("inline", False, scaled(0.2, 5.0))]
)
async def test_stalled_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    commit: Literal["thread", "inline"],
    seconds: float,
    *,
    lives_on: bool,
) -> None:
    """While the disk stalls, heartbeats of other clients are answered, unless commits are inline. No event is lost."""
    disk = Disk(seconds)

    def append(writer: Writer, batches: Sequence[Batch]) -> int:
        return disk.append(writer, batches)

    monkeypatch.setattr(Writer, "append", append)
    app = server_on(SqliteLog(tmp_path / "log.db", commit=commit))
    async with app.running(port=0) as server, greeted(server, "s1") as one, greeted(server, "s2") as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat, other, disk)
            disk.will_stall = True
            await one.say("a", "b")
            assert [event["data"]["text"] for event in await one.events_until(2)] == ["a", "b"]
            nursery.cancel_scope.cancel()
    assert disk.had_heartbeat is lives_on
