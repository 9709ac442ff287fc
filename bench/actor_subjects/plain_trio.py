"""A trio task and a memory channel, without the features of an actor: no name, no restart, no statistics."""

from __future__ import annotations

import trio
from actor_subjects.clock import ASKS, BATCH, TELLS, TURNS, Clock, Figures, Room, main

Letter = tuple[int, trio.Event | None]


class Task:
    """A task that replies to each message, until its channel is closed."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.mailbox, self._inbox = trio.open_memory_channel[Letter](BATCH)
        self.over = trio.Event()
        nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        async for _, answered in self._inbox:
            if answered is not None:
                answered.set()
        self.over.set()

    async def ask(self, number: int) -> None:
        """Send a message and wait for the reply."""
        answered = trio.Event()
        await self.mailbox.send((number, answered))
        await answered.wait()

    async def stop(self) -> None:
        """End the task and wait for its end."""
        self.mailbox.close()
        await self.over.wait()


async def costs() -> Figures:
    """Measure messages, and tasks one after the other."""
    async with trio.open_nursery() as nursery:
        task = Task(nursery)
        clock = Clock(TELLS)
        for number in range(TELLS):
            await task.mailbox.send((number, None))
        figures = {"tell": clock.each()}

        clock = Clock(ASKS)
        for number in range(ASKS):
            await task.ask(number)
        figures["ask"] = clock.each()
        await task.stop()

        clock = Clock(TURNS)
        for _ in range(TURNS):
            await Task(nursery).stop()
        figures["turn"] = clock.each()

        clock = Clock(TURNS)
        for _ in range(TURNS):
            task = Task(nursery)
            await task.ask(0)
            await task.stop()
        return figures | {"life": clock.each()}


async def many(count: int) -> Figures:
    """Measure ``count`` tasks at once."""
    async with trio.open_nursery() as nursery:
        room, clock = Room(count), Clock(count)
        tasks = [Task(nursery) for _ in range(count)]
        for _ in range(2):  # of those that are ready at once, this task may be the first
            await trio.lowlevel.checkpoint()
        figures = {"spawn": clock.each(), "bytes": room.each()}
        for task in tasks:
            await task.ask(0)
        figures["used"] = room.each()
        clock = Clock(count)
        for task in tasks:
            task.mailbox.close()
    return figures | {"stop": clock.each()}


if __name__ == "__main__":
    main(lambda: trio.run(costs), lambda count: trio.run(many, count))
