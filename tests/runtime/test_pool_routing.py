"""Pools: which member gets a message, and how many messages wait."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest
import trio
from _runtime_pools import Gate, by_key, settle, started

from actors import (
    ActorTerminated,
    MailboxFull,
    Routing,
    Undelivered,
    open_system,
)
from actors.runtime._lifecycle import DRAIN
from actors.runtime._ref import cell_of


async def test_members_take_turns() -> None:
    """By default, the members of a pool get the messages in turn, tells and asks alike."""
    got: list[tuple[str, object]] = []
    async with open_system() as system:
        ref = await started(system, got, 3)
        assert [await ref.ask(number) for number in range(4)] == ["1", "2", "3", "1"]
        for number in range(4, 7):
            await ref.tell(number)
        ref.tell_nowait(7)
        await settle()
        assert sorted(name for name, _ in got) == ["1", "1", "1", "2", "2", "2", "3", "3"]
        assert (ref.path, [each.path for each in ref.members()]) == ("/pool", [f"/pool/{n}" for n in "123"])
        now = ref.statistics()
        assert (now.members, now.children, now.mailbox.size, now.mailbox.accepted) == (3, 3, 192, 8)


async def test_full_member_is_passed_over() -> None:
    """A message for a full member goes to another one that has room. If all are full, a tell waits."""
    got: list[tuple[str, object]] = []
    gates = [Gate(), Gate()]
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await started(system, got, 2, mailbox_size=1)
        for gate in gates:
            await ref.tell(gate)
        await settle()
        ref.tell_nowait("a")
        ref.tell_nowait("b")
        with pytest.raises(MailboxFull):
            ref.tell_nowait("c")
        nursery.start_soon(ref.tell, "c")
        await settle()
        assert (ref.statistics().mailbox.senders_waiting, ref.statistics().mailbox.depth) == (1, 2)
        gates[0].event.set()
        await settle()
        assert ref.statistics().mailbox.senders_waiting == 0
        gates[1].event.set()
        await settle()
        assert {message for _, message in got[2:]} == {"a", "b", "c"}


async def test_stopping_member_is_passed_over() -> None:
    """A busy member that is being stopped gets no more tells, although there is room in its mailbox."""
    got: list[tuple[str, object]] = []
    gates = [Gate(), Gate()]
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await started(system, got, 2)
        for message in (*gates, "a", "b"):
            await ref.tell(message)
        await settle()
        nursery.start_soon(partial(ref.members()[0].stop, drain=True))
        await settle()
        for message in ("c", "d", "e"):
            await ref.tell(message)
        for gate in gates:
            gate.event.set()
        await settle()
        assert {(name, message) for name, message in got if message in {"c", "d", "e"}} == {
            ("2", message) for message in ("c", "d", "e")
        }


async def test_stopping_pool_refuses_messages_for_busy_members() -> None:
    """A pool that is being stopped refuses tells at once, also while its members are busy and have room."""
    got: list[tuple[str, object]] = []
    gate = Gate()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await started(system, got, 1)
        for message in (gate, "a"):
            await ref.tell(message)
        await settle()
        refused: list[str] = []

        async def tell_during_stop() -> None:
            for _ in range(20):
                try:
                    await ref.tell("late")
                except ActorTerminated:
                    refused.append(ref.statistics().state)
                await trio.lowlevel.checkpoint()

        cell_of(ref).stop_soon(DRAIN, 5)
        nursery.start_soon(tell_during_stop)
        await settle()
        assert refused == ["stopping"] * 20
        gate.event.set()
    assert "late" not in {message for _, message in got}


@pytest.mark.parametrize(("overflow", "handled"), [("drop_new", "a"), ("drop_oldest", "b")])
async def test_full_pool_does_as_its_policy_says(overflow: str, handled: str) -> None:
    """If all members are full, the overflow policy of the mailboxes decides."""
    got: list[tuple[str, object]] = []
    gate = Gate()
    async with open_system() as system:
        ref = await started(system, got, 1, mailbox_size=1, overflow=overflow)
        await ref.tell(gate)
        await settle()
        with system.dead_letters() as letters:
            await ref.tell("a")
            await ref.tell("b")
            assert [each.why for each in letters.events] == [Undelivered.OVERFLOW]
        gate.event.set()
        await settle()
        assert [message for _, message in got[1:]] == [handled]
        assert ref.statistics().mailbox.dropped == 1


async def test_broadcast_reaches_each_member() -> None:
    """A broadcast puts the message into each mailbox, and waits for those that are full."""
    got: list[tuple[str, object]] = []
    gate = Gate()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await started(system, got, 3, mailbox_size=1)
        assert await ref.broadcast("all") == 3
        await settle()
        assert sorted(got) == [("1", "all"), ("2", "all"), ("3", "all")]
        await ref.tell(gate)
        await settle()
        await ref.members()[0].tell("fills")
        nursery.start_soon(ref.broadcast, "again")
        await settle()
        assert sorted(got[4:]) == [("2", "again"), ("3", "again")]
        gate.event.set()
        await settle()
        assert got[6:] == [("1", "fills"), ("1", "again")]


async def test_broadcast_to_a_full_member_that_rejects() -> None:
    """If a member rejects a broadcast, the others have it, and MailboxFull is raised."""
    got: list[tuple[str, object]] = []
    gate = Gate()
    async with open_system() as system:
        ref = await started(system, got, 2, mailbox_size=1, overflow="reject")
        await ref.tell(gate)
        await settle()
        await ref.members()[0].tell("fills")
        with pytest.raises(MailboxFull):
            await ref.broadcast("all")
        await settle()
        assert got[1:] == [("2", "all")]
        gate.event.set()


async def test_least_waiting_member_is_chosen() -> None:
    """With ``least_waiting``, a busy member gets no message while another one is idle or has fewer messages."""
    got: list[tuple[str, object]] = []
    gate = Gate()
    async with open_system() as system:
        ref = await started(system, got, 3, routing=Routing.LEAST_WAITING)
        await ref.tell(gate)
        await settle()
        busy = got[0][0]
        for number in range(8):
            assert await ref.ask(number) != busy
        assert set(Counter(name for name, _ in got[1:]).values()) == {4}
        gate.event.set()


async def test_random_members() -> None:
    """With ``random``, all members get messages, and a full one is passed over."""
    got: list[tuple[str, object]] = []
    async with open_system() as system:
        ref = await started(system, got, 2, routing="random", mailbox_size=8)
        for number in range(16):
            ref.tell_nowait(number)
        await settle()
        assert Counter(name for name, _ in got) == {"1": 8, "2": 8}


async def test_key_stays_with_its_member() -> None:
    """With ``consistent_hash``, messages with equal keys are handled by one member, in order, over its restarts."""
    got: list[tuple[str, Any]] = []
    async with open_system() as system:
        ref = await started(system, got, 4, routing="consistent_hash", key=by_key)
        for turn in range(3):
            for key in range(40):
                await ref.tell((key, turn))
            await settle()
            await ref.members()[turn].tell(ValueError("x"))
            await settle()
        owners = {key: {name for name, message in got if message[0] == key} for key in range(40)}
        assert all(len(each) == 1 for each in owners.values())
        assert {name for each in owners.values() for name in each} == {"1", "2", "3", "4"}
        assert [turn for _, (key, turn) in got if key == 7] == [0, 1, 2]


async def test_key_function_that_raises() -> None:
    """An exception of the key function goes to the sender. The pool goes on."""
    async with open_system() as system:
        ref = await started(system, [], 2, routing="consistent_hash", key=by_key)
        with pytest.raises(AssertionError):
            await ref.tell("no tuple")
        with pytest.raises(TypeError, match="unhashable"):
            await ref.ask(([], 1))
        assert await ref.ask((1, 1)) in {"1", "2"}
