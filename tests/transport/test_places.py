"""The places of a user (permissions to connect): silent connections lose theirs, and none is lost or given twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from actors.loop.clock import loop_time
from transport.server._heartbeat import Heartbeat
from transport.server._places import Places

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

SECONDS = 2.0


@attrs.define(eq=False)
class Tab:
    """A connection with a client that answers a ping after ``answers_in`` seconds, or never if this is None."""

    nursery: trio.Nursery
    answers_in: float | None = 0.0
    judged: bool = True
    pings: int = 0
    closed: bool = False
    left: bool = False

    def probe(self, on_frame: Callable[[], None]) -> bool:
        if not self.judged:
            return False
        self.pings += 1
        if self.answers_in is not None:
            self.nursery.start_soon(self._answer, self.answers_in, on_frame)
        return True

    async def _answer(self, seconds: float, on_frame: Callable[[], None]) -> None:
        await trio.sleep(seconds)
        on_frame()

    def waits(self) -> bool:
        return not self.left

    def give_way(self) -> None:
        self.closed = True


@attrs.define(eq=False)
class World:
    """One user, the user's places, and the answers that the user's connections got."""

    nursery: trio.Nursery
    places: Places
    admitted: dict[Tab, bool] = attrs.Factory(dict[Tab, bool])
    when: dict[Tab, float] = attrs.Factory(dict[Tab, float])

    async def ask(self, tab: Tab) -> None:
        """Ask for a place for ``tab``, and note whether it got one, and when."""
        self.admitted[tab] = await self.places.take("u", tab)
        self.when[tab] = trio.current_time()

    async def fill(self, *tabs: Tab) -> None:
        """Give a place to each of these connections."""
        for tab in tabs:
            await self.ask(tab)
        self.admitted.clear()

    def come(self, count: int = 1) -> list[Tab]:
        """Start ``count`` new connections that ask for a place, and return them."""
        tabs = [Tab(self.nursery) for _ in range(count)]
        for tab in tabs:
            self.nursery.start_soon(self.ask, tab)
        return tabs


def world(nursery: trio.Nursery, limit: int) -> World:
    """Return a user with ``limit`` places and a running heartbeat."""
    heartbeat = Heartbeat()
    nursery.start_soon(heartbeat.run)
    return World(nursery, Places(limit, SECONDS, heartbeat, loop_time()))


async def test_silent_connections_give_way(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """If a user has no place for a new connection, old ones that do not answer a ping within 2 s are closed."""
    here = world(nursery, 3)
    tabs = [Tab(nursery, 0.0), Tab(nursery, 1.99), Tab(nursery, 2.01)]
    await here.fill(*tabs)
    (new,) = here.come()
    began = trio.current_time()
    await trio.sleep(1.98)
    assert new not in here.admitted
    await trio.sleep(1)
    assert here.admitted[new] is True
    assert here.when[new] - began == pytest.approx(SECONDS)
    assert [tab.closed for tab in tabs] == [False, False, True]
    assert here.places.gave_way == 1


async def test_refusal_comes_when_all_answered(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """If all old connections of a user answer their pings, the new connection is refused.

    This happens as soon as the last old connection has answered.
    """
    here = world(nursery, 2)
    await here.fill(Tab(nursery, 0.5), Tab(nursery, 1.0))
    (new,) = here.come()
    began = trio.current_time()
    await trio.sleep(5)
    assert here.admitted[new] is False
    assert here.when[new] - began == pytest.approx(1.0)
    assert here.places.gave_way == 0


async def test_connections_share_a_round(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """If several new connections come while the old ones are being pinged, all of them wait for the same pings.

    The first new connections get the places of the old ones that were closed. The other new connections are refused.
    """
    here = world(nursery, 5)
    silent = [Tab(nursery, None) for _ in range(3)]
    loud = [Tab(nursery, 0.1) for _ in range(2)]
    await here.fill(*silent, *loud)
    new = []
    for _ in range(6):
        new += here.come()
        await trio.sleep(0.3)
    await trio.sleep(1)
    assert [here.admitted[tab] for tab in new] == [True] * 3 + [False] * 3
    assert len(set(map(here.when.get, new))) == 1
    assert [tab.pings for tab in (*silent, *loud)] == [1] * 5
    assert all(tab.closed for tab in silent)


async def test_free_place_is_handed_on(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """If an old connection ends while the old connections are being pinged, the waiting new one gets its place at once.

    No silent connection is closed then.
    """
    here = world(nursery, 2)
    silent, other = Tab(nursery, None), Tab(nursery, None)
    await here.fill(silent, other)
    (new,) = here.come()
    await trio.sleep(1)
    here.places.free("u", other)
    here.places.free("u", other)
    await trio.sleep(5)
    assert here.admitted[new] is True
    assert trio.current_time() - here.when[new] == pytest.approx(5)
    assert (silent.closed, here.places.gave_way) == (False, 0)


async def test_unwelcomed_connection_is_not_judged(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A connection that has not got its welcome yet is never closed to make room.

    If a user at the limit has only such connections, a new connection is refused.
    """
    here = world(nursery, 1)
    await here.fill(Tab(nursery, judged=False))
    (new,) = here.come()
    await trio.testing.wait_all_tasks_blocked()
    assert here.admitted[new] is False


