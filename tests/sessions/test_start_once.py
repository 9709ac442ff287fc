"""The agent of a start that a client may send again is called once the log has that start: so it is called once."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import pytest
import trio
import trio.testing
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from actors import (
    ActorRef,
    ActorSystem,
    ActorTerminated,
    Agents,
    Batch,
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
    """Stands for a log in a file: says that it outlives its process, and keeps everything when it is closed."""

    outlives_process = True

    def __init__(self) -> None:
        super().__init__()
        self.fails = 0
        """How many appends fail from now on, after they were held."""
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
    """A listener that listens to nothing."""

    def on_events(self) -> None: ...
    def on_signal(self, name: str, data: bytes) -> None: ...
    def on_ended(self, reason: str) -> None: ...


@attrs.define(eq=False)
class Scene:
    """A session, whose agent notes by what name it was called, and what the log had then."""

    sessions: Sessions
    system: ActorSystem
    lasting: Lasting
    log: FaultyLog
    called: list[str] = attrs.Factory(list[str])
    known: list[bool] = attrs.Factory(list[bool])
    """Of each call, whether the log had its ``agent_started``."""
    replies: list[CommandReply] = attrs.Factory(list[CommandReply])

    async def notes(self, run: Run, name: str) -> None:
        self.called.append(name)
        self.known.append(any(event.get("run_id") == run.id for event in self.lasting.lines))
        await run.output(name)

    async def attach(self) -> Attachment:
        return await self.sessions.attach(*KEY, Attach("c1", Tab()))

    async def command(self, id_: str, name: str, **args: object) -> None:
        """Do as a client does; return when nothing more happens by itself."""
        attachment = await self.attach()
        attachment.command(Command(id_, name, args, "c1", self.replies.append))
        attachment.detach()
        await wait_all_tasks_blocked()

    async def start(self, id_: str) -> None:
        await self.command(id_, "run.start", agent="notes", input=id_)

    async def start_held(self, id_: str) -> Hold:
        """Start with the commit of ``agent_started`` held."""
        await self.attach()
        hold = self.log.hold("append")
        await self.start(id_)
        assert hold.reached.is_set()
        return hold

    async def release_when_blocked(self, hold: Hold) -> None:
        """Release once nothing happens by itself any more."""
        await wait_all_tasks_blocked()
        await self.release(hold)

    async def release(self, hold: Hold) -> None:
        hold.released.set()
        await wait_all_tasks_blocked()

    async def try_to(self, id_: str, name: str, args: dict[str, Any]) -> None:
        """Do as a client does that is not told where its session ends."""
        with suppress(LogError, ActorTerminated):
            attachment = await self.attach()
            attachment.command(Command(id_, name, args, "c1", self.replies.append))
            attachment.detach()

    def session(self) -> ActorRef | None:
        """Return the session's actor, None where there is none."""
        return self.system.find("/supervisor-1/sessions/all/alice:s1")

    def answers(self) -> list[tuple[str, str | None]]:
        """Return the replies so far: command and code of the refusal."""
        return [(reply.id, reply.code) for reply in self.replies]

    def kept(self) -> list[tuple[str, str | None]]:
        """Return what the log has: types, and how what ended ended."""
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


async def test_the_agent_is_called_once_its_start_is_committed(held: Scene) -> None:
    """Not a line of it before; what else is emitted meanwhile is not waited for."""
    hold = await held.start_held("a")
    next_hold = held.log.hold("append")
    await held.command("m", "message.send", text="meanwhile")
    assert (held.called, held.replies) == ([], [])
    await held.release(hold)
    assert next_hold.reached.is_set()
    assert (held.called, held.known, held.answers()) == (["a"], [True], [("a", None)])
    await held.release(next_hold)
    assert held.answers() == [("a", None), ("m", None)]


