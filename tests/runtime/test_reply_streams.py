"""Replies in several parts: their order, backpressure and end, at the side of the caller and of the actor."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _probes import Member, World, hang

from actors import (
    ActorError,
    ActorRestarted,
    ActorTerminated,
    AskAbandoned,
    AskTimeout,
    MailboxFull,
    MessageUnhandled,
    Overflow,
    ReplyDropped,
    ReplyParts,
    ReplyStream,
    Restart,
    SpecError,
    open_system,
)
from actors.runtime._parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from actors import ActorRef

    Work = Callable[[Member], Awaitable[object]]
    Use = Callable[["Streamer", ReplyStream[object]], Awaitable[object]]


class Streamer(Member):
    """A Member that records how many parts it has sent, and how its streams ended."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self.sent = 0

    async def send(self, stream: ReplyStream[object], count: int, first: int = 0) -> None:
        """Send some numbers."""
        for number in range(first, first + count):
            await stream.send(number)
            self.sent += 1
            self.world.received.append(number)


def streaming(use: Use, *, in_task: bool = False) -> Work:
    """Return a message on which a Streamer opens a stream and uses it, in ``receive`` or in a task of its nursery."""

    async def work(member: Member) -> object:
        assert isinstance(member, Streamer)
        stream = member.context.stream()

        async def run(stream: ReplyStream[object]) -> None:
            with stream:
                await use(member, stream)
            member.world.journal.append(("left", member.name))

        if in_task:
            member.nursery.start_soon(run, stream)
        else:
            await run(stream)
        return "ignored"

    return work


def numbers(count: int) -> Use:
    """Return a use of a stream that sends ``count`` numbers."""

    async def use(member: Streamer, stream: ReplyStream[object]) -> None:
        await member.send(stream, count)

    return use


async def collect(ref: ActorRef, message: object, **options: Any) -> list[object]:
    """Return all parts of a reply."""
    with ref.ask_stream(message, **options) as parts:
        return [part async for part in parts]


@pytest.mark.parametrize("in_task", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5, 100])
async def test_parts_arrive_in_order(count: int, in_task: bool) -> None:
    """All parts arrive in the order in which they were sent, then the iterator ends."""
    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", World())
        message = streaming(numbers(count), in_task=in_task)
        assert await collect(ref, message, buffer=3) == list(range(count))
        assert await collect(ref, message) == list(range(count))
        assert await ref.ask("next") == "next"


@pytest.mark.parametrize("in_task", [False, True])
@pytest.mark.parametrize("buffer", [1, 2, PARTS])
async def test_actor_waits_for_a_slow_caller(buffer: int, in_task: bool) -> None:
    """At most ``buffer`` parts wait to be taken: then ``send`` waits. The message is sent with the first step."""
    world = World()
    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", world)
        with ref.ask_stream(streaming(numbers(100), in_task=in_task), buffer=buffer) as parts:
            await trio.testing.wait_all_tasks_blocked()
            assert world.received == []
            for taken in range(1, 10):
                assert await anext(parts) == taken - 1
                await trio.testing.wait_all_tasks_blocked()
                numbers_sent = [each for each in world.received if isinstance(each, int)]
                assert len(numbers_sent) == taken + buffer


@pytest.mark.parametrize("way", ["block", "free", "close"])
@pytest.mark.parametrize("in_task", [False, True])
async def test_actor_learns_that_its_caller_has_left(way: str, in_task: bool) -> None:
    """If the caller leaves, the block of the stream is cancelled. The actor lives on."""
    world = World()
    ended: list[str] = []

    async def use(member: Streamer, stream: ReplyStream[object]) -> None:
        try:
            await member.send(stream, 100)
        except trio.Cancelled:
            ended.append("cancelled")
            assert await_abandoned(stream)
            raise

    def await_abandoned(stream: ReplyStream[object]) -> bool:
        return not stream.wanted

    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", world)
        parts = ref.ask_stream(streaming(use, in_task=in_task))
        if way == "block":
            with parts:
                async for part in parts:
                    if part == 3:
                        break
        else:
            for _ in range(4):
                await anext(parts)
        if way == "close":
            parts.close()
            parts.close()
            with pytest.raises(StopAsyncIteration):
                await anext(parts)
        del parts
        gc.collect()
        await trio.testing.wait_all_tasks_blocked()
        assert ended == ["cancelled"]
        assert await ref.ask("next") == "next"
        assert ref.statistics().restarts == 0
        assert ref.statistics().tasks == 0


