"""One measurement of one actor library in this process: ``_actor_subjects.py LIBRARY WHAT COUNT`` prints JSON.

Each library in its own words, in a process of its own: what one leaves behind is not in the next one's figures.
CPU time is counted until the last message is handled, and when the last actor has ended.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, float]
BATCH = 64
"""Messages that a sender without back-pressure sends before it lets the receiver run, as Greenroom's mailbox holds."""


def resident() -> int:
    """Bytes of memory that this process holds."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Clock:
    """CPU seconds since it was made: what others do on the machine is not in them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.began = time.process_time()

    def each(self) -> Figures:
        """What one of ``count`` took, in microseconds."""
        return {"us": (time.process_time() - self.began) / self.count * 1e6}


def greenroom(what: str, count: int) -> Figures:
    """Measure the actors of this project: bounded mailboxes, supervised, each with a nursery."""
    import trio  # noqa: PLC0415 - each library is loaded alone

    from actors import Actor, open_system  # noqa: PLC0415 - each library is loaded alone

    handled = 0
    done = trio.Event()

    class Idle(Actor):
        async def receive(self, message: object) -> object:
            nonlocal handled
            handled += 1
            if handled == count:
                done.set()
            return message

    async def run() -> Figures:
        async with open_system() as system:
            if what == "spawn":
                clock = Clock(count)
                for _ in range(count):
                    await (await system.spawn(Idle)).stop()
                return clock.each()
            if what == "idle":
                before = resident()
                for _ in range(count):
                    await system.spawn(Idle)
                held = (resident() - before) / count
                clock = Clock(count)
                await system.shutdown()
                return {"bytes": held, **clock.each()}
            ref = await system.spawn(Idle)
            clock = Clock(count)
            for number in range(count):
                await (ref.tell(number) if what == "tell" else ref.ask(number))
            await done.wait()
            return clock.each()

    return trio.run(run)


def tapio(what: str, count: int, *, checked: bool = True) -> Figures:  # noqa: C901 - one branch for each measurement
    """Measure tapio-py; it has no stop of one actor from outside, so that one is told to stop itself."""
    import asyncio  # noqa: PLC0415 - each library is loaded alone

    library: Any = import_module("tapio")
    ask_types: dict[str, Any] = {"__module__": __name__, "__annotations__": {"reply_to": library.ActorRef[Any]}}
    plain: Any = type("Plain", (library.Message,), {"__module__": __name__})
    question: Any = type("Question", (library.Message,), ask_types)
    finish: Any = type("Finish", (library.Message,), {"__module__": __name__})
    handled = 0

    async def run() -> Figures:  # noqa: C901 - as above
        done = asyncio.Event()

        async def receive(message: Any) -> Any:
            nonlocal handled
            handled += 1
            if type(message) is question:
                message.reply_to.tell(plain())
            elif type(message) is finish:
                return library.Behaviors.stopped()
            if handled == count:
                done.set()
            return library.Behaviors.same()

        receive.__annotations__["message"] = plain | question | finish

        def asked(reply_to: Any) -> Any:
            return question(reply_to=reply_to)

        settings = library.TapioSettings(validate_on_tell=checked)
        behaviour = library.Behaviors.receive_message(receive)
        async with library.ActorSystem("bench", settings=settings) as system:
            if what == "spawn":
                clock = Clock(count)
                for _ in range(count):
                    system.spawn_anonymous(behaviour).tell(finish())
                    await asyncio.sleep(0)
                await system.terminate()
                return clock.each()
            if what == "idle":
                before = resident()
                for _ in range(count):
                    system.spawn_anonymous(behaviour)
                    await asyncio.sleep(0)
                held = (resident() - before) / count
                clock = Clock(count)
                await system.terminate()
                return {"bytes": held, **clock.each()}
            ref = system.spawn_anonymous(behaviour)
            clock = Clock(count)
            if what == "ask":
                for _ in range(count):
                    await ref.ask(asked, expect=plain)
                return clock.each()
            for number in range(count):
                ref.tell(plain())
                if number % BATCH == 0:
                    await asyncio.sleep(0)
            await done.wait()
            return clock.each()

    return asyncio.run(run())


def tapio_unchecked(what: str, count: int) -> Figures:
    """Measure tapio-py without its check of each message's contents."""
    return tapio(what, count, checked=False)


