"""TestProbe: the messages that other actors send to a test, expected in order and within a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from actors import Actor, ActorRef, Shutdown, SpecError, open_system
from actors.testing import TestProbe

if TYPE_CHECKING:
    from trio.testing import MockClock


@attrs.frozen
class Greet:
    name: str
    reply_to: ActorRef[Any, Any]


@attrs.frozen
class Greeting:
    text: str


class Greeter(Actor[Greet, None]):
    """Greets after a second."""

    async def receive(self, message: Greet) -> None:
        await trio.sleep(1)
        await message.reply_to.tell(Greeting(f"Hello, {message.name}"))


class Asker(Actor[ActorRef[Any, Any], None]):
    """Asks the actor of each message, and tells it the answer."""

    async def receive(self, message: ActorRef[Any, Any]) -> None:
        await message.tell(("answer", await message.ask("question")))


async def test_messages_are_expected_in_order(autojump_clock: MockClock) -> None:
    """Each message is returned once, in the order of arrival."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        greeter = await system.spawn(Greeter)
        for name in ("Ann", "Bob"):
            await greeter.tell(Greet(name, probe.ref))
        assert await probe.expect(Greeting) == Greeting("Hello, Ann")
        assert await probe.expect_equal(Greeting("Hello, Bob")) == Greeting("Hello, Bob")
        assert trio.current_time() == 2
        await probe.expect_nothing()


async def test_message_that_is_late(autojump_clock: MockClock) -> None:
    """A message that does not come in time is an error, and still comes later."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        await (await system.spawn(Greeter)).tell(Greet("Ann", probe.ref))
        with pytest.raises(AssertionError, match="expected a Greeting, but no message came in time"):
            await probe.expect(Greeting, within=0.5)
        assert trio.current_time() == 0.5
        assert await probe.expect(Greeting, within=0.6) == Greeting("Hello, Ann")


async def test_message_of_another_kind() -> None:
    """A message of another class or value is an error that shows the message."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        await probe.ref.tell(1)
        with pytest.raises(AssertionError, match="expected a str, but 1 came"):
            await probe.expect(str)
        await probe.ref.tell(2)
        with pytest.raises(AssertionError, match="expected 3, but 2 came"):
            await probe.expect_equal(3)


async def test_nothing_is_expected(autojump_clock: MockClock) -> None:
    """A message that came before, or comes meanwhile, is an error. Without one, the call takes the whole time."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        await probe.expect_nothing(within=5)
        assert trio.current_time() == 5
        await (await system.spawn(Greeter)).tell(Greet("Ann", probe.ref))
        with pytest.raises(AssertionError, match="expected no message, but Greeting"):
            await probe.expect_nothing(within=5)
        assert trio.current_time() == 6


async def test_other_messages_are_skipped(autojump_clock: MockClock) -> None:
    """``find`` drops messages of other classes, and has one time limit for all of them."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        for message in (1, "two", 3):
            await probe.ref.tell(message)
        assert await probe.find(str) == "two"
        with pytest.raises(AssertionError, match="no message came in time"):
            await probe.find(str, within=2)
        assert trio.current_time() == 2
        assert probe.waiting == 0


async def test_probe_answers() -> None:
    """An ask of the probe gets the value of ``reply``."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        await (await system.spawn(Asker)).tell(probe.ref)
        await probe.expect_equal("question")
        probe.reply(42)
        await probe.expect_equal(("answer", 42))


async def test_reply_without_a_message() -> None:
    """Without a message there is nobody to answer."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        with pytest.raises(RuntimeError, match="no message yet"):
            probe.reply(1)


async def test_end_of_an_actor_is_expected(autojump_clock: MockClock) -> None:
    """The end of an actor is found, whether it comes later or came before."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        greeter, other = await system.spawn(Greeter), await system.spawn(Greeter)
        await greeter.stop()
        assert (await probe.expect_terminated(greeter)).reason == Shutdown()
        with pytest.raises(AssertionError, match="expected a Terminated"):
            await probe.expect_terminated(other, within=1)


@pytest.mark.parametrize("within", [-1, float("nan"), "1"])
async def test_wrong_time(within: Any) -> None:
    """A time that is no number of seconds is refused by each method."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        for call in (
            probe.expect(int, within=within),
            probe.find(int, within=within),
            probe.expect_nothing(within=within),
        ):
            with pytest.raises(SpecError, match="within"):
                await call


async def test_wrong_kind() -> None:
    """A kind that is no class is refused."""
    async with open_system() as system:
        probe = await TestProbe.spawn(system)
        with pytest.raises(SpecError, match="kind must be a class"):
            await probe.expect("int")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # that is the test
