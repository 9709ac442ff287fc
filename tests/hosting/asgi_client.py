"""The client and the web server of one ASGI call, without a network, in either library."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from _frame_schemas import check_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

    from starlette.types import ASGIApp

    Message = MutableMapping[str, Any]

PATIENCE = 60.0
"""Seconds that a test waits for something that should happen at once."""


class AsgiClient:
    """A client at the other end of one ASGI call. It plays the web server, too."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        """The messages that the application has sent, in order."""
        self.taken = 0
        """Number of messages that the application has received."""
        self.error: Exception | None = None
        """The exception that ``send`` raises, as servers do when the client has left."""
        self._to_app: list[Message] = [{"type": "websocket.connect"}]
        self._change = anyio.Event()
        self._open = anyio.Event()
        self._open.set()

    def block(self) -> None:
        """Let every ``send`` wait from now on, as if the network took no more."""
        self._open = anyio.Event()

    def unblock(self) -> None:
        """Let the waiting ``send`` go on."""
        self._open.set()

    def say(self, type_: str, **fields: object) -> None:
        """Send a frame to the application."""
        self.put({"type": "websocket.receive", "text": json.dumps({"type": type_, **fields})})

    def hello(self, session: str = "s1", **fields: object) -> None:
        """Say hello."""
        self.say("hello", session=session, **fields)

    def leave(self, code: int = 1006) -> None:
        """Close the connection."""
        self.put({"type": "websocket.disconnect", "code": code})

    def put(self, message: Message) -> None:
        """Let the application receive a message."""
        self._to_app.append(message)
        self._changed()

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The frames that the application has sent."""
        frames = [json.loads(message["text"]) for message in self.sent if message["type"] == "websocket.send"]
        for frame in frames:
            check_frame(frame)
        return frames

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        """Return the frames of that type."""
        return [frame for frame in self.frames if frame["type"] == type_]

    def events(self) -> list[dict[str, Any]]:
        """Return the events that the application has sent."""
        return [event for frame in self.of_type("events") for event in frame["events"]]

    @property
    def closed(self) -> int | None:
        """The close code that the application has sent. None if it has not closed the WebSocket."""
        return next((each["code"] for each in self.sent if each["type"] == "websocket.close"), None)

    async def frame(self, type_: str, number: int = 1) -> dict[str, Any]:
        """Wait until there are that many frames of a type. Return the last of these."""
        await self.until(lambda: len(self.of_type(type_)) >= number)
        return self.of_type(type_)[number - 1]

    async def until(self, condition: Any) -> None:
        """Wait until the condition holds. It is looked at after each message."""
        with anyio.fail_after(PATIENCE):
            while not condition():
                await self._change.wait()

    async def receive(self) -> Message:
        """Return the next message to the application."""
        while len(self._to_app) <= self.taken:
            await self._change.wait()
        self.taken += 1
        self._changed()
        return self._to_app[self.taken - 1]

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        await self._open.wait() if not self._open.is_set() else None
        if self.error is not None:
            raise self.error
        self.sent.append(message)
        self._changed()

    def _changed(self) -> None:
        self._change.set()
        self._change = anyio.Event()


def scope(**changes: Any) -> dict[str, Any]:
    """Return the scope of a request for a WebSocket from the same machine."""
    return {
        "type": "websocket",
        "scheme": "ws",
        "path": "/ws",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost:8000")],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "subprotocols": ["greenroom.v1"],
        "extensions": {"websocket.http.response": {}},
        **changes,
    }


async def call(application: ASGIApp, client: AsgiClient, /, **changes: Any) -> None:
    """Call the application for the client, as a web server does."""
    await application(scope(**changes), client.receive, client.send)


@asynccontextmanager
async def called(application: ASGIApp, /, **changes: Any) -> AsyncIterator[AsgiClient]:
    """Call the application inside the block. At the end of the block, the client leaves and the call ends."""
    client = AsgiClient()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(call, application, client, **changes))
        yield client
        client.leave()


@asynccontextmanager
async def welcomed(application: ASGIApp, session: str = "s1", /, **changes: Any) -> AsyncIterator[AsgiClient]:
    """Call the application inside the block, after the client's welcome."""
    async with called(application, **changes) as client:
        client.hello(session)
        await client.frame("welcome")
        yield client
