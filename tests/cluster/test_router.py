"""Any node serves any client: events, commands and signals go to and from the node that runs the user's sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from _cluster_nodes import Tab, cluster, command, eventually, recording_agents

from actors import CommandRefused, Position, Retention, SessionClosed, StreamKey, Trimmed
from actors.cluster.interfaces import Incarnation, NodeInfo, NodeState, Token
from actors.events.types import ResetReason
from actors.spi import Attach, SessionEnding

if TYPE_CHECKING:
    from trio.testing import MockClock

    from actors.eventlog.base import Revocation

KEY = StreamKey("ann", "s1")
RUNS: list[object] = []


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


async def test_a_client_of_another_node_gets_each_event_once(autojump_clock: MockClock) -> None:
    """The first node that is asked owns the user. A client of another node gets the same events, by pushes."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        here, there = Tab("c-1"), Tab("c-2")
        await here.attach(a)
        attachment = await there.attach(b)
        assert (attachment.recovered, attachment.reset, attachment.latest) == (False, None, 0)
        handle = await b.sessions.get("ann", "s1")
        run_id = await handle.start("work", 1)
        await eventually(lambda: len(there.events) == len(here.events) == 3)
        assert there.events == here.events
        assert (RUNS, here.events[0]["run_id"], list(engine.tokens)) == ([1], run_id, ["ann"])
        assert (a.node.claims, b.node.claims, b.router.statistics().resyncs) == (1, 0, 0)
        late = Tab("c-3")
        attachment = await late.attach(b)
        assert late.events == here.events
        assert await attachment.history(0, 2, 1 << 20) == (await engine.log.read(KEY, 0, 2, 1 << 20), True)


async def test_an_idle_user_moves_to_the_node_of_the_newcomer(autojump_clock: MockClock) -> None:
    """An owner without clients and runs of a user releases the user, so that the client's own node runs the session."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        await (await a.sessions.get("ann", "s1")).start("work", 1)
        await trio.sleep(1)
        tab = Tab()
        await tab.attach(b)
        assert engine.tokens["ann"].incarnation == b.node.incarnation
        assert (a.router.statistics().owned, b.router.statistics().mirrors) == (0, 0)
        assert len(a.sessions.of()) == 0


async def test_a_user_with_a_run_stays(autojump_clock: MockClock) -> None:
    """An owner that runs an agent of the user keeps the user, and the client of another node gets a mirror."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (_, (a, b)):
        run_id = await (await a.sessions.get("ann", "s1")).start("wait")
        tab = Tab()
        attachment = await tab.attach(b)
        assert [run.id for run in attachment.runs] == [run_id]
        assert b.router.statistics().mirrors == 1
        attachment.command(command(tab, "k1", "run.cancel", run_id=run_id))
        await eventually(lambda: tab.replies)
        assert tab.replies[0].result == {"cancelled": True}


async def test_a_refused_read_counts_for_the_next_client(autojump_clock: MockClock) -> None:
    """If events were trimmed without the owner, one client of a mirror finds out, and the next one gets a reset."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        session = await a.sessions.get("ann", "s1")
        await session.start("wait")
        await session.emit("noted", None)
        first = Position((await Tab().attach(b)).epoch, 0)
        await engine.log.trim(StreamKey("ann", "s1"), Retention(events=1), 0)
        tab = Tab()
        assert (await tab.attach(b, resume=first)).recovered
        with pytest.raises(Trimmed):
            await tab.catch_up()
        again = await Tab().attach(b, resume=first)
        assert (again.reset, again.oldest) == (ResetReason.TRIMMED, again.latest)


async def test_a_command_is_carried_out_once(autojump_clock: MockClock) -> None:
    """A command that is sent again, also to another node, gets the first reply, and runs nothing."""
    async with cluster("a", "b", "c", agents=recording_agents(RUNS)) as (_, (a, b, c)):
        await Tab("c-0").attach(a)
        first, second = Tab("c-1"), Tab("c-2")
        (await first.attach(b)).command(command(first, "k1", "run.start", agent="work", input=1))
        await eventually(lambda: first.replies)
        (await second.attach(c)).command(command(second, "k1", "run.start", agent="work", input=1))
        await eventually(lambda: second.replies)
        assert second.replies[0].result == first.replies[0].result
        assert (first.replies[0].duplicate, second.replies[0].duplicate, RUNS) == (False, True, [1])


async def test_a_command_that_is_sent_twice_gets_two_replies(autojump_clock: MockClock) -> None:
    """A client that sends a command again before its reply gets a reply to each, at the owner and at another node."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (_, (a, b)):
        here, there = Tab("c-1"), Tab("c-2")
        for tab, attachment in ((here, await here.attach(a)), (there, await there.attach(b))):
            for _ in range(2):
                attachment.command(command(tab, f"{tab.name}-1", "message.send", text="hello"))
        await eventually(lambda: len(here.replies) == len(there.replies) == 2)
        for tab in (here, there):
            assert [reply.duplicate for reply in tab.replies] == [False, True]


