"""Pools: what happens when members fail, end, or become more or fewer, and when the pool itself ends."""

from __future__ import annotations

import functools
import gc
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _runtime_pools import Gate, Worker, by_key, settle, started

from actors import (
    Actor,
    ActorRef,
    ActorRestarted,
    ActorTerminated,
    AskTimeout,
    ChildSpec,
    Failure,
    PoolRef,
    Restart,
    RestartLimit,
    Shutdown,
    SpecError,
    SupervisorSpec,
    open_system,
    pool,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


async def test_member_that_fails_is_restarted() -> None:
    """A member that fails is restarted with its mailbox. The message is a dead letter; an ask gets ActorRestarted."""
    got: list[tuple[str, object]] = []
    async with open_system() as system:
        ref = await started(system, got, 2)
        with system.dead_letters() as letters:
            error = ValueError("x")
            with pytest.raises(ActorRestarted):
                await ref.ask(error)
            ref.tell_nowait(ValueError("y"))
            for number in range(4):
                ref.tell_nowait(number)
            await settle()
            assert sorted(got, key=str) == [("1", 0), ("1", 2), ("2", 1), ("2", 3)]
            assert (letters.events[0].path, letters.events[0].cause) == ("/pool/1", error)
            assert (ref.statistics().members_restarted, ref.statistics().restarts) == (2, 0)


async def test_pool_is_supervised_as_one() -> None:
    """Members that fail too often end the pool. Its supervisor restarts it with new members; its handle stays."""
    got: list[tuple[str, object]] = []
    async with open_system() as system:
        spec = ChildSpec("pool", pool(functools.partial(Worker, got), 2, max_restarts=1))
        top = await system.supervise(SupervisorSpec(children=[spec]), "top")
        ref = top.child("pool")
        assert isinstance(ref, PoolRef)
        assert top.children()[0].is_supervisor
        for _ in range(2):
            ref.tell_nowait(ValueError("x"))
        await settle()
        assert (ref.statistics().restarts, ref.statistics().members, top.child("pool") is ref) == (1, 2, True)
        assert await ref.ask("again") == "1"
        await ref.stop()
        with pytest.raises(ActorTerminated):
            await ref.tell("late")


async def test_messages_wait_while_the_pool_restarts(autojump_clock: MockClock) -> None:
    """While a pool is restarted it has no members. Messages wait, in order, and are routed when its members are up."""
    got: list[tuple[str, object]] = []

    class Slow(Worker):
        async def started(self) -> None:
            await trio.sleep(1)

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(pool(functools.partial(Slow, got), 2), name="pool", restart=Restart.PERMANENT)
        assert isinstance(ref, PoolRef)
        ref.kill()
        await settle()
        assert (ref.members(), await ref.broadcast("to none")) == ((), 0)
        for number in range(3):
            await ref.tell(number)
        nursery.start_soon(ref.ask, 3)
        with pytest.raises(AskTimeout):
            await ref.ask(4, timeout=0.1)
        assert ref.statistics().mailbox.depth == 4
        await trio.sleep(3)
        assert sorted(got, key=str) == [("1", 0), ("1", 2), ("2", 1), ("2", 3)]
        assert autojump_clock.autojump_threshold == 0


async def test_limit_of_a_temporary_pool_ends_the_system() -> None:
    """A top-level pool without a restart that gives up ends the system, as a supervisor does."""
    with pytest.raises(RestartLimit, match="/pool gave up"):  # noqa: PT012  -- the block raises it at its end
        async with open_system() as system:
            ref = await started(system, [], 1, max_restarts=0)
            ref.tell_nowait(ValueError("x"))
            await trio.sleep_forever()


@pytest.mark.parametrize("drain", [False, True])
async def test_stop_ends_all_members(*, drain: bool) -> None:
    """A stop of the pool stops all members. With ``drain``, each one first handles the messages in its mailbox."""
    got: list[tuple[str, object]] = []
    gates = [Gate(), Gate()]
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await started(system, got, 2)
        members = ref.members()
        for gate in gates:
            await ref.tell(gate)
        for number in range(6):
            await ref.tell(number)
        nursery.start_soon(functools.partial(ref.stop, drain=drain))
        await settle()
        with pytest.raises(ActorTerminated):
            await ref.tell("late")
        with pytest.raises(ActorTerminated):
            ref.tell_nowait("late")
        for gate in gates:
            gate.event.set()
        assert await ref.terminated() == Shutdown()
        assert len(got) == (8 if drain else 2)
        assert (system.statistics().actors, system.statistics().dead_letters) == (0, 0 if drain else 6)
        assert not any(each.alive for each in members)
        assert (ref.members(), ref.statistics().mailbox.depth) == ((), 0)


async def test_sender_that_waits_when_the_pool_stops() -> None:
    """A sender that waits for room gets ActorTerminated when the pool is stopped."""
    gate = Gate()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await started(system, [], 1, mailbox_size=1)
        await ref.tell(gate)
        await settle()
        await ref.tell("fills")

        async def send() -> None:
            with pytest.raises(ActorTerminated, match="/pool is"):
                await ref.tell("waits")

        nursery.start_soon(send)
        await settle()
        nursery.start_soon(ref.stop)
        await settle()
        gate.event.set()


async def test_pool_grows_and_shrinks(autojump_clock: MockClock) -> None:
    """A pool whose members have many waiting messages grows, one by one. When members are idle, it shrinks again."""
    got: list[tuple[str, object]] = []
    gate = Gate()
    async with open_system() as system:
        ref = await started(system, got, 1, max_size=3, grow_at=2, shrink_after=10)
        sizes: list[int] = []
        for _ in range(12):
            await ref.tell(gate)
            await settle()
            sizes.append(ref.statistics().members)
        assert sizes == [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3]
        await trio.sleep(100)
        assert ref.statistics().members == 3  # messages wait
        gate.event.set()
        await trio.sleep(10.5)
        assert ref.statistics().members == 2
        await trio.sleep(20)
        assert (ref.statistics().members, ref.statistics().children, ref.statistics().tasks) == (1, 1, 0)
        assert len(got) == 12
        assert await ref.ask("still there") == "1"
        assert (system.statistics().dead_letters, ref.statistics().mailbox.accepted) == (0, 13)
        again = Gate()
        for _ in range(5):
            await ref.tell(again)
            await settle()
        assert ref.statistics().members == 2
        again.event.set()
        assert autojump_clock.autojump_threshold == 0


async def test_growth_that_fails(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """If a further member fails to start, that is logged, the pool keeps its size, and tries again later."""
    gate, starts = Gate(), []

    class Picky(Worker):
        async def started(self) -> None:
            starts.append(trio.current_time())
            if len(starts) == 2:
                raise OSError("no room")

    async with open_system() as system:
        ref = await system.spawn(pool(lambda: Picky([]), 1, max_size=2, grow_at=1, shrink_after=5))
        assert isinstance(ref, PoolRef)
        for _ in range(4):
            await ref.tell(gate)
            await settle()
        assert (ref.statistics().members, len(starts), "no room" in caplog.text) == (1, 2, True)
        await trio.sleep(6)
        await ref.tell(gate)
        await settle()
        assert (ref.statistics().members, ref.alive) == (2, True)
        gate.event.set()
        assert autojump_clock.autojump_threshold == 0


async def test_stopped_member_is_replaced() -> None:
    """A member that code has stopped by its own handle is replaced. Messages for it go to others, or wait."""
    got: list[tuple[str, object]] = []
    async with open_system() as system:
        ref = await started(system, got, 1)
        await ref.members()[0].stop()
        assert await ref.ask("next") == "2"
        gate = Gate()
        await ref.tell(gate)
        await settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.members()[0].stop)
            await settle()
            await ref.tell("waits")  # the only member is stopping, and has not ended
            nursery.start_soon(ref.ask, "waits too")
            await settle()
            assert got[2:] == []
            gate.event.set()
        await settle()
        assert got[2:] == [("3", "waits"), ("3", "waits too")]


async def test_pool_grows_again_after_members_were_stopped() -> None:
    """A pool that had its largest size grows again after code has stopped members by their handles."""
    async with open_system() as system:
        ref = await started(system, [], 1, max_size=2, grow_at=1, shrink_after=1_000)
        for _ in range(2):
            gate = Gate()
            ref.tell_nowait(gate)
            ref.tell_nowait("waits")
            await settle()
            assert ref.statistics().members == 2
            gate.event.set()
            for member in ref.members():
                await member.stop()
            await settle()
            assert ref.statistics().members == 1


async def test_member_stopped_during_the_start_is_replaced() -> None:
    """A member that code stops while the pool still starts the others is replaced when the pool is up."""
    members: list[ActorRef[Any, Any]] = []

    class Ends(Actor):
        async def started(self) -> None:
            members.append(self.ref)
            if len(members) == 2:
                await members[0].stop()

    async with open_system() as system:
        ref = await system.spawn(pool(Ends, 2), name="pool")
        await settle()
        assert [member.name for member in ref.members()] == ["2", "3"]


async def test_member_asks_its_pool() -> None:
    """A member that asks its own pool is answered by another member. If it is the only one, it gets RuntimeError."""
    got: list[tuple[str, object]] = []
    async with open_system() as system:
        for size in (2, 1):
            ref = await started(system, got, size)

            async def ask(worker: Worker, ref: PoolRef = ref) -> object:
                return worker.ref.name, await ref.ask("you?")

            if size == 2:
                assert [await ref.ask(ask) for _ in range(2)] == [("1", "2"), ("1", "2")]
            else:
                with pytest.raises(ActorRestarted):
                    await ref.ask(ask)
            await ref.stop()


async def test_ask_that_is_given_up_frees_its_room() -> None:
    """When the caller of an ask gives up, its message takes no room in the member's mailbox, and is not handled."""
    got: list[tuple[str, object]] = []
    gate = Gate()
    async with open_system() as system:
        ref = await started(system, got, 1, mailbox_size=1)
        await ref.tell(gate)
        await settle()
        with trio.move_on_after(0) as scope:
            await ref.ask("given up")
        assert scope.cancelled_caught
        ref.tell_nowait("kept")
        gate.event.set()
        await settle()
        assert [message for _, message in got[1:]] == ["kept"]


async def test_pool_below_an_actor() -> None:
    """An actor can spawn a pool, which ends with the actor. Its default name is ``pool`` and a number."""

    async def spawn(worker: Worker) -> object:
        return await worker.context.spawn(pool(lambda: Worker([]), 2))

    async with open_system() as system:
        above = await system.spawn(Worker, [])
        ref = await above.ask(spawn)
        assert isinstance(ref, PoolRef)
        assert (ref.path, await ref.ask("x"), above.statistics().children) == (f"{above.path}/pool-2", "1", 1)
        await above.stop()
        assert (ref.alive, system.statistics().actors) == (False, 0)


async def test_start_of_a_member_that_fails() -> None:
    """If a member fails to start, the spawn of the pool raises its exception, and nothing is left."""
    starts: list[int] = []

    class Bad(Actor):
        async def started(self) -> None:
            starts.append(1)
            if len(starts) == 2:
                raise OSError("no")

    async with open_system() as system:
        with pytest.raises(OSError, match="no"):
            await system.spawn(pool(Bad, 3), name="pool")
        assert (system.statistics().actors, system.find("/pool")) == (0, None)


WRONG: dict[str, tuple[str, Callable[[], object]]] = {
    "size 0": ("size", lambda: pool(Actor, 0)),
    "size 1.5": ("size", lambda: pool(Actor, 1.5)),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the test
    "max_size": ("max_size", lambda: pool(Actor, 2, max_size=1)),
    "routing": ("routing", lambda: pool(Actor, 1, routing="best")),
    "key": ("key", lambda: pool(Actor, 1, key=by_key)),
    "grow_at": ("grow_at", lambda: pool(Actor, 1, grow_at=0)),
    "shrink_after": ("shrink_after", lambda: pool(Actor, 1, shrink_after=0)),
    "shutdown": ("shutdown", lambda: pool(Actor, 1, shutdown=-1)),
    "max_restarts": ("max_restarts", lambda: pool(Actor, 1, max_restarts=-1)),
    "max_seconds": ("max_seconds", lambda: pool(Actor, 1, max_seconds=0)),
    "backoff": ("backoff", lambda: pool(Actor, 1, backoff=3)),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the test
    "factory": ("factory", lambda: pool(3, 1)),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the test
    "pool of pools": ("factory", lambda: pool(pool(Actor, 1), 1)),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_spec(what: str) -> None:
    """A wrong argument of a pool raises SpecError at the call, which names the field."""
    field, make = WRONG[what]
    with pytest.raises(SpecError, match=field):
        make()


async def test_pool_takes_no_arguments() -> None:
    """A spawn of a pool with arguments raises SpecError: they belong to the factory of its members."""
    spec: Any = pool(Actor, 1)
    async with open_system() as system:
        with pytest.raises(SpecError, match="arguments"):
            await system.spawn(spec, 1)


async def test_ended_pool_is_freed_by_reference_count() -> None:
    """When a pool has ended, its members and mailboxes are freed without the garbage collector."""
    async with open_system() as system:
        gc.collect()
        gc.disable()
        try:
            ref = await started(system, [], 2, max_size=3, grow_at=1)
            await ref.ask("x")
            assert await ref.stop() == Shutdown()
            del ref
            await settle()
            left = [each for each in gc.get_objects() if str(type(each).__module__).startswith("actors.runtime.pools")]
            assert [
                each for each in left if type(each).__name__ in {"Pool", "PoolMailbox", "PoolCell", "Members"}
            ] == []
            assert not any(isinstance(each, Worker) for each in gc.get_objects())
        finally:
            gc.enable()


async def test_reason_of_a_failed_pool() -> None:
    """The exit reason of a pool whose members failed too often is the RestartLimit."""
    async with open_system() as system:
        above = await system.supervise(SupervisorSpec())
        spec = ChildSpec("pool", pool(lambda: Worker([]), 1, max_restarts=0), Restart.TEMPORARY)
        ref = await above.start_child(spec)
        ref.tell_nowait(ValueError("x"))
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, RestartLimit)