@pytest.mark.parametrize("others", [0, 1])
async def test_no_place_for_a_client_that_left(nursery: trio.Nursery, autojump_clock: MockClock, others: int) -> None:
    """If a client leaves while its new connection waits for a place, no old connection is closed for it.

    If another client still waits, a silent connection is closed for that client.
    """
    here = world(nursery, 1)
    await here.fill(old := Tab(nursery, None))
    gone, *rest = here.come(1 + others)
    await trio.sleep(1)
    gone.left = True
    await trio.sleep(2)
    assert here.admitted[gone] is False
    assert [here.admitted[tab] for tab in rest] == [True] * others
    assert old.closed is bool(others)


async def test_free_place_skips_clients_that_left(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """If a place becomes free, the first waiting connection that still has its client gets it."""
    here = world(nursery, 2)
    await here.fill(leaving := Tab(nursery, None), Tab(nursery, 1.0))
    gone, there = here.come(2)
    await trio.testing.wait_all_tasks_blocked()
    gone.left = True
    here.places.free("u", leaving)
    await trio.sleep(3)
    assert (here.admitted[gone], here.admitted[there]) == (False, True)


async def test_cancelled_wait_takes_no_place(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """If a connection is cancelled while it waits for a place, the next new connection gets the place instead."""
    here = world(nursery, 1)
    await here.fill(Tab(nursery, None))
    with trio.move_on_after(1):
        await here.places.take("u", Tab(nursery))
    (new,) = here.come()
    await trio.sleep(3)
    assert here.admitted[new] is True
    here.places.free("u", new)
    assert len(here.places) == 0


async def test_failed_round_ends_the_wait(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If closing a silent connection raises an error, the connections that wait for a place are refused."""
    here = world(nursery, 1)
    await here.fill(Tab(nursery, None))

    def fail(_: Tab) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(Tab, "give_way", fail)
    (new,) = here.come()
    await trio.sleep(3)
    assert here.admitted[new] is False


Step = tuple[str, float]

steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(1, 4)),
        st.tuples(st.just("go"), st.integers(0, 9)),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.7, 2.1])),
    ),
    max_size=14,
)


@attrs.define
class Play:
    """A player of scripts: connections come, go and leave, and the rules of places are checked after each step."""

    here: World
    limit: int
    answers: list[float | None]
    waiting: dict[Tab, trio.CancelScope] = attrs.Factory(dict[Tab, trio.CancelScope])
    tabs: int = 0

    async def step(self, what: str, how: float) -> None:
        if what == "come":
            for _ in range(int(how)):
                self.come()
        elif what == "go" and (holders := self.holders()):
            holders[int(how) % len(holders)].closed = True
            self.here.places.free("u", holders[int(how) % len(holders)])
        elif what == "leave" and self.waiting:
            list(self.waiting.values())[int(how) % len(self.waiting)].cancel()
        elif what == "wait":
            await trio.sleep(how)
        await trio.testing.wait_all_tasks_blocked()
        self.check()

    def come(self) -> None:
        tab = Tab(self.here.nursery, self.answers[self.tabs % len(self.answers)])
        self.tabs += 1
        self.waiting[tab] = trio.CancelScope()
        self.here.nursery.start_soon(self.ask, tab)

    async def ask(self, tab: Tab) -> None:
        with self.waiting[tab]:
            await self.here.ask(tab)
        del self.waiting[tab]

    def holders(self) -> list[Tab]:
        """Return the connections that have a place."""
        return [tab for tab, got in self.here.admitted.items() if got and not tab.closed]

    def check(self) -> None:
        """Check that there are not more places than the limit, and that each connection still has its place."""
        assert len(self.holders()) <= self.limit
        assert all(self.here.places.has("u", tab) for tab in self.holders())


@given(st.integers(1, 4), st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1), steps)
def test_places_are_never_overbooked_nor_lost(limit: int, answers: list[float | None], script: list[Step]) -> None:
    """In any order of events, the limit is never exceeded, each new connection gets an answer, and no place is lost."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            play = Play(world(nursery, limit), limit, answers)
            for what, how in script:
                await play.step(what, how)
            await trio.sleep(SECONDS + 1)
            play.check()
            assert play.waiting == {}
            for tab in play.here.admitted:
                play.here.places.free("u", tab)
            assert len(play.here.places) == 0
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
