"""Calls of the runtime from other threads and trio runs: each is refused, and works through trio.from_thread."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _probes import Member, World

from actors import (
    Actor,
    ActorRef,
    ChildSpec,
    Context,
    Phase,
    Reply,
    Shutdown,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import ActorSystem


class AllCalls:
    """All public calls of the runtime, by name, as functions that make the call on living objects."""

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
            "idle_after": lambda: context.idle_after(1),
            "end of idle_after": lambda: context.idle_after(None),
            "stay_idle": context.stay_idle,
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


def is_refused(call: Callable[[], object]) -> bool:
    """Return whether ``call`` raises the RuntimeError that recommends ``trio.from_thread``."""
    try:
        call()
    except RuntimeError as error:
        return "trio.from_thread" in str(error)
    return False


def step_once(call: Callable[[], Awaitable[object]]) -> object:
    """Run an async call up to its first checkpoint, without an event loop."""
    coroutine: Any = call()
    try:
        return coroutine.send(None)
    finally:
        coroutine.close()


def run_elsewhere(call: Callable[[], Awaitable[object]]) -> object:
    """Run an async call in a trio run of its own."""

    async def main() -> object:
        return await call()

    return trio.run(main)


async def test_foreign_thread_is_refused() -> None:
    """In a thread without trio, or in another trio run, every call raises RuntimeError and changes nothing."""
    held: list[tuple[Context, Reply]] = []

    async def hold(member: Member) -> None:
        held.append((member.context, member.context.defer()))

    async with open_system([Phase("last")]) as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Member, "a", World())
        top = await system.supervise(SupervisorSpec(Strategy.DYNAMIC, [ChildSpec("a", Actor)]), "top")
        nursery.start_soon(ref.ask, hold)
        await trio.testing.wait_all_tasks_blocked()
        every = AllCalls(system, ref, top, *held[0])
        before = (system.tree(), ref.statistics(), top.statistics(), system.statistics())
        accepted: list[str] = []

        def call_all() -> None:
            for name, call in every.sync.items():
                if not is_refused(call):
                    accepted.append(name)
            for name, waiting in every.waiting.items():
                if not is_refused(lambda waiting=waiting: step_once(waiting)):  # type: ignore[misc]  # bound for each
                    accepted.append(name)
                if not is_refused(lambda waiting=waiting: run_elsewhere(waiting)):  # type: ignore[misc]  # as above
                    accepted.append(f"{name} in another run")

        await trio.to_thread.run_sync(call_all)
        assert accepted == []
        assert (system.tree(), ref.statistics(), top.statistics(), system.statistics()) == before
        held[0][1].send("done")


async def test_calls_through_from_thread() -> None:
    """A thread can use ``trio.from_thread`` to tell, ask, spawn and stop actors."""
    world = World()
    async with open_system() as system:
        ref = await system.spawn(Member, "a", world)

        def work() -> None:
            trio.from_thread.run(ref.tell, "one")
            trio.from_thread.run_sync(ref.tell_nowait, "two")
            assert trio.from_thread.run(ref.ask, "three") == "three"
            other: ActorRef = trio.from_thread.run(lambda: system.spawn(Actor))
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


def test_host_of_a_guest_run_may_tell() -> None:
    """The host loop of a trio guest run may call ``tell_nowait`` between trio's steps.

    After the run, the call is refused.
    """
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
