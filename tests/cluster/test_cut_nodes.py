"""Nodes that are cut off from their Valkey server, and servers that go away, as clients and the operator see them."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from _cluster_servers import SECONDS, Node, eventually, guest, node
from _links import Link, link_to
from _valkey import Server

from actors import CommandRefused, UserMessage
from actors.cluster.interfaces import NodeState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def cut_off(valkey: Server, **settings: float) -> AsyncGenerator[tuple[Link, Node, Node]]:
    """Run two nodes. The first one reaches the server by a link that can be cut."""
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(link_to(valkey))
        first = await stack.enter_async_context(node(link.url, "first", **settings))
        second = await stack.enter_async_context(node(valkey.url, "second", **settings))
        yield link, first, second


async def test_node_without_valkey_pauses_and_then_gives_up() -> None:
    """A node that is cut off tells its clients, and closes them with 4005 in the end. They go on at another node."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with cut_off(valkey, patience_seconds=1.5) as (link, first, second), guest(first.url) as client:
            await client.start("endless", "begun")
            await eventually(lambda: client.texts)
            link.stall()
            await eventually(lambda: ("paused", {"active": True}) in client.signals)
            await eventually(lambda: client.client.last_failure.startswith("4005"))
            assert first.statistics()["state"] is NodeState.SUSPENDED
            client.url = second.url
            await eventually(lambda: client.ends)
            await client.start("echo", "later")
            await eventually(lambda: len(client.ends) == 2)
            assert (client.texts, client.ends) == (["begun", "later"], ["interrupted", "ok"])
            assert client.is_whole()
            assert second.statistics()["buried"] == 1
            link.heal()
            await eventually(lambda: first.statistics()["burials"] == 1 and first.statistics()["nodes"] == 2)


async def test_short_cut() -> None:
    """While a node is cut off, it refuses commands. If that is short, its clients stay, and go on after its burial."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with cut_off(valkey) as (link, first, second), guest(first.url) as client:
            await client.start("endless", "begun")
            await eventually(lambda: client.texts)
            link.stall()
            await eventually(lambda: second.statistics()["buried"])
            assert client.signals[-1:] == [("paused", {"active": True})]
            assert first.server.health().unready
            with pytest.raises(CommandRefused, match="cut off") as refused:
                await client.client.start("echo", "refused")
            assert refused.value.code == "overloaded"
            link.heal()
            await eventually(lambda: client.signals[-1:] == [("paused", {"active": False})])
            await eventually(lambda: client.ends)
            await client.start("echo", "later")
            await eventually(lambda: len(client.ends) == 2)
            assert (client.texts, client.ends) == (["begun", "later"], ["interrupted", "ok"])
            assert client.is_whole()
            assert (client.resets, client.client.statistics().connections) == ([], 1)


async def test_append_of_a_buried_node_comes_late() -> None:
    """An append that was under way when its node was cut off, and arrives after the burial, is refused and unseen.

    The client's command is not refused: its client sends it again, and it is carried out once.
    """
    with trio.fail_after(SECONDS), Server() as valkey:
        # Within three quarters of the lease the command must arrive.
        pair = cut_off(valkey, lease_seconds=2)
        async with pair as (link, first, second), guest(first.url) as client, guest(second.url) as other:
            await client.start("echo", "before")
            await eventually(lambda: other.ends and client.ends)
            link.stall()
            refused = link.seen(b"FENCED")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.client.send, "late")
                await eventually(lambda: second.statistics()["buried"])
                await other.start("echo", "meanwhile")
                await eventually(lambda: len(other.ends) == 2)
                assert not refused.is_set()
                link.heal()
                await refused.wait()
            await other.start("echo", "after")
            await eventually(lambda: len(client.ends) == len(other.ends) == 3)
            assert client.events == other.events
            assert client.is_whole()
            assert other.texts == ["before", "meanwhile", "after"]
            assert [event.text for event in other.events if isinstance(event, UserMessage)] == ["late"]


async def test_node_that_hears_nothing() -> None:
    """A node whose subscription is dead is not ready, though its beats are answered. Then its clients miss nothing."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with cut_off(valkey) as (link, first, second), guest(second.url) as owner, guest(first.url) as client:
            await owner.start("echo", "before")
            await eventually(lambda: client.ends)
            link.is_deaf = True
            await owner.start("echo", "meanwhile")
            await eventually(lambda: first.statistics()["deaf"] and first.server.health().unready)
            link.is_deaf = False
            await eventually(lambda: not first.server.health().unready)
            await eventually(lambda: len(client.ends) == 2)
            assert client.events == owner.events
            assert client.is_whole()
            assert client.resets == []


async def test_valkey_goes_away_and_comes_back() -> None:
    """While the server is away, clients are told of a pause and runs wait. Then all go on, and nobody is buried."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with node(valkey.url, "first") as first, node(valkey.url, "second") as second:
            async with guest(first.url) as client, guest(second.url) as other:
                valkey.pause()
                await eventually(lambda: client.signals[-1:] == other.signals[-1:] == [("paused", {"active": True})])
                for each in (client, other):
                    with pytest.raises(CommandRefused, match="cut off"):
                        await each.client.start("echo", "refused")
                assert first.server.health().unready
                assert second.server.health().unready
                valkey.go_on()
                await eventually(lambda: client.signals[-1] == other.signals[-1] == ("paused", {"active": False}))
                for each in (client, other):
                    await each.start("echo", "after")
                await eventually(lambda: len(client.ends) == len(other.ends) == 2)
                assert client.events == other.events
                assert client.is_whole()
                assert client.client.statistics().connections == other.client.statistics().connections == 1
            for each_node in (first, second):
                seen = each_node.statistics()
                assert (seen["buried"], seen["burials"], seen["nodes"]) == (0, 0, 2)
