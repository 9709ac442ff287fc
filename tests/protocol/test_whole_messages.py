"""A message that arrives alone and whole is handled at once. It overtakes no other message, and the same rules hold."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio.testing
from protocol.agents import make_app
from protocol.raw import CONTINUATION, TEXT, frame, raw_client_in_memory, raw_client_on_a_pair, told

from transport import Credentials, User
from transport.protocol.handshake import Conversation
from transport.server._requests import Requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from protocol.wire import Client


@asynccontextmanager
async def greeted_stream(**settings: Any) -> AsyncIterator[tuple[Client, trio.abc.Stream]]:
    """Return a client that the server waits for, after its welcome, and its end of the stream."""
    async with make_app(**settings).running(port=0) as server, raw_client_in_memory(server) as (one, stream):
        await one.hello()
        await trio.testing.wait_all_tasks_blocked()
        yield one, stream


def message(number: int) -> bytes:
    """Return a command that makes an event with this number."""
    return told("command", id=f"c{number}", name="message.send", args={"text": str(number)})


def note_tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of the task that handles a frame, for each frame from now on."""
    tasks: list[str] = []
    receive = Conversation.receive

    def noted(self: Conversation, text: str) -> object:
        tasks.append(trio.lowlevel.current_task().name.rpartition(".")[2])
        return receive(self, text)

    monkeypatch.setattr(Conversation, "receive", noted)
    return tasks


async def test_lone_message_wakes_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is one read is handled by the task that reads. The connection's own task sleeps on."""
    async with greeted_stream() as (one, stream):
        tasks = note_tasks(monkeypatch)
        await stream.send_all(message(1))
        await one.reply("c1")
        await stream.send_all(message(2)[:9])
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(message(2)[9:])
        await one.reply("c2")
        assert tasks == ["_reader_task", "serve"]


async def test_messages_keep_their_order() -> None:
    """Messages that come together and messages that come alone are handled in the order in which they were sent."""
    async with greeted_stream() as (one, stream):
        await stream.send_all(b"".join(map(message, range(5))))
        for number in range(5, 8):
            await stream.send_all(message(number))
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(message(8))
        events = await one.events_until(9)
        assert [event["data"]["text"] for event in events] == [str(number) for number in range(9)]


async def test_early_messages_are_not_overtaken() -> None:
    """Messages that came before the welcome are handled before a message that is read alone after it."""
    admitted = trio.Event()

    async def authenticate(_: Credentials) -> User:
        await admitted.wait()
        return User("alice")

    # Trio's scheduler decides which of two tasks runs first: the more clients, the surer is each order tried.
    async with make_app(auth=authenticate).running(port=0) as server, AsyncExitStack() as clients:
        early: list[Client] = []
        for number in range(12):
            one, stream = await clients.enter_async_context(raw_client_on_a_pair(server))
            for data in (told("hello", session=f"s{number}"), message(0), message(1), message(2)):
                await stream.send_all(data)
                await trio.testing.wait_all_tasks_blocked()
            early.append(one)
        admitted.set()
        for one in early:
            events = await one.events_until(3)
            assert [event["data"]["text"] for event in events] == ["0", "1", "2"]


ENDS = {
    "not UTF-8": (frame(TEXT, b'{"type":"\xff"}'), 1007),
    "a bit of an extension": (b"\xc1" + frame(TEXT, b"{}")[1:], 1002),
    "without a mask": (b"\x81\x02{}", 1002),
    "inside another message": (frame(TEXT, b"{", final=False) + frame(TEXT, b"}"), 1002),
    "a later part of no message": (frame(CONTINUATION, b"{}"), 1002),
    "too long": (frame(TEXT, b" " * 2_000), 1009),
    "not JSON": (frame(TEXT, b"{]"), 4500),
    "empty": (frame(TEXT), 4500),
}


@pytest.mark.parametrize(("data", "code"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("reads", [1, 2])
async def test_faulty_message_ends_the_connection(data: bytes, code: int, reads: int) -> None:
    """A faulty message has the same end, if it comes alone or after the first part of a read."""
    async with greeted_stream(max_frame_bytes=1_024) as (one, stream):
        for part in (data,) if reads == 1 else (data[:1], data[1:]):
            await stream.send_all(part)
            await trio.testing.wait_all_tasks_blocked()
        ended = await one.ended()
        assert ended.code == code
        assert ended.goodbye is not None


async def test_failure_in_a_frame_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a frame cannot be handled, the client is told so with 4006, and the server goes on."""

    def fail(self: Requests, frame: object) -> None:
        raise ZeroDivisionError

    async with greeted_stream() as (one, stream):
        monkeypatch.setattr(Requests, "take", fail)
        await stream.send_all(message(1))
        assert (await one.ended()).code == 4006
