"""A replica takes the place of a killed primary, or is missing, as clients and nodes see it."""

from __future__ import annotations

import trio
from _cluster_servers import SECONDS, eventually, guest, node
from _links import link_to
from _valkey import Server


async def test_promoted_replica_that_has_all(own_port: int, second_port: int) -> None:
    """With ``valkey_wait_replicas``, a promoted replica has all that clients got. They wait, and then go on."""
    with trio.fail_after(SECONDS), Server(port=own_port) as old, Server(port=second_port) as new, Server() as third:
        new.follow(old)
        third.follow(old)
        async with (
            link_to(old) as link,
            node(link.url, "first", valkey_wait_replicas=1) as first,
            node(link.url, "second", valkey_wait_replicas=1) as second,
            guest(first.url) as client,
            guest(second.url) as other,
        ):
            await client.start("echo", "before")
            await eventually(lambda: client.ends and other.ends)
            old.kill()
            await eventually(lambda: client.signals[-1:] == other.signals[-1:] == [("paused", {"active": True})])
            new.promote()
            third.follow(new)
            link.lead_to(new)
            await other.start("echo", "after")
            await eventually(lambda: len(client.ends) == len(other.ends) == 2)
            assert client.events == other.events
            assert client.is_whole()
            assert client.resets == other.resets == []
            for each in (first, second):
                seen = each.statistics()
                assert (seen["buried"], seen["burials"], seen["restored"], seen["epochs_renewed"]) == (0, 0, 0, 0)


async def test_promoted_replica_that_lacks_events(own_port: int) -> None:
    """If a promoted replica lacks the newest events, the node that has them in memory appends them to it again."""
    with trio.fail_after(SECONDS), Server(port=own_port) as old, Server() as new:
        new.follow(old)
        async with link_to(old) as link, node(link.url, "first") as first, guest(first.url) as client:
            await client.start("echo", "before")
            await eventually(lambda: client.ends)
            await eventually(lambda: new.offset() == old.offset())
            new.promote()  # the replication is cut off, and the primary goes on
            await client.start("echo", "lacking")
            await eventually(lambda: len(client.ends) == 2)
            old.kill()
            link.lead_to(new)
            await client.start("echo", "after")
            await eventually(lambda: len(client.ends) == 3)
            assert client.texts == ["before", "lacking", "after"]
            assert client.is_whole()
            assert client.resets == []
            assert (first.statistics()["restored"], first.statistics()["epochs_renewed"]) == (3, 0)


async def test_primary_whose_replica_stands_still(own_port: int) -> None:
    """With ``min-replicas-to-write``, a primary that has lost its replica takes no commits. Later runs go on."""
    guarded = Server("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2", port=own_port)
    with trio.fail_after(SECONDS), guarded as primary, Server() as replica:
        replica.follow(primary)
        async with node(primary.url, "first") as first, guest(first.url) as client:
            await client.start("echo", "before")
            await eventually(lambda: client.ends)
            replica.pause()
            await eventually(lambda: client.signals[-1:] == [("paused", {"active": True})])
            assert first.server.health().unready
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.start, "echo", "waits")
                replica.go_on()
            await eventually(lambda: len(client.ends) == 2)
            assert client.texts == ["before", "waits"]
            assert client.is_whole()
            assert client.resets == []
