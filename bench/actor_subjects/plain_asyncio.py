"""An asyncio task and a queue, without the features of an actor: no name, no restart, no statistics."""

from __future__ import annotations

import asyncio

from actor_subjects.clock import ASKS, BATCH, TELLS, TURNS, Clock, Figures, Room, main

Letter = tuple[int, "asyncio.Future[None] | None"]


class Task:
    """A task that replies to each message, until a negative number."""

    def __init__(self) -> None:
        self.mailbox: asyncio.Queue[Letter] = asyncio.Queue(BATCH)
        self.over = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        while (letter := await self.mailbox.get())[0] >= 0:
            if letter[1] is not None:
                letter[1].set_result(None)

    async def ask(self, number: int) -> None:
        """Send a message and wait for the reply."""
        answered = asyncio.get_running_loop().create_future()
        await self.mailbox.put((number, answered))
        await answered

    async def stop(self) -> None:
        """End the task and wait for its end."""
        await self.mailbox.put((-1, None))
        await self.over


async def costs() -> Figures:
    """Measure messages, and tasks one after the other."""
    task = Task()
    clock = Clock(TELLS)
    for number in range(TELLS):
        await task.mailbox.put((number, None))
    figures = {"tell": clock.each()}

    clock = Clock(ASKS)
    for number in range(ASKS):
        await task.ask(number)
    figures["ask"] = clock.each()
    await task.stop()

    clock = Clock(TURNS)
    for _ in range(TURNS):
        await Task().stop()
    figures["turn"] = clock.each()

    clock = Clock(TURNS)
    for _ in range(TURNS):
        task = Task()
        await task.ask(0)
        await task.stop()
    return figures | {"life": clock.each()}


async def many(count: int) -> Figures:
    """Measure ``count`` tasks at once."""
    room, clock = Room(count), Clock(count)
    tasks = [Task() for _ in range(count)]
    await asyncio.sleep(0)
    figures = {"spawn": clock.each(), "bytes": room.each()}
    for task in tasks:
        await task.ask(0)
    figures["used"] = room.each()
    clock = Clock(count)
    for task in tasks:
        task.over.cancel()
    await asyncio.gather(*(task.over for task in tasks), return_exceptions=True)
    return figures | {"stop": clock.each()}


if __name__ == "__main__":
    main(lambda: asyncio.run(costs()), lambda count: asyncio.run(many(count)))
