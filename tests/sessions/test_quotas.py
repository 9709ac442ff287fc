"""The limits of a user: a use within a limit works, one more use is refused, and the statistics count the refusal."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

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
    EventLog,
    LogUnavailable,
    MemoryLog,
    Run,
    RunFailed,
    Sessions,
    SessionSettings,
    SqliteLog,
    SupervisorSpec,
    open_system,
)
from actors.allowance import Allowance
from actors.spi import Attach, Command
from actors.streams._accounts import Accounts, UserLimits
from actors.testing import EventLogContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from actors import Head, StreamKey
    from actors.spi import CommandReply


COMMAND_IDS = itertools.count(100_000)
"""Numbers of the same length, so that the ids of all commands take the same room."""


class Watcher:
    """A listener that ignores everything."""

    def on_events(self) -> None: ...
    def on_signal(self, name: str, data: bytes) -> None: ...
    def on_ended(self, reason: str) -> None: ...


@asynccontextmanager
async def sessions_with(
    *agents: Callable[..., Awaitable[object]], log: EventLog | None = None, **limits: Any
) -> AsyncIterator[Sessions]:
    registry = Agents()
    for agent in agents:
        registry.add(agent)
    sessions = Sessions(log or MemoryLog(), registry, SessionSettings(**limits))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions


def reached(sessions: Sessions, setting: str) -> int:
    return sessions.statistics().quotas.reached.get(setting, 0)


async def asked(sessions: Sessions, user: str, session: str, name: str, **args: object) -> CommandReply:
    """Send a command as a client does, and return its reply."""
    attachment = await sessions.attach(user, session, Attach("c1", Watcher()))
    replies: list[CommandReply] = []
    done = trio.Event()

    def reply(each: CommandReply) -> None:
        replies.append(each)
        done.set()

    attachment.command(Command(f"c-{next(COMMAND_IDS)}", name, args, "c1", reply))
    await done.wait()
    attachment.detach()
    return replies[0]


# open_questions_per_user


class Asker:
    """Agents that ask their user, and their questions."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.codes: list[str] = []

    async def asks(self, run: Run) -> object:
        self.runs.append(run)
        try:
            return await run.ask_user("Well?")
        except RunFailed as error:
            self.codes.append(error.code)
            return None


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_open_questions_per_user(limit: int, autojump_clock: trio.testing.MockClock) -> None:
    """A user can have ``open_questions_per_user`` open questions, over all sessions. One more raises ``RunFailed``.

    Other users are not affected. An answered question makes room for the next one.
    """
    asker = Asker()
    async with sessions_with(asker.asks, open_questions_per_user=limit, runs_per_user=10) as sessions:
        for number in range(limit):
            await (await sessions.get("ann", f"s{number % 2}")).start("asks")
        await trio.testing.wait_all_tasks_blocked()
        assert (asker.codes, sessions.statistics().quotas.questions) == ([], limit)
        await (await sessions.get("ann", "s9")).start("asks")
        await trio.testing.wait_all_tasks_blocked()
        assert (asker.codes, reached(sessions, "open_questions_per_user")) == (["overloaded"], 1)
        await (await sessions.get("bob", "s1")).start("asks")
        await trio.testing.wait_all_tasks_blocked()
        assert len(asker.codes) == (2 if limit == 0 else 1)
        if limit:
            first = asker.runs[0]
            reply = await asked(
                sessions, "ann", "s0", "input.answer", run_id=first.id, call_id=f"{first.id}.1", value=1
            )
            assert reply.code is None
            await trio.testing.wait_all_tasks_blocked()
            await (await sessions.get("ann", "s9")).start("asks")
            await trio.testing.wait_all_tasks_blocked()
            assert asker.codes == ["overloaded"]
            assert sessions.statistics().quotas.questions == limit + 1


ends = st.lists(st.sampled_from(["ask", "ask", "answer", "timeout", "cancel", "close"]), max_size=25)


