"""The gate of a log in Valkey: a node that is cut off from its cluster writes nothing. With a real server."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import _valkey
import attrs
import pytest
import trio

from actors.cluster.interfaces import NO_TOKEN
from actors.errors import Fenced, LogUnavailable
from actors.eventlog.base import Batch, StreamKey
from actors.eventlog.valkey import ValkeyLog
from actors.testing import event_batch, event_line
from actors.testing._tools import TS
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = StreamKey("u", "s")
LIMIT = 50


@attrs.define
class Barrier:
    """A gate that a test opens."""

    opened: trio.Event = attrs.Factory(trio.Event)
    asked: trio.Event = attrs.Factory(trio.Event)
    stopped: bool = False

    def is_open(self) -> bool:
        """Return whether the test has opened the gate."""
        return self.opened.is_set()

    def until(self) -> float:
        """Return a time that is over, or never comes."""
        return math.inf if self.is_open() else -math.inf

    def fence(self, user: str) -> str | None:
        """Return a token."""
        return f"1 {user}"

    async def is_over(self, token: str) -> bool:
        """Return False: any token may be in use."""
        del token
        await trio.lowlevel.checkpoint()
        return False

    def lost(self, user: str, token: str) -> None:
        """Do nothing: no user is lost in these tests."""

    async def wait(self) -> bool:
        """Wait until the test opens the gate."""
        self.asked.set()
        if not self.stopped:
            await self.opened.wait()
        return not self.stopped


@pytest.fixture
async def served() -> AsyncIterator[tuple[_valkey.Server, ValkeyLog]]:
    """A server that loses nothing when it is killed, and an open log in it, whose stream has one event."""
    with _valkey.Server(append=True) as server, trio.fail_after(LIMIT):
        async with ValkeyLog(parse_address(server.url)) as log:
            await log.make(KEY)
            await log.append([event_batch(KEY, 1, 1)])
            yield server, log


async def test_append_waits_for_the_gate(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """An append in the queue of a node that is cut off is stored when the node is live again, and not before."""
    _, log = served
    log.gate = gate = Barrier()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.append, [event_batch(KEY, 2, 1)])
        await gate.asked.wait()
        assert len(await log.read(KEY, 0, 9, 1 << 20)) == 1
        gate.opened.set()
    assert len(await log.read(KEY, 0, 9, 1 << 20)) == 2


async def test_append_after_a_burial_is_fenced(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """An append that waited is sent with the token of then: a node that was buried meanwhile has none."""
    server, log = served
    name = log.valkey.keys.token("u")
    server.ask("SET", name, "1 a")
    log.tokens = {"u": "1 a"}
    log.gate = gate = Barrier()
    async with trio.open_nursery() as nursery:

        async def append() -> None:
            with pytest.raises(Fenced):
                await log.append([event_batch(KEY, 2, 1)])

        nursery.start_soon(append)
        await gate.asked.wait()
        log.tokens = {}
        gate.opened.set()


async def test_a_node_that_has_stopped_writes_nothing(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """A node that has left its cluster writes nothing, and nothing waits for it."""
    _, log = served
    log.gate = Barrier(stopped=True)
    for call in (log.append([event_batch(KEY, 2, 1)]), log.mark(KEY, b"x"), log.make(KEY), log.remove(KEY)):
        with pytest.raises(LogUnavailable, match="cut off"):
            await call
    head = await log.head(KEY)
    assert (head and head.latest, head and head.state) == (1, b"")


async def test_lost_events_are_put_back_after_the_gate(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """A node that is cut off when the server comes back with older data puts its events back once it is live again."""
    server, log = served
    lines = [event_line(seq, TS) for seq in range(1, 3)]
    log.tail_of = lambda _, after, until: lines[after:until]
    epoch = (await log.make(KEY)).epoch
    log.gate = gate = Barrier()
    server.restart_empty()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.append, [Batch(KEY, 2, lines[1:], b"y")])
        await gate.asked.wait()
        assert await log.head(KEY) is None
        gate.opened.set()
    head = await log.head(KEY)
    assert (head and head.epoch, head and head.latest) == (epoch, 2)


async def test_process_of_a_cluster_writes_for_its_own_users_only(served: tuple[_valkey.Server, ValkeyLog]) -> None:
    """A process of a cluster that does not own a user writes nothing for it, also if the user has no owner."""
    _, log = served
    other = StreamKey("u", "another")
    before = await log.head(KEY)
    log.no_token = NO_TOKEN
    for write in (
        partial(log.make, KEY),
        partial(log.make, other),
        partial(log.append, [event_batch(KEY, 2, 1)]),
        partial(log.mark, KEY, b"x"),
        partial(log.remove, KEY),
        partial(log.restore, other, epoch="e", latest=1, state=b"", touched=0),
    ):
        with pytest.raises(Fenced):
            await write()
    assert (await log.head(KEY), await log.head(other)) == (before, None)
