"""Keys that are loaded from a file or a URL: how often they are loaded, and what clients see when loading fails."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
import trio
from auth.signing import SECRET

from transport import AuthUnavailable
from transport.auth._key_cache import KeyCache, Pace
from transport.auth._keys import BadToken, KeySet, UnknownKid, given_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from transport.auth._keys import Key

PACE = Pace(fresh=100, pause=10, limit=3_600)


class Place:
    """A place with keys, and a clock that the test moves."""

    def __init__(self, *kids: str) -> None:
        self.now = 1_000.0
        self.kids = kids
        self.error: Exception | None = None
        self.loads = 0
        self.running = self.most_running = 0
        self.ended = threading.Event()
        self.begun = threading.Semaphore(0)
        self.go_on: Callable[[], object] = lambda: None

    def load(self) -> KeySet:
        """Return the keys, after ``go_on`` has returned."""
        self.running += 1
        self.loads += 1
        self.most_running = max(self.most_running, self.running)
        self.begun.release()
        try:
            self.go_on()
            if self.error is not None:
                raise self.error
            return self.keys(*self.kids)
        finally:
            self.running -= 1
            self.ended.set()

    async def begins(self, loads: int) -> None:
        """Wait until a load is under way, which must be the load with this number."""
        while self.loads < loads:
            assert await trio.to_thread.run_sync(lambda: self.begun.acquire(timeout=30))
        assert (self.loads, self.running) == (loads, 1)

    def keys(self, *kids: str) -> KeySet:
        """Return keys with these names."""
        return given_keys(dict.fromkeys(kids, SECRET), ["HS256"])

    def cache(self, pace: Pace = PACE, *, keys: KeySet | None = None) -> KeyCache:
        """Return a cache of this place."""
        return KeyCache("the place", self.load, pace, keys, clock=lambda: self.now)


async def found(cache: KeyCache, kid: str) -> str | None:
    """Return the id of the key that a token with this ``kid`` gets."""
    return (await cache.find(kid, "HS256")).id


async def test_keys_are_loaded_once_while_fresh() -> None:
    """The first token loads the keys. Further tokens use the same keys, until these are as old as allowed."""
    place = Place("a")
    cache = place.cache()
    assert await found(cache, "a") == "a"
    place.now += 99
    assert await found(cache, "a") == "a"
    assert place.loads == 1
    place.now += 1
    assert await found(cache, "a") == "a"
    assert place.loads == 2


async def test_removed_key_is_refused_after_its_time() -> None:
    """A key that the issuer has removed is no longer used once the keys are as old as allowed."""
    place = Place("a", "b")
    cache = place.cache()
    assert await found(cache, "b") == "b"
    place.kids = ("a",)
    place.now += 100
    with pytest.raises(UnknownKid):
        await found(cache, "b")


async def test_new_key_is_found_at_once() -> None:
    """A token with an unknown ``kid`` loads the keys again, although they are fresh."""
    place = Place("a")
    cache = place.cache()
    assert await found(cache, "a") == "a"
    place.kids = ("a", "b")
    place.now += 10
    assert await found(cache, "b") == "b"
    assert place.loads == 2


async def test_random_key_ids_load_rarely() -> None:
    """However many tokens have an unknown ``kid``, the keys are loaded once in the pause.

    The token that loaded them is refused for good. A token in the pause is sent away for now: its key may be new.
    """
    place = Place("a")
    cache = place.cache()
    assert await found(cache, "a") == "a"
    for number in range(50):
        place.now += 1
        with pytest.raises(UnknownKid if number % 10 == 9 else AuthUnavailable):
            await found(cache, f"random-{number}")
        assert await found(cache, "a") == "a"
    assert place.loads == 6


async def test_load_does_not_hold_up_known_keys() -> None:
    """While the keys are loaded because of an unknown ``kid``, tokens with a known ``kid`` do not wait."""
    place, gate = Place("a"), threading.Event()
    cache = place.cache()
    await found(cache, "a")
    place.now += 10
    place.go_on = gate.wait
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, UnknownKid, cache, "random")
            await place.begins(2)
            assert await found(cache, "a") == "a"
            assert place.running == 1
            gate.set()
    finally:
        gate.set()


async def expect(error: type[Exception], cache: KeyCache, kid: str) -> None:
    """Wait for the refusal of a token with this ``kid``."""
    with pytest.raises(error):
        await found(cache, kid)


@pytest.mark.parametrize("pause", [10, 0])
async def test_many_clients_share_one_load(pause: float) -> None:
    """Clients that come while the keys are loaded wait for this load, and begin no other."""
    place, gate = Place("a"), threading.Event()
    cache = place.cache(Pace(fresh=100, pause=pause, limit=3_600))
    place.go_on = gate.wait
    answers: list[str | None] = []

    async def ask(kid: str) -> None:
        answers.append(await found(cache, kid))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask, "a")
            nursery.start_soon(expect, UnknownKid, cache, "random")
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert answers == ["a"] * 20
    assert (place.loads, place.most_running) == (1, 1)


async def test_client_that_leaves_does_not_end_the_load() -> None:
    """If the client that began a load hangs up, the load goes on for the other clients."""
    place, gate = Place("a"), threading.Event()
    cache = place.cache()
    place.go_on = gate.wait
    with trio.CancelScope() as leaves:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found, cache, "a")
            await place.begins(1)
            leaves.cancel()
    gate.set()
    assert await found(cache, "a") == "a"
    assert place.loads == 1


# Failures


async def test_old_keys_are_used_while_loading_fails() -> None:
    """While loading fails, the old keys are used, and clients do not wait for the loads that go on beside."""
    place, gate = Place("a"), threading.Event()
    cache = place.cache()
    await found(cache, "a")
    place.error = OSError("the place is down")
    place.now += 100
    assert await found(cache, "a") == "a"
    assert place.loads == 2
    assert await found(cache, "a") == "a"
    assert place.loads == 2
    place.now += 10
    place.go_on = gate.wait
    try:
        assert await found(cache, "a") == "a"  # does not wait for the gate
        await place.begins(3)
    finally:
        gate.set()


async def test_place_that_comes_back_is_used_again() -> None:
    """After a failure, the keys are loaded again when the pause is over, and then new keys are found."""
    place = Place("a")
    cache = place.cache()
    await found(cache, "a")
    place.error = OSError("the place is down")
    place.now += 100
    await found(cache, "a")
    place.error, place.kids = None, ("a", "b")
    place.now += 10
    assert await found(cache, "b") == "b"


@pytest.mark.parametrize("error", [OSError("down"), ValueError("no keys"), RecursionError(), KeyError("x")], ids=repr)
async def test_first_failure_sends_clients_away_for_now(error: Exception) -> None:
    """If the keys cannot be loaded the first time, clients are sent away for now, until a later load succeeds.

    The place is asked once in the pause.
    """
    place = Place("a")
    place.error = error
    cache = place.cache()
    for _ in range(5):
        with pytest.raises(AuthUnavailable, match="keys of tokens could not be loaded"):
            await found(cache, "a")
    assert place.loads == 1
    place.error = None
    place.now += 10
    assert await found(cache, "a") == "a"


async def test_unknown_key_id_is_not_refused_while_loading_fails() -> None:
    """While loading fails, a token with an unknown ``kid`` is sent away for now: its key may be a new one."""
    place = Place("a")
    cache = place.cache()
    await found(cache, "a")
    place.error = OSError("down")
    place.now += 10
    with pytest.raises(AuthUnavailable, match="the key of the token is not known yet"):
        await found(cache, "b")


async def test_failure_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The failure of a load is logged in one line, at most once a minute, and the line says what goes on."""
    place = Place("a")
    place.error = OSError("the place is down")
    cache = place.cache(Pace(fresh=1, pause=0, limit=3_600))
    for _ in range(10):
        with pytest.raises(AuthUnavailable):
            await found(cache, "a")
        place.now += 5
    first = "keys of TokenAuth from the place: OSError: the place is down; no token can be checked"
    assert caplog.messages == [first]
    place.error = None
    place.now += 10
    await found(cache, "a")
    place.error = OSError("the place is down")
    place.now += 10
    await found(cache, "a")
    assert caplog.messages == [first, first.replace("no token can be checked", "the keys from before are used")]
    assert all(record.levelno == logging.WARNING and record.exc_info is None for record in caplog.records)


