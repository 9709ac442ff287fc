"""An agent is called only when the log has its start.

So a start that is sent again after a crash calls it only once.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import pytest
import trio
import trio.testing
from _scale import scaled
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from actors import (
    ActorRef,
    ActorSystem,
    ActorTerminated,
    Agents,
    Batch,
    CommandRefused,
    LogError,
    LogUnavailable,
    MemoryLog,
    Sessions,
    SessionSettings,
    StreamKey,
    SupervisorSpec,
    open_system,
)
from actors.spi import Attach, Attachment, Command, CommandReply
from actors.testing import FaultyLog, Hold

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from trio.testing import MockClock

    from actors import EventLog, Run

KEY = StreamKey("alice", "s1")
RUN_SECONDS = 100.0


class Lasting(MemoryLog):
    """A log in memory that acts like one in a file: it outlives its process, and keeps its events when it is closed."""

    outlives_process = True

    def __init__(self) -> None:
        super().__init__()
        self.fails = 0
        """Number of appends that fail from now on, after they were held."""
        self.lines: list[Any] = []

    async def append(self, batches: Sequence[Batch]) -> None:
        if self.fails:
            self.fails -= 1
            raise LogUnavailable("told to fail")
        await super().append(batches)
        self.lines += [orjson.loads(line) for batch in batches for line in batch.lines]

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


class Tab:
    """A listener that ignores everything."""

    def on_events(self) -> None: ...
    def on_signal(self, name: str, data: bytes) -> None: ...
    def on_ended(self, reason: str) -> None: ...


@attrs.define(eq=False)
class Scene:
    """One session, with an agent that notes each of its calls."""

    sessions: Sessions
    system: ActorSystem
    lasting: Lasting
    log: FaultyLog
    called: list[str] = attrs.Factory(list[str])
    known: list[bool] = attrs.Factory(list[bool])
    """Whether the log had ``agent_started``, for each call."""
    replies: list[CommandReply] = attrs.Factory(list[CommandReply])

    async def notes(self, run: Run, name: str) -> None:
        self.called.append(name)
        self.known.append(any(event.get("run_id") == run.id for event in self.lasting.lines))
        await run.output(name)

    async def attach(self) -> Attachment:
        return await self.sessions.attach(*KEY, Attach("c1", Tab()))

    async def command(self, id_: str, name: str, **args: object) -> None:
        """Send a command as a client does. Return when nothing else happens any more."""
        attachment = await self.attach()
        attachment.command(Command(id_, name, args, "c1", self.replies.append))
        attachment.detach()
        await wait_all_tasks_blocked()

    async def start(self, id_: str) -> None:
        await self.command(id_, "run.start", agent="notes", input=id_)

    async def start_held(self, id_: str) -> Hold:
        """Start a run, and hold the commit of its ``agent_started``."""
        await self.attach()
        hold = self.log.hold("append")
        await self.start(id_)
        assert hold.reached.is_set()
        return hold

    async def release_when_blocked(self, hold: Hold) -> None:
        """Release the commit when nothing else happens any more."""
        await wait_all_tasks_blocked()
        await self.release(hold)

    async def release(self, hold: Hold) -> None:
        hold.released.set()
        await wait_all_tasks_blocked()

    async def try_to(self, id_: str, name: str, args: dict[str, Any]) -> None:
        """Send a command as a client does, and ignore the end of the session."""
        with suppress(LogError, ActorTerminated, CommandRefused):
            attachment = await self.attach()
            attachment.command(Command(id_, name, args, "c1", self.replies.append))
            attachment.detach()

    def session(self) -> ActorRef | None:
        """Return the session's actor, or None if there is none."""
        return self.system.find("/supervisor-1/sessions/all/alice:s1")

    def answers(self) -> list[tuple[str, str | None]]:
        """Return the replies so far: the id of each command, and the error code if it was refused."""
        return [(reply.id, reply.code) for reply in self.replies]

    def kept(self) -> list[tuple[str, str | None]]:
        """Return the type and status of each event in the log."""
        return [(event["type"], event["data"].get("status")) for event in self.lasting.lines]


