"""A log in a Valkey Cluster: the contract, routing by keys, moved slots, restarts, and a replica that is promoted."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import _valkey
import pytest
import trio
from _cluster_servers import SECONDS, eventually, guest, node

from actors import Sessions, SupervisorSpec, open_system
from actors.eventlog import ValkeyOptions
from actors.eventlog.base import StreamKey
from actors.eventlog.valkey import ValkeyLog
from actors.testing import EventLogContract, event_batch
from actors.valkey.address import Address
from actors.valkey.cluster import SLOTS, key_of, slot_of
from actors.valkey.keys import Keyspace, partition_of
from actors.valkey.server import Valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from actors.eventlog.base import EventLog

LIMIT = 60
PATIENT = ValkeyOptions(timeout_seconds=LIMIT)
KEYS = [StreamKey(f"u{number}", "s") for number in range(12)]
GUEST = slot_of(Keyspace().of_stream("anonymous", "s1").meta) * 3 // SLOTS
"""The number of the primary that has the sessions of clients without a name."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[_valkey.Server]]:
    """Three primaries, each with a third of the slots, and then a replica of each."""
    with _valkey.cluster(3, replicas=3) as servers:
        yield servers


def emptied(cluster: list[_valkey.Server]) -> Address:
    """Remove all data. Return the address of the first server."""
    for server in cluster[:3]:
        server.ask("FLUSHALL")
    return Address("127.0.0.1", cluster[0].port, cluster=True)


class TestLogInACluster(EventLogContract):
    """The log keeps the contract in a Valkey Cluster."""

    @pytest.fixture
    async def log(self, cluster: list[_valkey.Server]) -> AsyncIterator[EventLog]:
        with trio.fail_after(LIMIT):
            async with ValkeyLog(emptied(cluster), PATIENT) as log:
                yield log


async def filled(log: ValkeyLog) -> None:
    for key in KEYS:
        await log.make(key)
        await log.append([event_batch(key, 1, 2)])


def test_slots_of_keys() -> None:
    """The slot of a key is the one that the specification of Redis Cluster names, of the part in braces."""
    assert slot_of("123456789") == 0x31C3
    assert slot_of("a{123456789}b{c}") == 0x31C3
    assert slot_of("{}x") != slot_of("x")
    keys = Keyspace().of_stream("u", "s")
    assert slot_of(keys.meta) == slot_of(keys.user.token) == slot_of(str(keys.user.partition))
    commands = (("GET", "a"), (b"FCALL", "f", 1, "b", "c"), ("EVAL", "script", 1, "d"), ("PUBLISH", "e", "f"))
    assert [key_of(args) for args in commands] == ["a", "b", "d", None]


async def test_log_in_a_cluster(cluster: list[_valkey.Server]) -> None:
    """Streams of all primaries are written and read through one log. One append is of one partition."""
    with trio.fail_after(LIMIT):
        async with ValkeyLog(emptied(cluster), PATIENT) as log:
            assert len(log.valkey.commits.topology.primaries) == 3  # type: ignore[attr-defined]  # it is a ClusterLink
            await filled(log)
            assert list(await log.streams()) == sorted(KEYS)
            for key in KEYS:
                assert len(await log.read(key, 0, 9, 9999)) == 2
            with pytest.raises(ValueError, match="one partition only"):
                await log.append([event_batch(key, 3, 1) for key in KEYS])


async def test_moved_slot(cluster: list[_valkey.Server]) -> None:
    """After a slot has moved to another primary, its streams are found there."""
    with trio.fail_after(LIMIT):
        async with ValkeyLog(Address("127.0.0.1", cluster[0].port, cluster=True), PATIENT) as log:
            used = {partition_of(user) for user in ("anonymous", *(key.user for key in KEYS))}
            users = (str(number) for number in itertools.count())
            # A slot with keys cannot simply be given to another primary.
            key = StreamKey(next(user for user in users if partition_of(user) not in used), "s")
            slot = slot_of(log.valkey.keys.of_stream(*key).meta)
            owner = slot * 3 // SLOTS
            target = cluster[(owner + 1) % 3]
            for server in cluster[:3]:
                answer = server.ask("CLUSTER", "SETSLOT", str(slot), "NODE", target.node_id())
                assert answer.startswith(b"+OK")
            await log.make(key)
            await log.append([event_batch(key, 1, 1)])
            assert (await log.make(key)).latest == 1


async def test_sessions_in_a_cluster(cluster: list[_valkey.Server]) -> None:
    """Sessions of many users commit to all primaries. A primary that was restarted is found again."""
    with trio.fail_after(LIMIT):
        log = ValkeyLog(Address("127.0.0.1", cluster[0].port, cluster=True), PATIENT)
        sessions = Sessions(log)
        async with open_system() as system:
            await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
            for value in (1, 2):
                for number in range(8):
                    handle = await sessions.get(f"v{number}", "s")
                    await handle.emit("n", value)
                for number in range(8):
                    handle = await sessions.get(f"v{number}", "s")
                    while (await handle.position()).seq < value:
                        await trio.lowlevel.checkpoint()
                if value == 1:
                    cluster[1].restart()


async def test_promoted_replica(cluster: list[_valkey.Server]) -> None:
    """When a primary is killed and its replica takes its place, the nodes find the replica, and their clients go on."""
    primary, replica, other = cluster[GUEST], cluster[GUEST + 3], cluster[(GUEST + 1) % 3]
    url = f"valkey+cluster://127.0.0.1:{other.port}"
    with trio.fail_after(SECONDS):
        async with node(url, "first") as first, node(url, "second") as second:
            async with guest(first.url) as client, guest(second.url) as neighbour:
                await client.start("echo", "before")
                await eventually(lambda: client.ends and neighbour.ends)
                primary.kill()  # for good: later tests must not need it
                assert replica.ask("CLUSTER", "FAILOVER", "TAKEOVER").startswith(b"+OK")
                await neighbour.start("echo", "after")
                await eventually(lambda: len(client.ends) == len(neighbour.ends) == 2)
                assert client.events == neighbour.events
                assert client.is_whole()
                assert client.resets == neighbour.resets == []


async def test_messages_without_the_first_server(cluster: list[_valkey.Server]) -> None:
    """Messages arrive over another primary, if the server that the URL names is gone."""
    seed = cluster[(GUEST + 1) % 3]
    with trio.fail_after(LIMIT):
        async with Valkey(Address("127.0.0.1", seed.port, cluster=True)) as valkey:
            seed.kill()  # for good: this is the last test
            while not valkey.messages.up or valkey.messages.address.port == seed.port:
                await valkey.messages.changed()
