"""Random trees of actors with random faults, stops and calls: the rules of the runtime hold in all of them.

A number (the seed) decides all choices, so that a run can be repeated exactly. Each seed is a whole system with users
that start, stop, kill and ask actors, which do random things themselves. The system must end. Then no task, timer,
actor or name is left, no actor has run twice or outlived its parent, every message and every ask has come to exactly
one end, and every exception of an actor was raised or reported.
"""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from _runtime_limits import GaveUp, GivingUp
from _runtime_records import is_expected, leaf_errors
from _runtime_users import spawn_one, supervise_some, use_randomly
from _runtime_world import World
from _scale import scaled

from actors import ActorError, ActorSystem, ChildSpec, Failure, RestartLimit, open_system
from actors.runtime import _child_table
from actors.runtime._cell import Cell
from actors.runtime._child import Child
from actors.runtime._deadlines import DeadlineEnforcer
from actors.runtime._incarnation import Incarnation
from actors.runtime._mailbox import Mailbox
from actors.runtime._restart import Window
from actors.runtime._watching import Watching

if TYPE_CHECKING:
    from actors import DeadLetters

CHUNK = 50
"""Number of seeds (random runs) in one test."""
GUARD = 100_000.0
"""Seconds of virtual time after which a random run counts as hanging."""
LETTERS = 100_000
"""Size of the stream of dead letters: more than any random run has."""


@attrs.frozen
class Played:
    """The result of one random run."""

    faults: list[str]
    """Texts about broken rules. None is expected."""
    journal: list[tuple[float, str]]
    """Events of the run with their times."""


async def play_seed(world: World) -> None:
    """Run the system of one seed with its users until its end, and check the rules.

    The end is a shutdown, a cancellation, or the end of the block.
    """
    before = trio.lowlevel.current_statistics().tasks_living
    system: ActorSystem | None = None
    letters: DeadLetters | None = None
    giving_up: GivingUp | None = None
    left: BaseException | None = None
    outer = trio.CancelScope()
    with trio.move_on_after(GUARD) as guard:
        try:
            with outer:
                async with open_system() as system, trio.open_nursery() as nursery:
                    letters = system.dead_letters(LETTERS).__enter__()
                    giving_up = GivingUp(system).__enter__()
                    nursery.start_soon(shut_down_or_cancel, system, world, outer)
                    for begin in (supervise_some, supervise_some, spawn_one):
                        with world.tolerant():
                            await begin(system, world)
                    for _ in range(4):
                        nursery.start_soon(use_randomly, system, world)
        except (ActorError, BaseExceptionGroup) as error:
            left = error
    assert system is not None
    assert letters is not None
    assert giving_up is not None
    world.ledger.check(not guard.cancelled_caught, "it hung")
    check_leftovers(system, world, before)
    dead = [letter async for letter in letters]
    world.ledger.check(len(dead) == system.statistics().dead_letters, "dead letters were not delivered")
    for ref in {*world.refs, *world.ledger.lives}:
        if not ref.alive:
            world.on_end_known(ref, await ref.terminated())
    world.on_reported(left)
    check_raised(system, world, left, was_cancelled=outer.cancel_called)
    world.ledger.check_at_end({*world.refs, *world.ledger.lives}, dead)
    await check_gave_up(world, giving_up.seen)
    for raised in world.raised:
        world.ledger.check(id(raised) in world.reported, f"{raised!r} was lost")


async def check_gave_up(world: World, reached: list[GaveUp]) -> None:
    """Check the supervisors that gave up: each told of it, had a reason for it, and ended by it."""
    reasons = {each.ref: await each.ref.terminated() for each in reached if each.ref is not None}
    world.ledger.restarts.check_gave_up(reached, world.ledger.lives, reasons)
    told = [each.event.path for each in reached]
    for limit in world.limits.values():
        world.ledger.check(limit.path in told, f"{limit!r} was raised, and no event told of it")


def check_leftovers(system: ActorSystem, world: World, tasks: int) -> None:
    """Check that a system that has ended has left no actor, name, task or timer."""
    now = trio.lowlevel.current_statistics()
    left = system.statistics().actors, len(system.tree().children), now.tasks_living - tasks
    world.ledger.check(left == (0, 0, 0), f"actors, names and tasks left: {left}")
    world.ledger.check(now.seconds_to_next_deadline == math.inf, "a timer is left")
    for ref in {*world.refs, *world.ledger.lives}:
        world.ledger.check(not ref.alive, f"{ref.path} lives")
    world.ledger.check(not world.ledger.running, f"{list(world.ledger.running)} run")


