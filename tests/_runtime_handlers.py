"""The usual ways in which random actors handle a message.

Sleeps take no time: the run has a ``MockClock``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from _runtime_records import Answer
from _runtime_trees import supervisor_spec

from actors import UNHANDLED, Normal, Shutdown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from _runtime_wild import RandomActor
    from _runtime_world import World

    from actors import ActorRef


async def ask(world: World, ref: ActorRef, timeout: float) -> None:  # noqa: ASYNC109  -- the timeout of the ask
    """Ask an actor, and record the answer or the error."""
    with world.ledger.sending(world.ledger.new_letter(ref, is_ask=True)) as letter:
        letter.answer = await ref.ask(letter, timeout)


async def idle(_: RandomActor) -> object:
    return "ok"


async def sleep(actor: RandomActor) -> object:
    await trio.sleep(actor.world.random.choice([0.1, 1, 4]))
    return "ok"


async def shield(actor: RandomActor) -> object:
    await actor.sleep_shielded()
    return "ok"


async def fail(actor: RandomActor) -> object:
    actor.world.maybe_fail(1)
    return None


async def stop_itself(actor: RandomActor) -> object:
    actor.life.stopped_itself = True
    actor.context.stop(Normal() if actor.world.chance(0.5) else Shutdown())
    return "bye"


async def stash_message(actor: RandomActor) -> object:
    with actor.world.tolerant():
        actor.context.stash()
        assert actor.letter is not None
        actor.world.ledger.on_stashed(actor.life, actor.letter)
    return None


async def unstash_messages(actor: RandomActor) -> object:
    actor.life.unstashed += 1
    actor.context.unstash()
    return None


async def answer_later(actor: RandomActor) -> object:
    reply, letter = actor.context.defer(), actor.letter
    assert letter is not None
    letter.deferred = True

    async def later() -> None:
        await trio.sleep(0.3)
        reply.send(Answer(letter))

    actor.nursery.start_soon(later)
    return None


async def ask_another(actor: RandomActor) -> object:
    with actor.world.tolerant():
        await ask(actor.world, actor.world.pick_actor(), actor.world.random.choice([0.1, 1]))
    return None


async def watch(actor: RandomActor) -> object:
    with actor.world.tolerant():
        ref = actor.world.pick_actor()
        actor.context.watch(ref)
        actor.life.watching.add(ref)
    return None


async def spawn_child(actor: RandomActor) -> object:
    with actor.world.tolerant():
        await actor.spawn()
    return None


async def spawn_child_shielded(actor: RandomActor) -> object:
    with trio.CancelScope(shield=True), actor.world.tolerant():
        await actor.spawn()
    return None


async def supervise(actor: RandomActor) -> object:
    if actor.depth < 2:
        actor.life.group.is_complete = False
        with actor.world.tolerant():
            actor.world.add(await actor.context.supervise(supervisor_spec(actor.world, 1)))
    return None


async def cancel_own_nursery(actor: RandomActor) -> object:
    if actor.world.chance(0.3):
        actor.life.cancelled_itself = True
        actor.nursery.cancel_scope.cancel()
    return None


async def wait_for_another(actor: RandomActor) -> object:
    with trio.move_on_after(0.2), actor.world.tolerant():
        ref = actor.world.pick_actor()
        actor.world.on_end_known(ref, await ref.terminated())
    return None


async def leave_unhandled(_: RandomActor) -> object:
    return UNHANDLED


HANDLERS: list[Callable[[RandomActor], Awaitable[object]]] = [
    *[idle] * 3,
    *[sleep] * 3,
    *[fail] * 2,
    *[spawn_child] * 2,
    shield,
    stop_itself,
    stash_message,
    unstash_messages,
    answer_later,
    ask_another,
    watch,
    spawn_child_shielded,
    supervise,
    cancel_own_nursery,
    wait_for_another,
    leave_unhandled,
]
