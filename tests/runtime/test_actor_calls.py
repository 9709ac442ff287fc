"""Calls of the runtime: a turn for others, never a wait for oneself, and nothing done from elsewhere."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

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
    Context,
    DeadLetter,
    Overflow,
    Phase,
    Reply,
    Shutdown,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    Undelivered,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import ActorSystem

Message: TypeAlias = "Callable[[Member], Awaitable[object]]"


# A turn for others


async def tell_full(ref: ActorRef) -> None:
    await ref.tell("x")


async def ask_full(ref: ActorRef) -> None:
    await ref.ask("x")


@pytest.mark.parametrize(
    ("overflow", "call"),
    [
        (Overflow.DROP_NEW, tell_full),
        (Overflow.DROP_NEW, ask_full),
        (Overflow.REJECT, tell_full),
        (Overflow.REJECT, ask_full),
        (Overflow.DROP_OLDEST, tell_full),
    ],
)
async def test_calls_to_a_full_mailbox_let_others_run(
    overflow: Overflow, call: Callable[[ActorRef], Awaitable[None]]
) -> None:
    """Whatever becomes of the messages, a task that only sends can be cancelled, and others run."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World(), mailbox_size=1, overflow=overflow)
        await ref.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell("fills it")

        async def send() -> None:
            with contextlib.suppress(ActorError):
                await call(ref)

        assert await others_run_during(send)
        ref.kill()


async def others_run_during(call: Callable[[], Awaitable[object]]) -> bool:
    """Call a hundred times, and return whether another task had a turn."""
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


@pytest.mark.parametrize("what", ["broadcast", "dead", "taken name", "no spec", "ended child", "no child"])
async def test_calls_that_never_wait_let_others_run(what: str) -> None:
    """Nor does it matter how many actors the calls are for, or that each of them raises."""
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
                await calls[what]()

        assert await others_run_during(call)


# Never a wait for oneself


async def test_an_actor_cannot_wait_for_room_that_only_it_makes() -> None:
    """A tell to its own full mailbox raises; from its nursery it waits, and in a mailbox that drops it does not."""
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
async def test_an_actor_cannot_wait_for_its_own_end(name: str, where: str) -> None:
    """Whatever waits for an end that needs the waiting task is refused before anything happens."""
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
async def test_an_actor_that_starts_cannot_wait_for_the_actor_that_waits_for_its_start(depth: int, full: bool) -> None:
    """Asking a parent in ``started()``, or telling it when its mailbox is full, is refused; its nursery may wait."""
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


async def test_a_task_of_the_nursery_may_wait_for_the_end_and_is_cancelled_in_it() -> None:
    """Only the task that the end waits for is refused; whoever else waits gets its reason, or is cancelled by it."""

    async def end(member: Member) -> None:
        member.nursery.start_soon(member.ref.stop)

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        other = await system.spawn(Member, "b", World())
        await ref.tell(end)
        assert await ref.terminated() == Shutdown()
        assert await other.ask(lambda _: ref.stop()) == Shutdown()


async def test_work_of_a_phase_cannot_wait_for_the_shutdown() -> None:
    """It is refused and reported, and the phases go on, also in a phase without end."""
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


# Messages to oneself


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("nursery", [False, True])
async def test_what_a_stopping_actor_tells_itself_is_no_failure(drain: bool, nursery: bool) -> None:
    """After a stop from outside it is handled if the stop drains, and is a dead letter if not."""
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


async def test_what_a_stopping_actor_tells_itself_is_bounded() -> None:
    """Beyond the mailbox's size it is a dead letter: there is nobody to wait."""
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


# From elsewhere


class Everything:
    """All that can be called, on things that live."""

    def __init__(self, system: ActorSystem, ref: ActorRef, top: SupervisorRef, context: Context, reply: Reply) -> None:
        spec = ChildSpec("new", Actor)
        self.sync: dict[str, Callable[[], object]] = {
            "tell_nowait": lambda: ref.tell_nowait("x"),
            "kill": ref.kill,
            "delete_child": lambda: top.delete_child("a"),
            "on_shutdown": lambda: system.on_shutdown("last", trio.sleep_forever),
            "context.stop": context.stop,
            "watch": lambda: context.watch(ref),
            "unwatch": lambda: context.unwatch(ref),
            "stash": context.stash,
            "unstash": context.unstash,
            "defer": context.defer,
            "once": lambda: context.timers.once("a", "x", 1),
            "every": lambda: context.timers.every("a", "x", 1),
            "cancel": lambda: context.timers.cancel("a"),
            "lease": lambda: context.lease().__enter__(),
            "send": lambda: reply.send("x"),
            "fail": lambda: reply.fail(LookupError()),
        }
        self.waiting: dict[str, Callable[[], Awaitable[object]]] = {
            "tell": lambda: ref.tell("x"),
            "ask": lambda: ref.ask("x"),
            "stop": ref.stop,
            "terminated": ref.terminated,
            "spawn": lambda: system.spawn(Actor),
            "spawn below": lambda: context.spawn(Actor),
            "supervise": lambda: system.supervise(SupervisorSpec()),
            "supervise below": lambda: context.supervise(SupervisorSpec()),
            "start_child": lambda: top.start_child(spec),
            "terminate_child": lambda: top.terminate_child("a"),
            "restart_child": lambda: top.restart_child("a"),
            "shutdown": system.shutdown,
        }


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except RuntimeError as error:
        return "trio.from_thread" in str(error)
    return False


