"""``handle.history`` returns a session's events from memory or the log, and ``sessions.list`` a user's sessions."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from actors import (
    Agents,
    LogCorrupt,
    MemoryLog,
    Run,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    Trimmed,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from actors import SessionHandle


@asynccontextmanager
async def sessions_with(log: MemoryLog | None = None, **settings: Any) -> AsyncGenerator[Sessions]:
    """Run the sessions of a server with one agent, ``waits``, which never returns."""

    async def waits(run: Run) -> None:
        await trio.sleep_forever()

    agents = Agents()
    agents.add(waits)
    sessions = Sessions(log or MemoryLog(), agents, SessionSettings(**settings))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions


async def with_events(sessions: Sessions, count: int) -> SessionHandle:
    handle = await sessions.get("alice", "s1")
    for number in range(1, count + 1):
        await handle.emit("number", number)
    await trio.testing.wait_all_tasks_blocked()  # until all is committed
    return handle


async def seqs(handle: SessionHandle, **bounds: Any) -> list[int]:
    return [event.seq for event in await handle.history(**bounds)]


@pytest.mark.parametrize("settings", [{}, {"ring_events": 4}, {"idle_seconds": 1}], ids=["memory", "both", "log"])
async def test_history_pages(settings: dict[str, Any], autojump_clock: trio.testing.MockClock) -> None:
    """The events before or after a seq come in order and bounded, from memory, from both, or of a session that left."""
    async with sessions_with(**settings) as sessions:
        handle = await with_events(sessions, 20)
        if "idle_seconds" in settings:
            await trio.sleep(10)
            assert sessions.statistics().sessions == 0
        assert await seqs(handle) == list(range(1, 21))
        assert await seqs(handle, limit=3) == [18, 19, 20]
        assert await seqs(handle, before=18, limit=3) == [15, 16, 17]
        assert await seqs(handle, before=2) == [1]
        assert await seqs(handle, before=1) == []
        assert await seqs(handle, before=99, limit=1) == [20]
        assert await seqs(handle, after=0, limit=3) == [1, 2, 3]
        assert await seqs(handle, after=3, before=6) == [4, 5]
        assert await seqs(handle, after=20) == []
        assert [event.data["value"] for event in await handle.history(after=17)] == [18, 19, 20]
        assert sessions.statistics().spawned == 1


async def test_history_leaves_out_trimmed_events() -> None:
    """Events that retention has deleted are left out, also those that exceed its limits only now."""
    async with sessions_with(retain_events=5) as sessions:
        handle = await with_events(sessions, 12)
        assert await seqs(handle, after=2) == [8, 9, 10, 11, 12]
        assert await seqs(handle, before=9) == [8]


async def test_history_of_a_removed_session(autojump_clock: trio.testing.MockClock) -> None:
    """The history of a session that was removed from the log is empty."""
    log = MemoryLog()
    async with sessions_with(log, idle_seconds=1) as sessions:
        handle = await with_events(sessions, 2)
        await trio.sleep(10)
        await log.remove(StreamKey("alice", "s1"))
        assert await seqs(handle) == []


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([Trimmed(3)], [3, 4, 5, 6]),
        ([None, Trimmed(5)], [1, 5, 6]),
        ([None, KeyError()], [1]),
        ([Trimmed(1)], LogCorrupt),
    ],
    ids=["trimmed", "trimmed later", "removed", "contradiction"],
)
async def test_history_while_retention_works(
    faults: list[Exception | None], expected: list[int] | type[Exception], autojump_clock: trio.testing.MockClock
) -> None:
    """Events that retention deletes while the log is read are left out. A log that contradicts itself is an error."""

    class Changing(MemoryLog):
        async def read(self, key: StreamKey, after: int, limit: int, size: int) -> Sequence[bytes]:
            if faults and (fault := faults.pop(0)) is not None:
                raise fault
            return await super().read(key, after, 1 if faults else limit, size)

    async with sessions_with(Changing(), idle_seconds=1) as sessions:
        handle = await with_events(sessions, 6)
        await trio.sleep(10)
        if isinstance(expected, list):
            assert await seqs(handle) == expected
        else:
            with pytest.raises(expected):
                await handle.history()


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"limit": 0}, "limit must be a whole number from 1 to 1000, not 0"),
        ({"limit": 1001}, "limit must be a whole number from 1 to 1000, not 1001"),
        ({"after": -1}, "after must be a whole number of at least 0, not -1"),
        ({"before": 0}, "before must be a whole number of at least 1, not 0"),
        ({"before": "9"}, "before must be a whole number of at least 1, not '9'"),
    ],
)
async def test_wrong_bounds_of_history(bounds: dict[str, Any], said: str) -> None:
    """A wrong bound is an error that names it."""
    async with sessions_with() as sessions:
        handle = await with_events(sessions, 1)
        with pytest.raises(ValueError, match=f"^{said}$"):
            await handle.history(**bounds)
        assert await seqs(handle, limit=1000) == [1]


async def test_sessions_of_a_user(autojump_clock: trio.testing.MockClock) -> None:
    """The list has each session of the user, in memory or not, in pages sorted by name."""
    async with sessions_with(idle_seconds=1) as sessions:
        await sessions.get("bob", "s1")
        closed = await sessions.get("alice", "closed")
        await closed.close()
        await with_events(sessions, 3)
        await trio.sleep(10)
        live = await sessions.get("alice", "live")
        await live.start("waits")
        found = await sessions.list("alice")
        assert [(one.session, one.live, one.closed, one.runs, one.latest) for one in found] == [
            ("closed", False, True, 0, 0),
            ("live", True, False, 1, 1),
            ("s1", False, False, 0, 3),
        ]
        assert all(one.touched for one in found)
        assert [one.session for one in await sessions.list("alice", limit=2)] == ["closed", "live"]
        assert [one.session for one in await sessions.list("alice", after="live", limit=2)] == ["s1"]
        assert await sessions.list("alice", after="s1") == ()
        with pytest.raises(ValueError, match=r"^limit must be a whole number from 1 to 1000, not 1001$"):
            await sessions.list("alice", limit=1001)


async def test_list_skips_a_page_that_is_gone() -> None:
    """If all sessions of a page were removed while the list was made, the sessions after them come at once."""

    class Vanishing(MemoryLog):
        async def head(self, key: StreamKey) -> Any:
            return None if key.session < "c" else await super().head(key)

    log = Vanishing()
    sessions = Sessions(log, Agents())
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        for name in "abc":
            await log.make(StreamKey("alice", name))
        assert [one.session for one in await sessions.list("alice", limit=2)] == ["c"]
