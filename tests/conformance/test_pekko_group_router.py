"""Routers over actors that exist already, after the group router of Pekko's RoutersSpec and that of tapio-py."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.testing

from actors import (
    Actor,
    ActorRef,
    ActorTerminated,
    ChildSpec,
    MailboxFull,
    Overflow,
    Restart,
    RouterRef,
    Routing,
    SpecError,
    SupervisorSpec,
    Undelivered,
    open_system,
    pool,
    router,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from actors import ActorSystem


class Routee(Actor):
    """An actor that counts its messages by its name, raises exceptions, waits for events, and calls functions."""

    def __init__(self, got: Counter[str]) -> None:
        self.got = got

    async def receive(self, message: Any) -> object:
        if isinstance(message, Exception):
            raise message
        if isinstance(message, trio.Event):
            await message.wait()
        elif callable(message):
            return await message(self)
        self.got[self.ref.name] += 1
        return self.ref.name


def modulo(message: int) -> int:
    """Return the key of a message that is a number."""
    return message % 1_000


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def routees(system: ActorSystem, got: Counter[str], names: str, **options: Any) -> list[ActorRef]:
    """Spawn one actor for each letter of ``names``."""
    return [await system.spawn(Routee, got, name=name, **options) for name in names]


async def routed(system: ActorSystem, refs: Sequence[ActorRef], **options: Any) -> RouterRef:
    """Spawn a router over actors."""
    ref: Any = await system.spawn(router(refs, **options), name="router")
    return cast("RouterRef", ref)


# RoutersSpec, "The router group"


@pytest.mark.parametrize("routing", list(Routing))
async def test_messages_are_spread_over_the_routees(routing: Routing) -> None:
    """Spec "route messages across routees". Each rule of the pool delivers each message to exactly one of them."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await routed(system, await routees(system, got, "abc"), routing=routing)
        for number in range(60):
            await ref.tell(number)
        await settle()
        assert (set(got), sum(got.values())) == ({"a", "b", "c"}, 60)
        if routing is Routing.ROUND_ROBIN:
            assert set(got.values()) == {20}


async def test_without_routees_a_message_is_refused() -> None:
    """Spec "publish Dropped messages when there are no routees available". Here the sender gets an error at once."""
    got = Counter[str]()
    async with open_system() as system:
        [gone] = await routees(system, got, "a")
        await gone.stop()
        ref = await routed(system, [gone])
        assert ref.members() == ()
        for _ in range(2):
            with pytest.raises(ActorTerminated, match="/router has no members"):
                await ref.tell("x")
            with pytest.raises(ActorTerminated, match="/router has no members"):
                ref.tell_nowait("x")
            with pytest.raises(ActorTerminated, match="/router has no members"):
                await ref.ask("x")
            assert await ref.broadcast("x") == 0
            [last] = await routees(system, got, "b")
            ref.add(last)
            assert await ref.ask("x") == "b"
            await last.stop()
        assert ref.alive


async def test_changing_set_of_routees() -> None:
    """Spec "handle a changing set of routees". In Pekko the receptionist changes it, here ``add`` and ends do."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "abc")
        ref = await routed(system, refs)
        await refs[1].stop()
        assert [each.name for each in ref.members()] == ["a", "c"]
        assert {await ref.ask(number) for number in range(4)} == {"a", "c"}
        [new] = await routees(system, got, "d")
        ref.add(new)
        ref.add(new)
        ref.add(refs[1])
        assert ref.statistics().members == 3
        assert {await ref.ask(number) for number in range(3)} == {"a", "c", "d"}
        assert ref.remove(new)
        assert not ref.remove(new)
        assert {await ref.ask(number) for number in range(4)} == {"a", "c"}
        assert new.alive


async def test_routee_that_is_restarted_stays(autojump_clock: MockClock) -> None:
    """A failure of a routee is for its own supervisor. It keeps its place, and its mailbox."""
    got = Counter[str]()
    async with open_system() as system:
        ref = await routed(system, await routees(system, got, "ab", restart=Restart.PERMANENT))
        for _ in range(2):
            await ref.tell(ValueError("crash"))
        assert {await ref.ask(1), await ref.ask(2)} == {"a", "b"}
        assert ref.statistics().members == 2
        assert autojump_clock.autojump_threshold == 0


async def test_end_of_the_router_does_not_end_its_routees() -> None:
    """A group router owns none of its routees, also with draining. It leaves no watch with them."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "ab")
        for drain in (False, True):
            ref = await routed(system, refs)
            assert [each.statistics().watchers for each in refs] == [1, 1]
            await ref.broadcast("x")
            await ref.stop(drain=drain)
            assert [each.statistics().watchers for each in refs] == [0, 0]
            assert ref.members() == ()
            with pytest.raises(ActorTerminated, match="is terminated"):
                await ref.tell("x")
            with pytest.raises(ActorTerminated, match="is terminated"):
                ref.add(refs[0])
            with pytest.raises(ActorTerminated, match="is terminated"):
                await ref.broadcast("x")
        await settle()
        assert got == {"a": 2, "b": 2}
        assert all(each.alive for each in refs)


