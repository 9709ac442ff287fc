"""Random trees, faults and stops, all at once, under seeds that replay exactly: whatever happens, nothing is left.

Each seed is a whole system with users that start, stop, kill and ask actors, which do random things themselves. It must
close; then no task, no timer, no actor, no name is left, no actor has run twice or outlived its parent, and every
exception that an actor raised has reached somebody.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from _scale import scaled

from actors import (
    UNHANDLED,
    Actor,
    ActorError,
    ActorRef,
    ActorTerminated,
    AutoShutdown,
    Backoff,
    ChildSpec,
    ExitReason,
    Failure,
    Killed,
    MailboxSpec,
    Normal,
    Overflow,
    Restart,
    Shutdown,
    StashFull,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    Terminated,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from actors import ActorSystem

CHUNK = 50
"""Seeds in one test."""
GUARD = 100_000.0
"""Seconds of virtual time after which a seed hangs."""


class Boom(Exception):
    """What actors raise."""


class LeaveTheProcess(SystemExit):
    """What some raise, though it is none of their business."""


def inside(error: object) -> Iterator[BaseException]:
    """Go through an exception, its causes, its members, and what it tells of an actor's end."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if isinstance(each, (Failure, Killed)):
            waiting.append(each.exception)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        if isinstance(each, ActorTerminated):
            waiting.append(each.reason)