@settings(max_examples=scaled(40, 500))
@given(steps=ends, limit=st.integers(0, 3))
def test_open_questions_against_a_model(steps: list[str], limit: int) -> None:
    """A user never has more than ``open_questions_per_user`` open questions, and the statistics have the right number.

    This holds after any sequence of questions that are answered, time out or are cancelled.
    """

    async def main() -> None:
        open_runs: list[tuple[str, str]] = []  # id, how it will end

        async def asks(run: Run, seconds: float | None) -> object:
            return await run.ask_user("Well?", timeout=seconds)

        limits: dict[str, Any] = {
            "open_questions_per_user": limit,
            "runs_per_user": 100,
            "run_seconds": 1e6,
            "idle_seconds": 1e6,
        }
        async with sessions_with(asks, **limits) as sessions:
            refused = 0
            for step in steps:
                handle = await sessions.get("ann", "s1")
                if step in {"ask", "timeout"}:
                    run_id = await handle.start("asks", 10 if step == "timeout" else None)
                    await trio.testing.wait_all_tasks_blocked()
                    if len(open_runs) < limit:
                        open_runs.append((run_id, step))
                    else:
                        refused += 1
                elif step == "cancel" and open_runs:
                    await handle.cancel(open_runs.pop()[0])
                elif step == "answer" and open_runs:
                    run_id = open_runs.pop()[0]
                    await asked(sessions, "ann", "s1", "input.answer", run_id=run_id, call_id=f"{run_id}.1", value=1)
                elif step == "close":
                    await trio.sleep(11)  # the questions with a timeout
                    open_runs = [each for each in open_runs if each[1] == "ask"]
                await trio.testing.wait_all_tasks_blocked()
                assert sessions.statistics().quotas.questions == len(open_runs)
                assert reached(sessions, "open_questions_per_user") == refused

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# Limits inside a run, and of remembered commands


async def test_limits_of_sub_agents_are_counted(autojump_clock: trio.testing.MockClock) -> None:
    """Each sub-agent that is refused by ``max_run_depth`` or ``max_subruns`` is counted in the statistics.

    Sub-agents within these limits are not counted.
    """

    async def deep(run: Run) -> None:
        async with run.subrun("a") as child, child.subrun("b") as last:
            with pytest.raises(RunFailed):
                last.subrun("c")

    async def wide(run: Run) -> None:
        async with run.subrun("a"), run.subrun("b"):
            with pytest.raises(RunFailed):
                run.subrun("c")

    async with sessions_with(deep, wide, max_run_depth=2, max_subruns=2) as sessions:
        for agent in ("deep", "wide"):
            await (await sessions.get("ann", agent)).start(agent)
            await trio.testing.wait_all_tasks_blocked()
        assert dict(sessions.statistics().quotas.reached) == {"max_run_depth": 1, "max_subruns": 1}


async def test_command_memory_bytes_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    """If all replies together have exactly ``command_memory_bytes``, none is forgotten.

    If the limit is one byte smaller, the oldest reply is forgotten. The statistics of the session show the bytes of its
    replies. The statistics of all sessions show how often the limit was reached.
    """

    async def remembered(room: int) -> tuple[int, int, int]:
        async with sessions_with(command_memory_bytes=room) as sessions:
            for number in range(3):
                await asked(sessions, "ann", "s1", "message.send", text=f"{number}")
            one = sessions.of("ann")[0]
            return one.commands, one.command_bytes, reached(sessions, "command_memory_bytes")

    commands, size, _ = await remembered(10_000)
    assert (commands, (await remembered(size))[::2]) == (3, (3, 0))
    assert (await remembered(size - 1))[::2] == (2, 1)


# Accounts


async def test_accounts_of_users_without_sessions_are_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """If a user has no session in memory any more, the user's account (the counts for the limits) is forgotten too.

    This happens when the server next searches for idle sessions.
    """
    async with sessions_with(idle_seconds=10) as sessions:
        for number in range(5):
            await sessions.get(f"user-{number}", "s1")
        assert sessions.statistics().quotas.users == 5
        async with (await sessions.get("user-0", "s1")).lease():
            await trio.sleep(20)
            assert sessions.statistics().quotas.users == 1


def test_numbers_of_full_users_end_with_their_accounts() -> None:
    """A full user counts until there is room again, or until the account is forgotten for any reason."""
    accounts = Accounts(UserLimits())
    for number in range(5):
        accounts.of(f"user-{number}").is_full = True
    accounts.of("user-0").is_full = False
    accounts.of("user-0").is_full = False
    accounts.forget_user("user-1")
    accounts.forget("user-2")
    assert accounts.statistics().full == 2
    accounts.prune({"user-3": 1}.__contains__)
    assert (accounts.statistics().full, accounts.of("user-3").is_full, accounts.of("user-4").is_full) == (
        1,
        True,
        False,
    )
    accounts.forget_log()
    assert accounts.statistics().full == 0


