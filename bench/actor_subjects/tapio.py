"""tapio-py: asyncio tasks. ``TAPIO_VALIDATE_ON_TELL=0`` is its setting for not checking the content of each message.

It has no call that ends one actor from outside, and none that waits for an end. An actor ends itself when it gets a
message for that, and other actors watch it (``ctx.watch``, signal ``Terminated``). So the actors that come one after
the other are children of one actor, which spawns the next when the last has ended, as its documentation does it.
"""

from __future__ import annotations

import asyncio

from actor_subjects.clock import ASKS, BATCH, TELLS, TURNS, Clock, Figures, Room, main
from tapio import ActorSystem, Behavior, Behaviors, Message
from tapio.actor import ActorContext, ActorRef, Signal, Terminated


class Number(Message):
    """A message, and its reply."""

    value: int


class Question(Message):
    """A message that asks for a reply."""

    value: int
    reply_to: ActorRef[Number]


class Finish(Message):
    """A message that ends the actor."""


async def ask(ref: ActorRef[Number | Question | Finish], value: int) -> Number:
    """Ask an echo actor and return its reply."""
    answer: Number = await ref.ask(lambda reply_to: Question(value=value, reply_to=reply_to), expect=Number)
    return answer


def echo(last: int = -1, done: asyncio.Event | None = None) -> Behavior[Number | Question | Finish]:
    """Reply to messages, end when asked to, and report the last message."""

    async def receive(message: Number | Question | Finish) -> Behavior[Number | Question | Finish]:
        if isinstance(message, Number):
            if message.value == last and done is not None:
                done.set()
        elif isinstance(message, Question):
            message.reply_to.tell(Number(value=message.value))
        else:
            return Behaviors.stopped()
        return Behaviors.same()

    return Behaviors.receive_message(receive)


def one_after_the_other(count: int, done: asyncio.Event, *, asking: bool) -> Behavior[Number]:
    """Spawn a child, ask it if wanted, end it, and spawn the next when it has ended."""
    child = echo()

    async def next_one(context: ActorContext[Number]) -> None:
        ref = context.spawn_anonymous(child)
        context.watch(ref)
        if asking:
            await ask(ref, 0)
        ref.tell(Finish())

    async def receive(context: ActorContext[Number], message: Number) -> Behavior[Number]:
        del message
        await next_one(context)
        return Behaviors.same()

    async def on_signal(context: ActorContext[Number], signal: Signal) -> Behavior[Number]:
        nonlocal count
        if isinstance(signal, Terminated):
            count -= 1
            if count:
                await next_one(context)
            else:
                done.set()
        return Behaviors.same()

    return Behaviors.receive(receive, on_signal=on_signal)


async def costs() -> Figures:
    """Measure messages, and actors one after the other."""
    async with ActorSystem("bench") as system:
        done = asyncio.Event()
        ref = system.spawn_anonymous(echo(TELLS, done))
        clock = Clock(TELLS)
        for number in range(1, TELLS + 1):
            ref.tell(Number(value=number))
            if number % BATCH == 0:
                await asyncio.sleep(0)
        await done.wait()
        figures = {"tell": clock.each()}

        clock = Clock(ASKS)
        for number in range(ASKS):
            await ask(ref, number)
        figures["ask"] = clock.each()

        for what in ("turn", "life"):
            done = asyncio.Event()
            parent = system.spawn_anonymous(one_after_the_other(TURNS, done, asking=what == "life"))
            clock = Clock(TURNS)
            parent.tell(Number(value=0))
            await done.wait()
            figures[what] = clock.each()
        return figures


async def many(count: int) -> Figures:
    """Measure ``count`` actors at once."""
    async with ActorSystem("bench") as system:
        behavior = echo()
        room, clock = Room(count), Clock(count)
        refs = [system.spawn_anonymous(behavior) for _ in range(count)]
        await asyncio.sleep(0)  # every task has run up to its first message
        figures = {"spawn": clock.each(), "bytes": room.each()}
        for ref in refs:
            await ask(ref, 0)
        figures["used"] = room.each()
        clock = Clock(count)
        await system.terminate()
        return figures | {"stop": clock.each()}


if __name__ == "__main__":
    main(lambda: asyncio.run(costs()), lambda count: asyncio.run(many(count)))