@pytest.mark.parametrize("text", ["\ud800", 10**30])
async def test_values_that_the_owner_must_refuse_reach_it(text: object, autojump_clock: MockClock) -> None:
    """A lone surrogate or a very large integer in a command of another node's client is refused, as at the owner."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (_, (a, b)):
        here, there = Tab("c-1"), Tab("c-2")
        for tab, attachment in ((here, await here.attach(a)), (there, await there.attach(b))):
            attachment.command(command(tab, f"{tab.name}-1", "message.send", text=text))
        await eventually(lambda: here.replies and there.replies)
        assert here.replies[0].code == there.replies[0].code == "bad_args"


async def test_refusals_of_the_owner_reach_the_client(autojump_clock: MockClock) -> None:
    """A refusal, and the permanent close of a session, are the same at any node."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (_, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        (await tab.attach(b)).command(command(tab, "k1", "run.start", agent="nobody"))
        tab.attachment.command(command(tab, "k2", "event.emit"))  # only the code of a server can emit
        await eventually(lambda: len(tab.replies) == 2)
        assert [reply.code for reply in tab.replies] == ["unknown_agent", "unknown_command"]
        handle = await b.sessions.get("ann", "s1")
        with pytest.raises(CommandRefused, match="unknown_agent"):
            await handle.start("nobody")
        await handle.close()
        await eventually(lambda: tab.ended)
        assert tab.ended is SessionEnding.CLOSED
        with pytest.raises(SessionClosed):
            await b.sessions.attach("ann", "s1", Attach(tab.name, tab))


async def test_the_application_emits_and_reads_at_any_node(autojump_clock: MockClock) -> None:
    """The handle of a session works at a node that does not run it: emit, history, lease."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (_, (a, b)):
        tab = Tab()
        await tab.attach(a)
        handle = await b.sessions.get("ann", "s1")
        await handle.emit("news", {"n": 1})
        assert tab.events[0]["data"] == {"name": "news", "value": {"n": 1}}
        assert [event.seq for event in await handle.history()] == [1]
        async with handle.lease():
            assert a.router.statistics().watchers == 1
        await trio.sleep(3)
        assert a.router.statistics().watchers == 0
        with pytest.raises(CommandRefused, match="another server"):
            async with handle.run("block"):
                pass


async def test_signals_and_typing_cross_nodes(autojump_clock: MockClock) -> None:
    """A user who types at one node is seen at the other, and no longer when the connection is gone."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (_, (a, b)):
        here, there = Tab("c-1"), Tab("c-2")
        await here.attach(a)
        attachment = await there.attach(b)
        attachment.typing_changed(active=True)
        await trio.sleep(0.1)
        third = Tab("c-3")
        assert (await third.attach(b)).typing == (("user", "c-2"),)
        attachment.detach()
        await trio.sleep(0.1)
        typing = [("typing", {"by": "user", "id": "c-2", "active": active}) for active in (True, False)]
        assert (here.signals, third.signals) == (typing, typing[1:])


@pytest.mark.parametrize("seed", range(4))
async def test_lost_doubled_and_late_messages_change_no_history(seed: int, autojump_clock: MockClock) -> None:
    """With a tenth of the messages lost, doubled and late, each client gets all events in order, and runs run once."""
    publishes = seed % 2 == 1  # the pushes of a log that sends them itself, or those of the owner
    async with cluster("a", "b", "c", publishes=publishes, agents=recording_agents(RUNS), forward_seconds=60) as (
        engine,
        servers,
    ):
        engine.faults.seed(seed)
        tabs = [Tab(f"c-{i}") for i in range(3)]
        for tab, server in zip(tabs, servers, strict=True):
            await tab.attach(server)
        engine.lose, engine.double, engine.delay = 0.1, 0.1, 0.3
        for i in range(30):
            tab = tabs[i % 3]
            tab.attachment.command(command(tab, f"k{i}", "run.start", agent="work", input=i))
            await trio.sleep(0.1 * engine.faults.random())
        await eventually(lambda: sum(len(tab.replies) for tab in tabs) == 30, 600)
        await eventually(lambda: all(len(tab.events) == 90 for tab in tabs), 600)
        assert all([event["seq"] for event in tab.events] == list(range(1, 91)) for tab in tabs)
        assert sorted(map(str, RUNS)) == sorted(map(str, range(30)))
        assert all(reply.ok for tab in tabs for reply in tab.replies)


