"""Contexts kept after their incarnation has ended: their calls change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from actors import Actor, ActorRef, ActorTerminated, Restart, SupervisorSpec, open_system

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from actors import Context
    from actors.runtime._timers import Timers

NOTHING = None


class Keeps(Actor):
    """An actor whose instances record themselves and their contexts."""

    def __init__(self, kept: list[Keeps]) -> None:
        self.kept = kept
        self.mine: Context
        self.clocks: Timers

    async def started(self) -> None:
        self.mine, self.clocks = self.context, self.context.timers
        self.kept.append(self)

    async def receive(self, message: object) -> object:
        if message == "fail":
            raise OSError("asked to")
        if message == "stash":
            if self is self.kept[0]:
                self.mine.stash()
            else:
                self.kept.append(self)
        return len(self.kept)


def lease(old: Keeps, _: ActorRef) -> None:
    with old.mine.lease():
        raise AssertionError("leased")


CALLS: dict[str, tuple[Callable[[Keeps, ActorRef], Any], type[Exception] | None]] = {
    "stop": (lambda old, _: old.mine.stop(), None),
    "unwatch": (lambda old, other: old.mine.unwatch(other), None),
    "unstash": (lambda old, _: old.mine.unstash(), None),
    "cancel": (lambda old, _: old.mine.timers.cancel("tick"), None),
    "cancel of kept timers": (lambda old, _: old.clocks.cancel("tick"), None),
    "watch": (lambda old, other: old.mine.watch(other), RuntimeError),
    "stash": (lambda old, _: old.mine.stash(), RuntimeError),
    "defer": (lambda old, _: old.mine.defer(), RuntimeError),
    "lease": (lease, RuntimeError),
    "once": (lambda old, _: old.mine.timers.once("tick", "tick", 1), RuntimeError),
    "every": (lambda old, _: old.mine.timers.every("tick", "tick", 1), RuntimeError),
    "once of kept timers": (lambda old, _: old.clocks.once("tick", "tick", 1), RuntimeError),
    "nursery": (lambda old, _: old.nursery.start_soon(trio.sleep_forever), RuntimeError),
    "spawn": (lambda old, _: old.mine.spawn(Actor), ActorTerminated),
    "supervise": (lambda old, _: old.mine.supervise(SupervisorSpec("one_for_one")), ActorTerminated),
}


async def call(name: str, old: Keeps, other: ActorRef) -> None:
    """Make the call, and check that it raises its expected error or returns a falsy value."""
    function, error = CALLS[name]
    if error is None:
        assert not function(old, other)
        return
    with pytest.raises(error):
        await function(old, other)


@pytest.mark.parametrize("name", CALLS)
async def test_kept_context_does_not_touch_the_next_incarnation(name: str, autojump_clock: MockClock) -> None:
    """Calls on the context of an ended incarnation change neither the next incarnation nor other actors."""
    del autojump_clock
    kept: list[Keeps] = []
    async with open_system() as system:
        other = await system.spawn(Actor)
        ref = await system.spawn(Keeps, kept, restart=Restart.PERMANENT)
        await ref.tell("fail")
        await trio.testing.wait_all_tasks_blocked()
        old, new = kept
        new.mine.watch(other)
        new.clocks.once("tick", "later", 1_000)
        before = (ref.statistics(), other.statistics())
        await call(name, old, other)
        await trio.testing.wait_all_tasks_blocked()
        assert (ref.statistics(), other.statistics()) == before
        assert await ref.ask("how many") == 2


@pytest.mark.parametrize("name", CALLS)
async def test_kept_context_of_an_ended_actor(name: str, autojump_clock: MockClock) -> None:
    """Calls on the context of an actor that has ended register nothing."""
    del autojump_clock
    kept: list[Keeps] = []
    async with open_system() as system:
        other = await system.spawn(Actor)
        ref = await system.spawn(Keeps, kept)
        await ref.stop()
        await call(name, kept[0], other)
        await trio.testing.wait_all_tasks_blocked()
        assert other.statistics().watchers == 0
        assert ref.statistics().timers == ref.statistics().leases == 0


async def test_stash_is_put_back_once() -> None:
    """A restart puts the stash back once; ``unstash`` on the old context returns 0."""
    kept: list[Keeps] = []
    async with open_system() as system:
        ref = await system.spawn(Keeps, kept, restart=Restart.PERMANENT)
        await ref.tell("stash")
        await ref.tell("fail")
        await trio.testing.wait_all_tasks_blocked()
        assert len(kept) == 3
        assert kept[0].mine.unstash() == 0
        await trio.testing.wait_all_tasks_blocked()
        assert len(kept) == 3
