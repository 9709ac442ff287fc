"""A link: one connection to a Valkey server, shared by all tasks and made again when it is lost. It repeats no call."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio
from coredis.exceptions import BusyLoadingError, MovedError

from actors.backoff import Backoff
from actors.failures import log_line, members, text_of
from actors.valkey._wire import connected, greet
from actors.valkey.errors import Moved, NotSent, Refused, Unanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.valkey._wire import Command, Wire
    from actors.valkey.address import Address

Call = Callable[..., Awaitable[Any]]
"""A function that sends a command and returns the server's answer, as :meth:`Link.call` does."""

logger = logging.getLogger("greenroom.valkey")

BACKOFF = Backoff(0.02, 1.0, 0.2)
"""Waits between attempts to connect. A restarted server is found at once, and a missing one costs nothing."""


class Link:
    """One connection to a Valkey server. Calls of many tasks go through it, and are answered in order.

    A call has a time limit. If no answer comes in time, the connection is dropped, because a late answer must not count
    as the answer of another call. A call never waits for a connection: without one it raises ``NotSent``.

    Never call a blocking command (``BLPOP`` …): all other calls would wait behind it.
    """

    def __init__(
        self,
        address: Address,
        seconds: float,
        *,
        prepare: Callable[[Call], Awaitable[str]],
        on_push: Callable[[list[Any]], None] | None = None,
    ) -> None:
        """Make a link. It connects while :meth:`run` runs.

        Args:
            address: The address of the server.
            seconds: The time limit of one call, and of one attempt to connect.
            prepare: A function that checks and prepares the server after each connection, with calls through it.
                It returns the generation of the server. If it raises, the connection counts as failed.
            on_push: A function that gets each message that is not an answer, such as messages of channels.
        """
        self.address = address
        self.seconds = seconds
        self.generation = ""
        """The generation of the server: the ``run_id`` of its process, which a restart changes. From ``prepare``."""
        self.connections = 0
        """Number of connections that were made so far. A later connection perhaps reaches another process."""
        self.commands = 0
        """Number of calls that were sent."""
        self.failure: BaseException | None = None
        """The reason why there is no connection now. None if there is one, or none was tried yet."""
        self.channels: set[str] = set()
        """The channels to which each connection subscribes. Change them by :meth:`subscribe`."""
        self.on_change: Callable[[], None] | None = None
        """A function that is called when the link gets or loses its connection, or fails to make one."""
        self.alternatives: Callable[[], Sequence[Address]] | None = None
        """A function that returns the addresses of which any can be connected. Each attempt takes the next one."""
        self.ended = False
        """Whether the link was closed, and will never have a connection again."""
        self._scope = trio.CancelScope()
        self._prepare = prepare
        self._on_push = on_push
        self._wire: Wire | None = None
        self._changed = trio.Event()

    @property
    def up(self) -> bool:
        """Whether there is a connection that was prepared, and that has not ended.

        *It was true until the link's task had noticed the end of the connection. A loop that waits until the link is
        up, and calls, never waited: it kept this task from noticing.*
        """
        return self._wire is not None and not self._wire.ended

    @property
    def failed_at(self) -> Address:
        """The address of the server to which :attr:`failure` belongs."""
        return self.address

    async def changed(self) -> None:
        """Wait until the link has a connection, loses its connection, or fails to make one."""
        await self._changed.wait()

    async def run(self) -> None:
        """Keep a connection until this is cancelled."""
        attempt = 0
        while True:
            if await self._hold():
                attempt = 0
            if self.alternatives is not None and (others := self.alternatives()):
                self.address = others[attempt % len(others)]
            await trio.sleep(BACKOFF.delay(attempt, random.random()))  # noqa: S311 - only spreads attempts
            attempt += 1

    async def run_until_stopped(self) -> None:
        """Keep a connection until :meth:`stop`."""
        with self._scope:
            await self.run()

    def end(self) -> None:
        """Tell all tasks that wait for a connection that there will be none. To be called when the link is closed."""
        self.ended = True
        self._notify()

    def stop(self) -> None:
        """End :meth:`run_until_stopped`."""
        self._scope.cancel()

    def drop(self) -> None:
        """Drop the connection. A new connection is made at once."""
        if self._wire is not None:
            self._wire.drop()
            self._wire = None

    def post(self, *args: bytes | str | float) -> None:
        """Send a command that is answered by a push, such as ``SUBSCRIBE``. Without a connection, do nothing."""
        if self._wire is not None and not self._wire.ended:
            self._wire.send([args])

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel, also with each later connection. The server confirms that by a push."""
        self.channels.add(channel)
        self.post("SUBSCRIBE", channel)

    def unsubscribe(self, channel: str) -> None:
        """Undo :meth:`subscribe`."""
        self.channels.discard(channel)
        self.post("UNSUBSCRIBE", channel)

    async def call(self, *args: bytes | str | float, seconds: float | None = None) -> Any:
        """Send a command and return the server's answer. Bytes are not decoded.

        Args:
            args: The command and its arguments.
            seconds: The time limit; None for the link's own.

        Raises:
            NotSent: There is no connection, or the server is still loading its data. Nothing was done.
            Unanswered: No answer came. It is not known whether the command was done.
            Refused: The server answered with an error.

        Cancellation: the command can be done all the same. The connection stays. If there is still no answer after the
        time limit of the link, the next call drops the connection.
        """
        return (await self.calls([args], seconds))[0]

    async def calls(self, commands: Sequence[Command], seconds: float | None = None) -> list[Any]:
        """Send several commands at once, and return their answers. Raises the errors of :meth:`call`.

        If one of them is refused, the others are done all the same.
        """
        wire = self._wire
        if wire is None:
            raise NotSent(f"no connection to the Valkey server at {self.address}{self._reason()}")
        return await self._ask(wire, commands, self.seconds if seconds is None else seconds)

    async def _ask(self, wire: Wire, commands: Sequence[Command], limit: float) -> list[Any]:
        wire.drop_if_silent(self.seconds)
        try:
            asked = wire.ask(commands)
        except trio.BrokenResourceError:
            raise NotSent(f"the connection to the Valkey server at {self.address} was just lost") from None
        self.commands += len(commands)
        try:
            with trio.move_on_after(limit):
                await asked.over.wait()
        except trio.Cancelled:
            asked.given_up = trio.current_time()
            raise
        if not asked.is_answered:
            if wire.ended:
                raise Unanswered(f"the connection to the Valkey server at {self.address} was lost before the answer")
            wire.drop()
            raise Unanswered(f"the Valkey server at {self.address} did not answer within {limit:g} s")
        for answer in asked.answers:
            if isinstance(answer, Exception):
                raise self._error(answer)
        return asked.answers

    def _error(self, error: Exception) -> NotSent | Refused:
        if isinstance(error, BusyLoadingError):
            return NotSent(f"the Valkey server at {self.address} is still loading its data")
        if isinstance(error, MovedError):
            return Moved(error.host or self.address.host, error.port)
        text = text_of(error)
        if "Function not found" in text:
            # Nothing was done. With the next connection the library is loaded again.
            self.drop()
            return NotSent(f"the Valkey server at {self.address} has lost the library of functions")
        return Refused(text.partition(" ")[0], text)

    def _reason(self) -> str:
        return "" if self.failure is None else f": {text_of(self.failure)}"

    async def _hold(self) -> bool:
        """Make a connection and keep it until it is lost. Return whether it was ever ready."""
        ready = False
        try:
            async with trio.open_nursery() as nursery:
                try:
                    with trio.fail_after(2 * self.seconds):
                        wire = await self._prepared(nursery)
                # Whatever is wrong with the server, the link must go on and try again.
                except Exception as error:  # noqa: BLE001 - as above
                    self._note(_cause(error, self.address))
                else:
                    ready = not wire.ended
                    self._begin(wire)
                    await wire.over.wait()
                    self._note(ConnectionResetError(f"the connection to {self.address} was lost"))
                nursery.cancel_scope.cancel()
        finally:
            self._wire = None
        return ready

    async def _prepared(self, nursery: trio.Nursery) -> Wire:
        """Return a connection that other tasks can use. The nursery runs it."""
        with trio.fail_after(self.seconds):
            wire = await connected(self.address, self._on_push)
        nursery.start_soon(wire.run)
        await greet(wire, self.address)

        async def call(*args: bytes | str | float) -> Any:
            return (await self._ask(wire, [args], self.seconds))[0]

        self.generation = await self._prepare(call)
        return wire

    def _begin(self, wire: Wire) -> None:
        if self.failure is not None and self.connections:
            log_line(logger, logging.INFO, "connected again to the Valkey server at %s", self.address)
        self.failure = None
        self.connections += 1
        self._wire = wire
        for channel in self.channels:
            self.post("SUBSCRIBE", channel)
        self._notify()

    def _note(self, error: BaseException) -> None:
        if self.failure is None and self.connections:
            log_line(logger, logging.WARNING, "no connection to the Valkey server at %s: %s", self.address, error)
        self.failure = error
        self._wire = None
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
        if self.on_change is not None:
            self.on_change()


def _cause(error: BaseException, address: Address) -> BaseException:
    """Return the error that says why a connection was not made, without the wrappers of trio."""
    if isinstance(error, trio.TooSlowError):
        return TimeoutError(f"{address} does not answer{' over TLS' if address.tls else ''}")
    cause = error
    while True:
        inner = members(cause)
        # Trio tries each address of a host, and raises an error without a number, whose cause is the errors of all.
        is_wrapper = isinstance(cause, trio.BrokenResourceError) or (isinstance(cause, OSError) and cause.errno is None)
        if is_wrapper and cause.__cause__ is not None:
            cause = cause.__cause__
        elif inner:
            cause = inner[0]
        else:
            return cause
