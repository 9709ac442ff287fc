"""An ASGI call on asyncio, with its connection in trio, which runs as a guest."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from actors.loop.asyncio_host import uninterrupted
from transport.asgi.tasks import GOODBYE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from starlette.types import Receive

    from actors.loop.asyncio_host import AsyncioHost
    from transport.asgi.tasks import CalledWire


class Followed(Protocol):
    """A connection on a socket of its own, which the web server has given away."""

    ended: asyncio.Future[None] | None
    """The future that is done when the connection has ended. None if no call waits for it."""


class AsyncioCall:
    """The tasks of one ASGI call in asyncio, and its connection's task in trio.

    Args:
        host: The loop that hosts trio.
    """

    __slots__ = ("_host", "_tasks")

    def __init__(self, host: AsyncioHost) -> None:
        self._host = host
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Run a function in a task of the loop."""
        task = self._host.loop.create_task(_awaited(function, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def event(self) -> asyncio.Event:
        """Return a new event."""
        return asyncio.Event()

    async def serve(self, wire: CalledWire, connection: Callable[[], Awaitable[None]], receive: Receive) -> None:
        """Run the connection in trio, and read the client's messages for it, until the connection has ended.

        Cancellation: the client gets a goodbye first, if that takes no longer than :data:`GOODBYE_SECONDS`.
        """
        ended = self._host.soon(connection).future
        try:
            async with until_done(ended):
                await wire.read(receive)
        except asyncio.CancelledError:
            wire.go_away()
            # Not interrupted: cancel scopes of anyio cancel a task again and again, until it ends.
            with suppress(asyncio.CancelledError):
                await uninterrupted(asyncio.ensure_future(asyncio.wait([ended], timeout=GOODBYE_SECONDS)))
            raise
        finally:
            wire.lose()
            try:
                await uninterrupted(ended)
            finally:
                await self.end()

    async def follow(self, wire: Followed, upgraded: asyncio.Event) -> None:
        """Wait until the user of a connection on a socket of its own was found, or the connection has ended.

        *The web application's middleware stays around the function that finds the user, and around nothing later: an
        idle connection holds no ASGI call.*
        """
        ended = wire.ended = self._host.loop.create_future()
        try:
            async with until_done(ended):
                await upgraded.wait()
                if self._tasks:
                    await asyncio.wait(self._tasks)
        finally:
            wire.ended = None
            await self.end()

    async def end(self) -> None:
        """Cancel the tasks that still run, and wait for their end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GOODBYE_SECONDS)


@asynccontextmanager
async def until_done(future: asyncio.Future[Any]) -> AsyncGenerator[None]:
    """End the block, without an error, as soon as the future is done."""
    inside = True
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as block:

            def stop(_: object) -> None:
                # Asyncio calls this in a later turn than the one in which the future was done.
                if inside:
                    block.reschedule(0)

            future.add_done_callback(stop)
            try:
                yield
            finally:
                inside = False
                future.remove_done_callback(stop)


async def _awaited(function: Callable[..., Awaitable[object]], arguments: tuple[object, ...]) -> None:
    await function(*arguments)
