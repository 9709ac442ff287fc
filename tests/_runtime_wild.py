"""The actors and supervision trees of random runs.

Every choice is drawn from one random generator, in the order in which things happen. So the seed of the generator
decides the whole run. Sleeps take no time: the run has a ``MockClock``.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import trio
import trio.testing
from _runtime_records import (
    LAST_PLACE,
    Answer,
    ChildGroup,
    Letter,
    Placement,
)

from actors import (
    UNHANDLED,
    Actor,
    ActorRef,
    AutoShutdown,
    Backoff,
    ChildSpec,
    ExitReason,
    Idle,
    MailboxSpec,
    Normal,
    Overflow,
    Restart,
    Shutdown,
    Strategy,
    SupervisorSpec,
    Terminated,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from _runtime_world import World


class RandomActor(Actor):
    """An actor that does random things at every point of its life."""

    def __init__(self, world: World, depth: int, placement: Placement) -> None:
        self.world = world
        self.depth = depth
        self.life = world.ledger.on_made(placement)
        self.letter: Letter | None = None
        self.idle: float | None = None
        """Seconds after which this instance wants to be told that it is idle."""
        world.maybe_fail(0.03)

    @contextlib.contextmanager
    def noting_failure(self) -> Generator[None]:
        """Record, if the code in the block raises, that this actor fails."""
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
        self.nursery.start_soon(self.report_end)
        world.ledger.on_starting(self.life, self.ref)
        with self.noting_failure():
            await self.start()
        if not self.ref.statistics().restarts:  # else it is up after the hook
            world.ledger.on_started(self.life)

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
            self.life.stopped_itself = True
            self.context.stop()

    async def report_end(self) -> None:
        """Wait until the nursery of this instance is closed, and report that."""
        path = self.ref.path
        try:
            await trio.sleep_forever()
        finally:
            self.world.ledger.on_ended(self.life, path)

    async def spawn(self) -> None:
        draw = self.world.random.choice
        restart = draw(list(Restart))
        # Only some seeds draw this: so the others replay old runs.
        is_apart = self.world.is_new and restart is not Restart.TEMPORARY and self.world.chance(0.3)
        self.life.group.is_complete = self.life.group.is_complete and not is_apart
        ref = await self.context.spawn(
            RandomActor,
            self.world,
            self.depth + 1,
            Placement(self.life.group, restart, is_apart=is_apart),
            restart=restart,
            max_restarts=draw([0, 2, 100]) if is_apart else None,
            backoff=Backoff(0.1, 2, 0.2) if is_apart and self.world.chance(0.5) else None,
            shutdown=draw([0, 1, 5]),
            overflow=draw(list(Overflow)),
            mailbox_size=draw([1, 3, 64]),
        )
        self.world.refs.append(ref)

    async def work(self) -> None:
        with self.noting_failure():
            await self.do_work()

    async def do_work(self) -> None:
        world = self.world
        if world.chance(0.4):
            await trio.sleep(world.random.choice([0.1, 1, 3]))
            with world.tolerant():
                await self.spawn()
        for _ in range(5):
            await trio.sleep(world.random.choice([0.1, 1]))
            if world.chance(0.2):
                await self.sleep_shielded()
            world.maybe_fail(0.05)

    async def sleep_shielded(self) -> None:
        """Sleep in a shielded scope, sometimes for a very long time."""
        with trio.CancelScope(shield=True):
            await trio.sleep(self.world.random.choice([0.5, 3, 1000]))

    async def receive(self, message: object) -> object:
        with self.noting_failure():
            if isinstance(message, Terminated):
                self.world.on_reported(message.reason)
                self.world.ledger.on_terminated(self.life, message.ref, message.reason)
                return None
            if isinstance(message, Idle):
                self.handle_idle(message)
                return None
            if not isinstance(message, Letter):
                await self.handle_tick(message)
                return None
            with self.world.ledger.handling(self.life, message):
                answer = await self.handle(message)
        if answer is UNHANDLED:
            self.world.ledger.on_unhandled(message)
        return answer

    async def handle_tick(self, life: object) -> None:
        """Handle the message of a timer. Check that the timer was set after the last restart of this actor."""
        world = self.world
        world.ledger.check_may_receive(self.life, self.ref.path)
        world.ledger.check(life is self.life, f"{self.ref.path} has the timer of an earlier life")
        await trio.sleep(world.random.choice([0, 0.1]))
        world.maybe_fail(0.05)

    def handle_idle(self, message: Idle) -> None:
        """Handle an Idle message. Check that this instance has asked for it, and that no message waits."""
        ledger, path = self.world.ledger, self.ref.path
        ledger.check_may_receive(self.life, path)
        ledger.check(message.seconds == self.idle, f"{path} is told that it is idle: {message}, not {self.idle}")
        now = self.ref.statistics()
        ledger.check(not (now.mailbox.depth or now.leases), f"{path} is told that it is idle: {now}")
        self.world.maybe_fail(0.05)

    async def handle(self, letter: Letter) -> object:
        """Handle a message in a random way."""
        world, self.letter = self.world, letter
        handler = world.random.choice(HANDLERS + world.more_handlers)
        world.note(f"{handler.__name__} {self.ref.path}")
        answer = await handler(self)
        return UNHANDLED if answer is UNHANDLED else Answer(letter)

    async def stopping(self, reason: ExitReason) -> None:
        self.world.ledger.on_stopping(self.life, self.ref.path, reason)
        with self.noting_failure():
            await self.stop(reason)
        self.life.stopping_returned = True

    async def stop(self, reason: ExitReason) -> None:
        world = self.world
        world.on_reported(reason)
        world.note(f"stopping {self.ref.path}")
        if world.chance(0.2):
            with world.tolerant():
                await self.spawn()
        if world.chance(0.3):
            await trio.sleep(world.random.choice([0.1, 1, 8]))
        if world.chance(0.05):
            await self.sleep_shielded()
        world.maybe_fail(0.05)

    async def before_restart(self, reason: ExitReason) -> None:
        self.world.ledger.on_before_restart(self.life, self.ref.path, reason)
        await self.act_in_a_hook(8)

    async def after_restart(self, reason: ExitReason) -> None:
        self.world.on_reported(reason)
        self.world.ledger.on_after_restart(self.life, self.ref)
        with self.noting_failure():
            await self.act_in_a_hook(3)
        self.world.ledger.on_started(self.life)

    async def act_in_a_hook(self, longest: float) -> None:
        """Sleep, fail, or do nothing. Only some seeds draw this: so the others replay old runs."""
        world = self.world
        if not world.is_new:
            return
        if world.chance(0.3):
            await trio.sleep(world.random.choice([0, 0.1, longest]))
        if world.chance(0.05):
            await self.sleep_shielded()
        world.maybe_fail(0.05)


# Ways to handle a message


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


# Trees


def child_spec(  # noqa: PLR0913, PLR0917  -- the properties of a child
    world: World, name: str, depth: int, automatic: AutoShutdown, group: ChildGroup, place: float = LAST_PLACE
) -> ChildSpec:
    """Return a random spec of a child, which is an actor or a supervisor."""
    draw = world.random.choice
    restart = draw([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY])
    is_supervisor = depth < 2 and world.chance(0.2)
    group.is_complete = group.is_complete and not is_supervisor
    factory = supervisor_spec(world, depth + 1, is_single=False) if is_supervisor else None
    shutdown = draw([None, 0, 1, 5])
    significant = automatic is not AutoShutdown.NEVER and restart is not Restart.PERMANENT and world.chance(0.5)
    backoff = draw([None, None, Backoff(0.1, 2, 0.2)])
    mailbox = MailboxSpec(size=draw([1, 8, 64]), overflow=draw(list(Overflow)))
    placement = Placement(group, restart, place, has_backoff=backoff is not None)
    make = factory or functools.partial(RandomActor, world, 2, placement)
    return ChildSpec(name, make, restart, shutdown, significant, backoff, mailbox)


def supervisor_spec(world: World, depth: int = 0, *, is_single: bool = True) -> SupervisorSpec:
    """Return a random spec of a supervisor."""
    draw = world.random.choice
    automatic = draw([AutoShutdown.NEVER, AutoShutdown.NEVER, AutoShutdown.ANY, AutoShutdown.ALL])
    group = world.ledger.new_group()
    group.is_single = is_single
    children = [
        child_spec(world, f"c{number}", depth, automatic, group, number) for number in range(world.random.randrange(5))
    ]
    group.strategy = draw(list(Strategy))
    group.max_restarts, group.max_seconds = draw([0, 1, 3, 100]), draw([1, 5])
    return SupervisorSpec(
        group.strategy,
        children,
        max_restarts=group.max_restarts,
        max_seconds=group.max_seconds,
        auto_shutdown=automatic,
    )


async def ask(world: World, ref: ActorRef, timeout: float) -> None:  # noqa: ASYNC109  -- the timeout of the ask
    """Ask an actor, and record the answer or the error."""
    with world.ledger.sending(world.ledger.new_letter(ref, is_ask=True)) as letter:
        letter.answer = await ref.ask(letter, timeout)
