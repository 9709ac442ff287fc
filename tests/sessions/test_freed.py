"""Ended sessions, runs and tool calls are freed from memory at once, without a garbage collection.

A session keeps up to 5 MB of events in memory, and a server delays garbage collections. *Reference cycles of 300 ended
sessions once held a gigabyte.*
"""

from __future__ import annotations

import gc
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from actors import (
    ActorTerminated,
    Agents,
    LogUnavailable,
    MemoryLog,
    Run,
    Sessions,
    SessionSettings,
    SupervisorSpec,
    open_system,
)
from actors.runs._recorder import RunRecorder
from actors.runs._scope import RunScope
from actors.runs._tools import ToolCall
from actors.sessions._command_memory import CommandMemory
from actors.sessions._session import Session
from actors.spi import Attach, Command, CommandReply
from actors.streams._cursor import Cursor
from actors.streams._ring import Ring
from actors.streams._stream import SessionStream
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

KINDS = (Session, RunRecorder, SessionStream, Ring, Cursor, CommandMemory, Run, RunScope, ToolCall)
IDLE = 100.0


@pytest.fixture
def without_collector() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # pytest keeps what is logged, with the tracebacks
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


def living() -> dict[int, object]:
    """Return all objects of the classes in KINDS that are in memory, by their ids."""
    return {id(each): each for each in gc.get_objects() if isinstance(each, KINDS)}


async def speak(run: Run) -> None:
    await run.output("x")


async def fail(run: Run) -> None:
    await run.output("x")
    raise ValueError("told to fail")


async def hang(run: Run) -> None:
    await run.output("x")
    await trio.sleep_forever()


async def take_too_long(run: Run) -> None:
    with trio.fail_after(1):
        await trio.sleep_forever()


async def delegate(run: Run) -> None:
    await run.call_agent(speak)
    with suppress(Exception):
        await run.call_agent(fail)
    async with run.subrun("inline") as child:
        await child.output("x")


async def look(x: int) -> int:
    return x


async def break_down() -> None:
    raise ValueError("told to fail")


def look_in_a_thread() -> int:
    return 1


async def use_tools(run: Run) -> None:
    await run.call_tool(look, x=1)
    with suppress(ValueError):
        await run.call_tool(break_down)
    with suppress(Exception):
        await run.call_tool(trio.sleep_forever, timeout=1)
    await run.call_tool(look_in_a_thread)
    async with run.tool("elsewhere", {}) as call:
        call.result = 1


async def ask(run: Run) -> None:
    with suppress(TimeoutError):
        await run.ask_user("?", timeout=1)


AGENTS = (speak, fail, hang, take_too_long, delegate, use_tools, ask)


class Watcher:
    """A listener that ignores everything."""

    def on_events(self) -> None: ...
    def on_signal(self, name: str, data: bytes) -> None: ...
    def on_ended(self, reason: str) -> None: ...


@asynccontextmanager
async def sessions_with(**settings: Any) -> AsyncIterator[Sessions]:
    agents = Agents()
    for agent in AGENTS:
        agents.add(agent)
    sessions = Sessions(FaultyLog(MemoryLog()), agents, SessionSettings(idle_seconds=IDLE, drain_seconds=1, **settings))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions


async def use(sessions: Sessions, name: str, agent: str) -> None:
    """Attach to a session, type, send one start twice with the same id, send two messages, and detach."""
    attachment = await sessions.attach("ann", name, Attach("c1", Watcher()))
    attachment.typing_changed(active=True)
    for number in range(2):
        replied = trio.Event()

        def note(reply: CommandReply, replied: trio.Event = replied) -> None:
            del reply
            replied.set()

        attachment.command(Command("start", "run.start", {"agent": agent}, "c1", note))
        attachment.command(Command(f"message-{number}", "message.send", {"text": "hi"}, "c1", note))
        await replied.wait()
    await trio.sleep(10)
    attachment.detach()


async def reaped(sessions: Sessions, name: str) -> None:
    await trio.sleep(2 * IDLE)
    assert name not in [each.session for each in sessions.of()]


async def cancelled(sessions: Sessions, name: str) -> None:
    for each in await runs_of(sessions, name):
        assert await (await sessions.get("ann", name)).cancel(each)
    await reaped(sessions, name)


async def runs_of(sessions: Sessions, name: str) -> list[str]:
    attachment = await sessions.attach("ann", name, Attach("c2", Watcher()))
    attachment.detach()
    return [run.id for run in attachment.runs]


async def closed(sessions: Sessions, name: str) -> None:
    await (await sessions.get("ann", name)).close()


async def crashed(sessions: Sessions, name: str) -> None:
    """Let a commit to the log fail while a run is open."""
    log = sessions._log  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  made by sessions_with()
    assert isinstance(log, FaultyLog)
    log.fail("append")
    with suppress(ActorTerminated, LogUnavailable):
        await (await sessions.get("ann", name)).emit("x")
    await trio.sleep(1)
    assert sessions.of() == ()


async def broken(sessions: Sessions, name: str) -> None:
    """Raise in the code of the session, so that the traceback refers to the session."""

    def fall(session: Session, typing: object) -> None:
        raise ValueError(f"{session} was told to fail at {typing}")

    attachment = await sessions.attach("ann", name, Attach("c2", Watcher()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_show_typing", fall)
        attachment.typing_changed(active=True)
        await trio.sleep(1)
    attachment.detach()
    # As a connection does. The traceback leads to this coroutine, which has told the session.
    del attachment
    assert sessions.of() == ()


ENDS = [
    *[(agent, reaped) for agent in AGENTS if agent is not hang],
    *[(hang, end) for end in (cancelled, closed, crashed, broken)],
]


@pytest.mark.parametrize(("agent", "end"), ENDS)
async def test_ended_session_is_freed(
    agent: Callable[[Run], Awaitable[None]],
    end: Callable[[Sessions, str], Awaitable[None]],
    without_collector: None,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """When a session has ended, all its objects are freed without a garbage collection, while the server still runs."""
    autojump_clock.autojump_threshold = 0.01  # a thread takes no time on this clock
    async with sessions_with() as sessions:
        await use(sessions, "first", agent.__name__)
        await end(sessions, "first")
        before = living()
        await use(sessions, "second", agent.__name__)
        assert len(living()) > len(before)
        await end(sessions, "second")
        await trio.testing.wait_all_tasks_blocked()
        left = [each for id_, each in living().items() if id_ not in before]
        assert left == []


@pytest.mark.parametrize("agent", ["speak", "hang"])
async def test_sessions_of_an_ended_server_are_freed(
    agent: str, without_collector: None, autojump_clock: trio.testing.MockClock
) -> None:
    """When a server has ended, all objects of its sessions are freed, even if a run had to be stopped."""
    before = living()
    async with sessions_with() as sessions:
        await use(sessions, "first", agent)
    left = [each for id_, each in living().items() if id_ not in before]
    assert sessions.statistics().sessions == 0
    assert left == []
