"""A raw client of ``greenroom.v1``, on a library that shares nothing with the server."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio
import trio.testing
from _frame_schemas import check_frame
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from transport import Server

PATIENCE = 60.0
"""Time for which a test waits for something that should happen at once, in seconds."""

VIRTUAL_PATIENCE = 3600.0
"""Time for which a test waits in virtual time, where an hour takes no time, in seconds."""

Frame = dict[str, Any]


class Socket(Protocol):
    """The methods that a client needs: of a connection of ``websockets``, or of a manual socket."""

    async def send(self, message: Any) -> None: ...
    async def recv(self) -> Any: ...
    async def aclose(self) -> None: ...


@attrs.frozen
class Ended:
    """The end of a connection, as the client saw it."""

    code: int
    reason: str
    goodbye: Frame | None
    """The frame that the server sent before the close. None if there was none."""


class Client:
    """A client that sends and receives frames, and keeps every received frame in :attr:`frames`."""

    def __init__(self, socket: Socket, patience: float = PATIENCE) -> None:
        self.socket = socket
        self._patience = patience
        self.frames: list[Frame] = []
        self.welcome: Frame = {}

    async def send_text(self, message: str | bytes) -> None:
        """Send a message as it is."""
        await self.socket.send(message)

    async def send(self, type_: str, **fields: object) -> None:
        """Send a frame."""
        await self.send_text(json.dumps({"type": type_, **fields}))

    async def receive_text(self) -> str:
        """Receive the next message and return its text."""
        with trio.fail_after(self._patience):
            message = await self.socket.recv()
        assert isinstance(message, str)
        self.frames.append(json.loads(message))
        check_frame(self.frames[-1])
        return message

    async def receive(self, *types: str) -> Frame:
        """Return the next frame of one of the types, or the next frame if no type is given."""
        while True:
            await self.receive_text()
            if not types or self.frames[-1]["type"] in types:
                return self.frames[-1]

    async def hello(self, session: str = "s1", **fields: object) -> Frame:
        """Say hello and return the welcome."""
        await self.send("hello", session=session, **fields)
        self.welcome = await self.receive()
        assert self.welcome["type"] == "welcome", self.welcome
        return self.welcome

    async def command(self, id_: str, name: str, **args: object) -> Frame:
        """Send a command and return its reply."""
        await self.send("command", id=id_, name=name, args=args)
        return await self.reply(id_)

    async def reply(self, id_: str) -> Frame:
        """Return the next reply with that id."""
        while (reply := await self.receive("reply"))["id"] != id_:
            pass
        return reply

    async def start(self, id_: str, agent: str, input_: object = None) -> str:
        """Start a run and return its id."""
        reply = await self.command(id_, "run.start", agent=agent, input=input_)
        assert reply["ok"], reply
        return str(reply["result"]["run_id"])

    async def say(self, *texts: str) -> None:
        """Make one ``user_message`` event of each text."""
        for number, text in enumerate(texts):
            assert (await self.command(f"say-{number}-{text[:20]}", "message.send", text=text))["ok"]

    def events(self) -> list[Frame]:
        """Return the events received so far."""
        return [event for frame in self.frames if frame["type"] == "events" for event in frame["events"]]

    async def events_until(self, seq: int) -> list[Frame]:
        """Wait for the event with that seq. Return all events received."""
        while not (events := self.events()) or events[-1]["seq"] < seq:
            await self.receive("events")
        return events

    async def completed(self, run_id: str) -> Frame:
        """Wait for the end of that run. Return its ``agent_completed`` event."""
        while True:
            for event in self.events():
                if event["type"] == "agent_completed" and event["run_id"] == run_id:
                    return event
            await self.receive("events")

    async def ended(self) -> Ended:
        """Read until the server closes the connection. Return how it did."""
        try:
            while True:
                await self.receive_text()
        except ConnectionClosed as closed:
            last = self.frames[-1] if self.frames else {}
            close = closed.rcvd
            goodbye = last if last.get("type") == "goodbye" else None
            return Ended(close.code if close else 1006, close.reason if close else "", goodbye)


_OPTIONS: dict[str, Any] = {
    "compression": None,
    "ping_interval": None,
    "open_timeout": None,  # on a busy machine its 10 s can be too short
    "proxy": None,
    "max_size": None,
    "max_queue": None,  # it takes what comes, also while its test looks elsewhere
}


@asynccontextmanager
async def client(server: Server, path: str = "", **options: Any) -> AsyncIterator[Client]:
    """Connect a client over a real socket, and close it at the end of the block."""
    async with connect(server.url + path, **{**_OPTIONS, **options}) as socket:
        yield Client(socket)


@asynccontextmanager
async def memory_client(server: Server, **options: Any) -> AsyncIterator[Client]:
    """Connect a client without a socket, for virtual time."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.endpoint.serve, theirs)
        async with connect("ws://memory/", stream=ours, **{**_OPTIONS, **options}) as socket:
            yield Client(socket, patience=VIRTUAL_PATIENCE)


@asynccontextmanager
async def greeted(server: Server, session: str = "s1", **fields: object) -> AsyncIterator[Client]:
    """Connect a client over a real socket, and say hello."""
    async with client(server) as one:
        await one.hello(session, **fields)
        yield one


@asynccontextmanager
async def greeted_in_memory(server: Server, session: str = "s1", **fields: object) -> AsyncIterator[Client]:
    """Connect a client without a socket, and say hello."""
    async with memory_client(server) as one:
        await one.hello(session, **fields)
        yield one


async def wait_for_connections(server: Server, connections: int = 0) -> None:
    """Wait until the endpoint has that many connections: it drops one shortly after the client saw the close."""
    with trio.fail_after(PATIENCE):
        while server.endpoint.statistics().connections != connections:
            await trio.lowlevel.checkpoint()
