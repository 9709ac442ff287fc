"""Events and commands in doubt: a node does not know yet whether an event is stored, or a command was carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from _cluster_nodes import Tab, cluster, command, eventually, recording_agents

from actors import LogUnavailable, MailboxFull, Position, SessionSettings, StreamKey
from actors.cluster._following import MAX_IN_DOUBT
from actors.cluster.interfaces import NodeState
from actors.events.types import ResetReason
from actors.sessions._session import Session
from actors.spi import Command
from actors.streams._ahead import UNSURE_SECONDS
from actors.testing import event_batch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from _cluster_nodes import Server
    from trio.testing import MockClock

    from actors import Batch, Head
    from actors.sessions._messages import Attach, Typing

KEY = StreamKey("ann", "s1")


@attrs.define(eq=False)
class LateAnswer:
    """The log's answer to an append, which does not come before it is released."""

    released: trio.Event = attrs.Factory(trio.Event)

    def to(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hold the answers to this node from now on."""
        append = server.log.append

        async def late(batches: Sequence[Batch]) -> None:
            await append(batches)
            await self.released.wait()

        monkeypatch.setattr(server.log, "append", late)


async def seen_before_the_owner(
    a: Server,
    b: Server,
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
) -> tuple[Position, LateAnswer]:
    """Return the position of a client of ``b``. Its newest event is committed, and ``a``, the owner, does not know.

    ``before`` is called before that event.
    """
    session = await a.sessions.get("ann", "s1")
    await session.start("wait")
    tab = Tab("c-0")
    epoch = (await tab.attach(b)).epoch
    await tab.catch_up()
    await before()
    answer = LateAnswer()
    answer.to(a, monkeypatch)
    await session.emit("noted", None)
    await eventually(lambda: tab.events[-1]["seq"] == 3)
    return Position(epoch, 3), answer


@pytest.mark.parametrize("node", [0, 1, 2])
async def test_event_that_the_owner_does_not_know(
    node: int, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The log sends an event to a node, and its answer to the owner is late. The client resumes at any node.

    *Valkey was killed after it had stored and sent an event, and before the owner had its answer. The client connected
    to the owner, and was told to drop all its events.*
    """
    async with cluster("a", "b", "c", publishes=True, agents=recording_agents([])) as (_, servers):
        position, answer = await seen_before_the_owner(servers[0], servers[1], monkeypatch)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def release() -> None:
                await trio.sleep(UNSURE_SECONDS / 2)
                answer.released.set()

            attachment = await Tab().attach(servers[node], resume=position)
            assert (attachment.recovered, attachment.reset) == (True, None)


async def test_event_that_the_log_has_lost_and_the_owner_sends_again(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Until the owner of a session knows the fate of an event, a client that has it is refused at another node, too.

    *Valkey was killed before it had answered, and restarted without the event. The owner was about to send it again.
    Another node looked into the log, and told the client to drop all its events.*
    """
    async with cluster("a", "b", "c", publishes=True, agents=recording_agents([])) as (engine, (a, b, c)):

        async def attach_to_a_deaf_node() -> None:
            await Tab("c-9").attach(c)
            engine.deaf.add("c")

        position, answer = await seen_before_the_owner(a, b, monkeypatch, attach_to_a_deaf_node)
        engine.deaf.discard("c")
        head = c.log.head

        async def older(key: StreamKey) -> Head | None:
            found = await head(key)
            return found and attrs.evolve(found, latest=found.latest if answer.released.is_set() else 2)

        monkeypatch.setattr(c.log, "head", older)
        with pytest.raises(LogUnavailable):
            await Tab().attach(c, resume=position)
        answer.released.set()
        await a.sessions.committed()
        assert (await Tab().attach(c, resume=position)).recovered


async def test_it_is_not_known_for_long(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    """While it is not known whether the client's event is committed, the client is refused. Others are served."""
    async with cluster("a", "b", publishes=True, agents=recording_agents([])) as (_, (a, b)):
        position, answer = await seen_before_the_owner(a, b, monkeypatch)
        begin = trio.current_time()
        with pytest.raises(LogUnavailable, match="not known yet"):
            await Tab().attach(a, resume=position)
        assert trio.current_time() - begin == pytest.approx(UNSURE_SECONDS, abs=0.1)
        assert (await Tab().attach(a, resume=attrs.evolve(position, seq=2))).recovered
        answer.released.set()
        await a.sessions.committed()
        assert (await Tab().attach(a, resume=position)).recovered


async def test_all_clients_wait_for_one_second(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    """Several clients wait for the same commit together, not one after the other. Another commit has its own second."""
    async with cluster("a", "b", publishes=True, agents=recording_agents([])) as (_, (a, b)):
        position, answer = await seen_before_the_owner(a, b, monkeypatch)

        async def is_refused_after(seconds: float, position: Position) -> None:
            begin = trio.current_time()
            with pytest.raises(LogUnavailable, match="not known yet"):
                await Tab().attach(a, resume=position)
            assert trio.current_time() - begin == pytest.approx(seconds, abs=0.1)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(is_refused_after, UNSURE_SECONDS, position)
        await is_refused_after(0, position)
        answer.released.set()
        await a.sessions.committed()
        answer.released = trio.Event()
        await (await a.sessions.get("ann", "s1")).emit("noted", None)
        await is_refused_after(UNSURE_SECONDS, attrs.evolve(position, seq=4))
        answer.released.set()


@pytest.mark.parametrize("is_new", [True, False])
async def test_session_that_another_process_has_changed(autojump_clock: MockClock, *, is_new: bool) -> None:
    """An owner that was replaced, and does not know it yet, tells no client that the log lacks its events.

    It learns of it from the client's position, and the session is opened anew.
    """
    async with cluster("a", "b", agents=recording_agents([])) as (engine, (a, b)):
        await (await a.sessions.get("ann", "s1")).start("wait")
        epoch = (await Tab().attach(a)).epoch
        if is_new:
            await engine.log.remove(KEY)
            await engine.log.make(KEY)
        else:
            await engine.log.append([event_batch(KEY, 3, 1)])
        for node in (a, b):
            attachment = await Tab().attach(node, resume=Position(epoch, 3))
            assert (attachment.recovered, attachment.reset) == (
                (False, ResetReason.EPOCH_CHANGED) if is_new else (True, None)
            )


@pytest.mark.parametrize("node", [0, 1])
async def test_position_that_the_log_lacks(node: int, autojump_clock: MockClock) -> None:
    """A client whose position is ahead of the log itself is told so at once, at the owner and at another node."""
    async with cluster("a", "b", agents=recording_agents([])) as (_, servers):
        await (await servers[0].sessions.get("ann", "s1")).start("wait")
        epoch = (await Tab().attach(servers[0])).epoch
        attachment = await Tab().attach(servers[node], resume=Position(epoch, 9))
        assert (attachment.recovered, attachment.reset) == (False, ResetReason.AHEAD)


async def test_a_command_may_have_been_carried_out_by_a_silent_owner(autojump_clock: MockClock) -> None:
    """A node that is cut off after it has asked the owner does not say ``overloaded``: clients would use a new id."""
    runs: list[object] = []
    async with cluster("a", "b", agents=recording_agents(runs)) as (engine, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        await tab.attach(b)
        engine.deaf.add("b")  # no answer comes back
        tab.attachment.command(command(tab, "k1", "run.start", agent="work", input=1))
        await eventually(lambda: runs == [1])
        b.node.state = NodeState.SUSPENDED
        await eventually(lambda: tab.replies)
        assert [reply.code for reply in tab.replies] == ["owner_unreachable"]


async def test_moved_session_that_has_too_much_to_do(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The commands of clients that move to a session with a full mailbox wait: each is carried out once."""
    runs: list[object] = []
    limits = SessionSettings(mailbox_size=1)
    async with cluster("a", "b", agents=recording_agents(runs), limits=limits) as (engine, (a, b)):
        await Tab("c-0").attach(a)
        tabs = [Tab(f"c-{number}") for number in (1, 2, 3)]
        for tab in tabs:
            await tab.attach(b)
        engine.deaf.add("a")
        for tab in tabs:
            for number in range(3):
                tab.attachment.command(command(tab, f"{tab.name}-{number}", "run.start", agent="work", input=number))
        attach = Session._attach  # noqa: SLF001 - the test makes it slow

        async def slow(session: Session, message: Attach) -> object:
            answer = await attach(session, message)
            await trio.sleep(1)  # meanwhile messages wait in the mailbox
            return answer

        monkeypatch.setattr(Session, "_attach", slow)
        del engine.nodes["a"]
        b.router.on_node()
        await eventually(lambda: all(len(tab.replies) == 3 for tab in tabs))
        assert [reply.code for tab in tabs for reply in tab.replies] == [None] * 9
        await eventually(lambda: sorted(map(str, runs)) == sorted("012" * 3))


async def test_command_in_doubt_at_a_session_that_has_too_much_to_do(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """A command that is sent again, and finds a full mailbox, waits. It is not refused as ``overloaded``."""
    runs: list[object] = []
    async with cluster("a", "b", agents=recording_agents(runs)) as (engine, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        await tab.attach(b)
        engine.deaf.add("a")
        first = command(tab, "k1", "run.start", agent="work", input=1)
        tab.attachment.command(first)
        await eventually(lambda: tab.replies)
        del engine.nodes["a"]
        b.router.on_node()
        await eventually(lambda: b.router.owned.is_mine("ann"))
        await trio.sleep(5)
        refusals = [True, True]
        post = Session.post

        def full(session: Session, message: Command | Typing) -> None:
            if isinstance(message, Command) and refusals:
                refusals.pop()
                raise MailboxFull("full")
            post(session, message)

        monkeypatch.setattr(Session, "post", full)
        tab.attachment.command(first)
        await eventually(lambda: len(tab.replies) == 2)
        assert ([reply.code for reply in tab.replies], refusals) == (["owner_unreachable", None], [])
        await eventually(lambda: runs == [1])


async def test_commands_in_doubt_are_bounded(autojump_clock: MockClock) -> None:
    """While a node is cut off, ``MAX_IN_DOUBT`` commands that may have been carried out wait. One more is refused."""
    async with cluster("a", "b", agents=recording_agents([])) as (engine, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        await tab.attach(b)
        engine.deaf.add("a")
        commands = [command(tab, f"k{n}", "run.start", agent="work", input=n) for n in range(MAX_IN_DOUBT + 1)]
        for each in commands:
            tab.attachment.command(each)
        await eventually(lambda: len(tab.replies) == len(commands))
        assert {reply.code for reply in tab.replies} == {"owner_unreachable"}
        tab.replies.clear()
        b.node.state = NodeState.SUSPENDED
        for each in commands:
            tab.attachment.command(each)
        assert [reply.code for reply in tab.replies] == ["overloaded"]
