"""Claims, releases and losses of users, on an engine in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing
from _cluster_engine import Engine, MemoryBus, MemoryMembers, MemoryOwners

from actors.cluster._claims import Claims
from actors.cluster._heart import Heart
from actors.cluster._times import NodeTimes
from actors.cluster.interfaces import Incarnation, NodeInfo, Token
from actors.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

DEAD = Incarnation("dead", 0, 7)
OTHER = Incarnation("other", 0, 8)


@attrs.define(eq=False)
class Desk:
    """The claims of one node that has joined."""

    engine: Engine
    owners: MemoryOwners
    heart: Heart
    claims: Claims
    lost: list[Sequence[str]] = attrs.field(factory=list["Sequence[str]"])


async def desk(engine: Engine | None = None, name: str = "a") -> Desk:
    """Return the claims of a node that has just joined. It beats only when it must look."""
    engine, bus = engine or Engine(), MemoryBus()
    owners = MemoryOwners(engine)
    heart = Heart(name, MemoryMembers(engine, bus), bus, NodeTimes(8.0), clock=trio.current_time)
    made = Desk(engine, owners, heart, Claims(owners, heart))
    made.claims.on_lost.append(made.lost.append)
    await heart.look()
    await trio.sleep(0.1)
    return made


async def test_free_user_is_claimed(autojump_clock: MockClock) -> None:
    """A user that never had an owner, or was released, is claimed. The term goes up."""
    a = await desk()
    assert await a.claims.own("u") == Token(1, a.heart.incarnation)
    a.engine.tokens["v"] = Token(41, None)
    assert await a.claims.own("v") == Token(42, a.heart.incarnation)
    assert a.claims.owned == {user: a.engine.tokens[user] for user in ("u", "v")}
    assert a.claims.counters.claims == 2


async def test_owned_user_costs_nothing(autojump_clock: MockClock) -> None:
    """A user that the node owns is not looked up again."""
    a = await desk()
    token = await a.claims.own("u")
    a.engine.tokens.clear()
    assert await a.claims.own("u") == token


async def test_user_of_a_living_node_is_not_claimed(autojump_clock: MockClock) -> None:
    """The token of a registered node is returned as it is."""
    a = await desk()
    a.engine.tokens["u"] = Token(3, OTHER)
    a.engine.nodes["other"] = NodeInfo(OTHER, 1)
    assert await a.claims.own("u") == Token(3, OTHER)
    assert a.claims.owned == {}


async def test_node_that_just_joined_is_not_taken_for_dead(autojump_clock: MockClock) -> None:
    """A claim looks at the nodes after it has looked at the token: the owner may have joined since the last beat."""
    a = await desk()
    beats = a.engine.nodes["a"].beat
    a.engine.nodes["other"] = NodeInfo(OTHER, 1)
    a.engine.tokens["u"] = Token(3, OTHER)
    assert await a.claims.own("u") == Token(3, OTHER)
    assert a.engine.nodes["a"].beat == beats + 1


async def test_user_of_a_dead_node_is_claimed(autojump_clock: MockClock) -> None:
    """The token of an incarnation that is not registered is replaced, and the failover hears of it."""
    a = await desk()
    told: list[None] = []
    a.claims.on_inherited.append(lambda: told.append(None))
    a.engine.tokens["u"] = Token(3, DEAD)
    assert await a.claims.own("u") == Token(4, a.heart.incarnation)
    assert len(told) == 1
    assert await a.claims.own("v") is not None
    assert len(told) == 1


async def test_user_is_claimed_if_its_owner_says_so(autojump_clock: MockClock) -> None:
    """The token of a registered node is replaced if that node answered that it does not own the user."""
    a = await desk()
    a.engine.nodes["other"] = NodeInfo(OTHER, 1)
    a.engine.tokens["u"] = Token(3, OTHER)
    assert await a.claims.own("u", not_mine=Token(2, OTHER)) == Token(3, OTHER)
    assert await a.claims.own("u", not_mine=Token(3, OTHER)) == Token(4, a.heart.incarnation)


async def test_nobody_is_claimed_without_a_look(autojump_clock: MockClock) -> None:
    """If the nodes cannot be looked at, the owner counts as alive."""
    a = await desk()
    a.engine.tokens["u"] = Token(3, DEAD)
    down = a.heart.look

    async def look() -> bool:
        a.engine.up = False
        return await down()

    a.heart.look = look  # type: ignore[method-assign]  # a fault
    with pytest.raises(LogUnavailable):
        await a.claims.own("u")
    assert a.engine.tokens["u"] == Token(3, DEAD)


async def test_suspended_node_claims_nothing(autojump_clock: MockClock) -> None:
    """A node that is not sure of itself, or about to end, claims no user."""
    a = await desk()
    await trio.sleep(7)
    assert await a.claims.own("u") is None
    await a.heart.look()
    a.claims.closed = True
    assert await a.claims.own("u") is None
    assert a.engine.tokens == {}


async def test_node_that_ends_knows_the_other_owners(autojump_clock: MockClock) -> None:
    """A node that claims no more users returns the tokens of other nodes: commands of its clients still go there."""
    engine = Engine()
    a, b = await desk(engine), await desk(engine, "b")
    token = await b.claims.own("u")
    a.claims.closed = True
    await a.heart.look()
    assert await a.claims.own("u") == token


async def test_faster_node_wins(autojump_clock: MockClock) -> None:
    """Two nodes that claim a user at the same time agree on one owner."""
    engine = Engine()
    a, b = await desk(engine), await desk(engine, "b")
    await a.heart.look()
    found: list[Token | None] = []

    async def claim(one: Desk) -> None:
        found.append(await one.claims.own("u"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim, a)
        nursery.start_soon(claim, b)
    assert found[0] == found[1] == engine.tokens["u"]
    assert a.claims.counters.lost + b.claims.counters.lost == 1
    assert len(a.claims.owned) + len(b.claims.owned) == 1


async def test_concurrent_callers_claim_once(autojump_clock: MockClock) -> None:
    """Many tasks that want one user cause one claim."""
    a = await desk()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(a.claims.own, "u")
    assert a.engine.tokens["u"].term == 1


async def test_unanswered_claim_is_replaced(autojump_clock: MockClock) -> None:
    """After a claim whose answer was lost, the user is claimed with a new token, not with the one in doubt."""
    a = await desk()
    a.owners.losing = 1
    with pytest.raises(LogUnavailable):
        await a.claims.own("u")
    assert a.claims.owned == {}
    assert await a.claims.own("u") == Token(2, a.heart.incarnation)


async def test_tokens_are_new_after_a_loss_of_data(autojump_clock: MockClock) -> None:
    """A node never uses one token twice, even if the engine has lost its data."""
    a = await desk()
    first = await a.claims.own("u")
    await a.claims.release("u")
    a.engine.tokens.clear()
    second = await a.claims.own("u")
    assert second is not None
    assert second != first


async def test_release_keeps_the_term(autojump_clock: MockClock) -> None:
    """A released user has a token without an owner. A user of other nodes is not released."""
    a = await desk()
    await a.claims.own("u")
    await a.claims.release("u")
    a.engine.tokens["v"] = Token(3, OTHER)
    await a.claims.release("v")
    assert a.engine.tokens == {"u": Token(1, None), "v": Token(3, OTHER)}
    assert a.claims.owned == {}


async def test_fenced_user_is_lost(autojump_clock: MockClock) -> None:
    """A refused append takes the user from the node, unless the node has claimed the user anew since."""
    a = await desk()
    token = await a.claims.own("u")
    assert token is not None
    a.claims.lose("u", Token(99, DEAD))
    assert a.lost == []
    a.claims.lose("u", token)
    assert (a.lost, a.claims.owned, a.claims.counters.fenced) == ([["u"]], {}, 1)


async def test_buried_node_loses_all_users(autojump_clock: MockClock) -> None:
    """When the node was buried, it has lost all its users, and releases none of them."""
    a = await desk()
    await a.claims.own("u")
    await a.claims.own("v")
    a.engine.nodes.clear()
    await a.heart.look()
    assert a.lost == [["u", "v"]]
    await a.claims.release("u")
    assert a.engine.tokens["u"].incarnation is not None


async def test_claim_of_a_buried_incarnation_does_not_count(autojump_clock: MockClock) -> None:
    """A node that is buried while its claim is under way does not own the user."""
    a = await desk()
    a.owners.before_claim = trio.Event()
    found: list[Token | None] = []

    async def claim() -> None:
        found.append(await a.claims.own("u"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        await trio.testing.wait_all_tasks_blocked()
        a.engine.nodes.clear()
        await a.heart.look()
        a.owners.before_claim.set()
    assert found == [None]
    assert a.claims.owned == {}


async def test_taken_user_is_not_used(autojump_clock: MockClock) -> None:
    """While the failover has a user, other tasks wait; then the user is claimed anew."""
    a = await desk()
    a.engine.tokens["u"] = Token(3, DEAD)
    found: list[Token | None] = []

    async def claim() -> None:
        found.append(await a.claims.own("u"))

    async with trio.open_nursery() as nursery:
        async with a.claims.taken("u") as mine:
            assert mine
            nursery.start_soon(claim)
            await trio.testing.wait_all_tasks_blocked()
            assert found == []
            assert a.engine.tokens["u"] == Token(4, a.heart.incarnation)
    assert found == [Token(5, a.heart.incarnation)]


async def test_owned_user_is_not_taken(autojump_clock: MockClock) -> None:
    """The failover does not take a user whose sessions this node may run, and does not release the user."""
    a = await desk()
    token = await a.claims.own("u")
    async with a.claims.taken("u") as mine:
        assert not mine
    assert a.engine.tokens["u"] == token
    assert a.claims.owned == {"u": token}
