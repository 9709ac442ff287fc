"""What an actor had is freed when it has ended, by reference count: no cycle waits for the collector."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _probes import Member, World

from actors import Actor, ActorRef, ActorSystem, ChildSpec, Restart, Strategy, SupervisorSpec, open_system
from actors.runtime._cell import Cell
from actors.runtime._incarnation import Incarnation
from actors.runtime._mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

KINDS = (Actor, Cell, Incarnation, Mailbox, ActorRef, trio.Nursery)


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def living() -> list[object]:
    """What there is of an actor's parts."""
    return [each for each in gc.get_objects() if isinstance(each, KINDS)]


async def work(member: Member) -> None:
    """Use everything that an actor has."""
    member.nursery.start_soon(trio.sleep_forever)
    member.context.timers.every("t", "tick", 1)
    member.context.watch(await member.context.spawn(Member, "kid", member.world, shutdown=1))


async def fail(_: Member) -> None:
    raise ValueError("x")


async def fail_in_a_task(member: Member) -> None:
    member.nursery.start_soon(fail, member)
    await trio.sleep_forever()


async def fail_below(member: Member) -> None:
    kid = await member.context.spawn(Member, "bad", member.world, restart=Restart.PERMANENT)
    for _ in range(4):
        kid.tell_nowait(fail)
    await trio.sleep_forever()


async def stop_itself(member: Member) -> None:
    member.context.stop()


async def cancel_itself(member: Member) -> None:
    member.nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint()


async def exit_by_error(_: Member) -> None:
    raise SystemExit(1)


def told(message: object) -> Callable[[ActorSystem, ActorRef], Awaitable[object]]:
    async def end(_: ActorSystem, ref: ActorRef) -> None:
        await ref.tell(message)

    return end


async def killed(_: ActorSystem, ref: ActorRef) -> None:
    ref.kill()


ENDS: dict[str, Callable[[ActorSystem, ActorRef], Awaitable[object]]] = {
    "stop": lambda _, ref: ref.stop(),
    "brutal stop": lambda _, ref: ref.stop(timeout=0),
    "drain": lambda _, ref: ref.stop(drain=True),
    "kill": killed,
    "shutdown": lambda system, _: system.shutdown(),
    "failure": told(fail),
    "task": told(fail_in_a_task),
    "own": told(stop_itself),
    "cancel": told(cancel_itself),
    "exit": told(exit_by_error),
}


async def live(system: ActorSystem, end: str) -> None:
    """One life, with all that an actor may have, and its end."""
    world = World()
    above = await system.supervise(SupervisorSpec(Strategy.DYNAMIC))
    ref = await above.start_child(ChildSpec("a", lambda: Member("a", world), Restart.TEMPORARY))
    await ref.ask(work)
    await ENDS[end](system, ref)
    await ref.terminated()
    await above.stop()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("end", ENDS)
async def test_nothing_of_an_actor_is_left_to_the_collector(
    end: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However it ended, with a child, a task, a timer and a watch."""
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        before = {id(each) for each in living()}
        await live(system, end)
        caplog.clear()
        caplog.handler.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert [each for each in living() if id(each) not in before] == []


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL])
async def test_incarnations_that_were_restarted_are_freed(
    strategy: Strategy, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The actor lives on, and nothing of its earlier lives does."""
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
            await ref.ask(work)
            await ref.tell(fail)
            await trio.testing.wait_all_tasks_blocked()
        caplog.clear()
        caplog.handler.reset()
        assert [instance() is None for instance in instances] == [True] * 3 + [False]
