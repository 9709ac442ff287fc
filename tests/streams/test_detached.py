"""A detached cursor reads nothing, is not notified, and is freed with all that it held."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from sessions.borders import EVENTS, Tab, sessions_with, talk

from actors import Batch, MemoryLog, Retention, Sessions, StreamKey
from actors.streams._committer import Committer
from actors.streams._stream import SessionStream, StreamLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.streams._cursor import Cursor


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_detached_cursor_reads_nothing() -> None:
    """A detached cursor returns no events.

    This holds for waiting events, for later events, and for a read of the log that has already begun.
    """
    async with sessions_with() as sessions:
        tab, slow = Tab(), Unread()
        for each in (tab, slow):
            attachment = await each.attach(sessions)
        await talk(sessions)
        for each in (tab, slow):
            assert each.attachment is not None
            cursor = each.attachment.cursor
            cursor.position = position = 10
            assert (cursor.waiting, cursor.behind) == (EVENTS - 10, False)
            async with trio.open_nursery() as nursery:

                async def fetch(cursor: Cursor = cursor) -> None:
                    assert await cursor.fetch(10, 1_000) == ()

                nursery.start_soon(fetch)
                await trio.lowlevel.checkpoint()
                each.attachment.detach()
                each.attachment.detach()
            assert (cursor.waiting, cursor.behind, cursor.take(10, 1_000)) == (0, False, ())
            assert (await cursor.fetch(10, 1_000), cursor.position) == ((), position)
        await talk(sessions)
        assert (len(tab.lines), attachment.cursor.waiting) == (EVENTS, 0)


class Unread(Tab):
    """A tab that takes no events."""

    def on_events(self) -> None: ...


async def test_an_ended_session_can_be_read() -> None:
    """After the end of a session its events can still be read through a cursor, until the cursor is detached.

    A connection that is closing needs this to send the last events.
    """
    async with sessions_with() as sessions:
        tab = Unread()
        attachment = await tab.attach(sessions)
        await talk(sessions)
        await (await sessions.get("alice", "s1")).close()
        await trio.testing.wait_all_tasks_blocked()
        assert (tab.endings, len(attachment.cursor.take(1_000, 1 << 20))) == (["closed"], EVENTS)
        attachment.cursor.position = 0
        attachment.detach()
        assert attachment.cursor.take(1_000, 1 << 20) == ()


async def test_a_detached_listener_is_freed(no_collector: None) -> None:
    """A detached listener is freed by reference counting, although its session is still alive.

    The listener holds its attachment to the session, and the attachment holds the cursor. Before it was detached, the
    cursor held the listener, so that the three formed a reference cycle.
    """
    async with sessions_with() as sessions:
        held = await come_and_go(sessions)
        assert [each() for each in held] == [None] * 3


async def come_and_go(sessions: Sessions) -> list[weakref.ref[object]]:
    tab = Tab()
    attachment = await tab.attach(sessions)
    await talk(sessions)
    attachment.detach()
    return [weakref.ref(tab), weakref.ref(attachment), weakref.ref(attachment.cursor)]


async def test_a_stream_is_freed(nursery: trio.Nursery, no_collector: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a commit, even a failed one, neither the committer nor the log keeps a session's stream in memory."""
    # What pytest captures of a log line has the traceback.
    monkeypatch.setattr(logging.getLogger("greenroom.sessions"), "disabled", True)
    async with MemoryLog() as log:
        committer = Committer(log)
        nursery.start_soon(committer.run)
        for fails in (False, True):
            stream = await use_a_stream(log, committer, f"s{fails}", fails=fails)
            await committer.barrier()
            assert stream() is None


async def use_a_stream(
    log: MemoryLog, committer: Committer, session: str, *, fails: bool
) -> weakref.ref[SessionStream]:
    key, failures = StreamKey("alice", session), list[Exception]()
    stream = SessionStream(
        key,
        await log.make(key),
        log=log,
        committer=committer,
        retention=Retention(),
        limits=StreamLimits(ring_events=16, ring_bytes=1 << 20, window=8, command_seconds=300),
        on_failure=failures.append,
    )
    cursor = stream.attach(Unread(), 0)
    if fails:
        await log.append([Batch(key, 1, [b'{"seq":1,"ts":1}'], b"")])
    for _ in range(20):
        if not failures and stream.put(b'"type":"custom","data":', b"{}"):
            await stream.admit()
    await committer.barrier()
    assert bool(failures) is fails
    cursor.detach()
    return weakref.ref(stream)
