"""An ASGI call on trio, with its connection in the same run of trio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from transport.asgi.tasks import GOODBYE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive

    from transport.asgi.tasks import CalledWire


class TrioCall:
    """The tasks of one ASGI call in trio. The connection's own task is in a nursery of the app.

    Args:
        nursery: The nursery of the app, for the connection.
    """

    __slots__ = ("_app", "_ended", "_tasks")

    def __init__(self, nursery: trio.Nursery) -> None:
        self._app = nursery
        self._tasks: trio.Nursery
        self._ended = trio.Event()

    def start(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Run a function in a task of the call."""
        self._tasks.start_soon(function, *arguments)

    def event(self) -> trio.Event:
        """Return a new event."""
        return trio.Event()

    async def serve(self, wire: CalledWire, connection: Callable[[], Awaitable[None]], receive: Receive) -> None:
        """Run the connection, and read the client's messages for it, until the connection has ended.

        Cancellation: the client gets a goodbye first, if that takes no longer than :data:`GOODBYE_SECONDS`.
        """
        async with trio.open_nursery() as reading:
            # What writes is not cancelled together with the call: the goodbye is still to be written.
            with trio.CancelScope(shield=True) as shield:
                async with trio.open_nursery() as self._tasks:
                    self._app.start_soon(self._run, connection)
                    reading.start_soon(_read, wire, receive, shield)
                    try:
                        await self._ended.wait()
                    finally:
                        wire.lose()
                        self._tasks.cancel_scope.cancel()
            reading.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await self._ended.wait()

    async def _run(self, connection: Callable[[], Awaitable[None]]) -> None:
        try:
            await connection()
        finally:
            self._ended.set()


async def _read(wire: CalledWire, receive: Receive, shield: trio.CancelScope) -> None:
    """Read the client's messages. If the call is cancelled, say goodbye, and give the goodbye its time."""
    try:
        await wire.read(receive)
    except trio.Cancelled:
        wire.go_away()
        shield.deadline = trio.current_time() + GOODBYE_SECONDS
        raise
    except BaseException:
        wire.lose()
        raise
