"""Messages that are no frames, or frames at the wrong time: deep and huge JSON, duplicate keys, hellos and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attacks.arena import arena
from attacks.attacker import Attacker, Got
from protocol.raw import TEXT, frame, told

if TYPE_CHECKING:
    from trio.testing import MockClock


def text(message: str) -> bytes:
    """Return a text message as a frame."""
    return frame(TEXT, message.encode())


COMMAND = '{"type":"command","id":"1","name":"run.start","args":%s}'
BAD = {
    "deep lists": text("[" * 65_000),
    "deep objects": text('{"a":' * 13_000),
    "deep arguments": text(COMMAND % ('{"a":' + "[" * 60 + "]" * 60 + "}" + " " * 60_000).replace("[" * 60, "[" * 80)),
    "a number of 60,000 digits": text(COMMAND % ('{"agent":"echo","input":' + "9" * 60_000 + "}")),
    "a number that is none": text(COMMAND % '{"agent":"echo","input":NaN}'),
    "an endless number": text(COMMAND % '{"agent":"echo","input":-Infinity}'),
    "a string of escapes that does not end": text('{"type":"' + "\\u0041" * 10_000),
    "many keys, then an error": text("{" + ",".join(f'"{number}":0' for number in range(5_000)) + ",}"),
    "a second hello": told("hello", session="another"),
    "a hello as another user": told("hello", session="attacked", token="neighbour"),
    "a type of the server": told("welcome", session="attacked"),
    "a type that is a list": text('{"type":["command"]}'),
}
EARLY = {
    "a command": told("command", id="1", name="message.send", args={"text": "x"}),
    "an ack": told("ack", seq=0),
    "history": told("history", id="1", after=0, limit=1),
    "typing": told("typing", active=True),
    "a pong": told("pong"),
    "a hello in a list": text('[{"type":"hello","session":"attacked"}]'),
    "a hello inside another frame": told("pong", hello={"type": "hello", "session": "attacked"}),
    "nothing": frame(TEXT),
}


async def test_message_that_is_no_frame(patient_clock: MockClock) -> None:
    """Deep JSON, huge numbers, wrong types and a second hello get 4500. None of them takes long."""
    bad = list(BAD.values())

    async def attack(one: Attacker) -> None:
        await one.hello()
        await one.send(bad[one.number])

    async with arena() as here:
        assert await here.endure_each(attack, BAD) == dict.fromkeys(BAD, Got(101, 4500))


async def test_frame_before_the_hello(patient_clock: MockClock) -> None:
    """Any frame before the hello gets 4500, and does nothing: no session is made for it."""
    early = list(EARLY.values())

    async def attack(one: Attacker) -> None:
        await one.upgrade()
        await one.send(early[one.number] + told("hello", session="attacked"))

    async with arena() as here:
        assert await here.endure_each(attack, EARLY) == dict.fromkeys(EARLY, Got(101, 4500))
        assert here.server.sessions.statistics().sessions == 2  # of the neighbour and the newcomer


async def test_duplicate_keys(patient_clock: MockClock) -> None:
    """Of a key that comes twice, the last value counts, for the type, for the session and for the token alike."""
    twice = '{"type":"pong","type":"hello","session":"neighbour","session":"attacked","strict":1,"strict":false}'

    async def attack(one: Attacker) -> None:
        await one.upgrade()
        await one.send(text(twice))
        await one.read(b'"session":"attacked"')
        await one.send(text('{"type":"hello","type":"pong"}') + text('{"type":"pong","type":"hello"}'))

    async with arena() as here:
        for got in await here.endure(attack):
            assert got == Got(101, 4500)
            assert [each["type"] for each in got.frames] == ["welcome", "goodbye"]


async def test_numbers_at_the_edge(patient_clock: MockClock) -> None:
    """A number that JSON allows and no event can hold is refused as an argument. The connection goes on."""
    numbers = ["1e999", "-1e999", "9" * 4_000, "9007199254740993", "0.1e-9999", "-0"]

    async def attack(one: Attacker) -> None:
        await one.hello()
        for id_, number in enumerate(numbers):
            await one.send(text(COMMAND.replace('"1"', f'"{id_}"') % f'{{"agent":"echo","input":{number}}}'))
        await one.read(b'"id":"5","ok":')
        await one.leave()

    async with arena() as here:
        for got in await here.endure(attack):
            replies = {each["id"]: each["ok"] for each in got.frames if each["type"] == "reply"}
            assert replies == dict.fromkeys("012345", False)
            assert got == Got(101)
