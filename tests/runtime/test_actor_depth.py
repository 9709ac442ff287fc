"""Deep trees and deep stacks: a tree may be deeper than Python's stack, and a full stack leaves no call half done."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _probes import Member, World

from actors import ActorSystem, ChildSpec, Restart, Shutdown, SupervisorSpec, open_system

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DEPTH = 1_200
"""Levels of the deep tree: more than the number of nested calls that Python's stack holds."""


async def test_tree_deeper_than_the_stack() -> None:
    """Paths, ``find``, ``tree`` and ``stop`` work for an actor tree that is deeper than Python's recursion limit."""
    assert sys.getrecursionlimit() < DEPTH

    async def nest(member: Member) -> object:
        return await member.context.spawn(Member, "a", World(), name="a")

    async with open_system() as system:
        ref = top = await system.spawn(Member, "a", World(), name="a")
        for _ in range(DEPTH - 1):
            await ref.ask(nest)
            found = system.find(f"{ref.path}/a")
            assert found is not None
            ref = found
        assert ref.path == "/a" * DEPTH
        lines = system.tree().lines()
        assert len(lines) == DEPTH + 1
        assert lines[-1] == "  " * DEPTH + "a running"
        assert await top.stop() == Shutdown()
        assert system.statistics().actors == 0


def frames_left() -> int:
    """Return the number of nested calls for which the caller's stack has room."""
    count = 0
    frame = sys._getframe()  # noqa: SLF001  -- there is no other way
    while frame.f_back is not None:
        count, frame = count + 1, frame.f_back
    return sys.getrecursionlimit() - count


async def call_at(depth: int, call: Callable[[], Awaitable[object]]) -> None:
    """Await ``call`` from a stack that is ``depth`` calls deeper."""
    if depth:
        await call_at(depth - 1, call)
    else:
        await call()


async def sleep_a_second(member: Member) -> object:
    """Keep the actor busy for a second."""
    await trio.sleep(1)
    return member.name


async def spawn(system: ActorSystem) -> None:
    await system.spawn(Member, "b", World(), name="b")


async def supervise(system: ActorSystem) -> None:
    await system.supervise(SupervisorSpec(children=[World().member("c"), ChildSpec("d", make_member)]), name="b")


def make_member() -> Member:
    return Member("d", World())


async def ask(system: ActorSystem) -> None:
    await actor_a(system).ask("hello")


async def tell(system: ActorSystem) -> None:
    await actor_a(system).tell("hello")


async def stop(system: ActorSystem) -> None:
    await actor_a(system).stop()


async def wait_for_end(system: ActorSystem) -> None:
    await actor_a(system).terminated()


async def kill(system: ActorSystem) -> None:
    actor_a(system).kill()


def actor_a(system: ActorSystem) -> Any:
    ref = system.find("/a")
    assert ref is not None
    return ref


DEPTHS = 100
"""Depths near the end of the stack. At the first depth no call has enough room, at the last depth every call has."""
CALLS = [spawn, supervise, ask, tell, stop, wait_for_end, kill]


@pytest.mark.parametrize("call", CALLS)
async def test_call_near_the_end_of_the_stack(
    call: Callable[[ActorSystem], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    """If a call fails with RecursionError, the system still works: actors answer, and all of them can be stopped."""
    del autojump_clock
    failed = 0
    for missing in range(DEPTHS):
        async with open_system() as system:
            ref = await system.spawn(Member, "a", World(), name="a", restart=Restart.PERMANENT, mailbox_size=1)
            await ref.tell(sleep_a_second)
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell("fills the mailbox")
            try:
                with trio.move_on_after(30):  # only a wait for an end that never comes takes so long
                    await call_at(frames_left() - missing, partial(call, system))
            except RecursionError:
                failed += 1
            await trio.sleep(3)
            found = system.find("/a")
            if found is not None:
                with trio.fail_after(1):
                    assert await found.ask("hello") == "hello"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(system.stop_actors)
                await trio.sleep(10)  # its call may fail with RecursionError, and then it is not woken
            assert system.statistics().actors == 0
    assert 0 < failed < DEPTHS
