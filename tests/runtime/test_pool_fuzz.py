"""Random pools and subscriptions under random faults: every message comes to one end, and nothing is left behind.

Each choice is drawn from one random generator, which decides the whole run. The run has a ``MockClock``.
"""

from __future__ import annotations

import functools
import logging
import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
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
from _runtime_records import leaf_errors
from _scale import scaled

from actors import (
    UNHANDLED,
    Actor,
    ActorError,
    Backoff,
    ChildFailed,
    ChildSpec,
    ChildStarted,
    ChildStopped,
    DeadLetter,
    EventsMissed,
    FailureEscalated,
    MailboxSpec,
    Overflow,
    PoolRef,
    Restart,
    RestartLimit,
    RestartLimitReached,
    Routing,
    SupervisionEvent,
    SupervisorSpec,
    open_system,
    pool,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import ActorSystem

SEEDS = 25
GUARD = 100_000.0
"""Seconds of virtual time after which a run counts as hanging."""


@attrs.frozen
class News:
    """An event with a number."""

    number: int


class World(Letters):
    """The records of one run."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.raised: list[Exception] = []
        self.running = 0
        self.published = 0

    def maybe_fail(self, probability: float) -> None:
        """Raise an exception with the given probability."""
        if self.chance(probability):
            error = OSError(len(self.raised))
            self.raised.append(error)
            raise error


class Member(Actor):
    """A member that does random things, subscribes to news, and checks that it receives them in order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.last = -1
        self.missed = 0
        world.maybe_fail(0.02)

    async def started(self) -> None:
        self.nursery.start_soon(self.count)
        if self.world.chance(0.5):
            self.context.subscribe(News, buffer=self.world.random.choice([1, 4]))
        await trio.sleep(self.world.random.choice([0, 0, 0.5]))
        self.world.maybe_fail(0.05)

    async def count(self) -> None:
        """Count this incarnation as running until its nursery is closed."""
        self.world.running += 1
        try:
            await trio.sleep_forever()
        finally:
            self.world.running -= 1

    async def receive(self, message: object) -> object:
        world = self.world
        if isinstance(message, EventsMissed):
            assert message.count > 0
            self.missed += message.count
            return None
        if isinstance(message, News):
            # The numbers of the missed events are the gap.
            assert self.last < 0 or message.number == self.last + self.missed + 1, (self.last, self.missed, message)
            self.last, self.missed = message.number, 0
        await trio.sleep(world.random.choice([0, 0, 0, 0.1, 2]))
        world.maybe_fail(0.08)
        if isinstance(message, Letter):
            world.handled[message.number] += 1
            if world.chance(0.1):
                self.context.system.events.publish(News(world.published))
                world.published += 1
            return UNHANDLED if world.chance(0.05) else message.number
        return None


async def publish(system: ActorSystem, world: World, ref: PoolRef) -> None:
    del ref
    system.events.publish(News(world.published))
    world.published += 1


ACTIONS: list[Callable[[ActorSystem, World, PoolRef], Awaitable[None]]] = [
    *[tell] * 6,
    *[tell_nowait] * 3,
    *[ask] * 4,
    *[publish] * 3,
    *[pause] * 3,
    tell_and_give_up,
    broadcast,
    stop_member,
    kill_member,
    kill,
]


async def use(system: ActorSystem, world: World, ref: PoolRef) -> None:
    """Do random actions with the pool, as its user."""
    for _ in range(25):
        try:
            await world.random.choice(ACTIONS)(system, world, ref)
        except ActorError:
            continue
        now = ref.statistics()
        assert now.members <= now.max_size


def random_spec(world: World) -> ChildSpec:
    """Return the spec of a random pool."""
    draw = world.random.choice
    size = draw([1, 2, 3])
    routing = draw(list(Routing))
    own = pool(
        functools.partial(Member, world),
        size,
        max_size=size + draw([0, 2]),
        routing=routing,
        key=(lambda message: getattr(message, "number", 0) % 5) if routing is Routing.CONSISTENT_HASH else None,
        grow_at=draw([1, 3]),
        shrink_after=draw([1.0, 5.0]),
        shutdown=draw([None, 0, 1]),
        max_restarts=draw([0, 3, 100]),
        backoff=draw([None, Backoff(0.1, 1)]),
    )
    mailbox = MailboxSpec(size=draw([1, 3, 64]), overflow=draw(list(Overflow)))
    return ChildSpec("pool", own, draw(list(Restart)), mailbox=mailbox)


async def play(world: World, news: list[SupervisionEvent]) -> None:
    """Run one random pool until the end of its system, and check the rules."""
    before = trio.lowlevel.current_statistics().tasks_living
    system: Any = None
    dead: Any = None
    told: Any = None
    ref: Any = None
    with trio.move_on_after(GUARD) as guard:
        try:
            async with open_system() as system:
                dead = system.dead_letters(100_000).__enter__()
                told = system.events.subscribe(SupervisionEvent, buffer=100_000).__enter__()
                above = await system.supervise(SupervisorSpec(max_restarts=world.random.choice([0, 3, 100])))
                try:
                    ref = await above.start_child(random_spec(world))
                except OSError:
                    world.raised.clear()  # the caller has it
                    return
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(use, system, world, ref)
                    if world.chance(0.3):
                        await trio.sleep(world.random.choice([0.5, 3]))
                        with trio.CancelScope(shield=True):
                            await ref.stop(drain=world.chance(0.5))
        except* RestartLimit:
            pass
    assert not guard.cancelled_caught, "it hung"
    news += told.events
    assert system.statistics().actors == 0
    assert system.events.statistics().subscriptions == 0
    now = trio.lowlevel.current_statistics()
    assert (now.tasks_living, now.seconds_to_next_deadline) == (before, math.inf)
    assert world.running == 0
    if ref is not None:
        left = ref.statistics()
        assert (left.members, left.children, left.mailbox.depth, left.mailbox.senders_waiting) == (0, 0, 0, 0)
        assert left.subscriptions == 0
        check_letters(world, list(dead.events))


def check_letters(world: World, dead: list[DeadLetter]) -> None:
    """Check that each message was handled once, or is one dead letter, or that its sender got an exception."""
    letters = Counter(each.message.number for each in dead if isinstance(each.message, Letter))
    for number, outcome in world.sent.items():
        ends = world.handled[number] + letters[number]
        if outcome == "sent":
            # A message that is handled, and returned as UNHANDLED, is a dead letter as well.
            assert 1 <= ends <= 2, (number, outcome, world.handled[number], letters[number])
        elif outcome.startswith("ask"):
            assert ends <= 2, (number, outcome)
        else:
            assert ends == 0, (number, outcome)
        assert world.handled[number] <= 1, number
        assert letters[number] <= 1, number


def check_news(world: World, news: list[SupervisionEvent]) -> None:
    """Check that starts, failures and ends were told in a possible order, and that no exception is missing."""
    failures = [each.exception for each in news if isinstance(each, ChildFailed) and each.exception is not None]
    told = {id(leaf) for failure in failures for leaf in leaf_errors(failure)}
    assert all(id(error) in told for error in world.raised), "a failure was not told"
    living: dict[str, int] = {}
    for event in news:
        if isinstance(event, ChildStarted):
            assert event.path not in living
            living[event.path] = 1
        elif isinstance(event, ChildStopped):
            assert living.pop(event.path) <= event.incarnation
        elif isinstance(event, (RestartLimitReached, FailureEscalated)):
            assert event.path
    assert not living


def run_seed(seed: int) -> list[str]:
    """Run one seed. Return the kinds of the events of supervision, in order."""
    world, news = World(seed), list[SupervisionEvent]()
    random.seed(seed)
    internals: Any = trio._core._run  # noqa: SLF001  -- the order of tasks; trio has no other way
    internals._r.seed(seed)  # noqa: SLF001  -- as above
    trio.run(play, world, news, clock=trio.testing.MockClock(autojump_threshold=0))
    check_news(world, news)
    return [type(each).__name__ for each in news]


@pytest.fixture(autouse=True)
def _quiet_and_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: SLF001  -- see run_seed()
    monkeypatch.setattr(logging.getLogger("actors"), "disabled", True)


@pytest.mark.parametrize("chunk", range(scaled(1, 100)))
def test_random_pools_keep_the_rules(chunk: int) -> None:
    """No run hangs, or leaves an actor, a task, a subscription or a timer, or loses a message or a failure."""
    kinds: set[str] = set()
    for seed in range(chunk * SEEDS, (chunk + 1) * SEEDS):
        try:
            kinds.update(run_seed(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert {"ChildStarted", "ChildFailed", "ChildRestarted", "ChildStopped", "RestartLimitReached"} <= kinds