class World(logging.Handler):
    """What all actors of one seed share."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.journal: list[tuple[float, str]] = []
        self.refs: list[ActorRef] = []
        self.supervisors: list[SupervisorRef] = []
        self.raised: list[BaseException] = []
        self.told: set[int] = set()
        self.hearts: dict[str, object] = {}
        self.stopped: list[ActorRef] = []
        """Those that were asked to end for good."""
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.tell(record.exc_info[1])

    def tell(self, error: object) -> None:
        """Note that somebody has heard of an exception, or of a reason."""
        self.told.update(id(each) for each in inside(error))

    def note(self, what: str) -> None:
        self.journal.append((trio.current_time(), what))

    def pick(self) -> ActorRef:
        """Choose an actor: most often one that lives and does something with a message."""
        living = [ref for ref in self.refs if ref.alive and not isinstance(ref, SupervisorRef)]
        return self.random.choice(living if living and self.chance(0.9) else self.refs)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def maybe_fail(self, probability: float) -> None:
        if self.chance(probability):
            error = LeaveTheProcess() if self.chance(0.1) else Boom(len(self.raised))
            self.raised.append(error)
            raise error

    def add(self, ref: ActorRef) -> None:
        self.refs.append(ref)
        if isinstance(ref, SupervisorRef):
            self.supervisors.append(ref)
            with contextlib.suppress(ActorTerminated):
                self.refs += [info.ref for info in ref.children() if info.ref is not None]

    @contextlib.contextmanager
    def tolerant(self) -> Iterator[None]:
        """Go on after what may be raised by a call; whoever called has heard of it."""
        try:
            yield
        except (Boom, LeaveTheProcess, ActorError, StashFull, RuntimeError, IndexError) as error:
            self.tell(error)
        except BaseExceptionGroup as group:
            rest = group.split((Boom, LeaveTheProcess, ActorError, trio.Cancelled))[1]
            if rest is not None:
                raise
            self.tell(group)
            if group.split(trio.Cancelled)[0] is not None:
                raise


class Wild(Actor):
    """Does random things, at every point of its life."""

    def __init__(self, world: World, depth: int) -> None:
        self.world = world
        self.depth = depth
        world.maybe_fail(0.03)

    async def started(self) -> None:
        world = self.world
        world.note(f"start {self.ref.path}")
        self.nursery.start_soon(self.beat)
        if world.chance(0.3):
            await trio.sleep(world.random.choice([0, 0, 0.1, 3]))
        world.maybe_fail(0.05)
        for _ in range(world.random.choice([0, 0, 0, 1, 2])):
            if self.depth < 3:
                await self.spawn()
        if world.chance(0.2):
            self.nursery.start_soon(self.work)
        if world.chance(0.2):
            self.context.timers.every("t", "tick", world.random.choice([0.5, 2]))
        if world.chance(0.05):
            self.context.stop()

    async def beat(self) -> None:
        """Say that this instance lives, and find out whether another of its path does."""
        hearts, path = self.world.hearts, self.ref.path
        if path in hearts:
            self.world.faults.append(f"{path} runs twice")
        hearts[path] = self
        try:
            await trio.sleep_forever()
        finally:
            if hearts.get(path) is self:
                del hearts[path]

    async def spawn(self) -> None:
        draw = self.world.random.choice
        ref = await self.context.spawn(
            Wild,
            self.world,
            self.depth + 1,
            restart=draw(list(Restart)),
            shutdown=draw([0, 1, 5]),
            overflow=draw(list(Overflow)),
            mailbox_size=draw([1, 3, 64]),
        )
        self.world.refs.append(ref)

    async def work(self) -> None:
        world = self.world
        if world.chance(0.4):
            await trio.sleep(world.random.choice([0.1, 1, 3]))
            with world.tolerant():
                await self.spawn()
        for _ in range(5):
            await trio.sleep(world.random.choice([0.1, 1]))
            if world.chance(0.2):
                await self.shielded()
            world.maybe_fail(0.05)

    async def shielded(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(self.world.random.choice([0.5, 3, 1000]))

    async def receive(self, message: object) -> object:
        world = self.world
        if isinstance(message, Terminated):
            world.tell(message.reason)
            return None
        if message == "tick":
            await trio.sleep(world.random.choice([0, 0.1]))
            world.maybe_fail(0.05)
            return None
        move = world.random.choice(MOVES)
        world.note(f"{move.__name__} {self.ref.path}")
        return await move(self)

    async def stopping(self, reason: ExitReason) -> None:
        world = self.world
        world.tell(reason)
        world.note(f"stopping {self.ref.path}")
        if world.chance(0.2):
            with world.tolerant():
                await self.spawn()
        if world.chance(0.3):
            await trio.sleep(world.random.choice([0.1, 1, 8]))
        if world.chance(0.05):
            await self.shielded()
        world.maybe_fail(0.05)


# What an actor does with a message


async def idle(_: Wild) -> object:
    return "ok"


async def sleep(wild: Wild) -> object:
    await trio.sleep(wild.world.random.choice([0.1, 1, 4]))
    return "ok"


async def shield(wild: Wild) -> object:
    await wild.shielded()
    return "ok"


async def fail(wild: Wild) -> object:
    wild.world.maybe_fail(1)
    return None


async def leave(wild: Wild) -> object:
    wild.context.stop(Normal() if wild.world.chance(0.5) else Shutdown())
    return "bye"


async def put_aside(wild: Wild) -> object:
    with wild.world.tolerant():
        wild.context.stash()
    return None


async def take_back(wild: Wild) -> object:
    wild.context.unstash()
    return None


async def answer_later(wild: Wild) -> object:
    reply = wild.context.defer()

    async def later() -> None:
        await trio.sleep(0.3)
        reply.send("later")

    wild.nursery.start_soon(later)
    return None


async def ask_another(wild: Wild) -> object:
    with wild.world.tolerant():
        return await wild.world.pick().ask("nested", timeout=wild.world.random.choice([0.1, 1]))
    return None


async def watch(wild: Wild) -> object:
    with wild.world.tolerant():
        wild.context.watch(wild.world.pick())
    return None


async def have_a_child(wild: Wild) -> object:
    with wild.world.tolerant():
        await wild.spawn()
    return None


async def have_a_child_shielded(wild: Wild) -> object:
    with trio.CancelScope(shield=True), wild.world.tolerant():
        await wild.spawn()
    return None


async def supervise(wild: Wild) -> object:
    if wild.depth < 2:
        with wild.world.tolerant():
            wild.world.add(await wild.context.supervise(supervisor_spec(wild.world, 1)))
    return None


async def cancel_its_nursery(wild: Wild) -> object:
    if wild.world.chance(0.3):
        wild.nursery.cancel_scope.cancel()
    return None


async def wait_for_another(wild: Wild) -> object:
    with trio.move_on_after(0.2), wild.world.tolerant():
        wild.world.tell(await wild.world.pick().terminated())
    return None


async def not_know(_: Wild) -> object:
    return UNHANDLED


MOVES: list[Callable[[Wild], Awaitable[object]]] = [
    *[idle] * 3,
    *[sleep] * 3,
    *[fail] * 2,
    *[have_a_child] * 2,
    shield,
    leave,
    put_aside,
    take_back,
    answer_later,
    ask_another,
    watch,
    have_a_child_shielded,
    supervise,
    cancel_its_nursery,
    wait_for_another,
    not_know,
]


# Trees


def child_spec(world: World, name: str, depth: int, automatic: AutoShutdown) -> ChildSpec:
    draw = world.random.choice
    restart = draw([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY])
    is_supervisor = depth < 2 and world.chance(0.2)
    return ChildSpec(
        name,
        supervisor_spec(world, depth + 1) if is_supervisor else lambda: Wild(world, 2),
        restart,
        shutdown=draw([None, 0, 1, 5]),
        significant=automatic is not AutoShutdown.NEVER and restart is not Restart.PERMANENT and world.chance(0.5),
        backoff=draw([None, None, Backoff(0.1, 2, 0.2)]),
        mailbox=MailboxSpec(size=draw([1, 8, 64]), overflow=draw(list(Overflow))),
    )


def supervisor_spec(world: World, depth: int = 0) -> SupervisorSpec:
    draw = world.random.choice
    automatic = draw([AutoShutdown.NEVER, AutoShutdown.NEVER, AutoShutdown.ANY, AutoShutdown.ALL])
    children = [child_spec(world, f"c{number}", depth, automatic) for number in range(world.random.randrange(5))]
    return SupervisorSpec(
        draw(list(Strategy)),
        children,
        max_restarts=draw([0, 1, 3, 100]),
        max_seconds=draw([1, 5]),
        auto_shutdown=automatic,
    )


# What users do


async def use(system: ActorSystem, world: World) -> None:
    """Do random things with the system from outside."""
    for _ in range(20):
        deed = world.random.choice(DEEDS)
        world.note(deed.__name__)
        with world.tolerant():
            await deed(system, world)
        look(system, world)


def look(system: ActorSystem, world: World) -> None:
    """Ask for every picture and number, and check that no actor has outlived its parent."""
    system.tree()
    for ref in world.refs:
        ref.statistics()
        if ref.alive and system.find(ref.path) is not ref:
            world.faults.append(f"{ref.path} is in no list")
    for ref in world.stopped:
        if ref.alive and ref.statistics().state == "running":
            world.faults.append(f"the stop of {ref.path} was undone")
    for supervisor in world.supervisors:
        with contextlib.suppress(ActorTerminated):
            supervisor.counts()


async def spawn_one(system: ActorSystem, world: World) -> None:
    restart = world.random.choice([Restart.TEMPORARY, Restart.TEMPORARY, Restart.TRANSIENT])
    world.add(await system.spawn(Wild, world, 0, restart=restart, shutdown=world.random.choice([0, 1, 5])))


async def supervise_some(system: ActorSystem, world: World) -> None:
    if world.chance(0.2):
        world.add(await system.supervise(supervisor_spec(world)))
        return
    # Below another supervisor it may give up, and the system lives on.
    above = await system.supervise(SupervisorSpec())
    world.add(above)
    world.add(await above.start_child(ChildSpec("below", supervisor_spec(world), Restart.TEMPORARY)))


async def tell_one(_: ActorSystem, world: World) -> None:
    with trio.move_on_after(5):
        await world.pick().tell("message")


async def ask_one(_: ActorSystem, world: World) -> None:
    await world.pick().ask("question", timeout=world.random.choice([0, 0.1, 2]))


async def stop_one(_: ActorSystem, world: World) -> None:
    ref = world.pick()
    world.stopped.append(ref)
    world.tell(await ref.stop(drain=world.chance(0.5), timeout=world.random.choice([None, 0, 1, 9])))


async def stop_and_go_on(_: ActorSystem, world: World) -> None:
    ref = world.pick()
    with trio.move_on_after(world.random.choice([0, 0.05, 0.5])):
        world.stopped.append(ref)
        world.tell(await ref.stop(drain=world.chance(0.5)))


async def kill_one(_: ActorSystem, world: World) -> None:
    world.pick().kill()


async def tell_several(_: ActorSystem, world: World) -> None:
    """Let several fail at once, with luck."""
    for _turn in range(3):
        with world.tolerant():
            world.pick().tell_nowait("message")


async def change_children(_: ActorSystem, world: World) -> None:
    supervisor = world.random.choice(world.supervisors)
    key = world.random.choice(supervisor.children()).id
    match world.random.randrange(4):
        case 0:
            await supervisor.terminate_child(key)
        case 1:
            await supervisor.restart_child(key)
        case 2:
            supervisor.delete_child(key)
        case _:
            await race(world, supervisor, key)


async def race(world: World, supervisor: SupervisorRef, key: str) -> None:
    """Do everything that can be done with one child at the same time."""

    async def delete() -> None:
        supervisor.delete_child(key)

    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: supervisor.terminate_child(key),
        lambda: supervisor.restart_child(key),
        lambda: supervisor.start_child(child_spec(world, key, 2, AutoShutdown.NEVER)),
        delete,
    ]

    async def tolerate(call: Callable[[], Awaitable[Any]]) -> None:
        with world.tolerant():
            await call()

    async with trio.open_nursery() as nursery:
        for call in world.random.sample(calls, 3):
            nursery.start_soon(tolerate, call)


async def add_child(_: ActorSystem, world: World) -> None:
    supervisor = world.random.choice(world.supervisors)
    spec = child_spec(world, f"x{world.random.randrange(5)}", 1, AutoShutdown.NEVER)
    world.add(await supervisor.start_child(spec))


async def spawn_and_give_up(system: ActorSystem, world: World) -> None:
    with trio.move_on_after(world.random.choice([0, 0.05, 0.5])):
        world.add(await system.spawn(Wild, world, 0))


async def pass_time(_: ActorSystem, world: World) -> None:
    await trio.sleep(world.random.choice([0, 0.1, 1]))


DEEDS: list[Callable[[ActorSystem, World], Awaitable[None]]] = [
    *[tell_one] * 12,
    *[ask_one] * 6,
    *[tell_several] * 5,
    *[change_children] * 4,
    *[add_child] * 2,
    *[pass_time] * 5,
    *[stop_one] * 2,
    *[stop_and_go_on] * 3,
    *[kill_one] * 2,
    spawn_one,
    supervise_some,
    spawn_and_give_up,
]


# One seed


@attrs.frozen
class Played:
    """What became of one seed."""

    faults: list[str]
    """What should not be: empty."""
    journal: list[tuple[float, str]]
    """What happened, with the time."""


async def play(world: World) -> None:
    """Play one seed: users, a shutdown or a cancellation in the middle, and the end of the block."""
    before = trio.lowlevel.current_statistics().tasks_living
    system: ActorSystem | None = None
    with trio.move_on_after(GUARD) as guard:
        try:
            with trio.CancelScope() as outer:
                async with open_system() as system, trio.open_nursery() as nursery:
                    nursery.start_soon(interfere, system, world, outer)
                    for begin in (supervise_some, supervise_some, spawn_one):
                        with world.tolerant():
                            await begin(system, world)
                    for _ in range(4):
                        nursery.start_soon(use, system, world)
        except (ActorError, BaseExceptionGroup) as error:
            world.tell(error)
    assert system is not None
    if guard.cancelled_caught:
        world.faults.append("it hung")
    statistics = trio.lowlevel.current_statistics()
    left = system.statistics().actors, len(system.tree().children), statistics.tasks_living - before
    if left != (0, 0, 0):
        world.faults.append(f"actors, names and tasks left: {left}")
    if statistics.seconds_to_next_deadline < math.inf:
        world.faults.append("a timer is left")
    world.faults += [f"{ref.path} lives" for ref in world.refs if ref.alive]
    world.faults += [f"{path} beats" for path in world.hearts]
    for ref in world.refs:
        if not ref.alive:
            world.tell(await ref.terminated())
    world.faults += [f"{error!r} was lost" for error in world.raised if id(error) not in world.told]


async def interfere(system: ActorSystem, world: World, outer: trio.CancelScope) -> None:
    """Shut the system down, or cancel everything, while it is used."""
    await trio.sleep(world.random.choice([0.05, 0.2, 1, 3, 10]))
    chance = world.random.random()
    if chance < 0.4:
        await system.shutdown()
    elif chance < 0.6:
        outer.cancel()


def run(seed: int) -> Played:
    """Play a seed with nothing left to chance."""
    world = World(seed)
    logger = logging.getLogger("actors")
    logger.addHandler(world)
    random.seed(seed)
    internals: Any = trio._core._run  # noqa: SLF001  -- the order of tasks; trio has no other way
    internals._r.seed(seed)  # noqa: SLF001  -- as above
    try:
        trio.run(play, world, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        logger.removeHandler(world)
    return Played(world.faults, world.journal)


@pytest.fixture(autouse=True)
def _order_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the seed decide in which order tasks run, and keep thousands of tracebacks out of the report."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: SLF001  -- see run()
    logger = logging.getLogger("actors")
    monkeypatch.setattr(logger, "propagate", False)


@pytest.mark.parametrize("chunk", range(scaled(6, 400)))
def test_nothing_is_left_whatever_happens(chunk: int) -> None:
    """No seed hangs, and none leaves an actor, a task, a name, a timer or an exception that nobody heard of."""
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        assert run(seed).faults == [], seed


def test_a_start_that_fails_as_it_is_stopped_is_logged() -> None:
    """A group member's next start fails while the group is being stopped: with this seed its exception was lost."""
    assert run(4592).faults == []


def test_a_seed_replays_exactly() -> None:
    """The same seed is the same story, event by event, at the same times."""
    for seed in range(5):
        first = run(seed).journal
        assert len(first) > 20
        assert run(seed).journal == first
