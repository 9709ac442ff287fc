"""A Context that is used after its actor was restarted or has ended: its calls change nothing."""

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


class ContextKeeper(Actor):
    """An actor that keeps its instances, their contexts and their timers in lists."""

    def __init__(self, kept: list[ContextKeeper]) -> None:
        self.kept = kept
        self.kept_context: Context
        self.kept_timers: Timers

    async def started(self) -> None:
        self.kept_context, self.kept_timers = self.context, self.context.timers
        self.kept.append(self)

    async def receive(self, message: object) -> object:
        if message == "fail":
            raise OSError("asked to")
        if message == "stash":
            if self is self.kept[0]:
                self.kept_context.stash()
            else:
                self.kept.append(self)
        return len(self.kept)


def lease(old: ContextKeeper, _: ActorRef) -> None:
    with old.kept_context.lease():
        raise AssertionError("leased")


CALLS: dict[str, tuple[Callable[[ContextKeeper, ActorRef], Any], type[Exception] | None]] = {
    "stop": (lambda old, _: old.kept_context.stop(), None),
    "unwatch": (lambda old, other: old.kept_context.unwatch(other), None),
    "unstash": (lambda old, _: old.kept_context.unstash(), None),
    "cancel": (lambda old, _: old.kept_context.timers.cancel("tick"), None),
    "cancel of kept timers": (lambda old, _: old.kept_timers.cancel("tick"), None),
    "watch": (lambda old, other: old.kept_context.watch(other), RuntimeError),
    "stash": (lambda old, _: old.kept_context.stash(), RuntimeError),
    "defer": (lambda old, _: old.kept_context.defer(), RuntimeError),
    "lease": (lease, RuntimeError),
    "once": (lambda old, _: old.kept_context.timers.once("tick", "tick", 1), RuntimeError),
    "every": (lambda old, _: old.kept_context.timers.every("tick", "tick", 1), RuntimeError),
    "once of kept timers": (lambda old, _: old.kept_timers.once("tick", "tick", 1), RuntimeError),
    "idle_after": (lambda old, _: old.kept_context.idle_after(1), RuntimeError),
    "end of idle_after": (lambda old, _: old.kept_context.idle_after(None), None),
    "stay_idle": (lambda old, _: old.kept_context.stay_idle(), RuntimeError),
    "nursery": (lambda old, _: old.nursery.start_soon(trio.sleep_forever), RuntimeError),
    "spawn": (lambda old, _: old.kept_context.spawn(Actor), ActorTerminated),
    "supervise": (lambda old, _: old.kept_context.supervise(SupervisorSpec("one_for_one")), ActorTerminated),
}


async def call(name: str, old: ContextKeeper, other: ActorRef) -> None:
    """Make the call, and check that it raises its expected error or returns a falsy value."""
    function, error = CALLS[name]
    if error is None:
        assert not function(old, other)
        return
    with pytest.raises(error):
        await function(old, other)


@pytest.mark.parametrize("name", CALLS)
async def test_kept_context_does_not_touch_the_next_incarnation(name: str, autojump_clock: MockClock) -> None:
    """If the Context from before a restart is still used, it changes neither the restarted actor nor other actors."""
    del autojump_clock
    kept: list[ContextKeeper] = []
    async with open_system() as system:
        other = await system.spawn(Actor)
        ref = await system.spawn(ContextKeeper, kept, restart=Restart.PERMANENT)
        await ref.tell("fail")
        await trio.testing.wait_all_tasks_blocked()
        old, new = kept
        new.kept_context.watch(other)
        new.kept_timers.once("tick", "later", 1_000)
        before = (ref.statistics(), other.statistics())
        await call(name, old, other)
        await trio.testing.wait_all_tasks_blocked()
        assert (ref.statistics(), other.statistics()) == before
        assert await ref.ask("how many") == 2


@pytest.mark.parametrize("name", CALLS)
async def test_kept_context_of_an_ended_actor(name: str, autojump_clock: MockClock) -> None:
    """If the Context of an ended actor is still used, it registers no watch, timer or lease."""
    del autojump_clock
    kept: list[ContextKeeper] = []
    async with open_system() as system:
        other = await system.spawn(Actor)
        ref = await system.spawn(ContextKeeper, kept)
        await ref.stop()
        await call(name, kept[0], other)
        await trio.testing.wait_all_tasks_blocked()
        assert other.statistics().watchers == 0
        assert ref.statistics().timers == ref.statistics().leases == 0


async def test_stash_is_put_back_once() -> None:
    """A restart puts the stashed messages back only once: after it, ``unstash`` on the old Context returns 0."""
    kept: list[ContextKeeper] = []
    async with open_system() as system:
        ref = await system.spawn(ContextKeeper, kept, restart=Restart.PERMANENT)
        await ref.tell("stash")
        await ref.tell("fail")
        await trio.testing.wait_all_tasks_blocked()
        assert len(kept) == 3
        assert kept[0].kept_context.unstash() == 0
        await trio.testing.wait_all_tasks_blocked()
        assert len(kept) == 3
