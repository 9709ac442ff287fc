"""Whatever is cut off, and at whatever step: no task, no entry, no sender, no timer is left behind."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, hang

from actors import (
    ActorError,
    ActorSystem,
    Backoff,
    Phase,
    Restart,
    Strategy,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator


class Cut(trio.abc.Instrument):
    """Does something after so many steps of whatever task."""

    def __init__(self, after: int, act: Callable[[], None]) -> None:
        self.left = after
        self.act = act

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.left -= 1
        if self.left == 0:
            self.act()

    @property
    def done(self) -> bool:
        """Whether it came to that."""
        return self.left <= 0


@contextlib.contextmanager
def cut_after(steps: int, act: Callable[[], None]) -> Generator[Cut]:
    """Watch the steps of the block."""
    cut = Cut(steps, act)
    trio.lowlevel.add_instrument(cut)
    try:
        yield cut
    finally:
        trio.lowlevel.remove_instrument(cut)


async def breathe(_: Member) -> None:
    for _step in range(2):
        await trio.lowlevel.checkpoint()


async def spawn(system: ActorSystem, world: World) -> None:
    world.on_start["a"] = breathe
    await system.spawn(Member, "a", world, restart=Restart.PERMANENT)


async def spawn_that_fails(system: ActorSystem, world: World) -> None:
    world.fail_start("a", 1)
    with contextlib.suppress(OSError):
        await system.spawn(Member, "a", world)


async def ask(system: ActorSystem, world: World) -> None:
    ref = await system.spawn(Member, "a", world, mailbox_size=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.ask, breathe)
        nursery.start_soon(ref.ask, breathe)
        nursery.start_soon(ref.ask, breathe, 10)
        nursery.start_soon(ref.tell, breathe)
    assert ref.statistics().mailbox.senders_waiting == 0


async def tell_to_a_full_mailbox(system: ActorSystem, world: World) -> None:
    ref = await system.spawn(Member, "a", world, mailbox_size=1)
    for _ in range(4):
        await ref.tell(breathe)
    await ref.ask("last")


async def stop(system: ActorSystem, world: World) -> None:
    world.on_stop["a"] = breathe
    ref = await system.spawn(Member, "a", world)
    await ref.tell(breathe)
    await ref.stop()


async def stop_with_draining(system: ActorSystem, world: World) -> None:
    ref = await system.spawn(Member, "a", world)
    await ref.tell(breathe)
    await ref.tell(breathe)
    await ref.stop(drain=True)


async def stop_what_hangs(system: ActorSystem, world: World) -> None:
    ref = await system.spawn(Member, "a", world)
    await ref.tell(hang)
    await ref.stop(timeout=2)


async def children_and_tasks(system: ActorSystem, world: World) -> None:
    async def take_all(member: Member) -> None:
        member.nursery.start_soon(trio.sleep_forever)
        member.context.timers.every("t", "t", 1)
        other = await member.context.spawn(Member, "child", world)
        member.context.watch(other)

    ref = await system.spawn(Member, "a", world, restart=Restart.TRANSIENT)
    await ref.ask(take_all)
    await ref.tell(ValueError("crash"))
    await ref.ask(take_all)


async def supervise_a_group(system: ActorSystem, world: World) -> None:
    world.on_start["b"] = breathe
    children = [world.member(name) for name in "abc"]
    supervisor = await system.supervise(SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=children))
    ref = supervisor.child("b")
    if ref is not None:
        await ref.tell(ValueError("crash"))
    await trio.sleep(1)
    await supervisor.stop()


async def back_off(system: ActorSystem, world: World) -> None:
    supervisor = await system.supervise(SupervisorSpec(children=[world.member("a")], backoff=Backoff(1, 2)))
    ref = supervisor.child("a")
    if ref is not None:
        await ref.tell(ValueError("crash"))
        await ref.ask("up")


async def add_and_remove_children(system: ActorSystem, world: World) -> None:
    supervisor = await system.supervise(SupervisorSpec())
    await supervisor.start_child(world.member("a"))
    await supervisor.terminate_child("a")
    await supervisor.restart_child("a")
    await supervisor.terminate_child("a")
    supervisor.delete_child("a")


async def many_children_by_key(system: ActorSystem, world: World) -> None:
    supervisor = await system.supervise(SupervisorSpec(strategy=Strategy.DYNAMIC))
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(supervisor.start_child, world.member(str(number)))
    await supervisor.stop()


async def shut_down(system: ActorSystem, world: World) -> None:
    async def work() -> None:
        await trio.sleep(1)

    await system.spawn(Member, "a", world)
    system.on_shutdown("phase", work)
    await system.shutdown()


SCENARIOS = [
    spawn,
    spawn_that_fails,
    ask,
    tell_to_a_full_mailbox,
    stop,
    stop_with_draining,
    stop_what_hangs,
    children_and_tasks,
    supervise_a_group,
    back_off,
    add_and_remove_children,
    many_children_by_key,
    shut_down,
]


def living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def quiet() -> None:
    """Let everything that is under way come to its end."""
    await trio.sleep(20)
    await trio.testing.wait_all_tasks_blocked()


async def stop_the_rest(system: ActorSystem) -> None:
    for node in system.tree().children:
        ref = system.find(node.path)
        if ref is not None:
            assert ref.statistics().mailbox.senders_waiting == 0
            await ref.stop()


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_caller_cancelled_at_any_step_leaves_nothing(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    for steps in range(1, 1000):
        async with open_system([Phase("phase")]) as system:
            before = living()
            with trio.CancelScope() as scope, cut_after(steps, scope.cancel) as cut:
                await scenario(system, World())
            await quiet()
            await stop_the_rest(system)
            await quiet()
            assert (system.statistics().actors, system.tree().children, living()) == (0, (), before)
        if not cut.done:
            break
    else:
        pytest.fail("the scenario never came to its end")


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_actors_killed_at_any_step_leave_nothing(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0

    for steps in range(1, 1000):
        async with open_system([Phase("phase")]) as system:
            before = living()
            kill = functools.partial(kill_all, system)
            with contextlib.suppress(ActorError, ExceptionGroup), trio.fail_after(100), cut_after(steps, kill) as cut:
                await scenario(system, World())
            await quiet()
            await stop_the_rest(system)
            await quiet()
            assert (system.statistics().actors, system.tree().children, living()) == (0, (), before)
        if not cut.done:
            break
    else:
        pytest.fail("the scenario never came to its end")


def kill_all(system: ActorSystem) -> None:
    for node in system.tree().children:
        for path in (node.path, *(below.path for below in node.children)):
            ref = system.find(path)
            if ref is not None:
                ref.kill()


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_system_cancelled_at_any_step_leaves_nothing(
    scenario: Callable[[ActorSystem, World], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    for steps in range(1, 1000):
        before = living()
        # An actor that ended first is news to a scenario that is in the middle of a call.
        with contextlib.suppress(ActorError, ExceptionGroup), trio.CancelScope() as scope:
            async with open_system([Phase("phase")]) as system:
                with cut_after(steps, scope.cancel) as cut:
                    await scenario(system, World())
        assert (system.statistics().actors, living()) == (0, before)
        if not cut.done:
            break
    else:
        pytest.fail("the scenario never came to its end")
