"""The limits on requests of a user by plain HTTP: their rate, their number, and the users that are kept."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from actors.loop.clock import LoopTime
from transport import Settings
from transport.server._user_requests import UserRequests

if TYPE_CHECKING:
    from trio.testing import MockClock


def limits(**settings: float) -> UserRequests:
    """Return the limits of requests."""
    return UserRequests(Settings(**settings), LoopTime())  # type: ignore[arg-type]  # names of settings


async def test_rate(autojump_clock: MockClock) -> None:
    """A user may make ``commands_burst`` requests at once, then ``commands_per_second``; others are not affected."""
    requests = limits(commands_burst=3, commands_per_second=2)
    assert [requests.within_rate("ann") for _ in range(4)] == [True, True, True, False]
    assert requests.within_rate("bob")
    await trio.sleep(0.5)
    assert [requests.within_rate("ann") for _ in range(2)] == [True, False]


async def test_number(autojump_clock: MockClock) -> None:
    """A user may let ``max_requests_per_user`` requests wait, and again one when one has ended."""
    requests = limits(max_requests_per_user=2)
    with ExitStack() as stack:
        assert stack.enter_context(requests.waiting("ann"))
        with requests.waiting("ann") as second, requests.waiting("ann") as third, requests.waiting("bob") as other:
            assert (second, third, other) == (True, False, True)
            assert requests.waiting_of("ann") == 2
        with requests.waiting("ann") as again:
            assert again
    assert requests.waiting_of("ann") == 0


async def test_users_are_forgotten(autojump_clock: MockClock) -> None:
    """A user is forgotten when all its tokens are there again, but not while a request of it waits."""
    requests = limits(commands_burst=10, commands_per_second=1)
    with requests.waiting("waits"):
        for number in range(1000):
            requests.within_rate(f"user {number}")
        assert len(requests) == 1001
        await trio.sleep(10)
        requests.within_rate("last")
        assert (len(requests), requests.waiting_of("waits")) == (2, 1)
    await trio.sleep(10)
    requests.within_rate("last")
    assert len(requests) == 1
