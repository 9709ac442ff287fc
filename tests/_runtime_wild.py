"""The actors of random runs: what they do at every point of their lives, and the trees they live in.

Every choice is drawn from one generator, in the order in which things happen: a seed is a run.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
from typing import TYPE_CHECKING, TypeVar

import trio
import trio.testing
from _runtime_ledger import (
    ADDED,
    Answer,
    Boom,
    LeaveTheProcess,
    Ledger,
    Letter,
    Post,
    Staff,
    inside,
    is_expected,
)

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
    MailboxSpec,
    Normal,
    Overflow,
    Restart,
    RestartLimit,
    Shutdown,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    Terminated,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

T = TypeVar("T")


class NothingThere(Exception):
    """There is nothing to choose from."""


class World(logging.Handler):
    """What all actors of one seed share."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        """What sleeps here sleeps by it, and it jumps when all do."""
        self.ledger = Ledger()
        self.root = self.ledger.root
        self.journal: list[tuple[float, str]] = []
        self.refs: list[ActorRef] = []
        self.supervisors: list[SupervisorRef] = []
        self.raised: list[BaseException] = []
        self.told: set[int] = set()
        self.limits: dict[int, RestartLimit] = {}
        """The limits that were exceeded, as far as anybody was told."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.tell(record.exc_info[1])

    def tell(self, error: object) -> None:
        """Note that somebody has heard of an exception, or of a reason."""
        for each in inside(error):
            self.told.add(id(each))
            if isinstance(each, RestartLimit):
                self.limits[id(each)] = each

    def is_gone(self, ref: ActorRef, reason: ExitReason) -> None:
        """Note that somebody was told why an actor ended."""
        self.tell(reason)
        self.ledger.is_gone(ref, reason)

    def note(self, what: str) -> None:
        self.journal.append((trio.current_time(), what))

    def pick(self) -> ActorRef:
        """Choose an actor: most often one that lives and does something with a message."""
        living = [ref for ref in self.refs if ref.alive and not isinstance(ref, SupervisorRef)]
        return self.choose(living if living and self.chance(0.9) else self.refs)

    def choose(self, among: Sequence[T]) -> T:
        """Choose one. Raises NothingThere."""
        if not among:
            raise NothingThere
        return self.random.choice(among)

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
    def tolerant(self) -> Generator[None]:
        """Go on after what may be raised by a call; whoever called has heard of it."""
        try:
            yield
        except NothingThere:
            pass
        except (Boom, LeaveTheProcess, ActorError, RuntimeError) as error:
            self.tell(error)
            self.ledger.check(is_expected(error), f"a call raised {error!r}")
        except BaseExceptionGroup as group:
            rest = group.split((Boom, LeaveTheProcess, ActorError, trio.Cancelled))[1]
            if rest is not None:
                raise
            self.tell(group)
            if group.split(trio.Cancelled)[0] is not None:
                raise


class Wild(Actor):
    """Does random things, at every point of its life."""

    def __init__(self, world: World, depth: int, post: Post) -> None:
        self.world = world
        self.depth = depth
        self.life = world.ledger.makes(post)
        self.letter: Letter | None = None
        world.maybe_fail(0.03)

    @contextlib.contextmanager
    def failing(self) -> Generator[None]:
        """Note whether this actor fails."""
        try:
            yield
        except trio.Cancelled:
            raise
        except BaseException:
            self.life.failed = True
            raise

    async def started(self) -> None:
        world = self.world
        world.note(f"start {self.ref.path}")
        self.nursery.start_soon(self.beat)
        world.ledger.starts(self.life, self.ref)
        with self.failing():
            await self.start()
        world.ledger.is_up(self.life)

    async def start(self) -> None:
        world = self.world
        if world.chance(0.3):
            await trio.sleep(world.random.choice([0, 0, 0.1, 3]))
        world.maybe_fail(0.05)
        for _ in range(world.random.choice([0, 0, 0, 1, 2])):
            if self.depth < 3:
                await self.spawn()
        if world.chance(0.2):
            self.nursery.start_soon(self.work)
        if world.chance(0.2):
            self.context.timers.every("t", self.life, world.random.choice([0.5, 2]))
        if world.chance(0.05):
            self.life.wished = True
            self.context.stop()

    async def beat(self) -> None:
        """Report when the nursery of this instance is closed."""
        path = self.ref.path
        try:
            await trio.sleep_forever()
        finally:
            self.world.ledger.ends(self.life, path)

    async def spawn(self) -> None:
        draw = self.world.random.choice
        restart = draw(list(Restart))
        ref = await self.context.spawn(
            Wild,
            self.world,
            self.depth + 1,
            Post(self.life.staff, restart),
            restart=restart,
            shutdown=draw([0, 1, 5]),
            overflow=draw(list(Overflow)),
            mailbox_size=draw([1, 3, 64]),
        )
        self.world.refs.append(ref)

    async def work(self) -> None:
        with self.failing():
            await self.toil()

    async def toil(self) -> None:
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
        with self.failing():
            if isinstance(message, Terminated):
                self.world.tell(message.reason)
                self.world.ledger.is_told(self.life, message.ref, message.reason)
                return None
            if not isinstance(message, Letter):
                await self.tick(message)
                return None
            with self.world.ledger.handling(self.life, message):
                answer = await self.move(message)
        if answer is UNHANDLED:
            self.world.ledger.does_not_know(message)
        return answer

    async def tick(self, life: object) -> None:
        world = self.world
        world.ledger.receives(self.life, self.ref.path)
        world.ledger.check(life is self.life, f"{self.ref.path} has the timer of an earlier life")
        await trio.sleep(world.random.choice([0, 0.1]))
        world.maybe_fail(0.05)

    async def move(self, letter: Letter) -> object:
        world, self.letter = self.world, letter
        move = world.random.choice(MOVES)
        world.note(f"{move.__name__} {self.ref.path}")
        answer = await move(self)
        return UNHANDLED if answer is UNHANDLED else Answer(letter)

    async def stopping(self, reason: ExitReason) -> None:
        self.world.ledger.stops(self.life, self.ref.path, reason)
        with self.failing():
            await self.stop(reason)
        self.life.said = True

    async def stop(self, reason: ExitReason) -> None:
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
    wild.life.wished = True
    wild.context.stop(Normal() if wild.world.chance(0.5) else Shutdown())
    return "bye"


