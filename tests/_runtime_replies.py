"""The ways in which random actors reply in parts or by another actor, and in which users ask for parts.

Sleeps take no time: the run has a ``MockClock``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from _runtime_records import Answer

from actors import AskTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from _runtime_wild import RandomActor
    from _runtime_world import World

    from actors import ActorRef


async def forward(actor: RandomActor) -> object:
    letter, ref, was_passed_on = actor.letter, actor.world.pick_actor(), False
    assert letter is not None
    stashed_by, letter.stashed_by = letter.stashed_by, None
    letter.forwards += 1  # the other actor may begin before this one goes on
    try:
        with trio.move_on_after(1), actor.world.tolerant():
            await actor.context.forward(ref)
            was_passed_on = True
    finally:
        if not was_passed_on:
            letter.forwards, letter.stashed_by = letter.forwards - 1, stashed_by
    return "ok"


async def send_parts(actor: RandomActor) -> object:
    letter, draw = actor.letter, actor.world.random.choice
    assert letter is not None
    letter.streamed = True
    with actor.context.stream() as stream:
        for _ in range(draw([0, 1, 3, 20])):
            await trio.sleep(draw([0, 0.1]))
            await stream.send(Answer(letter))
        actor.world.maybe_fail(0.2)
    return "ok"


async def send_parts_later(actor: RandomActor) -> object:
    letter = actor.letter
    assert letter is not None
    letter.streamed = letter.deferred = True
    stream = actor.context.stream()

    async def later() -> None:
        with stream:
            for _ in range(3):
                await trio.sleep(0.1)
                await stream.send(Answer(letter))

    actor.nursery.start_soon(later)
    return None


async def wait_to_be_idle(actor: RandomActor) -> object:
    actor.idle = actor.world.random.choice([None, 0.1, 1, 5])
    actor.context.idle_after(actor.idle)
    return "ok"


async def stay_idle(actor: RandomActor) -> object:
    actor.context.stay_idle()
    await trio.sleep(actor.world.random.choice([0, 0.1, 2]))
    return "ok"


async def send_later(actor: RandomActor) -> object:
    draw, ref = actor.world.random.choice, actor.world.pick_actor()
    letter = actor.world.ledger.new_letter(ref)
    letter.by_timer, letter.sent_after_stop = True, False
    actor.context.timers.once(letter, letter, draw([0, 0.1, 3]), to=ref)
    return "ok"


REPLIES: list[Callable[[RandomActor], Awaitable[object]]] = [
    *[forward] * 2,
    *[send_parts] * 2,
    send_parts_later,
    wait_to_be_idle,
    stay_idle,
    *[send_later] * 2,
]


async def ask_in_parts(world: World, ref: ActorRef) -> None:
    """Ask an actor for a reply in parts, take some or all of them, and record the last one or the error."""
    draw = world.random.choice
    # Without a limit of the whole, a user waits for ever for an actor that has stashed the message.
    with trio.move_on_after(100), world.ledger.sending(world.ledger.new_letter(ref, is_ask=True)) as letter:
        letter.takes_parts = True
        with ref.ask_stream(letter, buffer=draw([1, 16]), timeout=draw([0.1, 2, None])) as parts:
            async for letter.answer in parts:
                if letter.streamed and world.chance(0.2):
                    raise AskTimeout("the caller leaves")
        if letter.streamed and letter.answer is None:  # a reply without parts
            letter.answer = Answer(letter)
