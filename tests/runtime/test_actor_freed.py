"""Memory: when an actor has ended, all its parts are freed by reference counting, without the garbage collector."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _probes import Member, World, stop_itself

from actors import ActorRef, ActorSystem, ChildSpec, Restart, Strategy, SupervisorSpec, open_system
from actors.runtime._cell import Cell
from actors.runtime._incarnation import Incarnation
from actors.runtime._instance import Instance
from actors.runtime._mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

KINDS = (Instance, Cell, Incarnation, Mailbox, ActorRef, trio.Nursery)


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Switch the garbage collector off."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def living_parts() -> list[object]:
    """Return all living objects that are parts of an actor."""
    return [each for each in gc.get_objects() if isinstance(each, KINDS)]


async def use_everything(member: Member) -> None:
    """Give the actor a task, a timer, a child and a watch."""
    member.nursery.start_soon(trio.sleep_forever)
    member.context.timers.every("t", "tick", 1)
    member.context.watch(await member.context.spawn(Member, "kid", member.world, shutdown=1))


async def fail(_: Member) -> None:
    """Make the actor fail while it handles a message."""
    raise ValueError("x")


async def fail_in_a_task(member: Member) -> None:
    """Make a task in the actor's nursery fail."""
    member.nursery.start_soon(fail, member)
    await trio.sleep_forever()


async def fail_below(member: Member) -> None:
    """Make a child of the actor fail more often than the restart limit allows."""
    kid = await member.context.spawn(Member, "bad", member.world, restart=Restart.PERMANENT)
    for _ in range(4):
        kid.tell_nowait(fail)
    await trio.sleep_forever()


async def cancel_itself(member: Member) -> None:
    """Cancel the actor's own nursery."""
    member.nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint()


async def exit_by_error(_: Member) -> None:
    """Make the actor raise SystemExit."""
    raise SystemExit(1)


def by_telling(message: object) -> Callable[[ActorSystem, ActorRef], Awaitable[object]]:
    """Return a function that ends an actor by sending ``message`` to it."""

    async def end(_: ActorSystem, ref: ActorRef) -> None:
        await ref.tell(message)

    return end


async def kill(_: ActorSystem, ref: ActorRef) -> None:
    ref.kill()


ENDS: dict[str, Callable[[ActorSystem, ActorRef], Awaitable[object]]] = {
    "stop": lambda _, ref: ref.stop(),
    "brutal stop": lambda _, ref: ref.stop(timeout=0),
    "drain": lambda _, ref: ref.stop(drain=True),
    "kill": kill,
    "shutdown": lambda system, _: system.shutdown(),
    "failure": by_telling(fail),
    "task": by_telling(fail_in_a_task),
    "own": by_telling(stop_itself),
    "cancel": by_telling(cancel_itself),
    "exit": by_telling(exit_by_error),
}


async def live_and_end(system: ActorSystem, end: str) -> None:
    """Run an actor with all its parts, and end it by ``end``."""
    world = World()
    above = await system.supervise(SupervisorSpec(Strategy.DYNAMIC))
    ref = await above.start_child(ChildSpec("a", lambda: Member("a", world), Restart.TEMPORARY))
    await ref.ask(use_everything)
    await ENDS[end](system, ref)
    await ref.terminated()
    await above.stop()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("end", ENDS)
async def test_ended_actor_is_freed_by_reference_count(
    end: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """When an actor has ended in any way, it is freed from memory without the garbage collector.

    So are its child, its task, its timer and its watch.
    """
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        before = {id(each) for each in living_parts()}
        await live_and_end(system, end)
        caplog.clear()
        caplog.handler.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert [each for each in living_parts() if id(each) not in before] == []


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL])
async def test_earlier_incarnations_are_freed(
    strategy: Strategy, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After a restart, the actor's earlier instance is freed from memory, although the actor continues."""
    assert autojump_clock.autojump_threshold == 0
    instances: list[weakref.ref[Any]] = []
    world = World()

    def make() -> Member:
        member = Member("a", world)
        instances.append(weakref.ref(member))
        return member

    async with open_system() as system:
        top = await system.supervise(SupervisorSpec(strategy, [ChildSpec("a", make), world.member("b")]))
        for _ in range(3):
            ref = top.child("a")
            assert ref is not None
            await ref.ask(use_everything)
            await ref.tell(fail)
            await trio.testing.wait_all_tasks_blocked()
        caplog.clear()
        caplog.handler.reset()
        assert [instance() is None for instance in instances] == [True] * 3 + [False]
