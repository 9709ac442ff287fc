"""A log in a Valkey Cluster of three primaries: routing by keys, moved slots, and primaries that restart."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import _valkey
import pytest
import trio

from actors import Sessions, SupervisorSpec, open_system
from actors.eventlog import ValkeyOptions
from actors.eventlog.base import StreamKey
from actors.eventlog.valkey import ValkeyLog
from actors.testing import event_batch
from actors.valkey.address import Address
from actors.valkey.cluster import SLOTS, key_of, slot_of
from actors.valkey.keys import Keyspace, partition_of
from actors.valkey.server import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 60
PATIENT = ValkeyOptions(timeout_seconds=LIMIT)
KEYS = [StreamKey(f"u{number}", "s") for number in range(12)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[_valkey.Server]]:
    """Three primaries, each with a third of the slots."""
    with _valkey.cluster(3) as servers:
        yield servers


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
    commands = (("GET", "a"), (b"FCALL", "f", 1, "b", "c"), ("PUBLISH", "d", "e"))
    assert [key_of(args) for args in commands] == ["a", "b", None]


async def test_log_in_a_cluster(cluster: list[_valkey.Server]) -> None:
    """Streams of all primaries are written and read through one log. One append is of one partition."""
    with trio.fail_after(LIMIT):
        async with ValkeyLog(Address("127.0.0.1", cluster[0].port, cluster=True), PATIENT) as log:
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
            used = {partition_of(key.user) for key in KEYS}
            users = (str(number) for number in itertools.count())
            # A slot with keys cannot simply be given to another primary.
            key = StreamKey(next(user for user in users if partition_of(user) not in used), "s")
            slot = slot_of(log.valkey.keys.of_stream(*key).meta)
            owner = slot * len(cluster) // SLOTS
            target = cluster[(owner + 1) % 3]
            for server in cluster:
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


async def test_messages_without_the_first_server(cluster: list[_valkey.Server]) -> None:
    """Messages arrive over another primary, if the server that the URL names is gone."""
    with trio.fail_after(LIMIT):
        async with Valkey(Address("127.0.0.1", cluster[2].port, cluster=True)) as valkey:
            cluster[2].kill()  # for good: this is the last test
            while not valkey.messages.up or valkey.messages.address.port == cluster[2].port:
                await valkey.messages.changed()
