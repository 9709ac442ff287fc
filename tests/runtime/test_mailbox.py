"""The mailbox: a queue with a limited size, first in first out, with a policy for overflow."""

from __future__ import annotations

from collections import deque

import pytest
import trio
import trio.testing
from _probes import Member, World, hang
from hypothesis import given
from hypothesis import strategies as st

from actors import ActorTerminated, DeadLetter, MailboxFull, MailboxSpec, Overflow, SpecError, Undelivered, open_system
from actors.runtime._mailbox import Mailbox


class MailboxOwner:
    """A mailbox owner that records the items that the overflow policy drops."""

    path = "/owner"

    def __init__(self) -> None:
        self.dropped: list[object] = []

    def discard(self, item: object, why: Undelivered) -> None:
        assert why is Undelivered.OVERFLOW
        self.dropped.append(item)


@given(st.integers(1, 4), st.sampled_from(Overflow), st.lists(st.sampled_from(["put", "take", "back"]), max_size=40))
def test_mailbox_equals_a_bounded_queue(size: int, overflow: Overflow, steps: list[str]) -> None:
    """The mailbox accepts and drops the same items as a simple bounded queue with the same overflow policy."""
    owner = MailboxOwner()
    mailbox, model, dropped = Mailbox(owner, MailboxSpec(size=size, overflow=overflow)), deque[int](), list[int]()
    for number, step in enumerate(steps):
        if step == "take" and model:
            assert mailbox.take() == model.popleft()
        elif step == "back" and model:
            mailbox.put_back([model[0], number])
            model.appendleft(number)
            model.appendleft(model[1])
        elif step == "put" and len(model) < size:
            mailbox.put_nowait(number)
            model.append(number)
        elif step == "put" and overflow in {Overflow.WAIT, Overflow.REJECT}:
            with pytest.raises(MailboxFull):
                mailbox.put_nowait(number)
        elif step == "put":
            mailbox.put_nowait(number)
            if overflow is Overflow.DROP_OLDEST:
                dropped.extend([model.popleft() for _ in range(len(model) - size + 1)])
                model.append(number)
            else:
                dropped.append(number)
        assert list(mailbox.items) == list(model)
    assert owner.dropped == dropped
    assert mailbox.statistics().dropped == len(dropped)


async def test_waiting_senders_are_served_in_order() -> None:
    """Senders that wait for room get it in the order in which they came. A cancelled sender is skipped."""
    mailbox = Mailbox(MailboxOwner(), MailboxSpec(size=1))
    await mailbox.put(0)
    async with trio.open_nursery() as nursery:
        scopes: list[trio.CancelScope] = []

        async def put(number: int) -> None:
            with trio.CancelScope() as scope:
                scopes.append(scope)
                await mailbox.put(number)

        for number in (1, 2, 3):
            nursery.start_soon(put, number)
            await trio.testing.wait_all_tasks_blocked()
        scopes[1].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert mailbox.statistics().senders_waiting == 2
        assert [mailbox.take(), mailbox.take(), mailbox.take()] == [0, 1, 3]
    assert mailbox.statistics().depth == 0


async def test_waiting_sender_is_not_overtaken() -> None:
    """If a sender already waits for room in the mailbox, ``put_nowait`` cannot take this room."""
    mailbox = Mailbox(MailboxOwner(), MailboxSpec(size=1))
    await mailbox.put(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.put, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert mailbox.take() == 0
        with pytest.raises(MailboxFull):
            mailbox.put_nowait(2)
        assert mailbox.take() == 1


async def test_put_back_items_make_no_room() -> None:
    """If messages are put back into a full mailbox, a waiting sender still waits.

    It may put its message only when the mailbox has fewer messages than its size.
    """
    mailbox = Mailbox(MailboxOwner(), MailboxSpec(size=1))
    await mailbox.put(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.put, 1)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.put_back(["a", "b"])
        assert [mailbox.take() for _ in range(2)] == ["a", "b"]
        assert mailbox.statistics().senders_waiting == 1
        assert [mailbox.take() for _ in range(2)] == [0, 1]


async def test_refuse_wakes_senders_and_keeps_items() -> None:
    """After ``refuse``, waiting and later senders get ActorTerminated. The items in the mailbox stay."""
    mailbox = Mailbox(MailboxOwner(), MailboxSpec(size=1))
    await mailbox.put(0)
    async with trio.open_nursery() as nursery:

        async def put() -> None:
            with pytest.raises(ActorTerminated, match="/owner is stopping"):
                await mailbox.put(1)

        nursery.start_soon(put)
        nursery.start_soon(put)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.refuse("stopping")
    with pytest.raises(ActorTerminated):
        mailbox.put_nowait(2)
    assert mailbox.take() == 0


@pytest.mark.parametrize(
    ("overflow", "kept", "lost"), [(Overflow.DROP_OLDEST, [1, 2], 0), (Overflow.DROP_NEW, [0, 1], 2)]
)
async def test_dropped_message_is_a_dead_letter(overflow: Overflow, kept: list[int], lost: int) -> None:
    """A message that is dropped by an overflow policy becomes a dead letter."""
    async with open_system() as system:
        world = World()
        gate = trio.Event()

        async def wait(_: Member) -> None:
            await gate.wait()

        ref = await system.spawn(Member, "a", world, mailbox_size=2, overflow=overflow)
        await ref.tell(wait)
        await trio.testing.wait_all_tasks_blocked()
        with system.dead_letters() as letters:
            for number in range(3):
                await ref.tell(number)
            assert await anext(letters) == DeadLetter(lost, ref.path, Undelivered.OVERFLOW)
        assert ref.statistics().mailbox.dropped == 1
        gate.set()
        await ref.stop(drain=True)
        assert world.received == kept


@pytest.mark.parametrize("overflow", [Overflow.REJECT, "reject"])
async def test_reject_raises(overflow: Overflow) -> None:
    """With the policy REJECT, ``tell``, ``ask`` and ``tell_nowait`` to a full mailbox raise MailboxFull."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World(), mailbox_size=1, overflow=overflow)
        await ref.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(1)
        with pytest.raises(MailboxFull):
            await ref.tell(2)
        with pytest.raises(MailboxFull):
            await ref.ask(2)
        with pytest.raises(MailboxFull):
            ref.tell_nowait(2)
        ref.kill()


async def test_cancelled_tell_is_not_sent() -> None:
    """If ``tell`` is cancelled and raises Cancelled, its message was not sent."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World(), mailbox_size=1000)
        with trio.CancelScope() as scope:
            scope.cancel()
            sent = 0
            for number in range(200):
                await ref.tell(number)
                sent += 1
        assert scope.cancelled_caught
        assert ref.statistics().mailbox.accepted == sent < 200


async def test_tells_let_others_run() -> None:
    """A task that calls ``tell`` without a pause still lets the actor handle messages."""
    async with open_system() as system:
        ref = await system.spawn(Member, "a", World(), mailbox_size=100_000)
        for number in range(1000):
            await ref.tell(number)
        assert ref.statistics().handled > 800


@pytest.mark.parametrize(
    ("options", "field"), [({"size": 0}, "size"), ({"stash": -1}, "stash"), ({"overflow": "x"}, "overflow")]
)
def test_bad_mailbox_spec_is_refused(options: dict[str, object], field: str) -> None:
    """A bad value in a MailboxSpec raises SpecError with the name of the field."""
    with pytest.raises(SpecError, match=field):
        MailboxSpec(**options)  # type: ignore[arg-type]  # the test passes a wrong value
