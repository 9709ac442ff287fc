"""The limiter of a user's runs: some run, some wait in order, and further ones are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import CommandRefused
from actors.sessions._run_limiter import RunLimiter, RunLimiterStatistics

if TYPE_CHECKING:
    from actors.sessions._run_limiter import Place

USERS = ("a", "b")


@attrs.define(eq=False)
class Runner:
    """A task with a place in the limiter, like the task of a run: it waits, runs until it is cancelled, and leaves."""

    place: Place
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    began: bool = False
    over: bool = False

    async def run(self) -> None:
        try:
            with self.scope:
                if await self.place.taken():
                    self.began = True
                    await trio.sleep_forever()
        finally:
            self.place.leave()
            self.over = True


@attrs.define
class World:
    """Tasks of two users at one limiter, and the rules for them."""

    limit: int
    queue: int
    limiter: RunLimiter = attrs.field(init=False)
    runners: list[Runner] = attrs.Factory(list[Runner])

    def __attrs_post_init__(self) -> None:
        self.limiter = RunLimiter(self.limit, self.queue)

    def enter(self, nursery: trio.Nursery, user: str) -> None:
        own = [runner.place for runner in self.runners if runner.place.user == user]
        running, waiting = sum(place.held for place in own), sum(not place.held and not place.left for place in own)
        if running == self.limit and waiting == self.queue:
            with pytest.raises(CommandRefused, match="try again later") as caught:
                self.limiter.enter(user)
            assert caught.value.code == "overloaded"
            return
        runner = Runner(self.limiter.enter(user))
        assert runner.place.held == (running < self.limit)
        assert runner.place.waited != runner.place.held
        self.runners.append(runner)
        nursery.start_soon(runner.run)

    async def play(self, script: list[tuple[str, int]]) -> None:
        async with trio.open_nursery() as nursery:
            gone: set[Runner] = set()
            for step, number in script:
                if step == "enter":
                    self.enter(nursery, USERS[number % 2])
                elif step == "turn":
                    await trio.testing.wait_all_tasks_blocked()
                    self.check(gone)
                elif self.runners:
                    runner = self.runners[number % len(self.runners)]
                    gone.add(runner)
                    if step == "cancel":
                        runner.scope.cancel()
                    else:
                        runner.place.leave()
            await trio.testing.wait_all_tasks_blocked()
            self.check(gone)
            nursery.cancel_scope.cancel()
        assert all(runner.over for runner in self.runners)
        assert self.limiter.statistics() == RunLimiterStatistics(users=0, running=0, queued=0)

    def check(self, gone: set[Runner]) -> None:
        """Check that the first remaining runners of each user run, and that the next ones wait."""
        counts = [0, 0, 0]
        for user in USERS:
            left = [runner for runner in self.runners if runner.place.user == user and runner not in gone]
            assert all(runner.place.held and runner.began for runner in left[: self.limit])
            assert not any(runner.place.held or runner.began for runner in left[self.limit :])
            assert len(left) <= self.limit + self.queue
            counts = [counts[0] + bool(left), counts[1] + len(left[: self.limit]), counts[2] + len(left[self.limit :])]
        assert self.limiter.statistics() == RunLimiterStatistics(*counts)


steps = st.tuples(st.sampled_from(["enter", "enter", "enter", "cancel", "leave", "turn"]), st.integers(0, 40))


@settings(max_examples=scaled(150, 5_000))
@given(limit=st.integers(1, 3), queue=st.integers(0, 4), script=st.lists(steps, max_size=40))
def test_limiter_against_a_model(limit: int, queue: int, script: list[tuple[str, int]]) -> None:
    """Runs that wait in the queue begin in the order in which they came.

    The limit is used fully and never exceeded, even if a run is cancelled just as it may begin.
    """
    trio.run(World(limit, queue).play, script)


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_run_cancelled_as_it_gets_a_place(cancel_first: bool) -> None:
    """If a waiting run may begin and is cancelled at the same moment, the next run in the queue begins.

    This holds for both orders: first the permission to begin, or first the cancellation.
    """
    limiter = RunLimiter(1, 2)
    first, *waiting = (Runner(limiter.enter("a")) for _ in range(3))
    async with trio.open_nursery() as nursery:
        for runner in waiting:
            nursery.start_soon(runner.run)
        await trio.testing.wait_all_tasks_blocked()
        actions = [first.place.leave, waiting[0].scope.cancel]
        for act in reversed(actions) if cancel_first else actions:
            act()
        await trio.testing.wait_all_tasks_blocked()
        assert (waiting[0].over, waiting[1].began) == (True, True)
        nursery.cancel_scope.cancel()


async def test_long_queue_without_recursion() -> None:
    """If each of 3,000 queued runs ends as soon as it begins, all of them get their turn, without a RecursionError."""
    count = 3_000
    limiter = RunLimiter(1, count)
    first = limiter.enter("a")
    refused: list[int] = []

    async def refuse(number: int, place: Place) -> None:
        try:
            assert await place.taken()
            refused.append(number)
        finally:
            place.leave()

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(refuse, number, limiter.enter("a"))
        await trio.testing.wait_all_tasks_blocked()
        first.leave()
    assert refused == list(range(count))
    assert limiter.statistics() == RunLimiterStatistics(users=0, running=0, queued=0)


def test_leaving_only_wakes_the_next() -> None:
    """When a run ends, the next run in the queue gets its place (the permission to run) at once.

    But the code of the next run is executed only later, in its own task.
    """
    limiter = RunLimiter(1, 1)
    first, second = limiter.enter("a"), limiter.enter("a")
    first.leave()
    assert (first.held, second.held) == (False, True)
    second.leave()
    second.leave()
    assert limiter.statistics() == RunLimiterStatistics(users=0, running=0, queued=0)


def test_users_have_queues_of_their_own() -> None:
    """If one user has reached the limit of running runs, the runs of other users do not wait."""
    limiter = RunLimiter(1, 1)
    assert [limiter.enter(user).held for user in ("a", "a", "b")] == [True, False, True]


def test_leaving_the_queue_makes_room() -> None:
    """If a run leaves a full queue before it began, another run can enter the queue at once."""
    limiter = RunLimiter(1, 1)
    first, withdrawn = limiter.enter("a"), limiter.enter("a")
    with pytest.raises(CommandRefused):
        limiter.enter("a")
    withdrawn.leave()
    last = limiter.enter("a")
    first.leave()
    assert (withdrawn.held, last.held) == (False, True)
