"""Routers over actors that exist already, after the group router of Pekko's RoutersSpec and that of tapio-py."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from actors import (
    Actor,
    ActorTerminated,
    ChildSpec,
    Restart,
    Routing,
    SpecError,
    SupervisorSpec,
    open_system,
    pool,
    router,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


from conformance.routees import modulo, routed, routees, settle

# RoutersSpec, "The router group"


@pytest.mark.parametrize("routing", list(Routing))
async def test_messages_are_spread_over_the_routees(routing: Routing) -> None:
    """Spec "route messages across routees". Each rule of the pool delivers each message to exactly one of them."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await routed(system, await routees(system, got, "abc"), routing=routing)
        for number in range(60):
            await ref.tell(number)
        await settle()
        assert (set(got), sum(got.values())) == ({"a", "b", "c"}, 60)
        if routing is Routing.ROUND_ROBIN:
            assert set(got.values()) == {20}


async def test_without_routees_a_message_is_refused() -> None:
    """Spec "publish Dropped messages when there are no routees available". Here the sender gets an error at once."""
    got = Counter[str]()
    async with open_system() as system:
        [gone] = await routees(system, got, "a")
        await gone.stop()
        ref = await routed(system, [gone])
        assert ref.members() == ()
        for _ in range(2):
            with pytest.raises(ActorTerminated, match="/router has no members"):
                await ref.tell("x")
            with pytest.raises(ActorTerminated, match="/router has no members"):
                ref.tell_nowait("x")
            with pytest.raises(ActorTerminated, match="/router has no members"):
                await ref.ask("x")
            assert await ref.broadcast("x") == 0
            [last] = await routees(system, got, "b")
            ref.add(last)
            assert await ref.ask("x") == "b"
            await last.stop()
        assert ref.alive


async def test_changing_set_of_routees() -> None:
    """Spec "handle a changing set of routees". In Pekko the receptionist changes it, here ``add`` and ends do."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "abc")
        ref = await routed(system, refs)
        await refs[1].stop()
        assert [each.name for each in ref.members()] == ["a", "c"]
        assert {await ref.ask(number) for number in range(4)} == {"a", "c"}
        [new] = await routees(system, got, "d")
        ref.add(new)
        ref.add(new)
        ref.add(refs[1])
        assert ref.statistics().members == 3
        assert {await ref.ask(number) for number in range(3)} == {"a", "c", "d"}
        assert ref.remove(new)
        assert not ref.remove(new)
        assert {await ref.ask(number) for number in range(4)} == {"a", "c"}
        assert new.alive


async def test_routee_that_is_restarted_stays(autojump_clock: MockClock) -> None:
    """A failure of a routee is for its own supervisor. It keeps its place, and its mailbox."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await routed(system, await routees(system, got, "ab", restart=Restart.PERMANENT))
        for _ in range(2):
            await ref.tell(ValueError("crash"))
        assert {await ref.ask(1), await ref.ask(2)} == {"a", "b"}
        assert ref.statistics().members == 2
        assert autojump_clock.autojump_threshold == 0


async def test_end_of_the_router_does_not_end_its_routees() -> None:
    """A group router owns none of its routees, also with draining. It leaves no watch with them."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "ab")
        for drain in (False, True):
            ref = await routed(system, refs)
            assert [each.statistics().watchers for each in refs] == [1, 1]
            await ref.broadcast("x")
            await ref.stop(drain=drain)
            assert [each.statistics().watchers for each in refs] == [0, 0]
            assert ref.members() == ()
            with pytest.raises(ActorTerminated, match="is terminated"):
                await ref.tell("x")
            with pytest.raises(ActorTerminated, match="is terminated"):
                ref.add(refs[0])
            with pytest.raises(ActorTerminated, match="is terminated"):
                await ref.broadcast("x")
        await settle()
        assert got == {"a": 2, "b": 2}
        assert all(each.alive for each in refs)


# Consistent hashing, as RoutingLogicSpec has it


async def test_most_keys_keep_their_routee() -> None:
    """If a routee is added or ends, only keys of that routee change theirs."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "abcd")
        ref = await routed(system, refs, routing="consistent_hash", key=modulo)
        before = [await ref.ask(key) for key in range(100)]
        assert before == [await ref.ask(1_000 + key) for key in range(100)]
        await refs[3].stop()
        after = [await ref.ask(key) for key in range(100)]
        assert [name for name in before if name != "d"] == [
            new for old, new in zip(before, after, strict=True) if old != "d"
        ]
        [new] = await routees(system, got, "e")
        ref.add(new)
        last = [await ref.ask(key) for key in range(100)]
        assert {new for old, new in zip(after, last, strict=True) if old != new} == {"e"}


