"""Redis 7 in the place of Valkey: the contract of event logs, and two nodes with clients.

``make soak`` has all tests of ``tests/valkey`` and ``tests/cluster`` on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import _valkey
import pytest
import trio
from _cluster_servers import SECONDS, eventually, guest, node
from _requires import require

from actors.eventlog import ValkeyOptions
from actors.eventlog.valkey import ValkeyLog
from actors.testing import EventLogContract
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from actors.eventlog.base import EventLog

LIMIT = 60


@pytest.fixture(scope="module")
def redis() -> Iterator[_valkey.Server]:
    """One server for all tests of this file."""
    with _valkey.Server(append=True, program=require("redis-server")) as server:
        yield server


def test_version(redis: _valkey.Server) -> None:
    """The program is Redis, and no Valkey, which tells a version of Redis, too."""
    info = redis.ask("INFO", "server")
    assert b"redis_version:7." in info
    assert b"valkey" not in info


class TestLogOnRedis(EventLogContract):
    """The Valkey log keeps the contract on Redis."""

    @pytest.fixture
    async def log(self, redis: _valkey.Server) -> AsyncIterator[EventLog]:
        redis.ask("FLUSHALL")
        with trio.fail_after(LIMIT):
            async with ValkeyLog(parse_address(redis.url), ValkeyOptions(timeout_seconds=LIMIT)) as log:
                yield log


async def test_nodes_on_redis(redis: _valkey.Server) -> None:
    """Clients of two nodes share a session. When Redis comes back with an older copy, no client notices."""
    redis.ask("FLUSHALL")
    with trio.fail_after(SECONDS):
        async with node(redis.url, "first") as first, node(redis.url, "second") as second:
            async with guest(first.url) as client, guest(second.url) as other:
                await client.start("echo", "kept")
                await eventually(lambda: client.ends and other.ends)
                copy = redis.copy_data()
                await other.start("echo", "lost")
                await eventually(lambda: len(client.ends) == len(other.ends) == 2)
                redis.restart_with(copy)
                await other.start("echo", "after")
                await eventually(lambda: len(client.ends) == len(other.ends) == 3)
                assert client.events == other.events
                assert client.is_whole()
                assert client.resets == other.resets == []
            assert first.statistics()["restored"] + second.statistics()["restored"] == 3