async def test_so_is_the_agent_of_a_start_that_waited_for_its_turn() -> None:
    """Its run begins long after its command came."""
    async with scene(runs_per_user=1) as it:
        first = await it.start_held("a")
        await it.start("b")
        second, third = it.log.hold("append"), it.log.hold("append")
        await it.release(first)  # what a does, and how b begins, is held
        assert (it.called, it.answers()) == (["a"], [("a", None)])
        await it.release(second)
        await it.release(third)
        assert (it.called, it.known, it.answers()) == (["a", "b"], [True, True], [("a", None), ("b", None)])


async def test_a_log_that_ends_with_its_process_is_not_waited_for() -> None:
    """With it the start and its command are gone: nobody can send it again to a session that goes on."""
    async with scene(MemoryLog()) as it:
        hold = await it.start_held("a")
        assert (it.called, it.replies) == (["a"], [])
        await it.release(hold)
        assert it.answers() == [("a", None)]


async def test_a_start_of_the_servers_own_code_does_not_wait(held: Scene, nursery: trio.Nursery) -> None:
    """Such code ends with the process, and has no id by which to say that it means the same start."""
    handle = await held.sessions.get(*KEY)
    hold = held.log.hold("append")
    nursery.start_soon(handle.start, "notes", "a")
    await wait_all_tasks_blocked()
    assert (held.called, held.known) == (["a"], [False])
    await held.release(hold)
    assert held.kept() == DONE


async def test_a_run_cancelled_as_it_waits_ends_without_its_agent(held: Scene) -> None:
    """Who cancelled it is told with the start: told before, a start that is sent again after a crash would go on."""
    hold = await held.start_held("a")
    await held.command("c", "run.cancel", command_id="a")
    assert (held.called, held.replies) == ([], [])
    await held.release(hold)
    assert (held.called, held.kept()) == ([], closed_as("cancelled"))
    assert held.answers() == [("a", None), ("c", None)]
    await held.start("a")
    assert (held.called, held.replies[-1].duplicate) == ([], True)


async def test_a_run_out_of_time_as_it_waits_ends_without_its_agent(held: Scene, autojump_clock: MockClock) -> None:
    """A log that hangs holds no run longer than its time."""
    hold = await held.start_held("a")
    await trio.sleep(RUN_SECONDS + 1)
    assert held.sessions.statistics().runs.running == 0
    await held.release(hold)
    assert (held.called, held.kept()) == ([], closed_as("timeout"))


async def test_a_session_closed_as_a_start_waits_ends_without_its_agent(held: Scene) -> None:
    """For good, by the user."""
    hold = await held.start_held("a")
    await held.command("x", "session.close")
    await held.release(hold)
    assert (held.called, held.kept()) == ([], closed_as("cancelled"))
    assert held.answers() == [("a", None), ("x", None)]


async def test_a_server_stopped_as_a_start_waits_ends_without_its_agent(nursery: trio.Nursery) -> None:
    """Whatever was emitted is committed, and nothing else is begun."""
    async with scene() as it:
        hold = await it.start_held("a")
        nursery.start_soon(it.release_when_blocked, hold)
    assert (it.called, it.kept()) == ([], closed_as("cancelled"))


async def test_a_session_that_crashes_as_a_start_waits_ends_without_its_agent(held: Scene) -> None:
    """Its successor closes what it has left."""
    hold = await held.start_held("a")
    session = held.session()
    assert session is not None
    session.kill()
    await held.release(hold)
    await held.start("a")
    assert held.called == []
    assert held.kept() == closed_as("interrupted")


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_log_that_fails_as_a_start_waits_leaves_nothing_done(
    held: Scene, caplog: pytest.LogCaptureFixture, *, cancelled: bool
) -> None:
    """The session ends with its log, its client is told, and the agent, which did nothing, is not blamed."""
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
@given(script=st.lists(steps, max_size=scaled(16, 40)))
def test_whatever_happens_each_start_calls_its_agent_once_at_most(script: list[Step]) -> None:
    """Sent again and again, cancelled, with a log that hangs and fails, and sessions that crash: by the log, always."""
    trio.run(play, script, clock=trio.testing.MockClock(autojump_threshold=0))
