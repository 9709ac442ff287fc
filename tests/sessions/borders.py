"""Failures of every kind, a listener that can fail, and sessions that talk."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from actors import (
    Agents,
    MemoryLog,
    Sessions,
    SessionSettings,
    SupervisorSpec,
    open_system,
)
from actors.spi import Attach, Attachment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from actors import EventLog, Run


class Hidden(Exception):
    """An exception that cannot be shown as text."""

    def __str__(self) -> str:
        raise SystemExit("not even this")

    __repr__ = __str__


def recursion() -> None:
    recursion()


def raiser(error: BaseException) -> Callable[..., None]:
    def fail(*args: object) -> None:
        raise error

    return fail


FAILURES: dict[str, Callable[..., None]] = {
    "an exception": raiser(ValueError("odd")),
    "an exit": raiser(SystemExit(3)),
    "an interrupt": raiser(KeyboardInterrupt()),
    "a cancellation": raiser(trio.Cancelled._create(source="unknown")),  # noqa: SLF001 - there is no other way to one
    "a group": raiser(BaseExceptionGroup("g", [SystemExit(1), ValueError()])),
    "an exception that cannot be shown": raiser(Hidden()),
    "recursion": lambda *_: recursion(),
}


@pytest.fixture(params=FAILURES)
def failure(request: pytest.FixtureRequest) -> Callable[..., None]:
    return FAILURES[request.param]


def nothing(*args: object) -> None: ...


@attrs.define(eq=False)
class Tab:
    """A listener that reads all events. It calls functions of the test when it is notified."""

    when_events: Callable[..., None] = nothing
    when_signal: Callable[..., None] = nothing
    when_ended: Callable[..., None] = nothing
    attachment: Attachment | None = None
    lines: list[bytes] = attrs.Factory(list[bytes])
    signals: list[str] = attrs.Factory(list[str])
    endings: list[str] = attrs.Factory(list[str])

    def on_events(self) -> None:
        self.when_events()
        assert self.attachment is not None
        self.lines += self.attachment.cursor.take(1_000, 1 << 20)

    def on_signal(self, name: str, data: bytes) -> None:
        self.signals.append(name)
        self.when_signal()

    def on_ended(self, reason: str) -> None:
        self.endings.append(reason)
        self.when_ended()

    async def attach(self, sessions: Sessions, session: str = "s1") -> Attachment:
        self.attachment = await sessions.attach("alice", session, Attach(f"c-{id(self)}", self))
        return self.attachment


async def talker(run: Run, count: int) -> str:
    for number in range(count):
        await run.output(f"{number} ")
        run.signal("progress", number)
    return "done"


@asynccontextmanager
async def sessions_with(
    log: EventLog | None = None, settings: SessionSettings | None = None
) -> AsyncIterator[Sessions]:
    agents = Agents()
    agents.add(talker)
    sessions = Sessions(log or MemoryLog(), agents, settings)
    async with open_system() as system:
        supervisor = await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        yield sessions
        children = {child.path: child.restarts for child in system.tree().children[0].children}
        assert set(children.values()) == {0}, (children, supervisor)


async def talk(sessions: Sessions, session: str = "s1", count: int = 40) -> None:
    """Run the agent twice. The second run shows that the session still works."""
    handle = await sessions.get("alice", session)
    for _ in range(2):
        await handle.start("talker", count)
        await trio.testing.wait_all_tasks_blocked()


EVENTS = 2 * (40 + 2)
