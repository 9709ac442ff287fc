"""Topics after Elixir's Registry and PubSub, event stream and routers after tapio-py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from actors import Actor, DeadLetter, EventsMissed, Overflow, PoolRef, Restart, Undelivered, open_system, pool

if TYPE_CHECKING:
    from actors import ExitReason


class Player(Actor):
    """An actor that subscribes to a topic when it starts, and records its messages."""

    def __init__(self, got: list[object], topic: str = "room") -> None:
        self.got = got
        self.topic = topic

    async def started(self) -> None:
        self.context.subscribe(object, topic=self.topic, buffer=2)

    async def receive(self, message: object) -> object:
        if isinstance(message, Exception):
            raise message
        self.got.append(message)
        return None


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


# Registry with duplicate keys, and Phoenix.PubSub


async def test_dispatch_to_a_topic_without_subscribers() -> None:
    """Registry.dispatch: without an entry for the key, nothing happens, and the publisher gets no error."""
    async with open_system() as system:
        system.events.publish("hello", "nobody")
        assert system.statistics().dead_letters == 0


async def test_entry_is_of_the_process() -> None:
    """Registry: an entry belongs to the process, and is gone when it ends. A restarted one registers again in init."""
    got: list[object] = []
    async with open_system() as system:
        ref = await system.spawn(Player, got, restart=Restart.PERMANENT)
        await ref.tell(ValueError("x"))
        await settle()
        assert system.events.statistics().subscriptions == 1
        system.events.publish("hello", "room")
        await settle()
        assert got == ["hello"]
        await ref.stop()
        assert (system.events.statistics().subscriptions, system.events.statistics().topics) == (0, 0)


async def test_publisher_that_subscribes_gets_its_own_events() -> None:
    """PubSub.broadcast: a publisher that subscribes to the topic receives its own message."""
    got: list[object] = []

    class Chatty(Player):
        async def receive(self, message: object) -> object:
            if message == "go":
                self.context.system.events.publish("mine", "room")
            return await super().receive(message)

    async with open_system() as system:
        await (await system.spawn(Chatty, got)).tell("go")
        await settle()
        assert got == ["go", "mine"]


async def test_slow_subscriber_does_not_grow_without_bound() -> None:
    """Unlike in PubSub, a slow subscriber's queue is bounded. It is told how many events it missed."""
    got: list[object] = []
    async with open_system() as system:
        await system.spawn(Player, got)
        for number in range(1_000):
            system.events.publish(number, "room")
        await settle()
        assert got == [EventsMissed(object, "room", 998), 998, 999]


# tapio-py: EventStream, Routers.pool


async def test_subclasses_count() -> None:
    """EventStream.subscribe: a handler for a class gets the events of its subclasses too."""
    async with open_system() as system:
        with system.events.subscribe(int) as numbers:
            for event in (1, True, "text"):
                system.events.publish(event)
            assert list(numbers.events) == [1, True]


async def test_subscriber_that_raises_does_not_stop_the_others() -> None:
    """EventStream.publish: a subscriber that raises costs only itself. Here it fails as an actor, and is restarted."""
    bad: list[object] = []
    good: list[object] = []

    class Bad(Player):
        async def receive(self, message: object) -> object:
            raise ValueError(message)

    async with open_system() as system:
        first = await system.spawn(Bad, bad, restart=Restart.PERMANENT)
        await system.spawn(Player, good)
        system.events.publish("event", "room")
        await settle()
        assert (good, first.alive, first.statistics().restarts) == (["event"], True, 1)


async def test_router_prunes_a_routee_that_stops() -> None:
    """Routers.pool: no message goes to a routee that has stopped. Here another one takes its place."""

    class Routee(Actor):
        async def receive(self, message: object) -> object:
            return self.ref.name

    async with open_system() as system:
        ref = await system.spawn(pool(Routee, 2))
        assert isinstance(ref, PoolRef)
        await ref.members()[0].stop()
        await settle()
        assert sorted([await ref.ask(1), await ref.ask(2)]) == ["2", "3"]
        assert ref.statistics().members == 2


async def test_full_routee_does_not_fail_the_pool() -> None:
    """Routers.pool: a message that no routee can take is a dead letter, and the pool lives on."""
    gate = trio.Event()

    class Routee(Actor):
        async def receive(self, message: object) -> object:
            await gate.wait()
            return message

        async def stopping(self, reason: ExitReason) -> None:
            gate.set()

    async with open_system() as system:
        ref = await system.spawn(pool(Routee, 1), mailbox_size=1, overflow=Overflow.DROP_NEW)
        with system.events.subscribe(DeadLetter) as letters:
            await ref.tell("handled")
            await settle()
            for number in range(3):
                await ref.tell(number)
            assert [(each.message, each.why) for each in letters.events] == [
                (1, Undelivered.OVERFLOW),
                (2, Undelivered.OVERFLOW),
            ]
            assert ref.alive
        gate.set()