# Consistent hashing, as RoutingLogicSpec has it


async def test_most_keys_keep_their_routee() -> None:
    """If a routee is added or ends, only keys of that routee change theirs."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "abcd")
        ref = await routed(system, refs, routing="consistent_hash", key=modulo)
        before = [await ref.ask(key) for key in range(100)]
        assert before == [await ref.ask(1_000 + key) for key in range(100)]
        await refs[3].stop()
        after = [await ref.ask(key) for key in range(100)]
        assert [name for name in before if name != "d"] == [
            new for old, new in zip(before, after, strict=True) if old != "d"
        ]
        [new] = await routees(system, got, "e")
        ref.add(new)
        last = [await ref.ask(key) for key in range(100)]
        assert {new for old, new in zip(after, last, strict=True) if old != new} == {"e"}


# Full mailboxes, and senders that wait


async def test_full_routee_is_passed_over() -> None:
    """A message goes to another routee if the chosen one is full. If all are, the sender waits, in either order."""
    got, gate = Counter[str](), trio.Event()
    async with open_system() as system, trio.open_nursery() as nursery:
        refs = await routees(system, got, "ab", mailbox_size=1)
        ref = await routed(system, refs)
        for each in refs:
            await each.tell(gate)
        await settle()
        await refs[0].tell("filled")
        await ref.tell("1")
        with pytest.raises(MailboxFull):
            ref.tell_nowait("2")
        nursery.start_soon(ref.tell, "3")
        await settle()
        assert ref.statistics().mailbox.senders_waiting == 1
        assert ref.statistics().mailbox.depth == 2
        gate.set()
        await settle()
        assert sum(got.values()) == 5


async def test_sender_that_waits_gets_another_routee() -> None:
    """If the routee ends at which a sender waits for room, another one gets the message."""
    got, gate = Counter[str](), trio.Event()
    async with open_system() as system, trio.open_nursery() as nursery:
        refs = await routees(system, got, "ab", mailbox_size=1)
        ref = await routed(system, refs)
        for each in refs:
            await each.tell(gate)
        await settle()
        for each in refs:
            await each.tell("filled")
        nursery.start_soon(ref.tell, "waits")
        await settle()
        [at] = [each for each in refs if each.statistics().mailbox.senders_waiting]
        at.kill()
        await at.terminated()
        gate.set()
        await settle()
        assert sum(got.values()) == 3


async def test_last_routee_ends_while_a_sender_waits() -> None:
    """A sender that waits for room gets an error at once when the last routee has ended."""
    gate = trio.Event()
    async with open_system() as system, trio.open_nursery() as nursery:
        [last] = await routees(system, Counter(), "a", mailbox_size=1)
        ref = await routed(system, [last])
        await last.tell(gate)
        await settle()
        await last.tell("filled")
        errors: list[str] = []

        async def send() -> None:
            with pytest.raises(ActorTerminated) as info:
                await ref.tell("waits")
            errors.append(str(info.value))

        nursery.start_soon(send)
        await settle()
        last.kill()
        await settle()
        assert errors == ["/router has no members"]


@pytest.mark.parametrize(
    ("overflow", "error"), [(Overflow.REJECT, MailboxFull), (Overflow.DROP_NEW, None), (Overflow.DROP_OLDEST, None)]
)
async def test_overflow_policy_of_the_routee_decides(overflow: Overflow, error: type[Exception] | None) -> None:
    """If all routees are full, the policy of the one with the fewest messages decides, and not that of the router."""
    gate = trio.Event()
    async with open_system() as system:
        refs = await routees(system, Counter(), "a", mailbox_size=1, overflow=overflow)
        ref = await routed(system, refs)
        with system.dead_letters() as letters:
            await ref.tell(gate)
            await settle()
            await ref.tell("1")
            for send in (ref.tell("2"), ref.tell("3")):
                if error is None:
                    await send
                else:
                    with pytest.raises(error):
                        await send
            assert len(letters.events) == (0 if error else 2)
            assert {each.why for each in letters.events} <= {Undelivered.OVERFLOW}
        gate.set()


async def test_routee_never_asks_itself() -> None:
    """An ask of a routee goes to another routee. A routee that is the only one gets an error, and so does a tell
    for which it would wait for room in its own mailbox.
    """
    got = Counter[str]()

    async with open_system() as system:
        refs = await routees(system, got, "ab", mailbox_size=1)
        ref = await routed(system, refs)

        async def ask(_: Routee) -> object:
            return await ref.ask("who")

        async def tell(routee: Routee) -> None:
            await routee.ref.tell("filled")
            await ref.tell("own")

        for asker, other in (("a", "b"), ("a", "b"), ("b", "a")):
            assert await next(each for each in refs if each.name == asker).ask(ask) == other
        await refs[1].stop()
        for message in (tell, ask):
            [again] = await routees(system, got, "c", mailbox_size=1)
            ref.add(again)
            ref.remove(refs[0])
            with pytest.raises(ActorTerminated):
                await again.ask(message)
            await again.terminated()


# Asks that are given up


async def test_ask_that_is_given_up_frees_its_room() -> None:
    """An ask that is given up leaves the mailbox of the routee, also if that has left the router meanwhile."""
    got, gate = Counter[str](), trio.Event()
    async with open_system() as system:
        [ref] = await routees(system, got, "a", mailbox_size=1)
        by = await routed(system, [ref])
        await ref.tell(gate)
        await settle()
        for leaves in (False, True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(by.ask, "given up")
                await settle()
                assert ref.statistics().mailbox.depth == 1
                if leaves:
                    by.remove(ref)
                nursery.cancel_scope.cancel()
            assert ref.statistics().mailbox.depth == 0
        gate.set()
        await settle()
        assert got == {"a": 1}


async def test_ask_that_waited_for_room_can_be_given_up_after_the_routee_left() -> None:
    """The same for an ask that has waited for room in the mailbox."""
    got, gates = Counter[str](), [trio.Event(), trio.Event()]
    async with open_system() as system:
        [ref] = await routees(system, got, "a", mailbox_size=1)
        by = await routed(system, [ref])
        await ref.tell(gates[0])
        await settle()
        await ref.tell(gates[1])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(by.ask, "given up")
            await settle()
            by.remove(ref)
            gates[0].set()
            await settle()
            assert (ref.statistics().mailbox.depth, ref.statistics().mailbox.senders_waiting) == (1, 0)
            nursery.cancel_scope.cancel()
        assert ref.statistics().mailbox.depth == 0
        gates[1].set()
        await settle()
        assert got == {"a": 2}


# The router as an actor


async def test_restarted_router_keeps_its_routees() -> None:
    """A router that is killed and restarted has the members that it had, those that were added included."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "abc")
        by: Any = await system.spawn(router(refs[:2]), name="router", restart=Restart.PERMANENT)
        by.add(refs[2])
        await refs[0].stop()
        by.kill()
        assert {await by.ask(number) for number in range(4)} == {"b", "c"}
        await settle()
        assert (by.statistics().restarts, by.statistics().members) == (1, 2)
        assert {await by.ask(number) for number in range(4)} == {"b", "c"}
        assert [each.statistics().watchers for each in refs] == [0, 1, 1]


