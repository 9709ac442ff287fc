"""The outbox: messages leave in their order, as many at once as the limits allow, and lost messages are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from _cluster_engine import MemoryBus

from actors.cluster._outbox import SENT_BYTES, SENT_MESSAGES, Outbox
from actors.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.define(eq=False)
class SlowBus(MemoryBus):
    """A bus that notes the messages of each sending, and answers as the test says."""

    sent: list[list[tuple[str, bytes]]] = attrs.Factory(list[list[tuple[str, bytes]]])
    answers: list[int | LogUnavailable] = attrs.Factory(list["int | LogUnavailable"])

    async def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        """Note the messages."""
        self.sent.append(list(messages))
        await trio.testing.wait_all_tasks_blocked()
        answer = self.answers.pop(0) if self.answers else 0
        if isinstance(answer, LogUnavailable):
            raise answer
        return answer


async def sent_by(outbox: Outbox) -> None:
    """Run the outbox until it has sent its messages."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()


async def test_all_waiting_messages_go_at_once() -> None:
    """Messages of one moment are sent at once, to whichever node they go, in the order in which they were posted."""
    bus = SlowBus()
    outbox = Outbox(bus)
    messages = [("ab"[number % 2], b"%d" % number) for number in range(10)]
    for node, body in messages:
        outbox.post(node, body)
    await sent_by(outbox)
    assert bus.sent == [messages]


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([1] * (SENT_MESSAGES + 1), [SENT_MESSAGES, 1]),
        ([SENT_BYTES // 2, SENT_BYTES // 2, 1], [2, 1]),
        ([SENT_BYTES + 1, SENT_BYTES + 1, 1], [1, 1, 1]),
        ([1, SENT_BYTES, 1], [1, 1, 1]),
    ],
)
async def test_limits_of_one_sending(sizes: list[int], batches: list[int]) -> None:
    """One sending has at most so many messages and bytes. A message above the limit goes alone, and keeps its place."""
    bus = SlowBus()
    outbox = Outbox(bus)
    for size in sizes:
        outbox.post("a", bytes(size))
    await sent_by(outbox)
    assert [len(batch) for batch in bus.sent] == batches
    assert [len(body) for batch in bus.sent for _, body in batch] == sizes


async def test_lost_messages_are_counted() -> None:
    """Messages count as dropped if no node listens, or if the sending failed. Later messages are sent."""
    bus = SlowBus(answers=[1, LogUnavailable("away"), 0])
    outbox = Outbox(bus)
    for number in range(2 * SENT_MESSAGES + 1):
        outbox.post("a", b"%d" % number)
    await sent_by(outbox)
    assert [len(batch) for batch in bus.sent] == [SENT_MESSAGES, SENT_MESSAGES, 1]
    assert outbox.dropped == 1 + SENT_MESSAGES


async def test_room_is_free_again() -> None:
    """Messages above the room are dropped. Room is free again as soon as messages are sent."""
    bus = SlowBus()
    outbox = Outbox(bus, room=10)
    for _ in range(2):
        outbox.post("a", bytes(10))
    await sent_by(outbox)
    outbox.post("a", bytes(10))
    await sent_by(outbox)
    assert (len(bus.sent), outbox.dropped) == (2, 1)


@attrs.define(eq=False)
class Source:
    """The signals of one session for a node."""

    node: str
    signals: list[bytes]

    def take_signal(self) -> tuple[str, bytes] | None:
        """Return the next signal."""
        return (self.node, self.signals.pop(0)) if self.signals else None


async def test_signals_leave_last_and_in_turn() -> None:
    """Signals are sent after all other messages, one of each session in turn, and take no room of the messages."""
    bus = SlowBus()
    outbox = Outbox(bus, room=3)
    one, other, gone = Source("a", [b"1", b"2", b"3"]), Source("b", [b"x"]), Source("a", [b"-"])
    for source in (one, other, gone):
        outbox.schedule(source)
    outbox.forget(gone)
    for body in (b"p", b"q", b"r"):
        outbox.post("b", body)
    await sent_by(outbox)
    assert bus.sent == [[("b", b"p"), ("b", b"q"), ("b", b"r"), ("a", b"1"), ("b", b"x"), ("a", b"2"), ("a", b"3")]]
    assert outbox.dropped == 0


@pytest.mark.parametrize(
    ("size", "batches"), [(1, [SENT_MESSAGES, 1]), (SENT_BYTES // 2, [2] * (SENT_MESSAGES // 2) + [1])]
)
async def test_limits_of_signals_in_one_sending(size: int, batches: list[int]) -> None:
    """The limits of one sending hold for signals, too."""
    bus = SlowBus()
    outbox = Outbox(bus)
    outbox.schedule(Source("a", [bytes(size)] * (SENT_MESSAGES + 1)))
    await sent_by(outbox)
    assert [len(batch) for batch in bus.sent] == batches
