"""Parents and children: when a parent ends in any way, its children end first, and nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from _probes import Member, World, crash, hang, hang_shielded, stop_itself

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    ActorTerminated,
    ChildSpec,
    Failure,
    Killed,
    Restart,
    RestartLimit,
    Shutdown,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


async def spawn_child(member: Member) -> None:
    """Spawn a child of this actor, and store its ref in the world."""
    member.world.refs.append(await member.context.spawn(Member, f"{member.name}-kid", member.world, shutdown=2))


def parent_spec(world: World, start: Callable[[Member], Awaitable[object]] = spawn_child) -> ChildSpec:
    """Return the spec of an actor "parent" that spawns a child in ``started()``."""
    world.on_start["parent"] = start
    return world.member("parent", shutdown=3)


async def fail_in_a_task(member: Member) -> None:
    """Start a task in the actor's nursery that raises OSError."""

    async def fail() -> None:
        raise OSError("task")

    member.nursery.start_soon(fail)


async def kill(ref: ActorRef) -> None:
    ref.kill()


async def exit_process(_: Member) -> None:
    raise SystemExit(3)


ENDS: dict[str, Callable[[ActorRef], Awaitable[object]]] = {
    "stop": lambda ref: ref.stop(),
    "brutal stop": lambda ref: ref.stop(timeout=0),
    "drain": lambda ref: ref.stop(drain=True),
    "own": lambda ref: ref.tell(stop_itself),
    "failure": lambda ref: ref.tell(ValueError("handler")),
    "task": lambda ref: ref.tell(fail_in_a_task),
    "kill": kill,
    "exit": lambda ref: ref.tell(exit_process),
}


@pytest.mark.parametrize("end", ENDS)
async def test_children_end_before_their_parent(end: str, autojump_clock: MockClock) -> None:
    """When the end of an actor becomes visible, all its children have already ended and left no task.

    This holds for every way in which the actor can end.
    """
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        world = World()
        before = trio.lowlevel.current_statistics().tasks_living
        spec = parent_spec(world)
        ref = await system.spawn(spec.factory, name="parent", shutdown=3)  # type: ignore[arg-type, call-arg]  # makes a Member
        await ENDS[end](ref)
        await ref.terminated()
        assert [kid.alive for kid in world.refs] == [False]
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("with_child", [True, False])
async def test_child_started_in_stopping(*, with_child: bool) -> None:
    """If an actor starts a child in ``stopping()``, the child works until ``stopping()`` returns.

    The child has ended when the call of ``stop`` returns.
    """
    async with open_system() as system:
        world = World()
        alive: list[bool] = []

        async def spawn(member: Member) -> None:
            await spawn_child(member)
            alive.extend(ref.alive for ref in world.refs)

        world.on_stop["parent"] = spawn
        if with_child:
            world.on_start["parent"] = spawn_child
        ref = await system.spawn(Member, "parent", world)
        assert await ref.stop() == Shutdown()
        assert alive == ([False, True] if with_child else [True])
        assert [ref.alive for ref in world.refs] == [False] * len(alive)
        assert system.statistics().actors == 0


async def test_restarts_before_and_in_stopping_count_together() -> None:
    """An actor's children are restarted three times at most, also if ``stopping()`` starts one that fails."""
    async with open_system() as system:
        world = World()
        starts: list[int] = []

        async def spawn_and_crash(member: Member) -> None:
            child = await member.context.spawn(Member, "kid", world, restart=Restart.PERMANENT)
            for _ in range(2):
                if child.alive:
                    await crash(child)
            starts.append(world.starts["kid"])

        world.on_start["parent"] = world.on_stop["parent"] = spawn_and_crash
        ref = await system.spawn(Member, "parent", world)
        assert await ref.stop() == Shutdown()
        assert starts == [3, 5]  # the last crash is one too many


async def test_killed_actor_starts_no_child() -> None:
    """A killed actor cannot start a child: ``spawn`` raises ActorTerminated, even in shielded code."""
    async with open_system() as system:
        world = World()
        errors: list[Exception] = []

        async def spawn_at_the_end(member: Member) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    try:
                        await spawn_child(member)
                    except ActorTerminated as error:
                        errors.append(error)

        ref = await system.spawn(Member, "parent", world)
        await ref.tell(spawn_at_the_end)
        await trio.testing.wait_all_tasks_blocked()
        ref.kill()
        assert await ref.terminated() == Killed()
        assert len(errors) == 1


