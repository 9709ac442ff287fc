"""Signals, and the ends of sessions, as clients of other nodes than the owner see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from _cluster_nodes import Tab, cluster, command, eventually, recording_agents

from actors import StreamKey
from actors.cluster._mirrors import SILENT_SECONDS
from actors.cluster._watched import UNSEEN_SECONDS
from actors.spi import MAX_SIGNALS, Command, SessionEnding

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_the_newest_signals_cross_nodes(autojump_clock: MockClock) -> None:
    """Of very many signals the newest reach the clients of another node. The others are dropped, and counted.

    The end of the agent's typing is not dropped, and no reply to a command is.
    """
    agents = recording_agents([])

    async def flood(run: Any) -> None:
        run.typing(active=True)
        for number in range(1_000):
            run.signal("progress", {"number": number, "text": "x" * 100})

    agents.add(flood)
    async with cluster("a", "b", agents=agents) as (_, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        attachment = await tab.attach(b)
        attachment.command(command(tab, "k1", "run.start", agent="flood"))
        await eventually(lambda: tab.types[-1:] == ["agent_completed"] and len(tab.signals) >= MAX_SIGNALS)
        assert [data for name, data in tab.signals if name == "progress"] == [
            {"number": number, "text": "x" * 100} for number in range(1_001 - MAX_SIGNALS, 1_000)
        ]
        assert tab.signals[-1] == ("typing", {"by": "agent", "id": tab.events[0]["run_id"], "active": False})
        assert a.router.statistics().signals_dropped == 1_002 - MAX_SIGNALS
        assert [reply.ok for reply in tab.replies] == [True]


async def test_signals_follow_the_reply_to_their_start(autojump_clock: MockClock) -> None:
    """The first signals of a run reach a client of another node after the reply to its start."""
    agents = recording_agents([])

    async def signals(run: Any) -> None:
        for number in range(3):
            run.signal("progress", number)

    class Counting(Tab):
        """A client that notes how many replies it had at each signal."""

        def __init__(self) -> None:
            super().__init__()
            self.replies_before: list[int] = []

        def on_signal(self, name: str, data: bytes) -> None:
            self.replies_before.append(len(self.replies))
            super().on_signal(name, data)

    agents.add(signals)
    async with cluster("a", "b", agents=agents) as (_, (a, b)):
        await Tab("c-0").attach(a)
        tab = Counting()
        attachment = await tab.attach(b)

        async def signals_of(runs: int) -> None:
            await eventually(lambda: len(tab.replies_before) == 3 * runs)

        for runs in range(1, 21):
            attachment.command(command(tab, f"k{runs}", "run.start", agent="signals"))
            await signals_of(runs)
            assert tab.replies_before[-3:] == [runs] * 3


async def test_typing_ends_with_the_node_of_its_agent(autojump_clock: MockClock) -> None:
    """If the owner is gone while an agent types, its clients elsewhere are told that the agent no longer types."""
    agents = recording_agents([])

    async def types(run: Any) -> None:
        run.typing(active=True)
        await trio.sleep_forever()

    agents.add(types)
    async with cluster("a", "b", agents=agents) as (engine, (a, b)):
        await Tab("c-0").attach(a)
        tab = Tab()
        (await tab.attach(b)).command(command(tab, "k1", "run.start", agent="types"))
        await eventually(lambda: tab.signals)
        del engine.nodes["a"], engine.inboxes["a"]
        await eventually(lambda: len(tab.signals) == 2)
        agent = {"by": "agent", "id": tab.events[0]["run_id"]}
        assert tab.signals == [("typing", {**agent, "active": active}) for active in (True, False)]
        assert tab.ended is None


async def test_a_failed_session_ends_its_clients_at_all_nodes(autojump_clock: MockClock) -> None:
    """If a session fails, its clients end as ``crashed`` at each node. Only then its commands are refused.

    A client comes back, and sends its command again with its id. *A client of another node was attached again in
    place, and then got ``internal`` as the reply to its command, which it gave up.*
    """
    async with cluster("a", "b", agents=recording_agents([])) as (_, (a, b)):
        here, there = Tab("c-1"), Tab("c-2")
        await here.attach(a)
        attachment = await there.attach(b)
        hold = a.log.hold("append")
        ended: list[SessionEnding | None] = []
        attachment.command(Command("k1", "message.send", {"text": "x"}, "c-2", lambda _: ended.append(there.ended)))
        await hold.reached.wait()
        (await a.sessions.get_or_spawn(StreamKey("ann", "s1"))).kill()
        await eventually(lambda: ended)
        hold.released.set()
        assert (here.ended, there.ended, ended) == (*[SessionEnding.CRASHED] * 2, [SessionEnding.CRASHED])
        (await there.attach(b)).command(command(there, "k1", "message.send", text="x"))
        await eventually(lambda: there.replies)
        await there.catch_up()
        assert ([reply.ok for reply in there.replies], there.types) == ([True], ["user_message"])


async def test_a_node_that_is_not_seen_yet_gets_events(autojump_clock: MockClock) -> None:
    """An owner pushes events to a node that has just joined, although it does not see the node registered yet.

    A node that it never sees is forgotten after a minute.
    """
    async with cluster("a", "b", agents=recording_agents([])) as (engine, (a, b)):
        a.node.unseen.add("b")
        await Tab("c-1").attach(a)
        tab = Tab("c-2")
        await tab.attach(b)
        await trio.sleep(UNSEEN_SECONDS / 2)
        await (await a.sessions.get("ann", "s1")).start("work", 1)
        await eventually(lambda: len(tab.events) == 3, 1)
        assert b.router.statistics().resyncs == 0
        engine.deaf.add("b")
        await trio.sleep(UNSEEN_SECONDS)
        assert a.router.statistics().watchers == 0


async def test_a_node_that_is_forgotten_by_an_owner_asks_again(autojump_clock: MockClock) -> None:
    """If an owner has forgotten a node, the node finds that out by its silence, and its clients get their events."""
    async with cluster("a", "b", agents=recording_agents([])) as (_, (a, b)):
        await Tab("c-1").attach(a)
        tab = Tab("c-2")
        await tab.attach(b)
        await trio.sleep(2)
        a.node.unseen.add("b")
        await trio.sleep(2)
        assert a.router.statistics().watchers == 0
        a.node.unseen.clear()
        await (await a.sessions.get("ann", "s1")).start("work", 1)
        await trio.sleep(SILENT_SECONDS + 3)
        await tab.catch_up()
        assert ([event["seq"] for event in tab.events], tab.ended) == ([1, 2, 3], None)
        assert a.router.statistics().watchers == 1