# The router as an actor


async def test_restarted_router_keeps_its_routees() -> None:
    """A router that is killed and restarted has the members that it had, those that were added included."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "abc")
        by: Any = await system.spawn(router(refs[:2]), name="router", restart=Restart.PERMANENT)
        by.add(refs[2])
        await refs[0].stop()
        by.kill()
        assert {await by.ask(number) for number in range(4)} == {"b", "c"}
        await settle()
        assert (by.statistics().restarts, by.statistics().members) == (1, 2)
        assert {await by.ask(number) for number in range(4)} == {"b", "c"}
        assert [each.statistics().watchers for each in refs] == [0, 1, 1]


async def test_router_in_a_supervisor() -> None:
    """A router can be a child of a supervisor, for which it is a worker: it has no children."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "ab")
        above = await system.supervise(SupervisorSpec("one_for_one", [ChildSpec("router", router(refs))]))
        ref = above.child("router")
        assert ref is not None
        assert {await ref.ask(1), await ref.ask(2)} == {"a", "b"}
        assert (above.counts().supervisors, above.counts().workers) == (0, 1)
        assert not above.children()[0].is_supervisor
        await above.stop()
        assert all(each.alive for each in refs)


async def test_actor_in_two_routers() -> None:
    """An actor can be a member of several routers."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "a")
        first: Any = await system.spawn(router(refs))
        second: Any = await system.spawn(router(refs, routing="random"))
        await first.tell("x")
        await second.tell("x")
        await refs[0].stop(drain=True)
        assert (first.members(), second.members(), got) == ((), (), {"a": 2})


async def test_message_before_the_start_of_the_router() -> None:
    """A message to a router that is being started is routed by the start, or refused if there is no routee."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "a")
        for number in range(20):
            name, letters = f"r{number}", system.dead_letters()
            members = refs if number % 2 else []

            async def send(name: str = name) -> None:
                while (ref := system.find(f"/{name}")) is None:
                    await trio.lowlevel.checkpoint()
                try:
                    ref.tell_nowait("early")
                except ActorTerminated:
                    got["refused"] += 1

            with letters:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    by: Any = await system.spawn(router(members), name=name)
                await settle()
                got["dead"] += len(letters.events)
            assert by.statistics().mailbox.depth == 0
        assert got["a"] == got["refused"] + got["dead"] == 10


async def test_wrong_members() -> None:
    """Members that are no handles of single actors are a SpecError, and so is a key without its rule."""
    junk: Any
    async with open_system() as system:
        pooled = await system.spawn(pool(Actor, 1))
        above = await system.supervise(SupervisorSpec())
        inner = await system.spawn(router([]))
        for junk in (1, [1], ["a"], [pooled], [above], [inner], None):
            with pytest.raises(SpecError):
                router(junk)
        with pytest.raises(SpecError, match="key"):
            router([], key=len)
        with pytest.raises(SpecError, match="routing"):
            router([], routing="fastest")
        outer: Any = await system.spawn(router([]))
        for junk in (pooled, "x", outer):
            with pytest.raises(SpecError):
                outer.add(junk)