async def spawn_child_slowly(member: Member) -> None:
    await spawn_child(member)
    await trio.sleep(60)


@pytest.mark.parametrize("how", ["stop", "shutdown", "cancel"])
async def test_stop_during_start_stops_children(how: str, autojump_clock: MockClock) -> None:
    """If an actor is stopped during its start, its children have their own ``shutdown`` times to stop.

    The actor ends when they have ended.
    """
    async with open_system() as system:
        world = World()
        scope = trio.CancelScope()

        async def start() -> None:
            with scope:
                with pytest.raises(ActorTerminated):
                    await system.supervise(SupervisorSpec(children=[parent_spec(world, spawn_child_slowly)]), "top")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.sleep(1)
            ref = system.find("/top")
            assert ref is not None
            match how:
                case "stop":
                    await ref.stop()
                case "shutdown":
                    await system.shutdown()
                case _:
                    scope.cancel()
        assert (system.statistics().actors, [kid.alive for kid in world.refs]) == (0, [False])
        assert autojump_clock.current_time() < 5


async def test_restart_limit_ends_a_busy_parent(autojump_clock: MockClock) -> None:
    """If the children of a busy actor exceed the restart limit, the actor ends within its ``shutdown`` time."""
    async with open_system() as system:
        world = World()
        above = await system.supervise(SupervisorSpec())
        ref = await above.start_child(world.member("parent", Restart.TEMPORARY, shutdown=3))

        async def work(member: Member) -> None:
            kid = await member.context.spawn(Member, "kid", world, restart=Restart.PERMANENT)
            for _ in range(4):
                await kid.tell(ValueError("x"))
            await trio.sleep(1000)

        begin = autojump_clock.current_time()
        await ref.tell(work)
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, RestartLimit)
        assert trio.current_time() - begin == pytest.approx(3)


async def test_deep_tree_starts_and_stops(autojump_clock: MockClock) -> None:
    """A tree with 1101 levels of actors can be started from within, listed, stopped and killed."""
    began = autojump_clock.current_time()

    class Deep(Actor):
        def __init__(self, depth: int) -> None:
            self.depth = depth

        async def started(self) -> None:
            if self.depth:
                await self.context.spawn(Deep, self.depth - 1, name="a")

    async with open_system() as system:
        ref = await system.spawn(Deep, 1100, name="a")
        assert len(system.tree().lines()) == 1102
        deepest = system.find("/a" * 1101)
        assert deepest is not None
        assert deepest.path == "/a" * 1101
        await ref.stop()
        assert system.statistics().actors == 0
        ref = await system.spawn(Deep, 1100, name="a")
        ref.kill()
        assert await ref.terminated() == Killed()
        assert system.statistics().actors == 0
    assert autojump_clock.current_time() == began


async def test_cancelled_child_has_its_second(autojump_clock: MockClock) -> None:
    """If the ``open_system`` block is cancelled, a child with shielded work has one second to end.

    This also holds if the child's parent has no shielded work. The parent then waits for the child.
    """
    begin = autojump_clock.current_time()
    with trio.move_on_after(1):
        async with open_system() as system:
            world = World()
            ref = await system.spawn(Member, "parent", world)
            await ref.ask(spawn_child)
            await world.refs[0].tell(hang_shielded)
            await ref.tell(hang)
            await trio.sleep_forever()
    assert trio.current_time() - begin == pytest.approx(2)


async def test_actor_started_during_cancellation(autojump_clock: MockClock) -> None:
    """An actor that is spawned while the ``open_system`` block is cancelled ends with it.

    Its shielded work has one second more.
    """
    for _ in range(10):
        begin = autojump_clock.current_time()
        with trio.move_on_after(1):
            async with open_system() as system:
                world = World()
                world.on_start["late"] = hang_shielded

                async def spawn_at_the_end(_: Member, system: ActorSystem = system, world: World = world) -> None:
                    try:
                        await trio.sleep_forever()
                    finally:
                        with trio.CancelScope(shield=True):
                            await system.spawn(Member, "late", world)

                ref = await system.spawn(Member, "a", world)
                await ref.tell(spawn_at_the_end)
                await trio.sleep_forever()
        assert trio.current_time() - begin == pytest.approx(2)
        assert system.statistics().actors == 0