@asynccontextmanager
async def scene(wrapped: EventLog | None = None, **options: Any) -> AsyncGenerator[Scene]:
    lasting = Lasting()
    log = FaultyLog(wrapped or lasting)
    agents = Agents()
    sessions = Sessions(log, agents, SessionSettings(run_seconds=RUN_SECONDS, **options))
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        it = Scene(sessions, system, lasting, log)
        agents.add(it.notes)
        yield it


@pytest.fixture
async def held() -> AsyncIterator[Scene]:
    async with scene() as it:
        yield it


BEGUN = [("agent_started", None)]
DONE = [*BEGUN, ("agent_output", None), ("agent_completed", "ok")]


def closed_as(status: str) -> list[tuple[str, str | None]]:
    return [*BEGUN, ("agent_completed", status)]


async def test_agent_is_called_after_the_commit(held: Scene) -> None:
    """An agent is called as soon as its event ``agent_started`` is committed to the log, and not earlier.

    It does not wait for the commit of later events.
    """
    hold = await held.start_held("a")
    next_hold = held.log.hold("append")
    await held.command("m", "message.send", text="meanwhile")
    assert (held.called, held.replies) == ([], [])
    await held.release(hold)
    assert next_hold.reached.is_set()
    assert (held.called, held.known, held.answers()) == (["a"], [True], [("a", None)])
    await held.release(next_hold)
    assert held.answers() == [("a", None), ("m", None)]


async def test_agent_of_a_queued_start_is_called_after_the_commit() -> None:
    """If a start waited in the queue, its agent too is called only after its ``agent_started`` is committed."""
    async with scene(runs_per_user=1) as it:
        first = await it.start_held("a")
        await it.start("b")
        second, third = it.log.hold("append"), it.log.hold("append")
        await it.release(first)  # the events of a, and the start of b, are held
        assert (it.called, it.answers()) == (["a"], [("a", None)])
        await it.release(second)
        await it.release(third)
        assert (it.called, it.known, it.answers()) == (["a", "b"], [True, True], [("a", None), ("b", None)])


async def test_log_in_memory_is_not_waited_for() -> None:
    """If the log is only in memory, an agent is called without waiting for the commit.

    Such a log is lost with its process, so no client can send the start again.
    """
    async with scene(MemoryLog()) as it:
        hold = await it.start_held("a")
        assert (it.called, it.replies) == (["a"], [])
        await it.release(hold)
        assert it.answers() == [("a", None)]


async def test_start_of_the_server_does_not_wait(held: Scene, nursery: trio.Nursery) -> None:
    """If the server's own code starts a run, the agent is called without waiting for the commit.

    Such code does not send a start again.
    """
    handle = await held.sessions.get(*KEY)
    hold = held.log.hold("append")
    nursery.start_soon(handle.start, "notes", "a")
    await wait_all_tasks_blocked()
    assert (held.called, held.known) == (["a"], [False])
    await held.release(hold)
    assert held.kept() == DONE


async def test_cancelled_before_the_commit(held: Scene) -> None:
    """If a run is cancelled before its start is committed to the log, its agent is never called.

    The cancel command gets its reply after the commit.
    """
    hold = await held.start_held("a")
    await held.command("c", "run.cancel", command_id="a")
    assert (held.called, held.replies) == ([], [])
    await held.release(hold)
    assert (held.called, held.kept()) == ([], closed_as("cancelled"))
    assert held.answers() == [("a", None), ("c", None)]
    await held.start("a")
    assert (held.called, held.replies[-1].duplicate) == ([], True)


