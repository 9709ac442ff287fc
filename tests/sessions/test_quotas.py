"""The limits of a user: what is within a limit works, one more is refused, and the statistics count the refusal."""

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

from actors import Agents, MemoryLog, Run, RunFailed, Sessions, SessionSettings, SupervisorSpec, open_system
from actors.spi import Attach, Command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from actors import EventLog
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
    """However questions end, the number of open ones is right, and never above ``open_questions_per_user``."""

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
    """The statistics count how often ``max_run_depth`` and ``max_subruns`` were reached, and nothing within them."""

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
    """Replies that fit ``command_memory_bytes`` exactly are all remembered. One byte less, and the oldest is forgotten.

    The statistics of the session show the bytes, and those of all sessions how often the limit was reached.
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
    """The account of a user is forgotten when the user has no session in memory, with the next search for idle ones."""
    async with sessions_with(idle_seconds=10) as sessions:
        for number in range(5):
            await sessions.get(f"user-{number}", "s1")
        assert sessions.statistics().quotas.users == 5
        async with (await sessions.get("user-0", "s1")).lease():
            await trio.sleep(20)
            assert sessions.statistics().quotas.users == 1