async def test_hanging_place_is_given_up(caplog: pytest.LogCaptureFixture, mock_clock: MockClock) -> None:
    """A load that takes longer than its limit counts as failed. No other load begins while its thread still runs."""
    place, gate = Place("a"), threading.Event()
    place.go_on = gate.wait
    cache = place.cache(Pace(fresh=100, pause=10, limit=5))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, AuthUnavailable, cache, "a")
            await place.begins(1)
            mock_clock.jump(5)
        place.now += 60
        await expect(AuthUnavailable, cache, "a")
        assert (place.loads, place.most_running) == (1, 1)
    finally:
        gate.set()
    told = "keys of TokenAuth from the place: no answer within 5 s; no token can be checked"
    again = "BlockingIOError: an earlier attempt still waits for an answer"
    assert caplog.messages == [told, told.replace("no answer within 5 s", again)]


def test_cache_survives_its_event_loop() -> None:
    """Keys that were loaded in one event loop are used in the next one, also if the first ended during a load."""
    place, gate = Place("a"), threading.Event()
    cache = place.cache()

    async def leave_early() -> None:
        with trio.move_on_after(0):
            await found(cache, "a")

    async def stay() -> Key:
        return await cache.find("a", "HS256")

    place.go_on = gate.wait
    trio.run(leave_early)
    gate.set()
    assert place.ended.wait(30)
    place.now += 10
    assert trio.run(stay).id == "a"
    loads = place.loads
    assert trio.run(stay).id == "a"
    assert place.loads == loads


async def test_two_keys_that_fit_do_not_load() -> None:
    """A token that is refused for another reason than its ``kid`` does not load the keys again."""
    place = Place("a", "b")
    cache = place.cache()
    await found(cache, "a")
    place.now += 50
    for kid, algorithm in ((None, "HS256"), ("a", "ES256"), (None, "none")):
        with pytest.raises(BadToken):
            await cache.find(kid, algorithm)
    assert place.loads == 1
