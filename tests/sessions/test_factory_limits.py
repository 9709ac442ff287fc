"""Limits on sessions in memory: one actor for each, a maximum for each user and in total, idle ones leave first."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol.wire import greeted_in_memory, memory_client
from suites.stage import server_with

from actors import (
    Agents,
    CommandRefused,
    LogUnavailable,
    MemoryLog,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    open_system,
)
from actors.spi import Attach

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from actors import EventLog, Head, Run


class Watcher:
    """A listener that ignores everything."""

    def on_events(self) -> None: ...
    def on_signal(self, name: str, data: bytes) -> None: ...
    def on_ended(self, reason: str) -> None: ...


async def waits(run: Run) -> None:
    await trio.sleep(50)


@asynccontextmanager
async def sessions_with(log: EventLog | None = None, **limits: Any) -> AsyncIterator[Sessions]:
    agents = Agents()
    agents.add(waits)
    sessions = Sessions(log or MemoryLog(), agents, SessionSettings(**{"idle_seconds": 1e6, **limits}))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions


def in_memory(sessions: Sessions) -> list[str]:
    return sorted(f"{each.user}/{each.session}" for each in sessions.of())


async def refused(sessions: Sessions, user: str, session: str) -> bool:
    """Ask for the session. Return whether it was refused because there is no room."""
    try:
        await sessions.get(user, session)
    except CommandRefused as refusal:
        return refusal.code == "overloaded"
    return False


async def attach(sessions: Sessions, user: str, session: str) -> Any:
    """Attach to the session, so that it is not idle. Return the attachment, which the test must detach."""
    return await sessions.attach(user, session, Attach("c1", Watcher()))


# The limits


async def test_limit_of_all_sessions(autojump_clock: trio.testing.MockClock) -> None:
    """If ``max_sessions`` sessions are in use, a new session is refused.

    When one of them is no longer in use, a new session is accepted.
    """
    async with sessions_with(max_sessions=3) as sessions:
        attached = [await attach(sessions, f"user-{number}", "s") for number in range(3)]
        assert sessions.statistics().sessions == 3
        assert await refused(sessions, "user-3", "s")
        assert not await refused(sessions, "user-0", "s")  # it is in memory already
        attached[1].detach()
        await trio.sleep(0.1)  # then idle sessions are searched again
        assert not await refused(sessions, "user-3", "s")
        assert in_memory(sessions) == ["user-0/s", "user-2/s", "user-3/s"]


async def test_limit_of_a_user(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If ``max_sessions_per_user`` sessions of a user are in use, another one of this user is refused.

    Other users can still have new sessions.
    """
    async with sessions_with(max_sessions_per_user=2, max_sessions=5) as sessions:
        attached = [await attach(sessions, "ann", f"s{number}") for number in range(2)]
        assert await refused(sessions, "ann", "s2")
        assert not await refused(sessions, "bob", "s0")
        attached[0].detach()
        assert not await refused(sessions, "ann", "s2")
        assert in_memory(sessions) == ["ann/s1", "ann/s2", "bob/s0"]


