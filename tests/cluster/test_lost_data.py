"""Servers that lose data, fill their memory, or are two where one should be, as clients and the operator see them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import trio
from _cluster_servers import SECONDS, eventually, guest, node, node_process, patiently
from _links import link_to
from _valkey import Server
from _valkey_nodes import nodes

from actors import ConfigError, StreamKey
from actors.cluster.interfaces import NodeState
from actors.eventlog.valkey import ValkeyLog
from actors.streams import _stream
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from actors.cluster.assembly import Membership


async def test_older_copy_of_the_data() -> None:
    """If the server comes back with an older copy, its nodes put back the lost events, and no client notices."""
    with trio.fail_after(SECONDS), Server(append=True) as valkey:
        async with node(valkey.url, "first") as first, node(valkey.url, "second") as second:
            async with guest(first.url, "open") as client, guest(second.url, "open") as other:
                async with guest(first.url, "closed") as closed:
                    await closed.start("echo", "kept")
                    await eventually(lambda: closed.ends)
                    copy = valkey.copy_data()
                    await closed.start("echo", "lost")
                    await client.start("echo", "lost")
                    await eventually(lambda: len(closed.ends) == 2 and client.ends and other.ends)
                valkey.restart_with(copy)
                await client.start("echo", "after")
                await eventually(lambda: len(client.ends) == len(other.ends) == 2)
                assert client.events == other.events
                assert client.texts == ["lost", "after"]
                assert client.is_whole()
                assert client.resets == other.resets == []
                assert (first.statistics()["restored"], first.statistics()["epochs_renewed"]) == (6, 0)
            for each in (first, second):
                assert (each.statistics()["buried"], each.statistics()["burials"]) == (0, 0)


async def test_older_copy_after_all_nodes_have_ended() -> None:
    """If no node has the lost events, a session gets a new epoch, and its clients begin anew with what is left."""
    with trio.fail_after(SECONDS), Server(append=True) as valkey:
        async with node(valkey.url, "first") as first, guest(first.url) as client:
            await client.start("echo", "kept")
            await eventually(lambda: client.ends)
            copy = valkey.copy_data()
            await client.start("echo", "lost")
            await eventually(lambda: len(client.ends) == 2)
            position = client.client.position
        valkey.restart_with(copy)
        async with node(valkey.url, "second") as second, guest(second.url, resume=position) as client:
            await eventually(lambda: client.ends)
            assert (client.texts, client.resets) == (["kept"], ["epoch_changed"])
            assert second.statistics()["epochs_renewed"] == 1


async def test_empty_server() -> None:
    """If the server comes back empty while a node is live, the node registers again and puts all its events back."""
    with trio.fail_after(SECONDS), Server(append=True) as valkey:
        async with nodes(valkey, "a", lease=60) as ((sessions, a),):
            handle = await sessions.get("ann", "s1")
            for number in range(3):
                await handle.emit("number", number)
            await sessions.committed()
            before, epoch = a.node.incarnation, (await handle.position()).epoch
            valkey.restart_empty()
            await eventually_looks(a)
            await eventually(lambda: a.statistics().restored == 3)
            async with ValkeyLog(parse_address(valkey.url)) as log:
                head = await log.head(StreamKey("ann", "s1"))
            assert head is not None
            assert (head.epoch, head.latest) == (epoch, 3)
            assert (a.node.incarnation, a.statistics().burials) == (before, 0)
            await handle.emit("number", 3)
            await sessions.committed()
            assert [event.seq for event in await handle.history()] == [1, 2, 3, 4]


async def test_empty_server_after_an_outage() -> None:
    """If it comes back empty after its nodes were suspended, they join anew, and sessions begin with a new epoch."""
    with trio.fail_after(SECONDS), Server(append=True) as valkey:
        async with node(valkey.url, "first") as first, guest(first.url) as client:
            await client.start("echo", "lost")
            await eventually(lambda: client.ends)
            valkey.kill()
            await eventually(lambda: first.statistics()["state"] is NodeState.SUSPENDED)
            valkey.restart_empty()
            await eventually(lambda: first.statistics()["burials"])
            await eventually(lambda: first.statistics()["state"] is NodeState.LIVE)
            await client.start("echo", "after")
            await eventually(lambda: client.texts[-1:] == ["after"] and client.ends)
            assert (client.texts, client.ends, client.resets) == (["after"], ["ok"], ["epoch_changed"])
            assert client.is_whole()


async def test_older_copy_from_before_a_burial() -> None:
    """A node that was buried stays so, though the server came back with a copy in which it is alive and owns the user.

    *It would have gone on with its own token, and given other events the numbers that clients had seen.*
    """
    with trio.fail_after(SECONDS), Server(append=True) as valkey:
        async with node(valkey.url, "survivor") as survivor, node_process(valkey.url, "victim") as victim:
            async with guest(victim.url) as client:
                await client.start("echo", "before")
                await eventually(lambda: client.ends)
                copy = valkey.copy_data()
                victim.pause()
                await eventually(lambda: survivor.statistics()["buried"])
                async with guest(survivor.url) as other:
                    await other.start("echo", "meanwhile")
                    await eventually(lambda: len(other.ends) == 2)
                    valkey.restart_with(copy)
                    victim.go_on()
                    await eventually(lambda: len(client.ends) == 2)
                    await client.start("echo", "later")
                    await eventually(lambda: len(other.ends) == len(client.ends) == 3)
                    assert client.texts == other.texts == ["before", "meanwhile", "later"]
                    assert client.events == other.events
                    assert client.is_whole()
                    assert client.resets == other.resets == []
                assert survivor.statistics()["restored"] == 3
            assert (await victim.statistics())["burials"] == 1


async def eventually_looks(member: Membership) -> None:
    """Let a node beat until the restarted server answers."""
    while not await member.node.heart.look():
        with trio.move_on_after(0.01):
            await trio.sleep_forever()


async def test_two_servers_where_one_should_be() -> None:
    """A node that goes on to write to the old server is fenced when it finds the new one. Its clients begin anew."""
    with trio.fail_after(SECONDS), Server(append=True) as old, Server(append=True) as new:
        async with link_to(old) as link, node(link.url, "first") as first, guest(first.url) as client:
            await client.start("echo", "before")
            await eventually(lambda: client.ends)
            new.restart_with(old.copy_data())
            await client.start("echo", "lost")
            await eventually(lambda: len(client.ends) == 2)
            async with node(new.url, "second") as second:
                await eventually(lambda: second.statistics()["buried"])
                async with guest(second.url) as other:
                    await other.start("echo", "kept")
                    await eventually(lambda: len(other.ends) == 2)
                    await client.start("echo", "lost, too")
                    link.lead_to(new)
                    await eventually(lambda: client.resets)
                    await client.start("echo", "after")
                    await eventually(lambda: len(client.ends) == len(other.ends) == 3)
                    assert client.texts == other.texts == ["before", "kept", "after"]
                    assert client.is_whole()
                    assert client.resets == ["epoch_changed"]
                await eventually(lambda: first.statistics()["burials"] == 1)


async def test_full_memory() -> None:
    """While the memory of the server is full, runs wait. When there is room, they go on, and nothing is lost."""
    with trio.fail_after(SECONDS), Server("--maxmemory-policy", "noeviction") as valkey:
        async with node(valkey.url, "first") as first, guest(first.url) as client:
            await client.start("echo", "before")
            await eventually(lambda: client.ends)
            valkey.ask("CONFIG", "SET", "maxmemory", "1")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.start, "echo", "waits")
                await eventually(lambda: first.statistics()["oom"] > 1)
                assert len(client.ends) == 1
                valkey.ask("CONFIG", "SET", "maxmemory", "0")
            await eventually(lambda: len(client.ends) == 2)
            assert client.texts == ["before", "waits"]
            assert client.is_whole()


async def test_too_few_replicas() -> None:
    """While a primary has fewer replicas than it must have for writes, runs wait. Then they go on."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with node(valkey.url, "first") as first, guest(first.url) as client:
            valkey.ask("CONFIG", "SET", "min-replicas-to-write", "1")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.start, "echo", "waits")
                await eventually(lambda: client.signals[-1:] == [("paused", {"active": True})])
                assert client.texts == []
                valkey.ask("CONFIG", "SET", "min-replicas-to-write", "0")
            await eventually(lambda: client.ends)
            assert (client.texts, client.ends) == (["waits"], ["ok"])
            assert client.is_whole()


