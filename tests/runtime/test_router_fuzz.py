"""Random routers: no message is lost or handled twice, no ended actor is a member, and nothing is left at the end.

A number (the seed) decides all choices, so that a run can be repeated exactly. Sleeps take no time.
"""

from __future__ import annotations

import gc
import logging
import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _letters import (
    Letter,
    Letters,
    ask,
    broadcast,
    kill,
    kill_member,
    pause,
    stop_member,
    tell,
    tell_and_give_up,
    tell_nowait,
)
from _scale import scaled

from actors import (
    Actor,
    ActorError,
    DeadLetter,
    Overflow,
    Restart,
    RestartLimit,
    RouterRef,
    Routing,
    Shutdown,
    open_system,
    router,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import ActorRef, ActorSystem

SEEDS = 25
GUARD = 100_000.0
"""Seconds of virtual time after which a run counts as hanging."""


class World(Letters):
    """The records of one run."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.refs: list[ActorRef] = []


class Routee(Actor):
    """A member that takes some time, and fails now and then. Sometimes a timer of it sends to the router."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def receive(self, message: object) -> object:
        draw = self.world.random.choice
        if draw([True, *[False] * 9]) and isinstance(message, Letter):
            self.context.timers.once("more", "more", draw([0, 1]), to=draw(self.world.refs))
        await trio.sleep(draw([0, 0, 0, 0.1, 2]))
        if draw([True, *[False] * 14]):
            raise OSError("fails")
        if isinstance(message, Letter):
            self.world.handled[message.number] += 1
        return message


async def add(system: ActorSystem, world: World, ref: RouterRef) -> None:
    draw = world.random.choice
    restart = draw([Restart.TEMPORARY, Restart.TRANSIENT])
    spec: dict[str, Any] = {"restart": restart, "mailbox_size": draw([1, 3, 64]), "overflow": draw(list(Overflow))}
    new: Any = await system.spawn(Routee, world, **spec)
    world.refs.append(new)
    ref.add(new)


async def add_again(_: ActorSystem, world: World, ref: RouterRef) -> None:
    ref.add(world.random.choice(world.refs))


async def remove(_: ActorSystem, world: World, ref: RouterRef) -> None:
    ref.remove(world.random.choice(world.refs))


ACTIONS: list[Callable[[ActorSystem, World, RouterRef], Awaitable[None]]] = [
    *[tell] * 6,
    *[tell_nowait] * 3,
    *[ask] * 4,
    *[pause] * 3,
    *[add] * 2,
    add_again,
    remove,
    tell_and_give_up,
    broadcast,
    stop_member,
    kill_member,
    kill,
]


async def use(system: ActorSystem, world: World, ref: RouterRef) -> None:
    """Do random actions with the router, as its user."""
    for _ in range(25):
        try:
            await world.random.choice(ACTIONS)(system, world, ref)
        except ActorError:
            continue
        finally:
            members = ref.members()
            assert len(set(members)) == len(members)
            assert all(each.alive for each in members)


async def play(world: World) -> None:
    """Run one random router until the end of its system, and check the rules."""
    before = trio.lowlevel.current_statistics().tasks_living
    dead: Any = None
    ref: Any = None
    draw = world.random.choice
    with trio.move_on_after(GUARD) as guard:
        try:
            async with open_system() as system:
                dead = system.dead_letters(100_000).__enter__()
                spec = router([], routing=draw(list(Routing)))
                ref = await system.spawn(spec, restart=draw([Restart.PERMANENT, Restart.TEMPORARY]))
                await add(system, world, ref)
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(use, system, world, ref)
                    if draw([True, False, False]):
                        await trio.sleep(draw([0.5, 3]))
                        await ref.stop(drain=draw([True, False]))
        except* RestartLimit:
            pass
    assert not guard.cancelled_caught, "it hung"
    now = trio.lowlevel.current_statistics()
    assert (now.tasks_living, now.seconds_to_next_deadline) == (before, math.inf)
    for each in (ref, *world.refs):
        left = each.statistics()
        assert (left.watchers, left.timers, left.mailbox.depth, left.mailbox.senders_waiting) == (0, 0, 0, 0)
    assert ref.members() == ()
    check_letters(world, list(dead.events))


def check_letters(world: World, dead: list[DeadLetter]) -> None:
    """Check that each message was handled once, or is one dead letter, or that its sender got an exception."""
    letters = Counter(each.message.number for each in dead if isinstance(each.message, Letter))
    for number, outcome in world.sent.items():
        ends = world.handled[number] + letters[number]
        if outcome == "sent":
            assert ends == 1, (number, outcome, world.handled[number], letters[number])
        elif outcome.startswith("ask"):
            assert ends <= 2, (number, outcome)  # the late reply to an ask is a dead letter, too
        else:
            assert ends == 0, (number, outcome)
        assert world.handled[number] <= 1, number


@pytest.fixture(autouse=True)
def _quiet_and_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: SLF001  -- see below
    monkeypatch.setattr(logging.getLogger("actors"), "disabled", True)


@pytest.mark.parametrize("chunk", range(scaled(1, 100)))
def test_random_routers_keep_the_rules(chunk: int) -> None:
    """No run hangs, leaves a task, a watch or a timer, loses a message, or has an ended actor as a member."""
    outcomes = Counter[str]()
    for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
        world = World(seed)
        random.seed(seed)
        internals: Any = trio._core._run  # noqa: SLF001  -- the order of tasks; trio has no other way
        internals._r.seed(seed)  # noqa: SLF001  -- as above
        try:
            trio.run(play, world, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        outcomes.update(world.sent.values())
    assert {"sent", "nowait MailboxFull", "tell ActorTerminated", "ask ActorTerminated"} <= set(outcomes)


async def test_ended_router_is_freed_by_reference_count() -> None:
    """When a router has ended, its mailbox is freed without the garbage collector, although its members live."""
    async with open_system() as system:
        gc.collect()
        gc.disable()
        try:
            member = await system.spawn(Routee, World(0))
            ref: Any = await system.spawn(router([member]))
            ref.remove(member)
            ref.add(member)
            assert await ref.stop() == Shutdown()
            del ref
            await trio.testing.wait_all_tasks_blocked()
            kinds = {type(each).__name__ for each in gc.get_objects() if "actors" in str(type(each).__module__)}
            assert kinds & {"Router", "RouterMailbox", "RouterCell", "RouterRef"} == set()
            await member.stop()
        finally:
            gc.enable()