async def test_router_in_a_supervisor() -> None:
    """A router can be a child of a supervisor, for which it is a worker: it has no children."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "ab")
        above = await system.supervise(SupervisorSpec("one_for_one", [ChildSpec("router", router(refs))]))
        ref = above.child("router")
        assert ref is not None
        assert {await ref.ask(1), await ref.ask(2)} == {"a", "b"}
        assert (above.counts().supervisors, above.counts().workers) == (0, 1)
        assert not above.children()[0].is_supervisor
        await above.stop()
        assert all(each.alive for each in refs)


async def test_actor_in_two_routers() -> None:
    """An actor can be a member of several routers."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "a")
        first: Any = await system.spawn(router(refs))
        second: Any = await system.spawn(router(refs, routing="random"))
        await first.tell("x")
        await second.tell("x")
        await refs[0].stop(drain=True)
        assert (first.members(), second.members(), got) == ((), (), {"a": 2})


async def test_message_before_the_start_of_the_router() -> None:
    """A message to a router that is being started is routed by the start, or refused if there is no routee."""
    got = Counter[str]()
    async with open_system() as system:
        refs = await routees(system, got, "a")
        for number in range(20):
            name, letters = f"r{number}", system.dead_letters()
            members = refs if number % 2 else []

            async def send(name: str = name) -> None:
                while (ref := system.find(f"/{name}")) is None:
                    await trio.lowlevel.checkpoint()
                try:
                    ref.tell_nowait("early")
                except ActorTerminated:
                    got["refused"] += 1

            with letters:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    by: Any = await system.spawn(router(members), name=name)
                await settle()
                got["dead"] += len(letters.events)
            assert by.statistics().mailbox.depth == 0
        assert got["a"] == got["refused"] + got["dead"] == 10


async def test_wrong_members() -> None:
    """Members that are no handles of single actors are a SpecError, and so is a key without its rule."""
    junk: Any
    async with open_system() as system:
        pooled = await system.spawn(pool(Actor, 1))
        above = await system.supervise(SupervisorSpec())
        inner = await system.spawn(router([]))
        for junk in (1, [1], ["a"], [pooled], [above], [inner], None):
            with pytest.raises(SpecError):
                router(junk)
        with pytest.raises(SpecError, match="key"):
            router([], key=len)
        with pytest.raises(SpecError, match="routing"):
            router([], routing="fastest")
        outer: Any = await system.spawn(router([]))
        for junk in (pooled, "x", outer):
            with pytest.raises(SpecError):
                outer.add(junk)
