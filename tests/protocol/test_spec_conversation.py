"""The worked conversation of SPEC.md, frame by frame, with a real server over a real socket."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from protocol.wire import Client, client, wait_for_connections
from websockets.trio.client import ClientConnection

import transport.protocol
from transport import Greenroom

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Run
    from transport import Server

SPEC = Path(transport.protocol.__file__).parent / "SPEC.md"
PLACEHOLDER = re.compile(r"<[^<>]+>")
Frame = dict[str, Any]


async def waiter(run: Run, order: str) -> int:
    """Ask how many of a thing are wanted: the agent of the conversation."""
    count: int = await run.ask_user("How many?", schema={"type": "integer"})
    await run.output(f"{count} x {order}")
    return count


def conversation() -> list[str]:
    """Return the lines of the conversation in SPEC.md."""
    (block,) = re.findall(r"^```conversation\n(.*?)^```", SPEC.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    lines: list[str] = block.splitlines()
    return lines


class Names:
    """The values for which the placeholders stand. ``<ms>`` is any whole number, each time."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    def matches(self, expected: Any, got: Any) -> bool:
        """Compare a value of SPEC.md with a real one. Bind placeholders that are new."""
        if expected == "<ms>":
            return type(got) is int
        if isinstance(expected, str) and PLACEHOLDER.fullmatch(expected):
            return bool(self._values.setdefault(expected, got) == got)
        if isinstance(expected, dict):
            same = isinstance(got, dict) and set(expected) == set(got)
            return same and all(self.matches(expected[key], got[key]) for key in expected)
        if isinstance(expected, list):
            return isinstance(got, list) and len(got) == len(expected) and all(map(self.matches, expected, got))
        return type(expected) is type(got) and bool(expected == got)

    def filled(self, text: str) -> str:
        """Return a client's frame with the real values in place of placeholders."""
        return PLACEHOLDER.sub(lambda name: str(self._values[name[0]]), text)


class Performance:
    """The client's part of the conversation."""

    def __init__(self, server: Server, clock: trio.testing.MockClock, sockets: AsyncExitStack) -> None:
        self.frames = 0
        self._server = server
        self._clock = clock
        self._sockets = sockets
        self._names = Names()
        self._client: Client

    async def happens(self, what: str) -> None:
        """Make something happen that is no frame, such as a lost network."""
        if what == "the client connects":
            self._client = await self._sockets.enter_async_context(client(self._server, subprotocols=["greenroom.v1"]))
        elif what == "the network fails":
            # The reply reaches this end, so that the command is known to be done, and is not looked at.
            await self._client.receive("reply")
            assert isinstance(self._client.socket, ClientConnection)
            await trio.aclose_forcefully(self._client.socket.stream)
            await wait_for_connections(self._server)
        elif seconds := re.fullmatch(r"(\d+) s pass", what):
            self._clock.jump(float(seconds[1]))
        elif code := re.fullmatch(r"the server closes the connection with (\d+)", what):
            ended = await self._client.ended()
            assert (ended.code, self._client.frames[-1]["type"]) == (int(code[1]), "goodbye")
        else:
            pytest.fail(f"SPEC.md has a step that this test does not know: {what}")

    async def sends(self, text: str) -> None:
        """Send a frame as the client."""
        self.frames += 1
        await self._client.send_text(self._names.filled(text))

    async def receives(self, expected: list[Frame]) -> None:
        """Receive these frames, in any order. Events come in their order, in messages of any size."""
        self.frames += len(expected)
        events = [event for frame in expected if frame["type"] == "events" for event in frame["events"]]
        others = [frame for frame in expected if frame["type"] != "events"]
        while events or others:
            frame = await self._client.receive()
            if frame["type"] == "events":
                for event in frame["events"]:
                    assert events, event
                    assert self._names.matches(events.pop(0), event), event
            else:
                match = next((other for other in others if self._names.matches(other, frame)), None)
                assert match is not None, frame
                others.remove(match)


def steps() -> Iterator[tuple[str, Any]]:
    """Return the steps of the conversation: the method of the performance, and its argument."""
    expected: list[Frame] = []
    for line in conversation():
        mark, text = line.split(" ", 1)
        if mark == "S:":
            expected.append(json.loads(text))
            continue
        if expected:
            yield "receives", expected
            expected = []
        yield {"C:": "sends", "*": "happens"}[mark], text
    assert not expected, "the conversation ends with frames that nobody compares"


@pytest.fixture
def clock() -> trio.testing.MockClock:
    """Return a clock that runs as fast as a real one, since the sockets are real, and can be moved."""
    return trio.testing.MockClock(rate=1.0)


async def test_conversation_of_the_spec(clock: trio.testing.MockClock) -> None:
    """If a client sends the frames of the example in SPEC.md, the server answers with the frames of the example."""
    app = Greenroom(log="memory:")
    app.agent(waiter)
    async with app.running(port=0) as server, AsyncExitStack() as sockets:
        performance = Performance(server, clock, sockets)
        for method, argument in steps():
            await getattr(performance, method)(argument)
    assert performance.frames > 20
