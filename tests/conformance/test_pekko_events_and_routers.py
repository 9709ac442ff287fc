"""The event stream, topics and typed routers, after Pekko's tests and documentation."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from actors import UNHANDLED, Actor, DeadLetter, PoolRef, Routing, open_system, pool

if TYPE_CHECKING:
    from trio.testing import MockClock

    from actors import ActorSystem


@attrs.frozen
class Fruit:
    """An event."""


@attrs.frozen
class Apple(Fruit):
    """An event of a subclass."""


class Listener(Actor):
    """An actor that subscribes to classes of events, and records its messages."""

    def __init__(self, got: list[object], *kinds: type[Any], topic: str | None = None) -> None:
        self.got = got
        self.kinds = kinds
        self.topic = topic

    async def started(self) -> None:
        for kind in self.kinds:
            self.context.subscribe(kind, topic=self.topic)

    async def receive(self, message: object) -> object:
        self.got.append(message)
        return UNHANDLED


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


# EventStreamSpec


async def test_subscriber_of_a_class_and_its_subclass_gets_an_event_once() -> None:
    """EventStreamSpec: "manage sub-channels". An event is delivered once to a subscriber of two of its classes."""
    got: list[object] = []
    async with open_system() as system:
        await system.spawn(Listener, got, Fruit, Apple)
        system.events.publish(Apple())
        system.events.publish(Fruit())
        await settle()
        assert got == [Apple(), Fruit()]


async def test_unsubscribing_from_a_subclass_keeps_the_base_class() -> None:
    """Other than in EventStreamSpec, a subscription to a base class is not narrowed when a subclass is given up."""
    async with open_system() as system:
        with system.events.subscribe(Fruit) as fruit:
            with system.events.subscribe(Apple):
                pass
            system.events.publish(Apple())
            assert list(fruit.events) == [Apple()]


async def test_terminated_subscriber_is_removed() -> None:
    """EventStreamSpec: "unsubscribe an actor upon termination"."""
    async with open_system() as system:
        ref = await system.spawn(Listener, [], Fruit)
        assert system.events.statistics().subscriptions == 1
        await ref.stop()
        assert system.events.statistics().subscriptions == 0


async def test_dead_letters_are_events() -> None:
    """Dead letters are published to the event stream, and an unhandled event is no further dead letter."""
    got: list[object] = []
    async with open_system() as system:
        await system.spawn(Listener, got, DeadLetter)
        other = await system.spawn(Actor)
        await other.tell("unknown")
        await settle()
        assert [each.message for each in got if isinstance(each, DeadLetter)] == ["unknown"]
        assert system.statistics().dead_letters == 1


# TopicSpec


async def test_topic_publishes_to_all_its_subscribers() -> None:
    """A message of a topic reaches every subscriber of it, and none of another topic."""
    got: list[object] = []
    other: list[object] = []
    async with open_system() as system:
        for _ in range(3):
            await system.spawn(functools.partial(Listener, got, Fruit, topic="fruits"))
        await system.spawn(functools.partial(Listener, other, Fruit, topic="nuts"))
        system.events.publish(Apple(), "fruits")
        await settle()
        assert (got, other) == ([Apple()] * 3, [])


# RoutersSpec and PoolSpec


class Worker(Actor):
    """A member that counts its messages by its name, and waits for an event if the message is one."""

    def __init__(self, got: Counter[str], stopped: list[str]) -> None:
        self.got = got
        self.stopped = stopped

    async def receive(self, message: object) -> object:
        self.got[self.ref.name] += 1
        if isinstance(message, Exception):
            raise message
        if isinstance(message, trio.Event):
            await message.wait()
        return self.ref.name

    async def stopping(self, reason: object) -> None:
        self.stopped.append(self.ref.name)


async def workers(system: ActorSystem, got: Counter[str], size: int, **options: Any) -> PoolRef:
    """Spawn a pool of workers."""
    ref = await system.spawn(pool(lambda: Worker(got, []), size, **options), name="pool")
    assert isinstance(ref, PoolRef)
    return ref


async def test_pool_creates_children_and_routes_to_them() -> None:
    """PoolSpec: "create n children and route messages to". Round robin is fair."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await workers(system, got, 4)
        for number in range(8):
            await ref.tell(number)
        await settle()
        assert got == {"1": 2, "2": 2, "3": 2, "4": 2}


async def test_failing_member_is_replaced_in_place() -> None:
    """In Pekko a pool stops routing to a child that fails, and stops with the last one. Here a child is restarted."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await workers(system, got, 2)
        for _ in range(2):
            await ref.tell(ValueError("x"))
        await settle()
        assert ref.alive
        assert [await ref.ask("a"), await ref.ask("b")] == ["1", "2"]


async def test_broadcast_reaches_every_member() -> None:
    """PoolSpec: "support broadcast"."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await workers(system, got, 4)
        assert await ref.broadcast("all") == 4
        await settle()
        assert got == {"1": 1, "2": 1, "3": 1, "4": 1}


async def test_consistent_hashing_keeps_most_keys_when_the_pool_grows(autojump_clock: MockClock) -> None:
    """RoutersSpec: messages of one key go to one routee. If a member is added, most keys keep theirs."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await workers(system, got, 4, routing=Routing.CONSISTENT_HASH, max_size=5, grow_at=1, shrink_after=100)
        before = [await ref.ask(key) for key in range(100)]
        gate = trio.Event()
        await ref.broadcast(gate)
        await settle()
        for key in range(100):
            await ref.tell(key)
        await settle()
        assert ref.statistics().members == 5
        gate.set()
        await settle()
        after = [await ref.ask(key) for key in range(100)]
        moved = [new for old, new in zip(before, after, strict=True) if old != new]
        assert set(moved) == {"5"}
        assert 1 <= len(moved) <= 50
        assert autojump_clock.autojump_threshold == 0


# The classic ResizerSpec


async def test_resizer_stays_within_its_bounds(autojump_clock: MockClock) -> None:
    """ResizerSpec: "grow as needed under pressure" up to the upper bound, and "backoff" to the lower bound."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await workers(system, got, 2, max_size=4, grow_at=2, shrink_after=1)
        gate = trio.Event()
        for _ in range(40):
            await ref.tell(gate)
            await settle()
        assert ref.statistics().members == 4
        gate.set()
        await trio.sleep(5)
        assert (ref.statistics().members, sum(got.values())) == (2, 40)
        assert autojump_clock.autojump_threshold == 0


async def test_stopping_a_pool_stops_its_members() -> None:
    """RoutingSpec: a router that is stopped stops its routees, and a message to it is a dead letter or an error."""
    stopped: list[str] = []
    async with open_system() as system:
        ref = await system.spawn(pool(lambda: Worker(Counter(), stopped), 3))
        await ref.stop()
        assert (sorted(stopped), system.statistics().actors) == (["1", "2", "3"], 0)


@pytest.mark.parametrize("routing", list(Routing))
async def test_every_rule_routes_every_message(routing: Routing) -> None:
    """RoutersSpec: each rule of routing delivers each message to exactly one routee."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await workers(system, got, 3, routing=routing)
        for number in range(60):
            await ref.tell(number)
        await settle()
        assert sum(got.values()) == 60
        assert set(got) == {"1", "2", "3"}
