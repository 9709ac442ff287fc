"""Nodes that die or stand still, as clients, the other nodes and the operator see them. Each victim is a process."""

from __future__ import annotations

import trio
from _cluster_servers import SECONDS, eventually, guest, node, node_process
from _valkey import Server


async def test_killed_node() -> None:
    """After kill -9 the clients go on at another node, which closes the open runs as ``interrupted``."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with node(valkey.url, "survivor") as survivor, node_process(valkey.url, "victim") as victim:
            async with guest(victim.url) as client:
                await client.start("endless", "begun")
                await eventually(lambda: client.texts)
                client.url = survivor.url
                victim.process.kill()
                await eventually(lambda: client.ends)
                await client.start("echo", "later")
                await eventually(lambda: len(client.ends) == 2)
                assert (client.texts, client.ends) == (["begun", "later"], ["interrupted", "ok"])
                assert client.is_whole()
                assert client.resets == []
            seen = survivor.statistics()
            assert (seen["buried"], seen["burials"], seen["nodes"]) == (1, 0, 1)


async def test_node_paused_for_longer_than_its_lease() -> None:
    """A node that stood still for longer than its lease was buried. Its clients go on where they are connected."""
    with trio.fail_after(SECONDS), Server() as valkey:
        async with node(valkey.url, "survivor") as survivor, node_process(valkey.url, "victim") as victim:
            async with guest(victim.url) as client:
                await client.start("endless", "begun")
                await eventually(lambda: client.texts)
                victim.pause()
                await eventually(lambda: survivor.statistics()["buried"])
                async with guest(survivor.url) as other:
                    await eventually(lambda: other.ends)
                    await other.start("echo", "meanwhile")
                    await eventually(lambda: len(other.ends) == 2)
                    victim.go_on()
                    await eventually(lambda: len(client.ends) == 2)
                    await client.start("echo", "later")
                    await eventually(lambda: len(other.ends) == len(client.ends) == 3)
                    assert (client.texts, client.ends) == (["begun", "meanwhile", "later"], ["interrupted", "ok", "ok"])
                    assert client.events == other.events
                    assert client.is_whole()
                    assert (client.resets, client.client.statistics().connections) == ([], 1)
            assert (await victim.statistics())["burials"] == 1