# starts_per_minute


async def quick(run: Run) -> None: ...


@pytest.mark.parametrize("limit", [1, 7, 120])
async def test_starts_per_minute(limit: int, autojump_clock: trio.testing.MockClock) -> None:
    """A user can start ``starts_per_minute`` runs at once, over all sessions. One more is ``rate_limited``.

    A minute later the user can start as many runs again. Other users are not affected.
    """
    async with sessions_with(quick, starts_per_minute=limit, runs_per_user=1000) as sessions:
        for minute in range(3):
            for number in range(limit):
                reply = await asked(sessions, "ann", f"s{number % 3}", "run.start", agent="quick")
                assert reply.code is None
            assert (await asked(sessions, "ann", "s1", "run.start", agent="quick")).code == "rate_limited"
            assert reached(sessions, "starts_per_minute") == minute + 1
            assert (await asked(sessions, "bob", "s1", "run.start", agent="quick")).code is None
            await trio.sleep(60)


async def test_refused_start_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A start that is refused for another reason does not count towards ``starts_per_minute``."""

    async def lasts(run: Run) -> None:
        await trio.sleep(1)

    limits: dict[str, Any] = {"runs_per_user": 1, "queued_runs_per_user": 0, "starts_per_minute": 2}
    async with sessions_with(lasts, **limits) as sessions:
        codes = [(await asked(sessions, "ann", "s1", "run.start", agent="lasts")).code for _ in range(3)]
        assert codes == [None, "overloaded", "overloaded"]
        await trio.sleep(2)
        codes = [(await asked(sessions, "ann", "s1", "run.start", agent="lasts")).code for _ in range(2)]
        assert codes == [None, "rate_limited"]


async def test_starts_without_limit(autojump_clock: trio.testing.MockClock) -> None:
    """If ``starts_per_minute`` is 0, a user can start any number of runs."""
    async with sessions_with(quick, starts_per_minute=0, runs_per_user=1000) as sessions:
        for _ in range(200):
            await (await sessions.get("ann", "s1")).start("quick")
        assert not sessions.statistics().quotas.reached


async def test_new_session_is_no_new_allowance(autojump_clock: trio.testing.MockClock) -> None:
    """If all sessions of a user have ended, the user's starts of the last minute still count in a new session."""
    async with sessions_with(quick, starts_per_minute=3, idle_seconds=2) as sessions:
        for number in range(3):
            await (await sessions.get("ann", f"s{number}")).start("quick")
            await (await sessions.get("ann", f"s{number}")).close()
        await trio.sleep(5)
        assert (len(sessions.of()), sessions.statistics().quotas.users) == (0, 1)
        assert (await asked(sessions, "ann", "new", "run.start", agent="quick")).code == "rate_limited"
        await trio.sleep(65)
        assert sessions.statistics().quotas.users == 0


@settings(max_examples=scaled(100, 2_000))
@given(
    rate=st.integers(1, 50),
    burst=st.integers(1, 50),
    uses=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 100)), max_size=40),
)
def test_allowance_against_a_model(rate: int, burst: int, uses: list[tuple[int, int]]) -> None:
    """An allowance saves up to ``burst`` units and gets ``rate`` units per second. Each use takes units from it.

    If a use takes more than is left, the allowance is below zero. ``wait`` returns the seconds until it is zero again.
    """
    allowance, now, units = Allowance(rate, burst, 0), 0.0, float(burst)
    for quarters, amount in uses:
        now += quarters / 4
        units = min(burst, units + quarters / 4 * rate)
        assert allowance.has(amount, now) == (units >= amount)
        allowance.use(amount, now)
        units -= amount
        assert allowance.left(now) == pytest.approx(units)
        wait = allowance.wait(now)
        assert wait == pytest.approx(max(0, -units / rate))
        assert allowance.is_full(now) == (units >= burst)


# sessions_per_user


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> EventLog:
    return MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.db")


async def refusal(sessions: Sessions, user: str, session: str) -> str:
    try:
        await sessions.get(user, session)
    except CommandRefused as refused:
        return refused.code
    return ""


