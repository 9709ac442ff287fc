"""Calls of the runtime: each is a checkpoint, and none waits for its own end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

import pytest
import trio
import trio.testing
from _probes import Member, World, hang

from actors import (
    Actor,
    ActorError,
    ActorRef,
    ActorTerminated,
    ChildSpec,
    DeadLetter,
    Overflow,
    Phase,
    Shutdown,
    SupervisorRef,
    SupervisorSpec,
    Undelivered,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


Message: TypeAlias = "Callable[[Member], Awaitable[object]]"


# Calls let other tasks run


async def tell(ref: ActorRef) -> None:
    await ref.tell("x")


async def ask(ref: ActorRef) -> None:
    await ref.ask("x")


@pytest.mark.parametrize(
    ("overflow", "call"),
    [
        (Overflow.DROP_NEW, tell),
        (Overflow.DROP_NEW, ask),
        (Overflow.REJECT, tell),
        (Overflow.REJECT, ask),
        (Overflow.DROP_OLDEST, tell),
    ],
)
async def test_calls_to_a_full_mailbox_let_others_run(
    overflow: Overflow, call: Callable[[ActorRef], Awaitable[None]]
) -> None:
    """A task that only sends to a full mailbox lets other tasks run, even if its messages are dropped or rejected."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World(), mailbox_size=1, overflow=overflow)
        await ref.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell("fills it")

        async def send() -> None:
            with contextlib.suppress(ActorError):
                await call(ref)

        assert await lets_others_run(send)
        ref.kill()


