"""Groups whose actors start when they are first asked for by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _probes import Member, World, crash, hang, hang_shielded

from actors import (
    Actor,
    ActorTerminated,
    Backoff,
    ChildSpec,
    Failure,
    MaxChildren,
    OnDemandRef,
    Restart,
    SpecError,
    SupervisorRef,
    SupervisorSpec,
    on_demand,
    open_system,
    pool,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from actors import ActorRef, ActorSystem


async def spawn_group(system: ActorSystem, world: World, **options: Any) -> OnDemandRef[Any, object]:
    """Spawn a group of Member actors."""
    return await system.spawn(on_demand(lambda name: Member(name, world), **options), name="group")


async def collect(group: OnDemandRef[Any, object], name: str, into: list[object]) -> None:
    """Append the ref of a child, or the error of its start, to ``into``."""
    try:
        into.append(await group.get_or_spawn(name))
    except (OSError, ActorTerminated) as error:
        into.append(error)


async def give_up(group: OnDemandRef[Any, object], name: str, scope: trio.CancelScope) -> None:
    """Ask for a child, until ``scope`` is cancelled."""
    with scope:
        await group.get_or_spawn(name)


async def test_started_when_first_asked_for() -> None:
    """The first call for a name starts a child, and later calls return the same handle."""
    world = World()
    async with open_system() as system:
        group = await spawn_group(system, world)
        assert isinstance(group, SupervisorRef)
        assert world.journal == []
        ref = await group.get_or_spawn("a")
        assert (ref.path, await ref.ask("hello")) == ("/group/a", "hello")
        assert await group.get_or_spawn("a") is ref
        assert (await group.get_or_spawn("b")).path == "/group/b"
        assert world.starts == {"a": 1, "b": 1}
        assert [info.id for info in group.children()] == ["a", "b"]
        assert (group.counts().active, group.statistics().strategy, group.child("c")) == (2, "dynamic", None)


async def test_concurrent_calls_cause_one_start() -> None:
    """Concurrent calls for one name wait for one start, and get the same handle when it is up."""
    world, refs = World(), list[object]()
    go_on = trio.Event()
    world.on_start["a"] = lambda _: go_on.wait()
    async with open_system() as system, trio.open_nursery() as nursery:
        group = await spawn_group(system, world)
        for _ in range(5):
            nursery.start_soon(collect, group, "a", refs)
        await trio.testing.wait_all_tasks_blocked()
        assert refs == []
        await group.get_or_spawn("b")  # other names do not wait
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert refs == [group.child("a")] * 5
        assert world.starts == {"a": 1, "b": 1}


async def test_failed_start_fails_all_callers() -> None:
    """A failed start raises in all callers that wait for it, and the next call tries again."""
    world, results = World(), list[object]()
    world.fail_start("a", 1)
    async with open_system() as system:
        group = await spawn_group(system, world)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(collect, group, "a", results)
        assert [str(each) for each in results] == ["a cannot start"] * 3
        assert group.child("a") is None
        assert (await group.get_or_spawn("a")).alive
        assert group.statistics().children_restarted == 0


async def test_cancelled_caller_leaves_the_start_to_the_others() -> None:
    """If the caller that caused a start is cancelled, the other callers still get the actor."""
    world, refs = World(), list[object]()
    go_on = trio.Event()
    world.on_start["a"] = lambda _: go_on.wait()
    async with open_system() as system, trio.open_nursery() as nursery:
        group = await spawn_group(system, world)
        with trio.CancelScope() as scope:
            nursery.start_soon(collect, group, "a", refs)
            async with trio.open_nursery() as first:
                first.start_soon(collect, group, "a", refs)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert refs == [group.child("a")]
        assert world.starts == {"a": 1}


@pytest.mark.parametrize("start", [hang, hang_shielded])
async def test_last_cancelled_caller_ends_the_start(start: Any, autojump_clock: MockClock) -> None:
    """If all callers are cancelled, the start is killed, and nothing is left. The next call starts anew."""
    assert autojump_clock.autojump_threshold == 0
    world = World()
    world.on_start["a"] = start
    async with open_system() as system:
        group = await spawn_group(system, world)
        before = system.statistics().actors
        begin = trio.current_time()
        with trio.move_on_after(5):
            await group.get_or_spawn("a")
        assert trio.current_time() - begin == 5
        assert (system.statistics().actors, group.child("a")) == (before, None)
        del world.on_start["a"]
        assert (await group.get_or_spawn("a")).alive


async def test_call_while_an_abandoned_start_is_being_ended(mock_clock: MockClock) -> None:
    """A call that arrives while a start without callers is being ended waits for that end, and starts the child anew.

    If it joined the old start, it would get the end of that start as its error, although it has not given up.
    """
    world, results, uncancellable = World(), list[object](), list[trio.lowlevel.Task]()

    async def start(_: Member) -> None:
        """Wait, like the first start that runs code in a thread, for something that cannot be cancelled."""
        if world.starts["a"] == 1:
            uncancellable.append(trio.lowlevel.current_task())
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    world.on_start["a"] = start
    async with open_system() as system, trio.open_nursery() as nursery:
        group = await spawn_group(system, world)
        scope = trio.CancelScope()
        nursery.start_soon(give_up, group, "a", scope)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            nursery.start_soon(collect, group, "a", results)
        await trio.testing.wait_all_tasks_blocked()
        assert (results, world.starts) == ([], {"a": 1})
        trio.lowlevel.reschedule(uncancellable[0])
        await trio.testing.wait_all_tasks_blocked()
        assert results == [group.child("a")] * 2
        assert world.starts == {"a": 2}
        assert mock_clock.current_time() == 0


async def test_child_that_has_ended_is_started_anew() -> None:
    """A child that stopped itself or was stopped is started by the next call, with a new handle."""
    world = World()
    async with open_system() as system:
        group = await spawn_group(system, world)
        first = await group.get_or_spawn("a")
        await first.tell("normal")
        await first.terminated()
        second = await group.get_or_spawn("a")
        await group.terminate_child("a")
        third = await group.get_or_spawn("a")
        assert [each.alive for each in (first, second, third)] == [False, False, True]
        assert world.starts == {"a": 3}


async def test_child_that_is_stopping_is_waited_for() -> None:
    """A call for a child that is stopping waits for its end: two actors of one name never run at once."""
    world, refs = World(), list[object]()
    go_on = trio.Event()
    world.on_stop["a"] = lambda _: go_on.wait()
    async with open_system() as system, trio.open_nursery() as nursery:
        group = await spawn_group(system, world)
        first = await group.get_or_spawn("a")
        nursery.start_soon(first.stop)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(collect, group, "a", refs)
        await trio.testing.wait_all_tasks_blocked()
        assert refs == []
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert refs == [group.child("a")]
        assert refs != [first]


async def test_child_that_is_restarting_is_returned(autojump_clock: MockClock) -> None:
    """The handle of a child that waits for its restart is returned at once, and messages wait in its mailbox."""
    assert autojump_clock.autojump_threshold == 0
    world = World()
    async with open_system() as system:
        group = await spawn_group(system, world, backoff=Backoff(10, 10))
        ref = await group.get_or_spawn("a")
        await crash(ref)
        begin = trio.current_time()
        assert await group.get_or_spawn("a") is ref
        assert trio.current_time() == begin
        assert await ref.ask("hello") == "hello"
        assert trio.current_time() == begin + 10


async def test_limits_of_the_group() -> None:
    """The group has the limits of a dynamic supervisor: of children, and of restarts."""
    world = World()
    async with open_system() as system:
        above = await system.supervise(SupervisorSpec(), "above")
        spec = on_demand(lambda name: Member(name, world), max_children=2, max_restarts=1, restart="permanent")
        group = await above.start_child(ChildSpec("group", spec, Restart.TEMPORARY))
        assert isinstance(group, OnDemandRef)
        refs = [await group.get_or_spawn(name) for name in "ab"]
        with pytest.raises(MaxChildren):
            await group.get_or_spawn("c")
        await crash(refs[0])
        await crash(refs[1])
        assert isinstance(await group.terminated(), Failure)
        with pytest.raises(ActorTerminated):
            await group.get_or_spawn("a")


async def test_end_of_the_group_ends_the_waits() -> None:
    """A call that waits for a start raises ActorTerminated when the group is stopped."""
    world, results = World(), list[object]()
    world.on_start["a"] = hang
    async with open_system() as system, trio.open_nursery() as nursery:
        group = await spawn_group(system, world)
        nursery.start_soon(collect, group, "a", results)
        await trio.testing.wait_all_tasks_blocked()
        await group.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert [type(each) for each in results] == [ActorTerminated]


async def test_restarted_group_begins_anew() -> None:
    """A group that was restarted has no children, and starts them again when they are asked for."""
    world = World()
    async with open_system() as system:
        spec = on_demand(lambda name: Member(name, world))
        group = await system.spawn(spec, name="group", restart=Restart.PERMANENT)
        first = await group.get_or_spawn("a")
        group.kill()
        await first.terminated()
        await trio.testing.wait_all_tasks_blocked()
        assert group.children() == ()
        assert await (await group.get_or_spawn("a")).ask("hello") == "hello"


async def test_mailbox_of_the_children() -> None:
    """The mailbox options of the spawn are those of each child."""
    async with open_system() as system:
        group = await system.spawn(on_demand(lambda name: Member(name, World())), mailbox_size=3)
        assert (await group.get_or_spawn("a")).statistics().mailbox.size == 3


async def test_children_with_another_spec() -> None:
    """``start_child`` adds a child with a spec of its own, a supervisor too, and its name is taken."""
    async with open_system() as system:
        group = await spawn_group(system, World())
        top = await group.start_child(ChildSpec("top", SupervisorSpec()))
        assert await group.get_or_spawn("top") is top


# Waits that would never end


class Asking(Actor):
    """An actor that asks its group for other names when it starts."""

    def __init__(self, name: str, wanted: dict[str, str], group: list[OnDemandRef[Any, Any]]) -> None:
        self.name, self.wanted, self.group = name, wanted, group

    async def started(self) -> None:
        if self.name in self.wanted:
            await self.group[0].get_or_spawn(self.wanted[self.name])

    async def receive(self, message: object) -> object:
        if message == "stop and start":
            self.context.stop()
            return await self.group[0].get_or_spawn(self.name)
        return message


@pytest.mark.parametrize("wanted", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}])
async def test_start_that_waits_for_itself(wanted: dict[str, str]) -> None:
    """A child that asks for itself when it starts, also over others, gets a RuntimeError at once."""
    groups: list[OnDemandRef[Any, Any]] = []
    async with open_system() as system:
        groups.append(await system.spawn(on_demand(lambda name: Asking(name, wanted, groups))))
        with pytest.raises(RuntimeError, match="has started, which waits for"):
            await groups[0].get_or_spawn("a")
        assert groups[0].children() == ()


async def test_chain_of_starts() -> None:
    """A child may ask for others when it starts, if none waits for it."""
    groups: list[OnDemandRef[Any, Any]] = []
    async with open_system() as system:
        groups.append(await system.spawn(on_demand(lambda name: Asking(name, {"a": "b", "b": "c"}, groups))))
        await groups[0].get_or_spawn("a")
        assert [info.id for info in groups[0].children()] == ["a", "b", "c"]


async def test_child_that_waits_for_its_own_end() -> None:
    """A child that is stopping and asks for its own name gets a RuntimeError: it would wait for its end."""
    groups: list[OnDemandRef[Any, Any]] = []
    async with open_system() as system:
        groups.append(await system.spawn(on_demand(lambda name: Asking(name, {}, groups), restart="temporary")))
        ref: ActorRef[Any, Any] = await groups[0].get_or_spawn("a")
        await ref.tell("stop and start")
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert "waits for its own end" in str(reason.exception)


# Checks


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"factory": 3}, "factory of a group on demand must be callable"),
        ({"factory": pool(Actor, 2)}, "factory of a group on demand must be callable"),
        ({"max_children": -1}, "max_children must be a whole number"),
        ({"max_restarts": -1}, "max_restarts must be a whole number"),
        ({"max_seconds": 0}, "max_seconds must be more than 0"),
        ({"restart": "never"}, "restart must be one of"),
        ({"shutdown": -1}, "shutdown must be a number of seconds"),
        ({"shutdown": math.nan}, "shutdown must be a number of seconds"),
        ({"backoff": 3}, "backoff must be a Backoff"),
    ],
)
def test_wrong_group(options: dict[str, Any], text: str) -> None:
    """A wrong argument raises SpecError where the spec is made."""
    with pytest.raises(SpecError, match=text):
        on_demand(**{"factory": lambda _: Actor(), **options})


@pytest.mark.parametrize("name", ["", "a/b", 3, None])
async def test_wrong_name(name: Any) -> None:
    """A name that no child can have raises SpecError, and no start is left."""
    async with open_system() as system:
        group = await spawn_group(system, World())
        with pytest.raises(SpecError, match="id must be a text"):
            await group.get_or_spawn(name)
        assert group.children() == ()
