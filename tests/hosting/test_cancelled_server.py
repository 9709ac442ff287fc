"""A server that is cancelled from outside: runs are closed and committed, clients get a goodbye, then all ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.lowlevel
import trio.testing
from protocol.wire import greeted_in_memory

from actors import MemoryLog, Run, SqliteLog, StreamKey
from transport import Greenroom
from transport.hosting import hosted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actors import EventLog
    from transport import Server

KEY = StreamKey("ann", "s1")


class KeptLog(MemoryLog):
    """A log in memory that can be read after its server has ended."""

    async def close(self) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()


class Story:
    """An app with a client and an open run, and what both see when the server is cancelled.

    Args:
        log: The log of the app.
        agent: The code of the run, after its first output.
    """

    def __init__(self, log: EventLog, agent: Callable[[Run], Any]) -> None:
        self.app = Greenroom(log=log, settings={"drain_seconds": 60})
        self.app.agent(name="agent")(self._agent)
        self._code = agent
        self.closed: list[int] = []
        self.cancel: Callable[[], object]

    async def _agent(self, run: Run) -> None:
        await run.output("x")
        self.cancel()
        await self._code(run)

    async def _client(self, server: Server, task_status: trio.TaskStatus[None]) -> None:
        # Shielded: the nursery of the server is cancelled soon after the goodbye.
        with trio.CancelScope(shield=True):
            async with greeted_in_memory(server, token="ann") as one:
                task_status.started()
                self.closed.append((await one.ended()).code)

    async def begin(self, server: Server) -> None:
        """Connect the client, and start the run, which cancels the server."""
        await server.host.nursery.start(self._client, server)
        await (await server.sessions.get(*KEY)).start("agent")

    async def native(self) -> None:
        """Run the app in trio, in a scope that is cancelled."""
        with trio.CancelScope() as scope:
            self.cancel = scope.cancel
            async with self.app.running(port=0) as server:
                await self.begin(server)
                await trio.sleep_forever()
        assert scope.cancelled_caught

    async def hosted(self) -> None:
        """Run the app in asyncio, in a task that is cancelled."""

        async def block() -> None:
            async with hosted(self.app) as server:
                assert server.host.asyncio is not None
                await server.host.asyncio.run(self.begin, server)
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        self.cancel = task.cancel
        await asyncio.wait([task])
        assert task.cancelled()


async def forever(_: Run) -> None:
    """Wait until the run is cancelled."""
    await trio.sleep_forever()


async def events_in(log: EventLog) -> list[Any]:
    """Return the events in an open log. Nothing is recovered: no session has read the log yet."""
    return [orjson.loads(line) for line in await log.read(KEY, 0, 100, 10**6)]


async def events_in_file(path: Path) -> list[Any]:
    """Return the events in the files of an SQLite log."""
    async with SqliteLog(path) as log:
        return await events_in(log)


@pytest.mark.parametrize("place", ["native", "hosted"])
@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_runs_are_closed_and_committed(storage: str, place: str, tmp_path: Path) -> None:
    """After the cancellation the log has the end of each run, although the last events were not committed before it."""
    path = tmp_path / "log.db"
    log = KeptLog() if storage == "memory" else SqliteLog(path)
    story = Story(log, forever)
    if place == "native":
        trio.run(story.native)
    else:
        asyncio.run(story.hosted())
    events = trio.run(events_in, log) if storage == "memory" else trio.run(events_in_file, path)
    assert [event["type"] for event in events] == ["agent_started", "agent_output", "agent_completed"]
    assert events[-1]["data"]["status"] == "cancelled"
    assert story.closed == [1001]


class StalledLog(KeptLog):
    """A log whose disk stands still."""

    async def append(self, *_: Any) -> Any:
        await trio.sleep_forever()


async def test_end_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """A log that cannot commit does not hold up the end of a cancelled server for long."""
    log = StalledLog()
    app = Greenroom(log=log, settings={"drain_seconds": 60})
    app.agent(name="agent")(forever)
    with trio.CancelScope() as scope:
        async with app.running(port=0) as server, trio.open_nursery() as nursery:
            nursery.start_soon((await server.sessions.get(*KEY)).start, "agent")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert trio.current_time() <= 10