async def lets_others_run(call: Callable[[], Awaitable[object]]) -> bool:
    """Make the call up to 130 times, and return whether another task had a turn meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for _ in range(130):
            await call()
            if turns:
                return True
    return False


@pytest.mark.parametrize("case", ["broadcast", "dead", "taken name", "no spec", "ended child", "no child"])
async def test_calls_that_need_not_wait_let_others_run(case: str) -> None:
    """A task that repeats calls that return or raise at once still lets other tasks run."""
    async with open_system() as system:
        refs = [await system.spawn(Actor) for _ in range(130)]
        dead = await system.spawn(Actor)
        await dead.stop()
        top = await system.supervise(SupervisorSpec(children=[ChildSpec("a", Actor)]))
        await top.terminate_child("a")
        each = iter(refs)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "broadcast": lambda: next(each).tell("x"),
            "dead": lambda: dead.tell("x"),
            "taken name": lambda: system.spawn(Actor, name=refs[0].name),
            "no spec": lambda: system.spawn(Actor, name=""),
            "ended child": lambda: top.terminate_child("a"),
            "no child": lambda: top.restart_child("b"),
        }

        async def call() -> None:
            with contextlib.suppress(ActorError):
                await calls[case]()

        assert await lets_others_run(call)


# Calls never wait for their own task


async def test_tell_to_own_full_mailbox_raises() -> None:
    """If an actor's own task sends to the actor's full mailbox, it gets a RuntimeError instead of waiting for ever.

    A task in the actor's nursery waits for room in this case.
    """
    world = World()

    async def fill(member: Member) -> None:
        await member.ref.tell("first")
        with pytest.raises(RuntimeError, match="/member-1 tells itself, and its mailbox is full"):
            await member.ref.tell("second")
        member.nursery.start_soon(member.ref.tell, "third")

    async with open_system() as system:
        ref = await system.spawn(Member, "a", world, mailbox_size=1)
        await ref.tell(fill)
        await trio.testing.wait_all_tasks_blocked()
        assert world.received == ["first", "third"]


Ends: TypeAlias = "Callable[[Member, SupervisorRef, SupervisorRef], Awaitable[object]]"
ENDS: dict[str, Ends] = {
    "own stop": lambda member, _, __: member.ref.stop(),
    "own end": lambda member, _, __: member.ref.terminated(),
    "terminate_child": lambda _, __, parent: parent.terminate_child("a"),
    "parent's stop": lambda _, __, parent: parent.stop(),
    "parent's draining stop": lambda _, __, parent: parent.stop(drain=True, timeout=0),
    "parent's end": lambda _, __, parent: parent.terminated(),
    "stop of the top": lambda _, top, __: top.stop(),
    "terminate_child of the parent": lambda _, top, __: top.terminate_child("parent"),
    "shutdown": lambda member, _, __: member.context.system.shutdown(),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("where", ["receive", "started", "stopping"])
async def test_waiting_for_own_end_raises(name: str, where: str) -> None:
    """If a call would make a task wait for its own end, the call raises RuntimeError and changes nothing."""
    world, refused = World(), list[str]()
    refs: dict[str, SupervisorRef] = {}

    async def wait(member: Member) -> None:
        if "parent" in refs:
            with pytest.raises(RuntimeError, match="wait"):
                await ENDS[name](member, refs["top"], refs["parent"])
            refused.append(where)

    if where != "receive":
        (world.on_start if where == "started" else world.on_stop)["a"] = wait
    parent = SupervisorSpec(children=[world.member("a")])
    async with open_system() as system:
        refs["top"] = top = await system.supervise(SupervisorSpec(children=[ChildSpec("parent", parent)]), "top")
        found = top.child("parent")
        assert isinstance(found, SupervisorRef)
        refs["parent"] = found
        ref = found.child("a")
        assert ref is not None
        if where == "receive":
            await ref.ask(wait)
        elif where == "started":
            ref.kill()
            await trio.testing.wait_all_tasks_blocked()
        else:
            await found.terminate_child("a")
        assert refused == [where]
        assert found.alive


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("full", [False, True])
async def test_starting_child_cannot_wait_for_its_parent(depth: int, full: bool) -> None:
    """If a child in ``started()`` asks its parent, or sends to the parent's full mailbox, it gets a RuntimeError.

    The parent waits for the start of this child, so the call would be a deadlock. A task in the child's nursery may
    wait.
    """
    world, refused = World(), list[str]()
    tops: list[ActorRef] = []

    async def go_down(member: Member) -> None:
        left = depth - int(member.name)
        if left:
            await member.context.spawn(Member, str(int(member.name) + 1), world)
            return
        with pytest.raises(RuntimeError, match="waits until /member-1"):
            await (tops[0].tell("x") if full else tops[0].ask("x", timeout=1))
        refused.append(member.name)
        member.nursery.start_soon(tops[0].tell, "from the nursery")

    for number in range(1, depth + 1):
        world.on_start[str(number)] = go_down

    async def spawn(member: Member) -> None:
        if full:
            member.ref.tell_nowait("fills it")
        await member.context.spawn(Member, "1", world)

    async with open_system() as system:
        tops.append(await system.spawn(Member, "top", world, mailbox_size=1))
        await tops[0].ask(spawn)
        await trio.testing.wait_all_tasks_blocked()
        assert refused == [str(depth)]
        assert world.received[-1] == "from the nursery"
        assert await tops[0].ask("still there") == "still there"


async def test_nursery_task_may_wait_for_the_end() -> None:
    """A task in an actor's nursery may call ``stop`` on this actor.

    Another actor may also wait for the end of this actor.
    """

    async def end(member: Member) -> None:
        member.nursery.start_soon(member.ref.stop)

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        other = await system.spawn(Member, "b", World())
        await ref.tell(end)
        assert await ref.terminated() == Shutdown()
        assert await other.ask(lambda _: ref.stop()) == Shutdown()


async def test_phase_work_cannot_wait_for_shutdown() -> None:
    """If the work of a shutdown phase calls ``shutdown``, it gets a RuntimeError instead of waiting for itself.

    The error is in the report, and the next phases still run.
    """
    ran: list[str] = []

    async with open_system([Phase("a", float("inf")), Phase("b")]) as system:

        async def note() -> None:
            ran.append("b")

        async def nested() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(system.shutdown)

        system.on_shutdown("a", system.shutdown)
        system.on_shutdown("a", nested)
        system.on_shutdown("b", note)
        first, second = await system.shutdown()
        assert [type(failure) for failure in first.failures] == [RuntimeError, ExceptionGroup]
        assert second.failures == ()
        assert ran == ["b"]


# Messages of a stopping actor to itself


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("nursery", [False, True])
async def test_stopping_actor_may_tell_itself(drain: bool, nursery: bool) -> None:
    """An actor that is being stopped may send itself a message.

    If the stop drains the mailbox, the message is handled. Otherwise it becomes a dead letter.
    """
    world, go = World(), trio.Event()

    async def step(member: Member) -> None:
        await go.wait()
        if nursery:
            async with trio.open_nursery() as inner:
                inner.start_soon(member.ref.tell, "next")
        else:
            member.ref.tell_nowait("next")

    async def outer(member: Member) -> None:
        if nursery:
            done = trio.Event()

            async def run() -> None:
                await step(member)
                done.set()

            member.nursery.start_soon(run)
            await done.wait()
        else:
            await step(member)

    async with open_system() as system, trio.open_nursery() as stopping:
        ref = await system.spawn(Member, "a", world)
        await ref.tell(outer)
        await trio.testing.wait_all_tasks_blocked()
        with system.dead_letters() as letters:
            stopping.start_soon(lambda: ref.stop(drain=drain))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ActorTerminated):
                await ref.tell("from others")
            go.set()
            assert await ref.terminated() == Shutdown()
            if drain:
                assert world.received == ["next"]
            else:
                assert await anext(letters) == DeadLetter("next", ref.path, Undelivered.TERMINATED)


async def test_messages_to_oneself_are_bounded() -> None:
    """While an actor drains its mailbox for a stop, it can send itself at most ``mailbox_size`` messages.

    Further messages become dead letters.
    """
    world, go = World(), trio.Event()

    async def many(member: Member) -> None:
        await go.wait()
        for number in range(3):
            await member.ref.tell(number)

    async with open_system() as system, trio.open_nursery() as stopping:
        ref = await system.spawn(Member, "a", world, mailbox_size=2)
        await ref.tell(many)
        await trio.testing.wait_all_tasks_blocked()
        with system.dead_letters() as letters:
            stopping.start_soon(lambda: ref.stop(drain=True))
            await trio.testing.wait_all_tasks_blocked()
            go.set()
            assert await ref.terminated() == Shutdown()
            assert world.received == [0, 1]
            assert (await anext(letters)).message == 2