async def put_aside(wild: Wild) -> object:
    with wild.world.tolerant():
        wild.context.stash()
        assert wild.letter is not None
        wild.world.ledger.puts_aside(wild.life, wild.letter)
    return None


async def take_back(wild: Wild) -> object:
    wild.life.unstashed += 1
    wild.context.unstash()
    return None


async def answer_later(wild: Wild) -> object:
    reply, letter = wild.context.defer(), wild.letter
    assert letter is not None
    letter.deferred = True

    async def later() -> None:
        await trio.sleep(0.3)
        reply.send(Answer(letter))

    wild.nursery.start_soon(later)
    return None


async def ask_another(wild: Wild) -> object:
    with wild.world.tolerant():
        await ask(wild.world, wild.world.pick(), wild.world.random.choice([0.1, 1]))
    return None


async def watch(wild: Wild) -> object:
    with wild.world.tolerant():
        ref = wild.world.pick()
        wild.context.watch(ref)
        wild.life.watching.add(ref)
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
        wild.life.staff.is_seen = False
        with wild.world.tolerant():
            wild.world.add(await wild.context.supervise(supervisor_spec(wild.world, 1)))
    return None


async def cancel_its_nursery(wild: Wild) -> object:
    if wild.world.chance(0.3):
        wild.life.cut = True
        wild.nursery.cancel_scope.cancel()
    return None


async def wait_for_another(wild: Wild) -> object:
    with trio.move_on_after(0.2), wild.world.tolerant():
        ref = wild.world.pick()
        wild.world.is_gone(ref, await ref.terminated())
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


def child_spec(  # noqa: PLR0913, PLR0917  -- what is to be known of it
    world: World, name: str, depth: int, automatic: AutoShutdown, staff: Staff, place: float = ADDED
) -> ChildSpec:
    draw = world.random.choice
    restart = draw([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY])
    is_supervisor = depth < 2 and world.chance(0.2)
    staff.is_seen = staff.is_seen and not is_supervisor
    factory = supervisor_spec(world, depth + 1, is_one=False) if is_supervisor else None
    shutdown = draw([None, 0, 1, 5])
    significant = automatic is not AutoShutdown.NEVER and restart is not Restart.PERMANENT and world.chance(0.5)
    backoff = draw([None, None, Backoff(0.1, 2, 0.2)])
    mailbox = MailboxSpec(size=draw([1, 8, 64]), overflow=draw(list(Overflow)))
    post = Post(staff, restart, place, waits=backoff is not None)
    make = factory or functools.partial(Wild, world, 2, post)
    return ChildSpec(name, make, restart, shutdown, significant, backoff, mailbox)


def supervisor_spec(world: World, depth: int = 0, *, is_one: bool = True) -> SupervisorSpec:
    draw = world.random.choice
    automatic = draw([AutoShutdown.NEVER, AutoShutdown.NEVER, AutoShutdown.ANY, AutoShutdown.ALL])
    staff = world.ledger.staff()
    staff.is_one = is_one
    children = [
        child_spec(world, f"c{number}", depth, automatic, staff, number) for number in range(world.random.randrange(5))
    ]
    staff.strategy = draw(list(Strategy))
    staff.max_restarts, staff.max_seconds = draw([0, 1, 3, 100]), draw([1, 5])
    return SupervisorSpec(
        staff.strategy,
        children,
        max_restarts=staff.max_restarts,
        max_seconds=staff.max_seconds,
        auto_shutdown=automatic,
    )


async def ask(world: World, ref: ActorRef, timeout: float) -> None:  # noqa: ASYNC109  -- that of the ask
    """Ask an actor, and note what comes of it."""
    with world.ledger.sending(world.ledger.letter(ref, is_ask=True)) as letter:
        letter.answer = await ref.ask(letter, timeout)