async def send_for_ever(stream: ReplyStream[object]) -> None:
    while True:
        await stream.send("part")


async def test_send_outside_of_a_block_raises() -> None:
    """A ``send`` outside of the stream's block raises AskAbandoned when the caller has left, and when it is closed."""
    seen: list[bool] = []

    async def work(member: Member) -> None:
        stream = member.context.stream()

        async def later() -> None:
            with pytest.raises(AskAbandoned):
                await send_for_ever(stream)
            seen.append(await stream.abandoned())

        member.nursery.start_soon(later)

    async def close_and_send(member: Member) -> None:
        stream = member.context.stream()
        await stream.send("one")
        stream.close()
        stream.close()
        with pytest.raises(AskAbandoned):
            await stream.send("two")
        seen.append(await stream.abandoned())

    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", World())
        with ref.ask_stream(work) as parts:
            assert await anext(parts) == "part"
        await trio.testing.wait_all_tasks_blocked()
        assert await collect(ref, close_and_send) == ["one"]
        await ref.ask("next")
        assert seen == [True, False]


async def take_all(parts: ReplyParts[object], taken: list[object]) -> None:
    async for part in parts:
        taken.append(part)  # noqa: PERF401  -- those before an error count


async def fail(member: Streamer, stream: ReplyStream[object]) -> None:
    await member.send(stream, 3)
    raise LookupError("no good")


async def hang_after_three(member: Streamer, stream: ReplyStream[object]) -> None:
    await member.send(stream, 3)
    await trio.sleep_forever()


async def refuse(member: Streamer, stream: ReplyStream[object]) -> None:
    await member.send(stream, 3)
    stream.fail(LookupError("refused"))


async def lose(member: Member) -> None:
    stream = member.context.stream()
    for _ in range(3):
        await stream.send("part")


@pytest.mark.parametrize("in_task", [False, True])
@pytest.mark.parametrize(
    ("use", "end", "error"),
    [
        (fail, None, ActorRestarted),
        (hang_after_three, "stop", ActorTerminated),
        (hang_after_three, "kill", ActorRestarted),
        (refuse, None, LookupError),
    ],
)
async def test_caller_gets_the_error_of_an_ask(
    use: Use, end: str | None, error: type[Exception], in_task: bool
) -> None:
    """If the actor fails, stops or refuses, the caller gets the parts that were sent, then the error of an ask."""
    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", World(), restart=Restart.PERMANENT)
        taken: list[object] = []
        with ref.ask_stream(streaming(use, in_task=in_task)) as parts:
            taken.append(await anext(parts))
            await trio.testing.wait_all_tasks_blocked()
            if end == "stop":
                await ref.stop(timeout=0)
            elif end == "kill":
                ref.kill()
                await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(error):
                await take_all(parts, taken)
            with pytest.raises(StopAsyncIteration):
                await anext(parts)
        assert taken == [0, 1, 2]


async def test_errors_before_the_first_part() -> None:
    """The iterator raises the error if the actor has ended, has no room, loses the stream or knows no such message."""
    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", World(), mailbox_size=1, overflow=Overflow.REJECT)
        with pytest.raises(MessageUnhandled):
            await collect(ref, "unknown")
        with pytest.raises(ReplyDropped):
            await collect(ref, lose)
        await ref.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell("in the only place")
        with pytest.raises(MailboxFull):
            await collect(ref, "no room")
        await ref.stop(timeout=0)
        with pytest.raises(ActorTerminated):
            await collect(ref, "gone")


async def test_ask_and_stream_fit_together() -> None:
    """A value that ``receive`` returns is a stream of one part. A plain ``ask`` takes the first part, and leaves."""
    world = World()

    async def defer(member: Member) -> object:
        reply = member.context.defer()
        reply.send("deferred")
        return reply

    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", world)
        assert await collect(ref, "value") == ["value"]
        assert await collect(ref, defer) == ["deferred"]
        for in_task in (False, True):
            world.received.clear()
            assert await ref.ask(streaming(numbers(100), in_task=in_task)) == 0
            await ref.ask("next")
            assert world.received == [0, "next"]
        with pytest.raises(ReplyDropped, match="sent no part"):
            await ref.ask(streaming(numbers(0)))
        world.take()
        await ref.tell(streaming(numbers(3)))
        await ref.ask("after")
        assert world.take() == [("left", "a")]
        assert world.received == [0, "next", "after"]