def check_raised(system: ActorSystem, world: World, error: BaseException | None, *, was_cancelled: bool) -> None:
    """Check the error that the block raised: a RestartLimit, or errors of actors that were cancelled.

    Anything else is a fault: the users of the block handle the errors that their calls raise.
    """
    gave_up = [
        each
        for ref, reason in world.ledger.reasons.items()
        if isinstance(reason, Failure) and ref.path.count("/") == 1 and world.ledger.came_up(ref)
        for each in leaf_errors(reason.exception)
        if isinstance(each, RestartLimit) and each.path == ref.path
    ]
    limit = system.limit
    world.ledger.check(limit is not None or not gave_up or was_cancelled, f"the system lived on after {gave_up}")
    is_known = limit is None or limit.path == "/" or any(limit is each for each in gave_up)
    world.ledger.check(is_known, f"{limit!r} is of no top-level actor")
    if not was_cancelled:
        world.ledger.check(error is limit, f"the block raised {error!r}, not {limit!r}")
        return
    told = {id(each) for each in leaf_errors(error)} if error is not None else set[int]()
    lost = [each for raised in system.raised for each in leaf_errors(raised) if id(each) not in told]
    world.ledger.check(not lost, f"the block was cancelled and kept {lost} to itself")
    if error is not None and error is not limit:
        is_right = isinstance(error, BaseExceptionGroup) and all(map(is_expected, leaf_errors(error)))
        world.ledger.check(is_right, f"the block was cancelled and raised {error!r}")


async def shut_down_or_cancel(system: ActorSystem, world: World, outer: trio.CancelScope) -> None:
    """Shut the system down, or cancel everything, while the users work with it."""
    await trio.sleep(world.random.choice([0.05, 0.2, 1, 3, 10]))
    chance = world.random.random()
    if chance < 0.4:
        await system.shutdown()
    elif chance < 0.6:
        outer.cancel()


def run_seed(seed: int) -> Played:
    """Run one seed, which also decides the order of the tasks. Return the result."""
    world = World(seed)
    logger = logging.getLogger("actors")
    logger.addHandler(world)
    random.seed(seed)
    internals: Any = trio._core._run  # noqa: SLF001  -- the order of tasks; trio has no other way
    internals._r.seed(seed)  # noqa: SLF001  -- as above
    try:
        clock: trio.testing.MockClock = world.clock
        trio.run(play_seed, world, clock=clock)
    finally:
        logger.removeHandler(world)
    return Played(world.ledger.faults, world.journal)


@pytest.fixture(autouse=True)
def _seeded_scheduling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the seed decide the order in which trio runs tasks. Keep thousands of tracebacks out of the report."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: SLF001  -- see run()
    logger = logging.getLogger("actors")
    monkeypatch.setattr(logger, "propagate", False)


@pytest.mark.parametrize("chunk", range(scaled(1, 400)))
def test_random_systems_keep_the_rules(chunk: int) -> None:
    """No random run hangs or leaves an actor, a task, a name, a timer or an unreported exception behind."""
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        assert run_seed(seed).faults == [], seed


def test_failed_start_during_a_stop_is_logged() -> None:
    """If a member of a group fails to start while the group is being stopped, the failure is logged.

    The seed of this test once showed such a failure that was not logged.
    """
    assert run_seed(4592).faults == []


def test_seed_replays_exactly() -> None:
    """Two runs with the same seed give the same journal with the same times."""
    for seed in range(scaled(3, 5)):
        first = run_seed(seed).journal
        assert len(first) > 20
        assert run_seed(seed).journal == first


def do_nothing(*_: object, **__: object) -> None:
    """Do nothing. This function replaces a method of the runtime."""


def is_shared_limit_exceeded(child: Child[Any], _: object, shared: Window, now: float) -> bool:
    """Count a restart only if the child has no limit of its own. This function replaces a method of the runtime."""
    return not (child.spec.has_own_limit or shared.record(now))


BROKEN: dict[str, tuple[int, object, str, object]] = {
    "is dead for": (0, Cell, "discard", do_nothing),
    "s late": (17, DeadlineEnforcer, "at", do_nothing),
    "before the end it watches": (22, Watching, "on_terminated", do_nothing),
    "was accepted after a stop": (0, Mailbox, "refuse", do_nothing),
    "is temporary, and was restarted": (0, _child_table, "should_restart", lambda *_: True),
    "restarted its children more than": (9, Window, "record", lambda *_: True),
    "more than its own limit": (43, Child, "is_too_often", is_shared_limit_exceeded),
    "gave up too soon": (79, ChildSpec, "has_own_limit", False),
    "did not end by that": (11, Incarnation, "crash", do_nothing),
    "the system lived on": (9, ActorSystem, "crash", do_nothing),
}
"""For each text of a fault that the checks must report: a seed that showed it, and what to replace to cause it."""


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_runtime_is_detected(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a method of the runtime is replaced to break it, a random run reports the fault.

    Each kind of fault is tried. The seed that showed it once comes first, so that this takes one run.
    """
    seed, target, name, value = BROKEN[fault]
    monkeypatch.setattr(target, name, value)
    assert any(fault in each for number in (seed, *range(8 * CHUNK)) for each in run_seed(number).faults)
