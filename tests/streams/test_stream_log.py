"""A stream's log stays within retention, together with the record beside the events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from _scale import scaled
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.eventlog import MemoryLog, Retention, StreamKey
from actors.streams._committer import Committer
from actors.streams._stream import SessionStream, StreamLimits

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = StreamKey("alice", "s1")
SIZE = 2_000


def ignore(error: object) -> None:
    del error


async def stream_on(log: MemoryLog, committer: Committer) -> SessionStream:
    return SessionStream(
        KEY,
        await log.make(KEY),
        log=log,
        committer=committer,
        retention=Retention(events=1 << 30, size=SIZE),
        limits=StreamLimits(ring_events=1024, ring_bytes=1 << 20, window=1024, command_seconds=300, command_bytes=500),
        on_failure=ignore,
    )


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2), st.integers(1, 3)), max_size=8))
@example([(40, 0, 2), (19, 0, 1)])
@settings(max_examples=scaled(60, 3000))
def test_the_log_is_within_retention_after_each_look(steps: list[tuple[int, int, int]]) -> None:
    """After each trim, a session's events and its state together are within the size limit of retention.

    This holds even if many tasks trim at the same time. Each step has a number of events, a number of commands that the
    state remembers, and a number of tasks that call ``oldest()``, which trims the log.
    """

    async def run() -> None:
        log, steps_done = MemoryLog(), 0
        committer = Committer(log)
        async with log, trio.open_nursery() as nursery:
            nursery.start_soon(committer.run)
            stream = await stream_on(log, committer)
            for events, commands, looks in steps:
                for number in range(events):
                    stream.put(b'"type":"custom","data":', b'{"n":"%020d"' % number, b"}}")
                for number in range(commands):
                    stream.remember_done(f"{steps_done}-{number}" + "x" * 40, {"seq": stream.seq})
                await stream.synced()
                async with trio.open_nursery() as lookers:
                    for _ in range(looks):
                        lookers.start_soon(stream.oldest)
                head = await log.head(KEY)
                assert head is not None
                assert head.size + len(head.state) <= SIZE
                assert len(head.state) <= 500 + 100
                steps_done += 1
            nursery.cancel_scope.cancel()

    trio.run(run)


async def test_the_record_is_encoded_only_when_it_changes() -> None:
    """The session's state for the log (``record()``) is the same object until its content changes.

    So it is encoded, and written to the log, only when it has changed.
    """
    log = MemoryLog()
    async with log:
        stream = await stream_on(log, Committer(log))
        seen = [stream.record()]
        stream.put(b'"type":"custom","data":', b"{}", at=stream.now() + 5)
        assert stream.record() is seen[-1]
        changes: list[Callable[[], object]] = [
            lambda: stream.grammar.apply("agent_started", "r", name="a"),
            lambda: stream.remember_done("a", {}),
            lambda: stream.grammar.apply("tool_executing", "r", "c", name="t"),
            lambda: setattr(stream, "closed_at", 5),
        ]
        for change in changes:
            change()
            seen.append(stream.record())
            assert stream.record() is seen[-1]
        assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("later", [0, 7])
async def test_no_event_is_before_the_newest_of_the_log(later: int) -> None:
    """If a session is loaded from its log, no new event gets an earlier ``ts`` than the newest event in the log.

    This holds even if the stored state (the record) has an earlier time than that event.
    """
    log = MemoryLog()
    async with log:
        await log.make(KEY)
        first = await stream_on(log, Committer(log))
        future = first.now() + 1_000_000
        for ts in (future, future + later):
            first.put(b'"type":"custom","data":', b"{}", at=ts)
            batch = first.batch()
            assert batch is not None
            await log.append([batch])
        again = await stream_on(log, Committer(log))
        assert again.ts == future + later