async def test_user_at_the_limit_displaces_own_sessions(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a user is at the limit and needs another session, the user's own idle session leaves memory to make room.

    No session of another user leaves memory, even if it has been idle for longer.
    """
    async with sessions_with(max_sessions_per_user=2, max_sessions=5) as sessions:
        await sessions.get("bob", "old")
        await trio.sleep(10)
        for number in range(4):
            await sessions.get("ann", f"s{number}")
        assert in_memory(sessions) == ["ann/s2", "ann/s3", "bob/old"]


async def test_client_without_room_comes_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If there is no room for a client's session, the client is closed with 4005 (overloaded).

    It is told when to come back. When there is room again, it is accepted.
    """
    async with server_with(max_sessions=1).running(port=0) as server:
        async with greeted_in_memory(server, token="ann"), memory_client(server) as one:
            await one.send("hello", session="s1", token="bob")
            ended = await one.ended()
            assert ended.code == 4005
            assert ended.goodbye is not None
            assert ended.goodbye["retry_ms"] >= 100
        await trio.sleep(0.1)
        async with greeted_in_memory(server, token="bob") as one:
            await one.say("let in")


# Displaced sessions


@pytest.mark.parametrize("need", ["attached", "run", "queued run", "lease"])
async def test_used_session_is_never_displaced(need: str, autojump_clock: trio.testing.MockClock) -> None:
    """A session with a client, a run, a queued run or a lease never leaves memory to make room for another session.

    When the session no longer has any of these, it can leave memory.
    """
    async with sessions_with(max_sessions=2, runs_per_user=1) as sessions, trio.open_nursery() as nursery:
        async with AsyncExitStack() as stack:
            handle = await sessions.get("ann", "needed")
            if need == "attached":
                stack.callback((await attach(sessions, "ann", "needed")).detach)
            elif need == "lease":
                await stack.enter_async_context(handle.lease())
            elif need == "run":
                await handle.start("waits")
            else:
                await (await sessions.get("ann", "first")).start("waits")
                nursery.start_soon(handle.start, "waits")
                await trio.testing.wait_all_tasks_blocked()
            for number in range(3):
                await refused(sessions, "bob", f"s{number}")
                assert "ann/needed" in in_memory(sessions)
        await trio.sleep(200)
        for number in range(3):
            assert not await refused(sessions, "bob", f"s{number}")
        assert in_memory(sessions) == ["bob/s1", "bob/s2"]


async def test_least_recently_used_goes_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If a new session needs room, the session that has been idle for longest leaves memory.

    The order of creation is ignored.
    """
    async with sessions_with(max_sessions=3) as sessions:
        handles = []
        for number in range(3):
            handles.append(await sessions.get("ann", f"s{number}"))
            await trio.sleep(1)
        await handles[0].emit("used again")
        for number, expected in ((3, "s0 s2 s3"), (4, "s0 s3 s4"), (5, "s3 s4 s5")):
            await trio.sleep(1)
            await sessions.get("ann", f"s{number}")
            assert in_memory(sessions) == [f"ann/{name}" for name in expected.split()]


async def test_end_of_a_run_counts_as_use(autojump_clock: trio.testing.MockClock) -> None:
    """The idle time of a session begins when its last run ends, not when the run was started."""
    async with sessions_with(max_sessions=2) as sessions:
        await (await sessions.get("ann", "ran")).start("waits")
        await trio.sleep(40)
        await sessions.get("ann", "idle since")
        await trio.sleep(20)  # the run has ended 10 s ago
        await sessions.get("ann", "new")
        assert in_memory(sessions) == ["ann/new", "ann/ran"]


async def test_displaced_session_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    """If a session has left memory, it can be loaded again.

    It has all its events, and new events continue the numbering.
    """
    log = MemoryLog()
    async with sessions_with(log, max_sessions=2) as sessions:
        for turn in range(3):
            for number in range(5):
                await (await sessions.get("ann", f"s{number}")).emit("turn", turn)
        for number in range(5):
            lines = await log.read(StreamKey("ann", f"s{number}"), 0, 100, 10**6)
            events = [orjson.loads(line) for line in lines]
            assert [(event["seq"], event["data"]["value"]) for event in events] == [(1, 0), (2, 1), (3, 2)]
        assert sessions.statistics().crashed == 0


Step = tuple[str, int]
steps = st.lists(st.tuples(st.sampled_from(["use", "use", "attach", "detach"]), st.integers(0, 7)), max_size=40)


@settings(max_examples=scaled(40, 500))
@given(script=steps, limit=st.integers(1, 4))
def test_sessions_in_memory_against_a_model(script: list[Step], limit: int) -> None:
    """After any sequence of uses, the sessions in memory are the same as in a simple model.

    The model keeps the attached sessions, and a list of the other sessions in the order of their last use.
    """

    async def main() -> None:
        order: list[int] = []
        attached: dict[int, Any] = {}
        async with sessions_with(max_sessions=limit) as sessions:
            for what, number in script:
                await trio.sleep(1)
                if what == "detach":
                    if number in attached:
                        attached.pop(number).detach()
                        order.remove(number)
                        order.append(number)
                    continue
                idle = [each for each in order if each not in attached]
                full = number not in order and len(order) == limit
                if full and not idle:
                    assert await refused(sessions, "ann", f"s{number}")
                    continue
                if full:
                    order.remove(idle[0])
                order = [each for each in order if each != number] + [number]
                if what == "attach" and number not in attached:
                    attached[number] = await attach(sessions, "ann", f"s{number}")
                else:
                    await (await sessions.get("ann", f"s{number}")).emit("used")
                assert in_memory(sessions) == sorted(f"ann/s{each}" for each in order)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# Concurrent callers


async def test_concurrent_callers_get_one_actor(autojump_clock: trio.testing.MockClock) -> None:
    """If several callers ask for the same session at the same time, only one actor is made, and all of them get it."""
    async with sessions_with() as sessions:
        refs: set[object] = set()

        async def call() -> None:
            refs.add(await sessions.get_or_spawn(StreamKey("ann", "s1")))

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(call)
        assert (len(refs), sessions.statistics().spawned) == (1, 1)


async def test_concurrent_callers_stay_within_the_limits(autojump_clock: trio.testing.MockClock) -> None:
    """If several callers ask for new sessions at the same time, the limits on sessions are never exceeded."""
    async with sessions_with(max_sessions=5, max_sessions_per_user=2) as sessions:
        most = 0

        async def call(number: int) -> None:
            nonlocal most
            await refused(sessions, f"user-{number % 4}", f"s{number % 7}")
            most = max(most, sessions.statistics().sessions)

        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for number in range(60):
                    nursery.start_soon(call, number)
        assert most == 5
        users = [name.partition("/")[0] for name in in_memory(sessions)]
        assert max(users.count(user) for user in users) <= 2


class Unreadable(MemoryLog):
    """A log that can be told to fail when a session is made."""

    fails = False

    async def make(self, key: StreamKey) -> Head:
        if self.fails:
            raise LogUnavailable("told to fail")
        return await super().make(key)


async def test_failed_session_takes_no_place(autojump_clock: trio.testing.MockClock) -> None:
    """If a session cannot be made, it does not count towards ``max_sessions``."""
    log = Unreadable()
    async with sessions_with(log, max_sessions=1) as sessions:
        await (await sessions.get("bob", "s1")).emit("displaced")
        log.fails = True
        with pytest.raises(LogUnavailable):
            await sessions.get("ann", "s1")
        log.fails = False
        assert sessions.statistics().sessions == 0
        assert not await refused(sessions, "cid", "s1")