def pykka(what: str, count: int) -> Figures:
    """Measure Pykka: a thread for each actor."""
    library: Any = import_module("pykka")

    class Idle(library.ThreadingActor):  # type: ignore[misc]  # the library is loaded as Any
        def on_receive(self, message: Any) -> Any:
            return message

    if what == "spawn":
        clock = Clock(count)
        for _ in range(count):
            Idle.start().stop()
        return clock.each()
    if what == "idle":
        before = resident()
        for _ in range(count):
            Idle.start()
        held = (resident() - before) / count
        clock = Clock(count)
        library.ActorRegistry.stop_all()
        return {"bytes": held, **clock.each()}
    ref = Idle.start()
    clock = Clock(count)
    for number in range(count):
        if what == "ask":
            ref.ask(number)
        else:
            ref.tell(number)
    ref.ask("the last")
    figures = clock.each()
    ref.stop()
    return figures


def plain_trio(what: str, count: int) -> Figures:  # noqa: C901 - as above
    """Measure a task and a memory channel, without anything that an actor adds."""
    import trio  # noqa: PLC0415 - each library is loaded alone

    async def serve(inbox: trio.MemoryReceiveChannel[tuple[int, Any]]) -> None:
        async for _, answered in inbox:
            if answered is not None:
                answered.set()

    async def run() -> Figures:
        clock, figures = Clock(count), Figures()
        before = resident() if what == "idle" else 0
        kept: list[trio.MemorySendChannel[tuple[int, Any]]] = []
        async with trio.open_nursery() as nursery:
            if what in {"spawn", "idle"}:
                clock = Clock(count)
                for _ in range(count):
                    sender, inbox = trio.open_memory_channel[tuple[int, Any]](BATCH)
                    nursery.start_soon(serve, inbox)
                    if what == "idle":
                        kept.append(sender)
                        continue
                    await trio.lowlevel.checkpoint()
                    sender.close()
                if what == "idle":
                    await trio.lowlevel.checkpoint()
                    figures["bytes"] = (resident() - before) / count
                    clock = Clock(count)
                    nursery.cancel_scope.cancel()
            else:
                sender, inbox = trio.open_memory_channel[tuple[int, Any]](BATCH)
                nursery.start_soon(serve, inbox)
                clock = Clock(count)
                for number in range(count):
                    answered = trio.Event() if what == "ask" else None
                    await sender.send((number, answered))
                    if answered is not None:
                        await answered.wait()
                sender.close()
        return figures | clock.each()

    return trio.run(run)


def plain_asyncio(what: str, count: int) -> Figures:  # noqa: C901 - as above
    """Measure a task and a queue, without anything that an actor adds."""
    import asyncio  # noqa: PLC0415 - each library is loaded alone

    async def serve(inbox: asyncio.Queue[tuple[int, Any]]) -> None:
        while (letter := await inbox.get())[0] >= 0:
            if letter[1] is not None:
                letter[1].set_result(None)

    async def run() -> Figures:
        if what in {"spawn", "idle"}:
            before = resident() if what == "idle" else 0
            clock, tasks, figures = Clock(count), list[asyncio.Task[None]](), Figures()
            for _ in range(count):
                inbox: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(BATCH)
                task = asyncio.create_task(serve(inbox))
                await asyncio.sleep(0)
                if what == "idle":
                    tasks.append(task)
                else:
                    inbox.put_nowait((-1, None))
                    await task
            if what == "idle":
                figures["bytes"] = (resident() - before) / count
                clock = Clock(count)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            return figures | clock.each()
        inbox = asyncio.Queue(BATCH)
        task = asyncio.create_task(serve(inbox))
        clock = Clock(count)
        for number in range(count):
            answered: Any = asyncio.get_running_loop().create_future() if what == "ask" else None
            await inbox.put((number, answered))
            if answered is not None:
                await answered
        await inbox.put((-1, None))
        await task
        return clock.each()

    return asyncio.run(run())


SUBJECTS: dict[str, Callable[[str, int], Figures]] = {
    "greenroom": greenroom,
    "tapio-py": tapio,
    "tapio-py unchecked": tapio_unchecked,
    "pykka": pykka,
    "trio": plain_trio,
    "asyncio": plain_asyncio,
}

if __name__ == "__main__":
    print(json.dumps(SUBJECTS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