async def test_the_last_push_of_a_burst_may_be_lost(autojump_clock: MockClock) -> None:
    """If the newest push is lost, the owner's digest shows it within two seconds."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        await tab.attach(b)
        engine.deaf.add("b")
        await (await a.sessions.get("ann", "s1")).emit("x")
        await trio.sleep(0.1)
        engine.deaf.clear()
        await trio.sleep(2)
        assert tab.types == ["custom"]


async def test_a_client_follows_its_session_from_a_dead_owner(autojump_clock: MockClock) -> None:
    """When the owner is buried, the client's node claims the user. The client gets the next events, and its reply."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        attachment = await tab.attach(b)
        await (await b.sessions.get("ann", "s1")).start("work", 1)
        await eventually(lambda: len(tab.events) == 3)
        del engine.nodes["a"], engine.inboxes["a"]
        attachment.command(command(tab, "k1", "run.start", agent="work", input=2))
        await eventually(lambda: len(tab.events) == 6)
        assert ([event["seq"] for event in tab.events], RUNS) == ([1, 2, 3, 4, 5, 6], [1, 2])
        assert engine.tokens["ann"].incarnation == b.node.incarnation
        assert (tab.ended, [reply.ok for reply in tab.replies]) == (None, [True])
        attachment.command(command(tab, "k2", "message.send", text="x"))
        await eventually(lambda: len(tab.replies) == 2)
        attachment.detach()
        await trio.sleep(3)
        assert all(one.journal.cursors == 0 for one in b.sessions.of())


async def test_a_session_that_loses_its_log_ends_its_clients(autojump_clock: MockClock) -> None:
    """If the position of a client is lost while its session moves, the client ends as ``moved``, and connects again."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        await tab.attach(b)
        del engine.nodes["a"], engine.inboxes["a"]
        await engine.log.remove(KEY)
        await eventually(lambda: tab.ended)
        assert tab.ended is SessionEnding.MOVED


async def test_an_owner_that_does_not_answer_is_unreachable(autojump_clock: MockClock) -> None:
    """If the owner lives and does not answer for ``forward_seconds``, a command gets ``owner_unreachable``."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        attachment = await tab.attach(b)
        engine.deaf.add("a")
        began = trio.current_time()
        attachment.command(command(tab, "k1", "message.send", text="x"))
        await eventually(lambda: tab.replies)
        assert tab.replies[0].code == "owner_unreachable"
        assert 5 <= trio.current_time() - began < 6
        assert b.router.statistics().unreachable == 1
        with pytest.raises(CommandRefused, match="owner_unreachable"):
            await Tab("c-9").attach(b)


async def test_clients_of_a_buried_node_follow_their_sessions(autojump_clock: MockClock) -> None:
    """A node that was buried ends its sessions as ``moved``. Its clients go on, and queued starts are sent again."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        tab, other = Tab("c-1"), Tab("c-2")
        attachment = await tab.attach(a)
        await other.attach(b)
        for i in range(21):
            attachment.command(command(tab, f"k{i}", "run.start", agent="wait"))
        await eventually(lambda: "queued" in dict(tab.signals) and tab.replies)
        begun = len(tab.replies)
        a.node.be_buried(Incarnation("a", 2, 99))
        engine.nodes["a"] = NodeInfo(a.node.incarnation, 1)
        a.router.on_node()
        await trio.sleep(5)
        await tab.catch_up()
        await other.catch_up()
        assert (tab.ended, other.ended, other.events) == (None, None, tab.events)
        assert all(reply.ok for reply in tab.replies)
        assert len({reply.id for reply in tab.replies}) == len(tab.replies)
        assert [event["seq"] for event in tab.events] == list(range(1, len(tab.events) + 1))
        statuses = [event["data"]["status"] for event in tab.events if event["type"] == "agent_completed"]
        assert statuses == ["interrupted"] * begun


async def test_a_client_of_a_buried_node_hears_the_end_of_the_pause(autojump_clock: MockClock) -> None:
    """A client whose session moves while its node is suspended is told that the pause is over, too."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, _)):
        tab = Tab("c-1")
        await tab.attach(a)
        a.node.state = NodeState.SUSPENDED
        a.router.on_node()
        a.node.be_buried(Incarnation("a", 2, 99))
        a.node.state = NodeState.JOINING
        a.router.on_node()
        await trio.sleep(1)
        assert tab.signals == [("paused", {"active": True})]
        engine.nodes["a"] = NodeInfo(a.node.incarnation, 1)
        a.node.state = NodeState.LIVE
        a.router.on_node()
        await trio.sleep(5)
        assert (tab.signals[1:], tab.ended) == ([("paused", {"active": False})], None)