async def test_each_part_has_a_time_limit(autojump_clock: MockClock) -> None:
    """With ``timeout``, AskTimeout is raised if the next part is late. A limit of the whole reply is a cancel scope."""
    del autojump_clock
    ended: list[float] = []

    async def slow(_: Streamer, stream: ReplyStream[object]) -> None:
        try:
            for seconds in (1, 1, 1, 3):
                await trio.sleep(seconds)
                await stream.send(seconds)
        finally:
            ended.append(trio.current_time() - start)

    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", World())
        start = trio.current_time()
        with pytest.raises(AskTimeout, match="no part of its reply within 2 s"):
            await collect(ref, streaming(slow), timeout=2)
        with trio.move_on_after(2.5):
            await collect(ref, streaming(slow), timeout=2)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [5, 7.5]


async def sleep_for_two_seconds(_: Member) -> None:
    await trio.sleep(2)


async def test_cancelled_step_loses_nothing(autojump_clock: MockClock) -> None:
    """If one step of the iterator is cancelled, no part is lost, and the stream continues."""
    del autojump_clock

    async def slow(_: Streamer, stream: ReplyStream[object]) -> None:
        for number in range(3):
            await trio.sleep(1)
            await stream.send(number)

    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", World(), mailbox_size=1)
        await ref.tell(sleep_for_two_seconds)
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell("in the only place")
        taken: list[object] = []
        with ref.ask_stream(streaming(slow)) as parts:
            for _ in range(20):
                with trio.move_on_after(0.5):
                    taken.append(await anext(parts, "end"))
        assert [each for each in taken if each != "end"] == [0, 1, 2]


async def test_draining_stop_waits_for_a_stream(autojump_clock: MockClock) -> None:
    """A stop that drains the mailbox waits until streams in tasks are complete, or their callers have left."""
    del autojump_clock

    async def slow(_: Streamer, stream: ReplyStream[object]) -> None:
        for number in range(5):
            await trio.sleep(1)
            await stream.send(number)

    async with open_system() as system, trio.open_nursery() as nursery:
        for leaves in (False, True):
            ref = await system.spawn(Streamer, "a", World())
            with ref.ask_stream(streaming(slow, in_task=True)) as parts:
                assert await anext(parts) == 0
                start = trio.current_time()
                nursery.start_soon(partial(ref.stop, drain=True, timeout=60))
                if not leaves:
                    assert [part async for part in parts] == [1, 2, 3, 4]
            await ref.terminated()
            assert trio.current_time() - start == (0 if leaves else 4)


async def test_forwarded_stream(autojump_clock: MockClock) -> None:
    """A forwarded ask gets the parts of the other actor. Its deadline travels too."""
    del autojump_clock
    deadlines: list[float] = []

    async def use(member: Streamer, stream: ReplyStream[object]) -> None:
        deadlines.extend([stream.deadline - trio.current_time(), member.context.deadline - trio.current_time()])
        await member.send(stream, 3)

    async with open_system() as system:
        ref, other = [await system.spawn(Streamer, "a", World()) for _ in range(2)]

        async def forward(member: Member) -> object:
            return await member.context.forward(other, streaming(use))

        with trio.move_on_after(5):
            assert await collect(ref, forward) == [0, 1, 2]
        assert deadlines == [5, 5]


async def test_iterator_checks_its_calls() -> None:
    """A buffer without room and an actor that asks itself are errors at once."""

    async def ask_itself(member: Member) -> None:
        with pytest.raises(RuntimeError, match="asks itself"):
            await anext(member.ref.ask_stream("x"))

    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", World())
        await ref.ask(ask_itself)
        wrong: list[dict[str, Any]] = [{"buffer": 0}, {"buffer": 1.5}, {"timeout": -1}]
        for options in wrong:
            with pytest.raises(SpecError, match=next(iter(options))):
                ref.ask_stream("x", **options)
        await trio.to_thread.run_sync(lambda: call_elsewhere(ref))


def call_elsewhere(ref: ActorRef) -> None:
    async def step() -> None:
        with pytest.raises(RuntimeError, match="trio run of their system"):
            await anext(ref.ask_stream("x"))

    trio.run(step)


async def test_unread_parts_are_no_dead_letters() -> None:
    """Parts that the caller did not take are dropped. They and the unsent message are no dead letters."""
    async with open_system() as system:
        ref = await system.spawn(Streamer, "a", World())
        with ref.ask_stream(streaming(numbers(100))) as parts:
            await anext(parts)
        ref.ask_stream("never sent").close()
        await ref.ask("next")
        assert system.statistics().dead_letters == 0
    assert issubclass(AskAbandoned, ActorError)
