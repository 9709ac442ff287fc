"""What a server has when it was killed, and what its replicas have: every acknowledged append."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from _scale import scaled
from _valkey import Server

from actors.errors import LogUncertain
from actors.eventlog import ValkeyOptions
from actors.eventlog.base import StreamKey
from actors.eventlog.valkey import ValkeyLog
from actors.testing import event_batch
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 60
KILLS = scaled(3, 100)
KEYS = [StreamKey(f"u{number}", "s") for number in range(8)]
KEY = KEYS[0]


class Writers:
    """A writer for each stream. It appends one event after another, and counts those that were acknowledged."""

    def __init__(self, log: ValkeyLog) -> None:
        self.acknowledged = dict.fromkeys(KEYS, 0)
        self.more = trio.lowlevel.ParkingLot()
        self._log = log

    async def write(self, key: StreamKey) -> None:
        """Append events to a stream until cancelled."""
        await self._log.make(key)
        while True:
            await self._log.append([event_batch(key, self.acknowledged[key] + 1, 1)])
            self.acknowledged[key] += 1
            self.more.unpark_all()

    async def until(self, count: int) -> None:
        """Wait until so many events more were acknowledged."""
        end = sum(self.acknowledged.values()) + count
        while sum(self.acknowledged.values()) < end:
            await self.more.park()


@pytest.mark.parametrize("policy", ["everysec", "always"])
async def test_killed_server_has_all_acknowledged_events(policy: str) -> None:
    """With ``appendonly``, a server that is killed in the middle of appends has every acknowledged event afterwards."""
    with trio.fail_after(LIMIT), Server("--appendfsync", policy, append=True) as server:
        assert policy.encode() in server.ask("CONFIG", "GET", "appendfsync")
        async with ValkeyLog(parse_address(server.url), ValkeyOptions(timeout_seconds=LIMIT)) as log:
            writers = Writers(log)
            async with trio.open_nursery() as nursery:
                for key in KEYS:
                    nursery.start_soon(writers.write, key)
                for kill in range(KILLS):
                    await writers.until(50 + kill % 7)
                    server.kill()
                    acknowledged = dict(writers.acknowledged)
                    server.start()
                    async with ValkeyLog(parse_address(server.url), read_only=True) as other:
                        for key, count in acknowledged.items():
                            head = await other.head(key)
                            assert head is not None
                            assert head.latest >= count
                nursery.cancel_scope.cancel()
            assert (log.restored, log.epochs_renewed) == (0, 0)


@pytest.fixture
async def pair(own_port: int) -> AsyncIterator[tuple[Server, Server, ValkeyLog]]:
    """A primary, its replica, and a log that waits until the replica has each append."""
    options = ValkeyOptions(wait_replicas=1, timeout_seconds=LIMIT)
    with trio.fail_after(LIMIT), Server(port=own_port) as primary, Server() as replica:
        replica.follow(primary)
        async with ValkeyLog(parse_address(primary.url), options) as log:
            yield primary, replica, log


async def test_replica_has_each_acknowledged_append(pair: tuple[Server, Server, ValkeyLog]) -> None:
    """With ``valkey_wait_replicas``, a replica has an append as soon as it is acknowledged."""
    _, replica, log = pair
    await log.make(KEY)
    meta = log.valkey.keys.of_stream(*KEY).meta
    for seq in range(1, scaled(20, 2000)):
        await log.append([event_batch(KEY, seq, 1)])
        assert replica.ask("HGET", meta, "latest").split()[1] == b"%d" % seq


async def test_append_that_the_replica_does_not_get(pair: tuple[Server, Server, ValkeyLog]) -> None:
    """While the replica stands still, the outcome of an append is unknown. Then it is there once, at both servers."""
    _, replica, log = pair
    await log.make(KEY)
    log.unknown_seconds = 0.0
    log.valkey.seconds = 0.2  # it limits only the wait for replicas
    replica.pause()
    with pytest.raises(LogUncertain, match="only 0 of 1 replicas"):
        await log.append([event_batch(KEY, 1, 1)])
    replica.go_on()
    log.unknown_seconds = log.valkey.seconds = LIMIT
    await log.append([event_batch(KEY, 2, 1)])
    meta = log.valkey.keys.of_stream(*KEY).meta
    assert replica.ask("HGET", meta, "latest").split()[1] == b"2"