async def test_a_suspended_node_tells_its_clients_and_loses_patience(autojump_clock: MockClock) -> None:
    """A node that is cut off tells its clients, refuses commands and newcomers, and ends its clients in the end."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (_, (a, b)):
        here, there = Tab("c-1"), Tab("c-2")
        await here.attach(a)
        attachment = await there.attach(b)
        b.node.state = a.node.state = NodeState.SUSPENDED
        await trio.sleep(1.1)
        assert here.signals == there.signals == [("paused", {"active": True})]
        attachment.command(command(there, "k1", "message.send", text="x"))
        assert there.replies[0].code == "overloaded"
        with pytest.raises(CommandRefused, match="cut off"):
            await Tab("c-3").attach(b)
        a.node.state = NodeState.LIVE
        await trio.sleep(1.1)
        assert (here.signals[1:], here.ended) == ([("paused", {"active": False})], None)
        await trio.sleep(30)
        assert (here.ended, there.ended) == (None, SessionEnding.SUSPENDED)


async def test_a_session_that_is_fenced_moves(autojump_clock: MockClock) -> None:
    """If the log refuses an append because another node has claimed the user, the session goes on there."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        tab = Tab()
        attachment = await tab.attach(a)
        token = engine.tokens["ann"]
        engine.tokens["ann"] = Token(token.term + 1, b.node.incarnation)
        await Tab("c-0").attach(b)
        attachment.command(command(tab, "k1", "message.send", text="x"))
        await eventually(lambda: tab.replies)
        assert tab.replies[0].code == "owner_unreachable"
        attachment.command(command(tab, "k1", "message.send", text="x"))
        await trio.sleep(2)
        assert (tab.ended, tab.replies[1].ok, tab.types) == (None, True, ["user_message"])
        assert (a.router.statistics().mirrors, b.router.statistics().owned) == (1, 1)


async def test_a_revocation_counts_at_all_nodes(autojump_clock: MockClock) -> None:
    """A token that is revoked at one node is refused at the others at once, and soon even if the message is lost."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (engine, (a, b)):
        await a.sessions.revoke(user="ann")
        await trio.sleep(0.1)
        assert b.sessions.revocations.covers("ann", None, 0)
        engine.deaf.add("b")
        await a.sessions.revoke(user="bob")
        closed: list[object] = []

        def note(revocation: Revocation) -> int:
            closed.append(revocation.user)
            return 1

        with b.sessions.revocations.notifying(note):
            await trio.sleep(11)
        assert b.sessions.revocations.covers("bob", None, 0)
        assert closed == ["bob"]
        assert engine.sent < 100


async def test_a_revocation_reaches_a_node_that_is_not_seen_yet(autojump_clock: MockClock) -> None:
    """A node that has just joined learns of a revocation at once, although the revoking node has not seen it yet."""
    async with cluster("a", "b", agents=recording_agents(RUNS)) as (_, (a, b)):
        a.node.unseen.add("b")
        await a.sessions.revoke(user="ann")
        await trio.sleep(0.1)
        assert b.sessions.revocations.covers("ann", None, 0)


async def test_a_log_that_publishes_is_told_of_the_watchers(autojump_clock: MockClock) -> None:
    """If the log sends events to other nodes itself, the owner sends none, and the log learns of each watcher's end."""
    async with cluster("a", "b", publishes=True, agents=recording_agents(RUNS)) as (_, (a, b)):
        await Tab("c-0").attach(a)
        tab, handle = Tab(), await a.sessions.get("ann", "s1")
        await tab.attach(b)
        for i in range(3):
            await handle.emit("n", i)
        await trio.sleep(0.1)
        assert [event["seq"] for event in tab.events] == [1, 2, 3]
        assert (a.log.nodes, b.router.statistics().pushes, b.router.statistics().resyncs) == ({KEY: ("b",)}, 3, 0)
        tab.attachment.detach()
        await trio.sleep(3)
        assert a.log.nodes == {KEY: ()}
