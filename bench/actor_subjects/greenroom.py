"""The actors of this project: bounded mailboxes, supervised, each with a nursery when it needs one."""

from __future__ import annotations

import trio
from actor_subjects.clock import ASKS, TELLS, TURNS, Clock, Figures, Room, main

from actors import Actor, PoolRef, open_system, pool

ROUTINGS = {"pool": "round_robin", "pool by key": "consistent_hash", "pool by load": "least_waiting"}
"""Name of the figure and rule of routing of each pool."""


class Echo(Actor):
    """An actor that replies with each message, and reports the last one."""

    def __init__(self, last: int = -1, done: trio.Event | None = None) -> None:
        self._last = last
        self._done = done

    async def receive(self, message: object) -> object:
        """Handle one message."""
        if message == self._last and self._done is not None:
            self._done.set()
        return message


class Busy(Echo):
    """An actor that opens its nursery, so that ``used`` includes all parts of an actor."""

    async def receive(self, message: object) -> object:
        """Handle one message."""
        assert not self.nursery.child_tasks
        return message


async def costs() -> Figures:
    """Measure messages, and actors one after the other."""
    async with open_system() as system:
        done = trio.Event()
        ref = await system.spawn(Echo, TELLS, done)
        clock = Clock(TELLS)
        for number in range(1, TELLS + 1):
            await ref.tell(number)
        await done.wait()
        figures = {"tell": clock.each()}

        for key, routing in ROUTINGS.items():
            workers = await system.spawn(pool(Echo, 4, routing=routing))
            assert isinstance(workers, PoolRef)
            clock = Clock(TELLS)
            for number in range(1, TELLS + 1):
                await workers.tell(number)
            for member in workers.members():
                await member.ask(0)  # the messages before it were handled
            figures[key] = clock.each()

        clock = Clock(ASKS)
        for number in range(ASKS):
            await ref.ask(number)
        figures["ask"] = clock.each()

        clock = Clock(TURNS)
        for _ in range(TURNS):
            await (await system.spawn(Echo)).stop()
        figures["turn"] = clock.each()

        clock = Clock(TURNS)
        for _ in range(TURNS):
            ref = await system.spawn(Echo)
            await ref.ask(0)
            await ref.stop()
        return figures | {"life": clock.each()}


async def many(count: int) -> Figures:
    """Measure ``count`` actors at once."""
    async with open_system() as system:
        room, clock = Room(count), Clock(count)
        refs = [await system.spawn(Busy) for _ in range(count)]
        for _ in range(2):  # every task has run up to its first message
            await trio.lowlevel.checkpoint()
        figures = {"spawn": clock.each(), "bytes": room.each()}
        for ref in refs:
            await ref.ask(0)
        figures["used"] = room.each()
        clock = Clock(count)
        await system.shutdown()
        return figures | {"stop": clock.each()}


if __name__ == "__main__":
    main(lambda: trio.run(costs), lambda count: trio.run(many, count))