async def test_sessions_per_user(log: EventLog) -> None:
    """A user can have ``sessions_per_user`` sessions in the log. A further session is refused as ``overloaded``.

    The user can still use the old sessions. Other users are not affected.
    """
    async with sessions_with(log=log, sessions_per_user=3, max_sessions_per_user=1) as sessions:
        for number in range(3):
            assert await refusal(sessions, "ann", f"s{number}") == ""
        assert await refusal(sessions, "ann", "s3") == "overloaded"
        assert reached(sessions, "sessions_per_user") == 1
        assert await refusal(sessions, "ann", "s0") == ""
        assert await refusal(sessions, "bob", "s3") == ""
        assert await log.streams() == [("ann", "s0"), ("ann", "s1"), ("ann", "s2"), ("bob", "s3")]


async def test_sessions_of_earlier_processes_count(tmp_path: Path) -> None:
    """After a restart, a user's sessions in the log still count towards ``sessions_per_user``.

    If the log has more sessions of the user than the limit, the user can use these sessions, but make no new session.
    """
    async with sessions_with(log=SqliteLog(tmp_path / "log.db")) as sessions:
        for number in range(3):
            await sessions.get("ann", f"s{number}")
    async with sessions_with(log=SqliteLog(tmp_path / "log.db"), sessions_per_user=2) as sessions:
        assert await refusal(sessions, "ann", "s3") == "overloaded"
        assert [await refusal(sessions, "ann", f"s{number}") for number in range(3)] == [""] * 3


async def test_forgotten_session_makes_room(log: EventLog) -> None:
    """When retention has removed a session (all its events were too old), the user can have a new session."""
    async with sessions_with(log=log, sessions_per_user=2, max_sessions_per_user=1, forget_seconds=0) as sessions:
        await sessions.get("ann", "s0")
        await sessions.get("ann", "s1")
        assert await refusal(sessions, "ann", "s2") == "overloaded"
        while await log.streams():  # until the clock shows the next millisecond
            await sessions.cleaner.clean()
        assert [await refusal(sessions, "ann", f"s{number}") for number in (2, 3, 4)] == ["", "", "overloaded"]


async def test_concurrent_new_sessions_stay_within_the_limit(log: EventLog) -> None:
    """If many new sessions are asked for at once, at most ``sessions_per_user`` of them are made."""
    codes: list[str] = []

    async with sessions_with(log=log, sessions_per_user=5) as sessions:

        async def ask(number: int) -> None:
            codes.append(await refusal(sessions, "ann", f"s{number}"))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
        assert (codes.count(""), codes.count("overloaded"), len(await log.streams())) == (5, 15, 5)


class FailingLog(MemoryLog):
    """A log in which no session can be made while ``fails`` is set."""

    fails = False

    async def make(self, key: StreamKey) -> Head:
        if self.fails:
            raise LogUnavailable("told to fail")
        return await super().make(key)


async def test_session_that_failed_does_not_count() -> None:
    """A session that could not be made does not count towards ``sessions_per_user``."""
    log = FailingLog()
    async with sessions_with(log=log, sessions_per_user=1) as sessions:
        log.fails = True
        for _ in range(3):
            with pytest.raises(LogUnavailable):
                await sessions.get("ann", "s1")
        log.fails = False
        assert await refusal(sessions, "ann", "s1") == ""


class PlainLog(MemoryLog):
    """A log that has only the methods that every log must have."""

    usage = EventLog.usage


async def test_log_without_usage_is_counted() -> None:
    """If an application's log has no method ``usage`` of its own, the default counts the user's sessions in the log.

    So ``sessions_per_user`` also works with such a log.
    """
    async with sessions_with(log=PlainLog(), sessions_per_user=1) as sessions:
        assert await refusal(sessions, "ann", "s1") == ""
        assert await refusal(sessions, "ann", "s2") == "overloaded"


class TestPlainLog(EventLogContract):
    """The default of ``usage`` keeps the contract."""

    @pytest.fixture
    async def log(self) -> AsyncIterator[EventLog]:
        async with PlainLog() as log:
            yield log


async def test_client_with_too_many_sessions_gets_4005(autojump_clock: trio.testing.MockClock) -> None:
    """A client that asks for a session beyond ``sessions_per_user`` is closed with 4005, and told the reason."""
    async with server_with(sessions_per_user=1).running(port=0) as server:
        async with greeted_in_memory(server, token="ann"), memory_client(server) as one:
            await one.send("hello", session="s2", token="ann")
            ended = await one.ended()
            assert ended.code == 4005
            assert ended.goodbye is not None
            assert "1 sessions" in ended.goodbye["reason"]