async def test_timeout_before_the_commit(held: Scene, autojump_clock: MockClock) -> None:
    """If a run times out before its start is committed to the log, its agent is never called.

    So a log that hangs delays no run beyond its timeout.
    """
    hold = await held.start_held("a")
    await trio.sleep(RUN_SECONDS + 1)
    assert held.sessions.statistics().runs.running == 0
    await held.release(hold)
    assert (held.called, held.kept()) == ([], closed_as("timeout"))


async def test_close_before_the_commit(held: Scene) -> None:
    """If a session is closed permanently before a start is committed to the log, its agent is never called."""
    hold = await held.start_held("a")
    await held.command("x", "session.close")
    await held.release(hold)
    assert (held.called, held.kept()) == ([], closed_as("cancelled"))
    assert held.answers() == [("a", None), ("x", None)]


async def test_stop_before_the_commit(nursery: trio.Nursery) -> None:
    """If a server is stopped before a start is committed, it still commits the start, but never calls the agent."""
    async with scene() as it:
        hold = await it.start_held("a")
        nursery.start_soon(it.release_when_blocked, hold)
    assert (it.called, it.kept()) == ([], closed_as("cancelled"))


async def test_crash_before_the_commit(held: Scene) -> None:
    """If the server crashes before a start is committed to the log, its agent is never called.

    After the restart the session closes the run.
    """
    hold = await held.start_held("a")
    session = held.session()
    assert session is not None
    session.kill()
    await held.release(hold)
    await held.start("a")
    assert held.called == []
    assert held.kept() == closed_as("interrupted")


@pytest.mark.parametrize("cancelled", [False, True])
async def test_failed_commit_of_a_start(held: Scene, caplog: pytest.LogCaptureFixture, *, cancelled: bool) -> None:
    """If the commit of a start fails, the session ends and the agent is not called.

    No logged message says that the agent has failed.
    """
    hold = await held.start_held("a")
    held.lasting.fails = 1
    if cancelled:
        await held.command("c", "run.cancel", command_id="a")
    await held.release(hold)
    assert (held.called, held.kept()) == ([], [])
    assert held.answers() == [("a", "internal"), ("c", "internal")][: 1 + cancelled]
    assert "agent notes" not in caplog.text
    await held.start("a")
    assert (held.called, held.known, held.kept()) == (["a"], [True], DONE)


COMMANDS = ("a", "b", "c")
steps = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(COMMANDS)),
    st.tuples(st.just("cancel"), st.sampled_from(COMMANDS)),
    st.tuples(st.sampled_from(["hold", "release", "fail", "crash"]), st.just("")),
)


Step = tuple[str, str]


async def play(script: list[Step]) -> None:
    async with scene(runs_per_user=2) as it, trio.open_nursery() as nursery:
        holds: list[Hold] = []
        for number, (what, which) in enumerate(script):
            if what == "start":
                nursery.start_soon(it.try_to, which, "run.start", {"agent": "notes", "input": which})
            elif what == "cancel":
                nursery.start_soon(it.try_to, f"cancel-{number}", "run.cancel", {"command_id": which})
            elif what == "hold":
                holds.append(it.log.hold("append"))
            elif what == "fail":
                it.lasting.fails = 1
            elif what == "crash" and (session := it.session()) is not None:
                session.kill()
            elif what == "release":
                _release(holds)
            await wait_all_tasks_blocked()
        _release(holds)
    assert (all(it.known), sorted(it.called)) == (True, sorted(set(it.called)))


def _release(holds: list[Hold]) -> None:
    for hold in holds:
        hold.released.set()


@settings(max_examples=scaled(60, 3_000), deadline=None)
@example(script=[("hold", ""), ("start", "a"), ("crash", ""), ("start", "a"), ("crash", "")])  # killed as it starts
@given(script=st.lists(steps, max_size=scaled(16, 40)))
def test_start_calls_its_agent_at_most_once(script: list[Step]) -> None:
    """Each start calls its agent at most once, and only if the start is in the log.

    This holds for any sequence of crashes, cancels and faults.
    """
    trio.run(play, script, clock=trio.testing.MockClock(autojump_threshold=0))
