"""Letters that fuzzers send to several actors behind one handle, a pool or a router, and the outcome of each.

The fuzzers run with a ``MockClock``, so that sleeps take no time.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

from actors import ActorError, PoolRef, RouterRef

if TYPE_CHECKING:
    from actors import ActorSystem

Members: TypeAlias = PoolRef | RouterRef


@attrs.frozen
class Letter:
    """A message with a number."""

    number: int


class Letters:
    """The records of one run."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.handled: Counter[int] = Counter()
        self.sent: dict[int, str] = {}
        """Outcome of each send: ``sent``, or the kind of the send and the name of the exception that the sender got."""

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.random.random() < probability


async def send(world: Letters, ref: Members, how: str) -> None:
    """Send one letter, and record the outcome."""
    letter = Letter(len(world.sent))
    world.sent[letter.number] = "sent"
    try:
        if how == "tell":
            await ref.tell(letter)
        elif how == "nowait":
            ref.tell_nowait(letter)
        else:
            await ref.ask(letter, world.random.choice([0.1, 5]))
    except (ActorError, trio.Cancelled) as error:
        world.sent[letter.number] = f"{how} {type(error).__name__}"
        if isinstance(error, trio.Cancelled):
            raise


# Actions of a fuzzer


async def tell(_: ActorSystem, world: Letters, ref: Members) -> None:
    """Tell a letter."""
    await send(world, ref, "tell")


async def tell_and_give_up(_: ActorSystem, world: Letters, ref: Members) -> None:
    """Tell a letter, and give up soon."""
    with trio.move_on_after(world.random.choice([0, 0.2])):
        await send(world, ref, "tell")


async def tell_nowait(_: ActorSystem, world: Letters, ref: Members) -> None:
    """Tell three letters without a wait."""
    for _turn in range(3):
        await send(world, ref, "nowait")


async def ask(_: ActorSystem, world: Letters, ref: Members) -> None:
    """Ask with a letter."""
    await send(world, ref, "ask")


async def broadcast(_: ActorSystem, __: Letters, ref: Members) -> None:
    """Send to all members, for a second at most."""
    with trio.move_on_after(1):
        await ref.broadcast("all")


async def stop_member(_: ActorSystem, world: Letters, ref: Members) -> None:
    """Stop a random member."""
    if members := ref.members():
        await world.random.choice(members).stop(drain=world.chance(0.5))


async def kill_member(_: ActorSystem, world: Letters, ref: Members) -> None:
    """Kill a random member."""
    if members := ref.members():
        world.random.choice(members).kill()


async def kill(_: ActorSystem, __: Letters, ref: Members) -> None:
    """Kill the pool or router."""
    ref.kill()


async def pause(_: ActorSystem, world: Letters, __: Members) -> None:
    """Wait for a random time."""
    await trio.sleep(world.random.choice([0, 0.1, 3]))
