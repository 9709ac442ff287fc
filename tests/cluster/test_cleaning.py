"""Retention in a cluster: each user's logs are cleaned by one node, which owns the user or claims the user for it."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from _cluster_engine import Engine, MemoryBus, MemoryMembers, MemoryOwners
from _valkey import Server
from _valkey_nodes import nodes

from actors import SessionSettings, StreamKey
from actors.cluster._claims import Claims
from actors.cluster._custody import NodeCustody
from actors.cluster._heart import Heart
from actors.cluster._share import share
from actors.cluster._times import NodeTimes
from actors.cluster.interfaces import Incarnation, Token
from actors.eventlog.valkey import ValkeyLog
from actors.sessions._revocations import Revocations
from actors.streams import _stream
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

SECONDS = 50
"""Time limit of the test with a real server."""


@attrs.define
class NoSessions:
    """The users of a node that has no session in memory."""

    mine: set[str] = attrs.Factory(set[str])
    leaving: dict[str, trio.Event] = attrs.Factory(dict[str, trio.Event])
    is_ending: bool = False

    def is_mine(self, user: str) -> bool:
        """Return whether the node owns the user."""
        return user in self.mine

    @asynccontextmanager
    async def using(self, user: str) -> AsyncGenerator[None]:
        """Prevent the release of a user."""
        del user
        yield


async def custody(engine: Engine, name: str) -> tuple[NodeCustody, Claims, NoSessions]:
    """Return the custody of a node that has joined."""
    bus, owned = MemoryBus(), NoSessions()
    heart = Heart(name, MemoryMembers(engine, bus), bus, NodeTimes(8.0), clock=trio.current_time)
    await heart.look()
    claims = Claims(MemoryOwners(engine), heart)
    return NodeCustody(owned, heart, claims), claims, owned  # type: ignore[arg-type]  # parts of them


async def test_users_without_an_owner_are_shared(autojump_clock: MockClock) -> None:
    """A user without an owner falls to one node, which claims the user for the cleaning, and releases the user."""
    engine = Engine()
    nodes = {name: await custody(engine, name) for name in "ab"}
    for _, claims, _ in nodes.values():
        await claims._heart.look()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # both have joined now
    users = [f"u{number}" for number in range(20)]
    for user in users:
        falls = [name for name, (each, _, _) in nodes.items() if each.falls_here(user)]
        assert falls == [share(user, "ab")]
    each, claims, _ = nodes[share("u0", "ab")]
    async with each.held("u0") as mine:
        assert (mine, engine.tokens["u0"].incarnation) == (True, claims.owned["u0"].incarnation)
    assert engine.tokens["u0"].incarnation is None


async def test_users_of_living_nodes_are_left_to_them(autojump_clock: MockClock) -> None:
    """A node cleans the logs of its own users, and not those of a user that another living node owns."""
    engine = Engine()
    (a, claims, owned), (b, others, _) = await custody(engine, "a"), await custody(engine, "b")
    await claims._heart.look()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # both have joined now
    token = await claims.own("u")
    owned.mine.add("u")
    assert a.falls_here("u")
    async with b.held("u") as mine:
        assert not mine
    assert engine.tokens["u"] == token
    engine.tokens["v"] = Token(4, Incarnation("dead", 0, 1))
    async with b.held("v") as mine:
        assert mine
    assert (engine.tokens["v"], others.owned) == (Token(5, None), {})
    owned.is_ending = True
    assert not a.falls_here("u")


async def test_sessions_without_an_owner_are_forgotten() -> None:
    """Old sessions of a user that was released are removed from the log. Those of a user that is owned stay."""
    with trio.fail_after(SECONDS), Server() as server:
        async with nodes(server, "a", "b", lease=60, settings=SessionSettings(forget_seconds=0)) as (
            (sessions, a),
            (others, b),
        ):
            for user in ("released", "owned"):
                await sessions.get(user, "s1")
            assert await a.router.owned.give_up("released")
            for membership in (a, b):
                await membership.node.heart.look()
            for _ in range(2):
                for each in (others, sessions):
                    await each.cleaner.clean()
            log = ValkeyLog(parse_address(server.url))
            async with log:
                assert await log.streams() == [StreamKey("owned", "s1")]
            assert (list(a.node.claims.owned), b.node.claims.owned) == (["owned"], {})


HOUR = 3600
FAST, RIGHT, SLOW = 2 * HOUR, 0, -2 * HOUR
"""Clocks, by the seconds that they are ahead."""


@pytest.mark.parametrize(
    ("writer", "cleaner", "kept"),
    [(RIGHT, FAST, True), (RIGHT, SLOW, True), (FAST, RIGHT, True), (SLOW, RIGHT, False), (SLOW, FAST, False)],
)
async def test_clocks_of_nodes(monkeypatch: pytest.MonkeyPatch, writer: int, cleaner: int, *, kept: bool) -> None:
    """A node whose clock is two hours ahead since its start deletes no event of another node that is kept for an hour.

    An event that says that it is two hours old is deleted, because Valkey's clock agrees.
    """
    settings, key = SessionSettings(retain_seconds=HOUR, forget_seconds=100 * HOUR), StreamKey("u", "s1")
    real, ahead = time.time_ns, [writer]
    monkeypatch.setattr(_stream, "time_ns", lambda: real() + ahead[0] * 10**9)
    monkeypatch.setattr(_stream, "time", lambda: (real() + ahead[0] * 10**9) / 10**9)
    with trio.fail_after(SECONDS), Server() as server:
        async with nodes(server, "a", lease=60, settings=settings) as ((sessions, a),):
            handle = await sessions.get("u", "s1")
            await handle.emit("n", 1)
            await sessions.committed()
            assert await a.router.owned.give_up("u")
        ahead[0] = cleaner
        async with nodes(server, "b", lease=60, settings=settings) as ((others, _),):
            await others.cleaner.clean()
            async with ValkeyLog(parse_address(server.url)) as log:
                head = await log.head(key)
            assert head is not None
            assert (head.oldest == 1) is kept
            assert head.latest == 1


async def test_revocations_of_other_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose clock is ahead forgets no revocation of another node that is not over by Valkey's clock."""
    real, ahead = time.time_ns, [0]
    monkeypatch.setattr(_stream, "time_ns", lambda: real() + ahead[0] * 10**9)
    monkeypatch.setattr(Revocations.__init__, "__defaults__", (lambda: (real() + ahead[0] * 10**9) / 10**9,))
    until = real() / 10**9 + HOUR
    with trio.fail_after(SECONDS), Server() as server:
        async with nodes(server, "a", lease=60) as ((sessions, _),):
            await sessions.revoke(token_id="one", until=until)
        ahead[0] = FAST
        async with nodes(server, "b", lease=60) as ((others, _),):
            await others.revoke(token_id="two")
            assert {each.token_id for each in await others.revocations.stored()} == {"one", "two"}
