"""Observers get the committed events of all sessions, bounded, and cost nothing while there are none."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from actors import (
    AgentCompleted,
    AgentOutput,
    Agents,
    ConfigError,
    Lagged,
    MemoryLog,
    Observed,
    Run,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    open_system,
)
from actors.events.line import build_line, envelope
from actors.streams._committer import Committer
from actors.streams._observed import EventChoice
from actors.streams.observing import ObservedQueue, Observers
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from actors import Observer

KEY = StreamKey("alice", "s1")


@asynccontextmanager
async def sessions_with(log: MemoryLog | FaultyLog | None = None, **settings: Any) -> AsyncGenerator[Sessions]:
    """Run the sessions of a server with one agent, ``talks``, which emits as many outputs as its input says."""

    async def talks(run: Run, count: int) -> str:
        for number in range(count):
            await run.output(str(number))
        return "done"

    agents = Agents()
    agents.add(talks)
    sessions = Sessions(log or MemoryLog(), agents, SessionSettings(**settings))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions


async def talk(sessions: Sessions, count: int, user: str = "alice") -> None:
    await (await sessions.get(user, "s1")).start("talks", count)
    await trio.testing.wait_all_tasks_blocked()


async def waiting(observer: Observer) -> list[Observed | Lagged]:
    """Return the items that the observer can take without waiting."""
    items = [await anext(observer)]
    while observer.waiting:
        items.append(await anext(observer))
    return items


def types(items: list[Observed | Lagged]) -> list[str | int]:
    return [item.missed if isinstance(item, Lagged) else item.event.type for item in items]


async def test_observer_gets_events_after_the_commit(autojump_clock: trio.testing.MockClock) -> None:
    """An observer gets each event of its types once and in order, with user, session and epoch, after the commit."""
    log = MemoryLog()
    async with sessions_with(log) as sessions:
        await talk(sessions, 1)
        async with sessions.observers.observe(("agent_started", AgentCompleted)) as observer:
            await talk(sessions, 2)
            await talk(sessions, 1, "bob")
            items = await waiting(observer)
        assert types(items) == ["agent_started", "agent_completed"] * 2
        events = [item for item in items if isinstance(item, Observed)]
        assert [(one.user, one.session, one.event.seq) for one in events] == [
            ("alice", "s1", 4),
            ("alice", "s1", 7),
            ("bob", "s1", 1),
            ("bob", "s1", 3),
        ]
        head = await log.head(KEY)
        assert head is not None
        assert events[0].epoch == head.epoch
        assert isinstance(events[1].event, AgentCompleted)
        assert events[1].event.result == "done"


async def test_observer_sees_nothing_uncommitted() -> None:
    """An observer gets no event of a commit that failed."""
    log = FaultyLog(MemoryLog())
    async with sessions_with(log) as sessions:
        handle = await sessions.get("alice", "s1")
        async with sessions.observers.observe(()) as observer:
            hold = log.hold("append")
            await handle.emit("n")
            await hold.reached.wait()
            assert observer.waiting == 0
            hold.released.set()
            await trio.testing.wait_all_tasks_blocked()
            assert observer.waiting == 1
            log.fail("append", 2)
            await handle.emit("n")
            await trio.testing.wait_all_tasks_blocked()
            assert observer.waiting == 1


async def test_user_of_an_observer(autojump_clock: trio.testing.MockClock) -> None:
    """With ``user``, an observer gets only events of this user."""
    async with sessions_with() as sessions, sessions.observers.observe(("agent_output",), "bob") as observer:
        await talk(sessions, 2)
        await talk(sessions, 1, "bob")
        items = await waiting(observer)
        assert [item.user for item in items if isinstance(item, Observed)] == ["bob"]


async def test_slow_observer_lags(autojump_clock: trio.testing.MockClock) -> None:
    """At most ``observer_events`` wait for an observer. It gets the number of the events that it missed, once."""
    async with sessions_with(observer_events=3) as sessions, sessions.observers.observe((AgentOutput,)) as observer:
        await talk(sessions, 3)
        assert types(await waiting(observer)) == ["agent_output"] * 3
        await talk(sessions, 5)
        await talk(sessions, 2)
        assert (sessions.statistics().observers.waiting, sessions.statistics().observers.missed) == (3, 4)
        items = await waiting(observer)
        assert types(items) == [4, "agent_output", "agent_output", "agent_output"]
        assert [item.event.data["text"] for item in items if isinstance(item, Observed)] == ["4", "0", "1"]
        assert (sessions.statistics().observers.waiting, sessions.statistics().observers.missed) == (0, 4)


def custom(seq: int, size: int) -> bytes:
    return build_line(seq, seq, envelope("custom", None), b'{"name":"n","value":"%b"}' % (b"x" * size))


def test_bytes_of_a_queue() -> None:
    """A queue drops its oldest events beyond its limit of bytes. The newest event stays, however large it is."""
    queue = ObservedQueue(EventChoice(()), 100, 2 * len(custom(1, 100)), lambda: None)
    assert queue.add(KEY, "e", [custom(1, 100), custom(2, 100)]) == 0
    assert queue.add(KEY, "e", [custom(3, 100)]) == 1
    assert queue.add(KEY, "e", [custom(4, 1000)]) == 2
    assert (queue.take(), len(queue)) == (Lagged(3), 1)
    item = queue.take()
    assert isinstance(item, Observed)
    assert item.event.seq == 4
    assert queue.take() is None
    assert queue.add(KEY, "e", [custom(5, 100), custom(6, 100)]) == 0


async def test_closed_observer(autojump_clock: trio.testing.MockClock) -> None:
    """A closed observer gets no more events, and returns the events that wait."""
    async with sessions_with() as sessions:
        async with sessions.observers.observe(()) as observer:
            assert sessions.statistics().observers.observers == 1
            await talk(sessions, 1)
        assert sessions.statistics().observers.observers == 0
        await talk(sessions, 1)
        assert len([item async for item in observer]) == 3
        await observer.aclose()


def test_no_observer_costs_nothing() -> None:
    """The committer has nothing to call after a commit while no observer is open."""
    committer = Committer(MemoryLog())
    observers = Observers(committer, 1, 1)
    assert committer.watchers == {}
    queues = [observers.open(EventChoice(()), lambda: None) for _ in range(2)]
    assert len(committer.watchers) == 1
    observers.close(queues.pop())
    assert len(committer.watchers) == 1
    queues.clear()  # the other is only forgotten
    assert committer.watchers == {}


async def test_forgotten_observer_is_freed(autojump_clock: trio.testing.MockClock) -> None:
    """An observer that was left without being closed is freed as soon as nothing refers to it."""
    async with sessions_with() as sessions:
        gc.disable()
        try:
            reading = sessions.observers.observe(())
            await talk(sessions, 1)
            async for _ in reading:
                break
            assert sessions.statistics().observers.observers == 1
            del reading
            assert sessions.statistics().observers.observers == 0
        finally:
            gc.enable()


async def test_observers_end_with_the_server(autojump_clock: trio.testing.MockClock) -> None:
    """At the end of the server an observer returns the events that wait, and then its iteration stops."""
    items: list[Observed | Lagged] = []

    async def observe(observer: Observer) -> None:
        items.extend([item async for item in observer])

    async with trio.open_nursery() as nursery:
        async with sessions_with() as sessions:
            nursery.start_soon(observe, sessions.observers.observe(("agent_completed",)))
            await (await sessions.get("alice", "s1")).start("talks", 2)
    assert types(items) == ["agent_completed"]


async def test_cancelled_observer_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A call that is cancelled while it waits or takes an item loses no item."""
    async with sessions_with() as sessions, sessions.observers.observe(("agent_output",)) as observer:
        with trio.move_on_after(1) as waited:
            await observer.__anext__()
        await talk(sessions, 1)
        with trio.CancelScope() as taken:
            taken.cancel()
            await observer.__anext__()
        assert waited.cancelled_caught
        assert taken.cancelled_caught
        assert types(await waiting(observer)) == ["agent_output"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("agent_complete", "there is no event type 'agent_complete'; did you mean 'agent_completed'?"),
        ("x", "there is no event type 'x'; the types are agent_started, agent_thinking, "),
        (5, "there is no event type 5; the types are agent_started, "),
        (int, "there is no event type <class 'int'>; the types are "),
    ],
)
async def test_unknown_types(kind: Any, said: str) -> None:
    """A name that is no event type is an error that names it and what is near."""
    async with sessions_with() as sessions:
        with pytest.raises(ConfigError) as raised:
            sessions.observers.observe((kind,))
        assert str(raised.value).startswith(said)


async def test_wrong_user() -> None:
    """A user that is not a string is refused."""
    wrong: Any = 5
    async with sessions_with() as sessions:
        with pytest.raises(ConfigError, match=r"^user must be the id of a user or None, not 5$"):
            sessions.observers.observe((), wrong)


def test_type_in_any_form() -> None:
    """Events are chosen by their own type, in whatever form another program wrote the line, and not by their data."""
    other = b'{"type": "custom", "seq": 1, "ts": 1, "data": {"name": "n"}}'
    quoting = build_line(1, 1, envelope("user_message", None), b'{"text":"\\"type\\":\\"custom\\""}')
    lines = [other, quoting, b"no json", b"[]"]
    assert EventChoice(("custom",)).of("alice", lines) == [other]
    assert EventChoice(()).of("alice", lines) == lines
    assert EventChoice((), "bob").of("alice", lines) == ()
