"""Replies that come later, from another actor or in parts, after Pekko Typed, Elixir's GenServer and its GenStage.

Pekko: the interaction patterns of its documentation (request-response with ask between two actors, forwarding, pipe to
self, responses of several actors). Elixir: ``GenServer.reply/2`` and ``multi_call``. GenStage: demand of the consumer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from actors import Actor, ActorRef, ActorTerminated, AskTimeout, Later, Reply, Request, Undelivered, gather, open_system

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


class Call(Request[object]):
    """A message with the code that the actor runs for it."""

    def __init__(self, work: Callable[[Host], Awaitable[object]]) -> None:
        self.work = work


class Host(Actor[Call | str]):
    """An actor that runs the code of its messages, and notes its text messages."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.replies: list[Reply[object]] = []

    async def receive(self, message: Call | str) -> object | Later:
        if isinstance(message, Call):
            return await message.work(self)
        self.notes.append(message)
        return self.notes


# Pekko


async def test_ask_between_two_actors() -> None:
    """Pekko, "request-response with ask between two actors": the asking actor handles other messages meanwhile."""
    async with open_system() as system, trio.open_nursery() as nursery:
        hal, dave = await system.spawn(Host), await system.spawn(Host)
        opened = trio.Event()

        async def open_doors(_: Host) -> str:
            await opened.wait()
            return "opened"

        async def ask_hal(host: Host) -> Later:
            reply = host.context.defer()

            async def ask() -> None:
                reply.send(await hal.ask(Call(open_doors)))

            host.nursery.start_soon(ask)
            return reply

        async def use() -> None:
            assert await dave.ask(Call(ask_hal)) == "opened"

        nursery.start_soon(use)
        await trio.testing.wait_all_tasks_blocked()
        assert await dave.ask("meanwhile") == ["meanwhile"]
        opened.set()


@pytest.mark.parametrize("fails", [False, True])
async def test_pipe_to_self(fails: bool) -> None:
    """Pekko, "send future result to self": the result of other work, or its failure, comes back as a message."""

    async def work() -> str:
        await trio.lowlevel.checkpoint()
        if fails:
            raise OSError("no connection")
        return "saved"

    async def save(host: Host) -> None:
        async def pipe() -> None:
            try:
                result = await work()
            except OSError as error:
                result = str(error)
            await host.ref.tell(result)

        host.nursery.start_soon(pipe)

    async with open_system() as system:
        ref = await system.spawn(Host)
        await ref.ask(Call(save))
        await trio.testing.wait_all_tasks_blocked()
        assert await ref.ask("last") == ["no connection" if fails else "saved", "last"]


async def test_forwarded_ask_is_answered_by_the_last() -> None:
    """Pekko classic, ``forward``: the original sender gets the reply, over any number of actors in between."""
    async with open_system() as system:
        refs: list[ActorRef[Call | str]] = [await system.spawn(Host) for _ in range(4)]

        async def pass_on(host: Host) -> Later:
            following = refs[refs.index(host.ref) + 1]
            return await host.context.forward(following, "here" if following is refs[-1] else Call(pass_on))

        assert await refs[0].ask(Call(pass_on)) == ["here"]
        assert [ref.statistics().handled for ref in refs] == [1, 1, 1, 1]


async def test_ask_to_a_forwarder_fails_with_the_last() -> None:
    """Pekko: the asker of a forwarded message times out if the last actor dies. Here it learns of that end at once."""
    async with open_system() as system, trio.open_nursery() as nursery:
        first, last = await system.spawn(Host), await system.spawn(Host, name="last")

        async def sleep(_: Host) -> None:
            await trio.sleep_forever()

        async def pass_on(host: Host) -> Later:
            return await host.context.forward(last, Call(sleep))

        async def ask() -> None:
            with pytest.raises(ActorTerminated, match="/last"):
                await first.ask(Call(pass_on))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        last.kill()


async def test_responses_of_several_actors(autojump_clock: MockClock) -> None:
    """Pekko, "general purpose response aggregator": the replies of several actors, with one time limit for all."""
    del autojump_clock

    async def sleep(_: Host) -> None:
        await trio.sleep_forever()

    async def quote(_: Host) -> str:
        return "quote"

    async with open_system() as system:
        hotels = [await system.spawn(Host) for _ in range(3)]
        assert await gather([(hotel, Call(quote)) for hotel in hotels], timeout=1) == ["quote"] * 3
        with pytest.raises(AskTimeout, match=hotels[1].path):
            await gather([(hotel, Call(sleep if hotel is hotels[1] else quote)) for hotel in hotels], timeout=1)


# Elixir


async def test_reply_from_another_task() -> None:
    """Elixir, ``GenServer.reply/2``: after ``{:noreply, …}`` any process can reply, between other calls."""

    async def keep(host: Host) -> Later:
        host.replies.append(host.context.defer())
        return host.replies[-1]

    async def hand_out(host: Host) -> list[Reply[object]]:
        return host.replies

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Host)
        answers: list[object] = []

        async def call() -> None:
            answers.append(await ref.ask(Call(keep)))

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        replies = await ref.ask(Call(hand_out))
        assert isinstance(replies, list)
        replies[0].send("from elsewhere")
        await trio.testing.wait_all_tasks_blocked()
        assert answers == ["from elsewhere"]


async def test_late_reply_reaches_no_mailbox(autojump_clock: MockClock) -> None:
    """Elixir: a reply after the timeout of a call may arrive as a stray message. Here it is a dead letter."""
    del autojump_clock

    async def keep(host: Host) -> Later:
        host.replies.append(host.context.defer())
        return host.replies[-1]

    async def reply_late(host: Host) -> bool:
        abandoned = await host.replies[0].abandoned()
        host.replies[0].send("late")
        return abandoned

    async with open_system() as system:
        ref = await system.spawn(Host)
        with pytest.raises(AskTimeout):
            await ref.ask(Call(keep), timeout=5)
        with system.dead_letters() as letters:
            assert await ref.ask(Call(reply_late)) is True
            assert (await anext(letters)).why is Undelivered.LATE_REPLY


# GenStage


async def test_producer_sends_by_demand() -> None:
    """GenStage, ``max_demand``: a producer is never more than the demand ahead, however slow its consumer is."""
    sent: list[int] = []

    async def produce(host: Host) -> None:
        with host.context.stream() as stream:
            for number in range(1_000_000):
                await stream.send(number)
                sent.append(number)

    async with open_system() as system:
        ref = await system.spawn(Host)
        with ref.ask_stream(Call(produce), buffer=4) as parts:
            for taken in range(1, 50):
                assert await anext(parts) == taken - 1
                await trio.testing.wait_all_tasks_blocked()
                assert len(sent) == taken + 4


async def test_cancelled_subscription_ends_the_producer() -> None:
    """GenStage, ``cancel``: a producer learns that its consumer is gone, and serves the next one."""
    ended: list[bool] = []

    async def produce(host: Host) -> None:
        stream = host.context.stream()

        async def run() -> None:
            with stream:
                while True:
                    await stream.send("event")
            ended.append(stream.wanted)

        host.nursery.start_soon(run)

    async with open_system() as system:
        ref = await system.spawn(Host)
        for turn in range(1, 4):
            with ref.ask_stream(Call(produce)) as parts:
                assert await anext(parts) == "event"
            await trio.testing.wait_all_tasks_blocked()
            assert ended == [False] * turn
        assert ref.statistics().tasks == 0
