"""Routers whose members are full, or end while a sender waits, after the group router of Pekko's RoutersSpec."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
import trio.testing
from conformance.routees import Routee, make_busy, routed, routees, settle

from actors import (
    ActorTerminated,
    MailboxFull,
    Overflow,
    Undelivered,
    open_system,
)

# Full mailboxes, and senders that wait


async def test_full_routee_is_passed_over() -> None:
    """A message goes to another routee if the chosen one is full. If all are, the sender waits, in either order."""
    got, gate = Counter[str](), trio.Event()
    async with open_system() as system, trio.open_nursery() as nursery:
        refs = await routees(system, got, "ab", mailbox_size=1)
        ref = await routed(system, refs)
        await make_busy(refs, gate)
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
        await make_busy(refs, gate)
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
