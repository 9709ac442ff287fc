"""The actors of random runs.

Every choice is drawn from one random generator, in the order in which things happen. So the seed of the generator
decides the whole run. Sleeps take no time: the run has a ``MockClock``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio
from _runtime_records import Answer, Letter, Placement

from actors import UNHANDLED, Actor, Backoff, ExitReason, Idle, Overflow, Restart, Terminated

if TYPE_CHECKING:
    from collections.abc import Generator

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
        most, seconds = self.world.draw_own_limit(restart)
        limit = self.world.limit_of(most, seconds)
        ref = await self.context.spawn(
            RandomActor,
            self.world,
            self.depth + 1,
            Placement(self.life.group, restart, limit=limit),
            restart=restart,
            max_restarts=most,
            max_seconds=seconds,
            backoff=Backoff(0.1, 2, 0.2) if limit is not None and self.world.chance(0.5) else None,
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
        handler = world.random.choice(world.handlers)
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
