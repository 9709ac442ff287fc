"""The web server's own library, asyncio or trio, as a wire and a request see it; and a wire, as a call sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive

GOODBYE_SECONDS = 1.0
"""Time in seconds that the goodbye to a client may take, after the web server has cancelled its ASGI call."""


class Event(Protocol):
    """An event of the web server's library: ``asyncio.Event`` or ``trio.Event``."""

    def set(self) -> None:
        """Wake the tasks that wait."""
        ...

    async def wait(self) -> object:
        """Wait until the event is set."""
        ...


class Tasks(Protocol):
    """The tasks of one ASGI call, in the web server's library."""

    def start(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Run a function in a task of the library, which ends with the ASGI call at the latest. Never waits."""

    def event(self) -> Event:
        """Return a new event of the library."""
        ...


class CalledWire(Protocol):
    """The client's side of an ASGI call: a WebSocket, or the response to a request. The methods must not raise."""

    async def read(self, receive: Receive) -> None:
        """Take the client's messages, in the web server's library, until the client leaves."""

    def go_away(self) -> None:
        """Say goodbye, because the web server ends the call. Never waits."""

    def lose(self) -> None:
        """End both directions: the client has left, or the connection has ended. Can be called more than once."""