def step(call: Callable[[], Awaitable[object]]) -> object:
    """Begin an async call without any loop."""
    coroutine: Any = call()
    try:
        return coroutine.send(None)
    finally:
        coroutine.close()


def in_another_run(call: Callable[[], Awaitable[object]]) -> object:
    async def main() -> object:
        return await call()

    return trio.run(main)


async def test_a_call_from_a_foreign_thread_changes_nothing() -> None:
    """Without trio, and in the run of another thread: a clear RuntimeError, and everything stands as before."""
    held: list[tuple[Context, Reply]] = []

    async def hold(member: Member) -> None:
        held.append((member.context, member.context.defer()))

    async with open_system([Phase("last")]) as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World())
        top = await system.supervise(SupervisorSpec(Strategy.DYNAMIC, [ChildSpec("a", Actor)]), "top")
        nursery.start_soon(ref.ask, hold)
        await trio.testing.wait_all_tasks_blocked()
        every = Everything(system, ref, top, *held[0])
        before = (system.tree(), ref.statistics(), top.statistics(), system.statistics())
        accepted: list[str] = []

        def call_all() -> None:
            for name, call in every.sync.items():
                if not refused(call):
                    accepted.append(name)
            for name, waiting in every.waiting.items():
                if not refused(lambda waiting=waiting: step(waiting)):  # type: ignore[misc]  # bound for each
                    accepted.append(name)
                if not refused(lambda waiting=waiting: in_another_run(waiting)):  # type: ignore[misc]  # as above
                    accepted.append(f"{name} in another run")

        await trio.to_thread.run_sync(call_all)
        assert accepted == []
        assert (system.tree(), ref.statistics(), top.statistics(), system.statistics()) == before
        held[0][1].send("done")


async def test_a_thread_that_trio_runs_calls_through_it() -> None:
    """By ``from_thread`` a thread tells, asks, spawns and stops."""
    world = World()
    async with open_system() as system:
        ref = await system.spawn(Member, "a", world)

        def work() -> None:
            trio.from_thread.run(ref.tell, "one")
            trio.from_thread.run_sync(ref.tell_nowait, "two")
            assert trio.from_thread.run(ref.ask, "three") == "three"
            other = trio.from_thread.run(system.spawn, Actor)
            assert trio.from_thread.run(other.stop) == Shutdown()

        await trio.to_thread.run_sync(work)
        token, results = trio.lowlevel.current_trio_token(), list[object]()
        thread = threading.Thread(
            target=lambda: results.append(trio.from_thread.run(ref.ask, "four", trio_token=token))
        )
        thread.start()
        await trio.to_thread.run_sync(thread.join)
        assert results == ["four"]
        assert world.received == ["one", "two", "three", "four"]


def test_the_host_of_a_guest_run_may_tell_between_its_turns() -> None:
    """It is the thread of the system, and trio allows it there; when the run is over the call is refused."""
    world, outcomes = World(), list[object]()
    there: list[tuple[ActorRef, trio.Event]] = []
    turns: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    async def main() -> None:
        go = trio.Event()
        async with open_system() as system:
            there.append((await system.spawn(Member, "a", world), go))
            await go.wait()

    trio.lowlevel.start_guest_run(
        main, run_sync_soon_threadsafe=turns.put, done_callback=outcomes.append, host_uses_signal_set_wakeup_fd=True
    )
    while not there:
        turns.get()()
    ref, go = there[0]
    ref.tell_nowait("from the host")
    while not world.received:
        turns.get()()
    go.set()
    while not outcomes:
        turns.get()()
    with pytest.raises(RuntimeError, match=r"trio\.from_thread"):
        ref.tell_nowait("too late")
