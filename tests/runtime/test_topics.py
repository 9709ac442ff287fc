"""Events between actors: who receives an event, how many wait, and when a subscription ends."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from actors import (
    UNHANDLED,
    Actor,
    ActorRef,
    DeadLetter,
    EventsMissed,
    EventStream,
    Restart,
    SpecError,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import ActorSystem


@attrs.frozen
class Order:
    """An event."""

    number: int


@attrs.frozen
class Express(Order):
    """An event of a subclass."""


class Listener(Actor):
    """An actor that subscribes when it starts, and records its messages. A message that is an exception is raised."""

    def __init__(self, got: list[object], kind: type[Any] = Order, buffer: int = 256) -> None:
        self.got = got
        self.kind = kind
        self.buffer = buffer

    async def started(self) -> None:
        self.context.subscribe(self.kind, buffer=self.buffer)

    async def receive(self, message: object) -> object:
        if isinstance(message, Exception):
            raise message
        if callable(message):
            return message(self)
        self.got.append(message)
        return None


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_event_reaches_subscribers_of_its_class_and_bases() -> None:
    """A subscriber receives the events of its class and of subclasses, in the order in which they were published."""
    got: list[object] = []
    async with open_system() as system:
        await system.spawn(Listener, got)
        with system.events.subscribe(Express) as express, system.events.subscribe(object) as everything:
            for event in (Order(1), Express(2), "text", Order(3)):
                system.events.publish(event)
            await settle()
            assert got == [Order(1), Express(2), Order(3)]
            assert list(express.events) == [Express(2)]
            assert list(everything.events) == [Order(1), Express(2), "text", Order(3)]
    assert [event async for event in express] == [Express(2)]


async def test_topics_are_kept_apart() -> None:
    """An event of a topic reaches only the subscribers of that topic."""
    async with open_system() as system:
        events = system.events
        with events.subscribe(Order) as plain, events.subscribe(Order, topic="eu") as eu:
            events.publish(Order(1))
            events.publish(Order(2), "eu")
            events.publish(Order(3), "us")
            assert (list(plain.events), list(eu.events)) == ([Order(1)], [Order(2)])
            assert (events.statistics().topics, events.statistics().subscriptions) == (1, 2)
        assert (events.statistics().topics, events.statistics().subscriptions) == (0, 0)
        assert events.statistics().published == 3


async def test_actor_receives_an_event_once() -> None:
    """An actor with several subscriptions for one event receives it once. To subscribe twice changes nothing."""
    got: list[object] = []
    async with open_system() as system:
        ref = await system.spawn(Listener, got)
        await ref.ask(lambda actor: actor.context.subscribe(Express))
        await ref.ask(lambda actor: actor.context.subscribe(Order, buffer=1))
        assert ref.statistics().subscriptions == 2
        system.events.publish(Express(1))
        await settle()
        assert got == [Express(1)]
        await ref.ask(lambda actor: actor.context.unsubscribe(Express))
        await ref.ask(lambda actor: actor.context.unsubscribe(Express))
        system.events.publish(Express(2))
        await settle()
        assert (got, ref.statistics().subscriptions) == ([Express(1), Express(2)], 1)


async def test_unsubscribing_drops_waiting_events() -> None:
    """When an actor unsubscribes, it receives no event of that subscription that was waiting."""
    got: list[object] = []

    def leave(actor: Listener) -> None:
        for event in (Order(1), "other"):
            actor.context.system.events.publish(event)
        actor.context.unsubscribe(Order)

    async with open_system() as system:
        ref = await system.spawn(Listener, got)
        await ref.ask(lambda actor: actor.context.subscribe(str))
        await ref.ask(leave)
        await settle()
        assert got == ["other"]


@pytest.mark.parametrize(("published", "missed"), [(3, 0), (4, 1), (9, 6)])
async def test_slow_subscriber_is_told_how_many_it_missed(published: int, missed: int) -> None:
    """A full buffer drops its oldest events. The subscriber is told their number at their place in the order."""
    got: list[object] = []
    async with open_system() as system:
        await system.spawn(Listener, got, Order, 3)
        with system.events.subscribe(Order, buffer=3) as stream:
            for number in range(published):
                system.events.publish(Order(number))
            await settle()
            assert (stream.missed, stream.statistics().depth) == (missed, 3)
            kept = [Order(number) for number in range(missed, published)]
            assert got == [EventsMissed(Order, None, missed)] * bool(missed) + kept
            assert list(stream.events) == kept


async def test_events_need_no_room_in_the_mailbox() -> None:
    """Events are handled although the mailbox is full, and in turn with its messages, so that neither waits long."""
    got: list[object] = []

    async with open_system() as system:
        ref = await system.spawn(Listener, got, mailbox_size=3)
        for number in range(3):
            ref.tell_nowait(number)
            system.events.publish(Order(number))
        await settle()
        assert got == [Order(0), 0, Order(1), 1, Order(2), 2]


async def test_events_and_timers_take_turns() -> None:
    """A due timer and a waiting event are handled in turn, so that neither keeps the other waiting."""
    got: list[object] = []

    class Busy(Listener):
        async def receive(self, message: object) -> object:
            if message == "begin":
                for number in range(3):
                    self.context.timers.once(number, f"timer {number}", 0)
                    self.context.system.events.publish(Order(number))
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                return None
            return await super().receive(message)

    async with open_system() as system:
        await (await system.spawn(Busy, got)).tell("begin")
        await settle()
        kinds = [type(each) for each in got]
        assert kinds == [str, Order] * 3


async def test_subscription_ends_with_the_incarnation() -> None:
    """A subscription ends at a restart, as a watch does: an actor that subscribes in ``started()`` has a new one.

    Events that waited for the old incarnation, or came between the two, are not received.
    """
    got: list[object] = []
    async with open_system() as system:
        ref = await system.spawn(Listener, got, restart=Restart.PERMANENT)
        await ref.ask(lambda actor: actor.context.subscribe(str))
        ref.tell_nowait(ValueError("x"))
        await trio.testing.wait_all_tasks_blocked()
        system.events.publish("lost")
        system.events.publish(Order(2))
        await settle()
        assert (got, ref.statistics().subscriptions, ref.statistics().restarts) == ([Order(2)], 1, 1)
        await ref.stop()
        assert (ref.statistics().subscriptions, system.events.statistics().subscriptions) == (0, 0)


async def test_failing_subscriber_costs_only_itself() -> None:
    """If a subscriber fails on an event, the publisher and the other subscribers notice nothing.

    The event becomes a dead letter with the exception as its cause.
    """
    got: list[object] = []

    class Failing(Listener):
        async def receive(self, message: object) -> object:
            raise ValueError(message)

    async with open_system() as system:
        bad = await system.spawn(Failing, got)
        await system.spawn(Listener, got)
        with system.dead_letters() as letters:
            system.events.publish(Order(1))
            await settle()
            assert (got, bad.alive) == ([Order(1)], False)
            letter = await anext(letters)
            assert (letter.message, str(letter.cause)) == (Order(1), "Order(number=1)")


async def test_subscriber_of_dead_letters_that_fails() -> None:
    """Subscribers that leave dead letters unhandled, or fail on them, make no endless chain of dead letters."""

    class Deaf(Listener):
        async def receive(self, message: object) -> object:
            if isinstance(message, DeadLetter):
                raise OSError
            return UNHANDLED

    async with open_system() as system:
        for _ in range(2):
            await system.spawn(Deaf, [], DeadLetter)
        other = await system.spawn(Deaf, [], str)
        system.events.publish("unhandled by its subscriber: no dead letter")
        await settle()
        assert (system.statistics().dead_letters, other.alive) == (0, True)
        await other.tell(1)
        await settle()
        assert (system.statistics().dead_letters, system.statistics().actors) == (1, 1)


async def test_draining_actor_handles_no_more_events() -> None:
    """An actor that drains its mailbox for a stop handles no events, of which there may be no end."""
    got: list[object] = []

    class Endless(Listener):
        async def receive(self, message: object) -> object:
            self.context.system.events.publish(Order(0))
            return await super().receive(message)

    async with open_system() as system:
        ref = await system.spawn(Endless, got)
        for number in range(3):
            ref.tell_nowait(number)
        await ref.stop(drain=True)
        assert got == [0, 1, 2]


async def test_stream_of_events_of_a_system_that_ended() -> None:
    """When the system has ended, a reader gets the remaining events and ends. A stream entered later is empty."""
    async with open_system() as system:
        stream: EventStream[Order] = system.events.subscribe(Order).__enter__()
        system.events.publish(Order(1))
    assert [event async for event in stream] == [Order(1)]
    with system.events.subscribe(Order) as late:
        assert [event async for event in late] == []
    system.events.publish(Order(2))


@pytest.mark.parametrize(
    ("field", "value"), [("kind", "Order"), ("kind", list[int]), ("buffer", 0), ("buffer", 1.5), ("topic", 3)]
)
async def test_wrong_arguments(field: str, value: object) -> None:
    """A wrong class, topic or buffer raises SpecError, which names it, and nothing is subscribed."""
    arguments: dict[str, Any] = {"kind": Order} | {field: value}
    async with open_system() as system:
        ref = await system.spawn(Listener, [])
        with pytest.raises(SpecError, match=field):
            system.events.subscribe(**arguments)

        def subscribe(actor: Listener) -> None:
            with pytest.raises(SpecError, match=field):
                actor.context.subscribe(**arguments)

        await ref.ask(subscribe)
        with pytest.raises(SpecError, match="topic"):
            system.events.publish(Order(1), 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the test
        assert system.events.statistics().subscriptions == 1


async def test_publish_from_another_thread() -> None:
    """A publish from another thread raises RuntimeError, also without subscribers. By ``from_thread`` it works."""
    async with open_system() as system:
        with pytest.raises(RuntimeError, match="trio run"):
            await trio.to_thread.run_sync(system.events.publish, Order(1))
        with system.events.subscribe(Order) as stream:
            await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(system.events.publish, Order(2)))
            assert list(stream.events) == [Order(2)]


async def test_publish_at_the_end_of_the_stack() -> None:
    """A publish at the end of the stack raises RecursionError before any subscriber has the event."""

    def deep(system: ActorSystem, ref: ActorRef) -> None:
        try:
            deep(system, ref)
        except RecursionError:
            counts.append(sum(len(each.events) for each in streams))
            system.events.publish(Order(1))

    counts: list[int] = []
    async with open_system() as system:
        ref = await system.spawn(Listener, [])
        streams = [system.events.subscribe(Order).__enter__() for _ in range(3)]
        deep(system, ref)
        assert {count % 3 for count in counts} == {0}
        assert sys.getrecursionlimit() > 100


@pytest.fixture
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("_without_collector")
async def test_events_are_freed_by_reference_count() -> None:
    """A handled event, a dropped event, and the subscriptions of an ended actor are freed without the collector."""

    class Big:
        pass

    freed: list[weakref.ref[Any]] = []
    async with open_system() as system:

        class Ignoring(Listener):
            async def receive(self, message: object) -> object:
                return None

        ref = await system.spawn(Ignoring, [], Big, 2)
        for _ in range(4):
            event = Big()
            freed.append(weakref.ref(event))
            system.events.publish(event)
        del event
        await settle()
        assert [each() for each in freed] == [None] * 4
        await ref.stop()
        assert system.events.statistics().subscriptions == 0
