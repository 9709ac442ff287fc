"""Pykka: a thread for each actor. ``stop()`` waits for its end."""

from __future__ import annotations

from actor_subjects.clock import ASKS, TELLS, TURNS, Clock, Figures, Room, main
from pykka import ActorRegistry, ThreadingActor


class Echo(ThreadingActor):
    """An actor that replies with each message."""

    def on_receive(self, message: object) -> object:
        """Handle one message."""
        return message


def costs() -> Figures:
    """Measure messages, and actors one after the other."""
    ref = Echo.start()
    clock = Clock(TELLS)
    for number in range(TELLS - 1):
        ref.tell(number)
    ref.ask("the last")
    figures = {"tell": clock.each()}

    clock = Clock(ASKS)
    for number in range(ASKS):
        ref.ask(number)
    figures["ask"] = clock.each()
    ref.stop()

    clock = Clock(TURNS)
    for _ in range(TURNS):
        Echo.start().stop()
    figures["turn"] = clock.each()

    clock = Clock(TURNS)
    for _ in range(TURNS):
        ref = Echo.start()
        ref.ask(0)
        ref.stop()
    return figures | {"life": clock.each()}


def many(count: int) -> Figures:
    """Measure ``count`` actors at once."""
    room, clock = Room(count), Clock(count)
    refs = [Echo.start() for _ in range(count)]
    figures = {"spawn": clock.each(), "bytes": room.each()}
    for ref in refs:
        ref.ask(0)
    figures["used"] = room.each()
    clock = Clock(count)
    ActorRegistry.stop_all()
    return figures | {"stop": clock.each()}


if __name__ == "__main__":
    main(costs, many)
