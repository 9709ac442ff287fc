"""A user of a cluster is forgotten at all nodes, by the node that owns the user."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trio
from _cluster_nodes import Tab, cluster, command, eventually, recording_agents
from _cluster_servers import SECONDS, node
from _valkey import Server
from eventlog.log_contents import fill

from actors import Forgotten, StreamKey, open_log
from actors.spi import SessionEnding
from actors.valkey.keys import Keyspace
from transport import connect
from transport.cli import main
from transport.errors import ConnectionClosedForGood

if TYPE_CHECKING:
    from _cluster_nodes import Server as Node
    from trio.testing import MockClock

    from transport import Client

KEY = StreamKey("ann", "s1")


def noting(stack: ExitStack, nodes: list[Node]) -> list[tuple[int, str]]:
    """Return a list of the users that each node drops. Each of them seems to close one connection."""
    noted: list[tuple[int, str]] = []
    for number, each in enumerate(nodes):

        def note(user: str, number: int = number) -> int:
            noted.append((number, user))
            return 1

        stack.enter_context(each.sessions.removal.notifying(note))
    return noted


@pytest.mark.parametrize("asked", [0, 1, 2])
async def test_every_node_forgets(asked: int, autojump_clock: MockClock) -> None:
    """Any node can be asked. All close the user's clients, the owner ends the sessions, and the log has none of them.

    Another user of the same owner notices nothing.
    """
    async with cluster("a", "b", "c", agents=recording_agents([])) as (engine, nodes):
        with ExitStack() as stack:
            noted = noting(stack, nodes)
            nodes[0].node.unseen.add("c")  # which has just joined
            here, there, other = Tab("c-1"), Tab("c-2"), Tab("c-3")
            await here.attach(nodes[0])
            await there.attach(nodes[1])
            await (await nodes[0].sessions.get("ann", "s1")).start("wait")
            await other.attach(nodes[0], "bob")
            assert await nodes[asked].sessions.removal.forget("ann") == Forgotten(1, 3)
            assert {number for number, _ in noted} == {0, 1, 2}
            assert {user for _, user in noted} == {"ann"}
        assert list(await engine.log.streams()) == [StreamKey("bob", "s1")]
        assert (here.ended, there.ended, other.ended) == (SessionEnding.SHUTDOWN, SessionEnding.SHUTDOWN, None)
        assert engine.tokens["ann"].incarnation is None
        assert all(not each.sessions.of("ann") for each in nodes)
        await there.attach(nodes[1])
        assert there.attachment.latest == 0


async def test_user_without_owner(autojump_clock: MockClock) -> None:
    """A user whom no node owns is claimed for the removal, and released after it."""
    async with cluster("a", "b", agents=recording_agents([])) as (engine, (a, b)):
        await (await a.sessions.get("ann", "s1")).start("work", 1)
        await trio.sleep(1)
        assert await a.router.owned.give_up("ann")
        assert await b.sessions.removal.forget("ann") == Forgotten(1, 0)
        assert not await engine.log.streams()
        assert engine.tokens["ann"].incarnation is None


async def test_node_that_does_not_answer_is_waited_for(autojump_clock: MockClock) -> None:
    """A node that loses the question is asked again. One that is gone has no clients, and is not waited for."""
    async with cluster("a", "b", agents=recording_agents([])) as (engine, nodes):
        with ExitStack() as stack:
            noted = noting(stack, nodes)
            await Tab().attach(nodes[0])
            engine.deaf.add("b")
            done: list[Forgotten] = []

            async def forget() -> None:
                done.append(await nodes[0].sessions.removal.forget("ann"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(forget)
                await trio.sleep(3)
                assert not done
                engine.deaf.clear()
            assert done == [Forgotten(1, 2)]
            assert (1, "ann") in noted
            await Tab().attach(nodes[0])
            engine.deaf.add("b")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(forget)
                await trio.sleep(3)
                del engine.nodes["b"]
            assert done[1] == Forgotten(1, 1)


async def closed(client: Client) -> tuple[int, str]:
    """Return the code and the reason of the end of a client."""
    with pytest.raises(ConnectionClosedForGood) as caught:
        async for _ in client.events():
            pass
    return caught.value.code, str(caught.value)


async def test_nothing_is_left_in_valkey() -> None:
    """With real nodes, clients of both are closed with 4506, and no key of the user is left in Valkey."""
    with Server() as valkey, trio.fail_after(SECONDS):
        async with node(valkey.url, "a") as a, node(valkey.url, "b") as b:
            async with connect(a.url, session="s1") as one, connect(b.url, session="s1") as two:
                await one.start("endless", "text")
                await two.start("endless", "text")
                assert b"anonymous" in valkey.ask("KEYS", "*")
                assert await b.server.sessions.removal.forget("anonymous") == Forgotten(1, 2)
                for client in (one, two):
                    code, text = await closed(client)
                    assert (code, "the user was forgotten" in text) == (4506, True)
            assert b"anonymous" not in valkey.ask("KEYS", "*")


async def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """``greenroom forget`` removes a user from a log in Valkey that no server uses, also one of a server that died."""

    async def run(*words: str) -> tuple[int, str, str]:
        status = await trio.to_thread.run_sync(main, [*words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    with Server() as valkey, trio.fail_after(SECONDS):
        async with open_log(valkey.url) as log:
            await fill(log)
        valkey.ask("SET", Keyspace().token("ann"), "7 dead/1700000000000/00000000000000aa")
        async with node(valkey.url, "web"):
            status, _, told = await run("forget", "ann", valkey.url)
            assert (status, "is in use by web" in told) == (2, True)
        assert await run("forget", "ann", valkey.url) == (0, f"{valkey.url}: 4 sessions were removed\n", "")
        assert b"ann" not in valkey.ask("KEYS", "*")
        assert (await run("forget", "ann", valkey.url, "--json"))[1].endswith('"sessions":0}\n')


async def test_command_on_its_way_makes_no_session(autojump_clock: MockClock) -> None:
    """A command of a forgotten user that its owner has not got yet is refused, and does not make the session anew."""
    runs: list[object] = []
    async with cluster("a", "b", agents=recording_agents(runs)) as (engine, nodes):
        await Tab("c-1").attach(nodes[0])
        tab = Tab("c-2")
        attachment = await tab.attach(nodes[1])
        engine.deaf.add("a")
        attachment.command(command(tab, "k1", "run.start", agent="work", input=1))
        await trio.sleep(0.1)
        engine.deaf.clear()  # the next attempt comes soon
        assert await nodes[0].sessions.removal.forget("ann") == Forgotten(1, 0)
        await eventually(lambda: tab.replies)
        await trio.sleep(60)
        assert (tab.replies[0].code, runs, list(await engine.log.streams())) == ("cancelled", [], [])


async def test_token_of_a_user_in_use(autojump_clock: MockClock) -> None:
    """The token is removed when nothing uses the user any more, such as a message of another node that is handled."""
    async with cluster("a", "b", agents=recording_agents([])) as (engine, (a, _)):
        await (await a.sessions.get("ann", "s1")).start("work", 1)
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            async with a.router.owned.using("ann"):
                nursery.start_soon(a.sessions.removal.forget, "ann")
                await trio.sleep(2)
                assert engine.tokens["ann"].incarnation is not None
        assert engine.tokens["ann"].incarnation is None
