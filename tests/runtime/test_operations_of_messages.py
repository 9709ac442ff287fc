"""The cost of a message to an actor, to a pool, and of an event, counted in function calls. No clock is used.

Calls are those that the runtime makes and receives, as the interpreter's profiler sees them. The figures are the
difference between a long and a short burst, so that starting and ending are not in them.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

import actors
from actors import Actor, open_system, pool, router

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from actors import ActorRef, ActorSystem

_RUNTIME = tuple(str(Path(actors.__file__).parent / room) for room in ("runtime", "loop"))
SHORT, LONG = 128, 1_152
"""Numbers of messages in the short and in the long burst."""
RATIOS = {"round_robin": 1.33, "random": 1.33, "consistent_hash": 1.37, "least_waiting": 1.6}
"""A message to a pool of four costs at most this much, beside one to an actor. The last two look at key or members."""


@attrs.define
class Count:
    """Number of calls in the runtime's code: of Python functions and coroutines, and of C functions by them."""

    calls: int = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event in {"call", "c_call"} and frame.f_code.co_filename.startswith(_RUNTIME):
            self.calls += 1


async def count(what: Callable[[int], Awaitable[object]]) -> float:
    """Return the number of calls for one message of a burst."""
    counts: list[int] = []
    for number in (LONG, SHORT, LONG):  # the first one fills what is kept from one message to the next
        counter = Count()
        sys.setprofile(counter)
        try:
            await what(number)
            await trio.testing.wait_all_tasks_blocked()
        finally:
            sys.setprofile(None)
        counts.append(counter.calls)
    return (counts[2] - counts[1]) / (LONG - SHORT)


class Echo(Actor):
    """An actor that returns each message."""

    async def receive(self, message: object) -> object:
        return message


async def tell(ref: ActorRef, number: int) -> None:
    """Send messages in a burst."""
    for each in range(number):
        await ref.tell(each)


async def ask(ref: ActorRef, number: int) -> None:
    """Ask, each time after the answer before."""
    for each in range(number):
        await ref.ask(each)


async def one(system: ActorSystem, send: Callable[[ActorRef, int], Awaitable[None]]) -> float:
    """Return the calls for one message to an actor."""
    return await count(functools.partial(send, await system.spawn(Echo)))


@pytest.mark.parametrize("routing", RATIOS)
async def test_message_to_a_pool(routing: str) -> None:
    """A tell to a pool, until it is handled, costs at most as often as much as a tell to an actor; so does an ask."""
    async with open_system() as system:
        ref = await system.spawn(pool(Echo, 4, routing=routing))
        for send in (tell, ask):
            single = await one(system, send)
            pooled = await count(functools.partial(send, ref))
            assert 0.9 * single <= pooled <= RATIOS[routing] * single


async def test_message_to_a_router() -> None:
    """A message to a router over four actors costs no more than one to a pool of four."""
    async with open_system() as system:
        refs = [await system.spawn(Echo) for _ in range(4)]
        pooled = await system.spawn(pool(Echo, 4))
        routed = await system.spawn(router(refs))
        for send in (tell, ask):
            expected = await count(functools.partial(send, pooled))
            assert 1 <= await count(functools.partial(send, routed)) <= expected + 0.5


class Idler(Echo):
    """An actor that wants to be told when no message comes."""

    async def started(self) -> None:
        self.context.idle_after(1_000)


async def test_idle_time_costs_little() -> None:
    """To watch the idle time of an actor costs nothing for each message, and six calls when its mailbox is empty."""
    async with open_system() as system:
        idler = await system.spawn(Idler)
        assert await count(functools.partial(tell, idler)) == pytest.approx(await one(system, tell), abs=0.5)
        without, with_it = await one(system, ask), await count(functools.partial(ask, idler))
        assert without <= with_it <= without + 6


async def test_tell_is_no_dearer() -> None:
    """A tell takes 10 calls until it is handled, with any number of subscribers to events."""
    async with open_system() as system:
        alone = await one(system, tell)
        with system.events.subscribe(object):
            assert await one(system, tell) == pytest.approx(alone, abs=0.5)
        assert 1 <= alone <= 10


async def test_event_costs_by_its_subscribers() -> None:
    """A publish takes 6 calls if nothing is subscribed to. Each subscriber adds at most 10."""
    async with open_system() as system:

        async def publish(number: int) -> None:
            for each in range(number):
                system.events.publish(each)

        none = await count(publish)
        with system.events.subscribe(str), system.events.subscribe(int, topic="other"):
            deaf = await count(publish)
        assert 1 <= none <= 6
        assert deaf <= none + 10
        for subscribers in (1, 4):
            with contextlib.ExitStack() as stack:
                for _ in range(subscribers):
                    stack.enter_context(system.events.subscribe(int))
                assert await count(publish) <= deaf + 10 * subscribers