async def test_client_that_loses_its_node() -> None:
    """A client that no longer reaches its node goes on at another one, with the same session, while its run goes on."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with node(valkey.url, "first") as first, node(valkey.url, "second") as second:
            async with guest(first.url) as client, guest(first.url, "s2") as neighbour:
                run = await client.start("endless", "begun")
                await eventually(lambda: client.texts)
                client.url = second.url
                await client.drop()
                await eventually(lambda: client.client.statistics().connections == 2)
                assert await patiently(lambda: client.client.cancel(run))
                await eventually(lambda: client.ends)
                assert (client.ends, client.resets) == (["cancelled"], [])
                assert client.is_whole()
                assert neighbour.client.statistics().connections == 1
                assert second.statistics()["mirrors"] == 1


async def test_clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the clock is set by an hour, no node is buried, and the times of events do not go back."""
    real, step = time.time_ns, [0]
    monkeypatch.setattr(_stream, "time_ns", lambda: real() + step[0])
    with trio.fail_after(SECONDS), Server() as valkey:
        async with node(valkey.url, "first") as first, node(valkey.url, "second") as second:
            async with guest(first.url) as client, guest(second.url) as other:
                for hours in (1, -1, 0):
                    step[0] = hours * 3600 * 10**9
                    await client.start("echo", str(hours))
                await eventually(lambda: len(client.ends) == len(other.ends) == 3)
                times = [event.ts for event in client.events]
                assert times == sorted(times)
                assert client.events == other.events
            for each in (first, second):
                assert (each.statistics()["buried"], each.statistics()["burials"]) == (0, 0)


async def test_two_servers_of_one_name() -> None:
    """A server whose name another one has does not start, and says which setting to change. The first goes on."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with node(valkey.url, "twin") as first:
            with pytest.raises(ConfigError, match="node_name twin is in use"):
                async with node(valkey.url, "twin"):
                    pass
            async with guest(first.url) as client:
                await client.start("echo", "after")
                await eventually(lambda: client.ends == ["ok"])
