"""The queue of messages to one client of an ASGI server. A write never waits, and the order of the calls is kept."""

from __future__ import annotations

import logging
import types
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from actors.failures import log_line, text_of
from actors.loop.clock import loop_time
from transport.server._write_buffer import MAX_QUEUED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from starlette.types import Message, Send

    from transport.asgi.tasks import Tasks

logger = logging.getLogger("greenroom.connections")


class AsgiWriter:
    """The writing half of a wire through an ASGI server.

    The task that writes runs in the server's library. It exists only while there is something to write, so an idle
    connection needs no memory for it.

    Args:
        send: The ``send`` of the ASGI call.
        tasks: The library of the ASGI call.
        slow_seconds: Time after which the client counts as stuck, if the server takes no message for it.
    """

    __slots__ = (
        "_drained",
        "_lost",
        "_outgoing",
        "_progressed_at",
        "_queued",
        "_send",
        "_slow_seconds",
        "_tasks",
        "_watching",
        "_writing",
        "blocked",
        "nursery",
        "pending",
    )

    def __init__(self, send: Send, tasks: Tasks, slow_seconds: float) -> None:
        self._send = send
        self._tasks = tasks
        self._slow_seconds = slow_seconds
        self.nursery: trio.Nursery | None = None
        """The connection's nursery, for the task that watches a client that takes nothing. None before the upgrade."""
        self._outgoing: deque[tuple[Message, int]] = deque()
        self._writing = False
        """Whether the task that writes exists."""
        self._drained = trio.lowlevel.ParkingLot()
        self.blocked = False
        """Whether the server does not take a message: its buffers to this client are full."""
        self.pending = 0
        """Number of bytes that the server did not take yet."""
        self._queued = 0
        """Number of bytes that were queued since the writer became blocked."""
        self._progressed_at = 0.0
        """The last time, on the event loop's clock, at which the client showed that it reads."""
        self._watching = False
        self._lost = False
        """Whether the client has left, or the connection has ended."""

    # For a subclass

    def on_drained(self) -> None:
        """Handle that the server has taken all messages, after it was blocked. Must not wait."""

    def on_stuck(self) -> None:
        """Handle a client that takes nothing for ``slow_seconds``, or for which too much is queued. Must not wait."""

    # Writing

    @property
    def blocked_seconds(self) -> float:
        """Seconds for which the server has taken nothing, although messages wait. 0 if it takes them."""
        return loop_time().now() - self._progressed_at if self.blocked else 0.0

    def write(self, message: Message, size: int = 0) -> None:
        """Send an ASGI message after all messages that were written before. Never waits.

        ``size`` is the number of bytes of the client's message in it.
        """
        if self._lost:
            return
        self._outgoing.append((message, size))
        self.pending += size
        if not self._writing:
            self._writing = True
            self._tasks.start(self._write_all)
        elif self.blocked:
            self._queued += size
            if self._queued > MAX_QUEUED:
                self.on_stuck()

    async def drained(self) -> None:
        """Wait, in trio, until the server has taken all messages.

        Raises:
            trio.BrokenResourceError: If the client has left.
        """
        while self._writing and not self._lost:
            await self._drained.park()
        if self._lost:
            raise trio.BrokenResourceError

    def note_progress(self) -> None:
        """Record that the client still reads."""
        self._progressed_at = loop_time().now()

    def lose(self) -> None:
        """Write no more: the client has left, or the connection has ended. Can be called more than once."""
        self._lost = True
        self._outgoing.clear()
        self._drained.unpark_all()

    async def _write_all(self) -> None:
        """Hand the queued messages to the server, until none are left."""
        try:
            while self._outgoing and not self._lost:
                message, size = self._outgoing.popleft()
                await _noticed(self._send(message), self._on_blocked)
                self.pending -= size
                if self.blocked:
                    self.note_progress()
        except Exception as error:  # noqa: BLE001 - servers raise errors of their own for a client that has left
            log_line(logger, logging.DEBUG, "the web server takes no more messages for a client: %s", text_of(error))
            self.lose()
        finally:
            self._writing = False
            self._on_written()

    def _on_written(self) -> None:
        """Wake the tasks that wait for an empty queue. If events waited meanwhile, let them be written."""
        self._drained.unpark_all()
        if self.blocked:
            self.blocked = False
            if not self._lost:
                self.on_drained()

    def _on_blocked(self) -> None:
        """Note that the server does not take a message at once. From now on a task watches how long that lasts."""
        if not self.blocked:
            self.blocked = True
            self._queued = 0
            self.note_progress()
        if not self._watching and self.nursery is not None and not self._lost:
            self._watching = True
            self.nursery.start_soon(self._watch)

    async def _watch(self) -> None:
        """Report a client that takes nothing for ``slow_seconds``. End when nothing waits to be written."""
        try:
            while self.blocked and not self._lost:
                left = self._progressed_at + self._slow_seconds - loop_time().now()
                if left <= 0:
                    self.on_stuck()
                    return
                await trio.sleep(left)
        finally:
            self._watching = False


@types.coroutine
def _noticed(awaitable: Awaitable[object], on_wait: Callable[[], None]) -> Generator[Any, Any, None]:
    """Await ``awaitable`` in the present task, and call ``on_wait`` if it does not end without a wait.

    Neither asyncio nor trio shows whether an await has suspended its task. *Without that knowledge, each message would
    count as one that the client's network has not taken, and all events would wait for each other.*
    """
    steps = awaitable.__await__()
    try:
        wanted = next(steps)
        on_wait()
        while True:
            try:
                value = yield wanted
            except BaseException as error:  # noqa: BLE001 - a cancellation: it belongs into the awaitable
                wanted = steps.throw(error)
            else:
                wanted = steps.send(value)
    except StopIteration:
        return
