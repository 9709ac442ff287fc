"""The functions of an application that are called for events, and the actor that calls them."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import trio

from actors.backoff import Backoff
from actors.errors import ConfigError
from actors.failures import log_line, shown
from actors.loop.boundary import attempted
from actors.runs._agents import require_host
from actors.runtime._actor import Actor
from actors.runtime._restart import Restart
from actors.runtime._spec import ChildSpec
from actors.sessions._consumers import check_name
from actors.streams._observed import EventChoice, Lagged, Observed
from actors.streams.observing import Observer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from actors.events.types import Event
    from actors.loop.asyncio_host import AsyncioHost
    from actors.runs._agents import AgentHost
    from actors.sessions._consumer import Consumer
    from actors.sessions._consumers import Consumers
    from actors.sessions._settings import SessionSettings
    from actors.streams.observing import Observers

    HookFunction: TypeAlias = Callable[[Observed], Awaitable[object]]

logger = logging.getLogger("greenroom.hooks")

RETRIES = Backoff(1.0, 60.0)
"""The waits before a function with a consumer is called again for an event, after it has raised."""
GRACE_SECONDS = 5.0
"""Time in which the hooks must end after their cancellation, in seconds.

The time for asyncio functions that swallow their cancellation, ``abandon_seconds``, is added.
"""


@attrs.frozen(eq=False)
class Hook:
    """An async function of the application that is called for each event of some types."""

    function: HookFunction
    """The function. Its only argument is an :class:`~actors.Observed`."""
    types: tuple[str | type[Event], ...]
    """The types of the events. All events if there are none."""
    consumer: str | None = None
    """Name of the consumer by which the hook gets its events, at least once. None for an observer, at most once."""
    from_start: bool = False
    """Whether a new consumer begins at the oldest events."""
    host: AgentHost = "trio"
    """The library that the function is written for."""

    @classmethod
    def of(
        cls,
        function: Any,
        types: Iterable[str | type[Event]],
        consumer: str | None = None,
        *,
        from_start: bool = False,
        host: AgentHost = "trio",
    ) -> Hook:
        """Return a hook after a check of its function, types and consumer.

        Raises:
            ConfigError: The function is not async, there is no such event type, or the consumer's name cannot be used.
        """
        if consumer is not None:
            check_name(consumer)
        elif from_start:
            raise ConfigError("from_start needs a consumer: observers get only events from now on")
        if not inspect.iscoroutinefunction(function):
            raise ConfigError(
                f"{shown(function)} is not an async function: app.on calls only async functions, since a function that "
                "blocks would hold up the whole server (inside it, use trio.to_thread.run_sync or asyncio.to_thread)"
            )
        require_host(host, "host of app.on")
        hook = cls(function, tuple(types), consumer, from_start, host)
        EventChoice(hook.types)
        return hook

    @property
    def name(self) -> str:
        """Name of the function, for log lines."""
        return str(getattr(self.function, "__qualname__", self.function))


class HookRunner(Actor):
    """The actor that calls the hooks (functions of the application) for committed events, one task for each hook.

    It starts before the sessions and stops after them, so hooks get the events of runs that end with the server, too.

    Args:
        observers: The hub of all observers.
        consumers: The consumers of the server.
        hooks: The hooks.
        seconds: Time that the hooks have at the end of the server for the events that still wait.
        host: The asyncio loop for hooks that are written for asyncio. None if there is none.
    """

    def __init__(
        self,
        observers: Observers,
        consumers: Consumers,
        hooks: Sequence[Hook],
        seconds: float,
        host: AsyncioHost | None,
    ) -> None:
        self._host = host
        self._observers = observers
        self._consumers = consumers
        self._hooks = hooks
        self._seconds = seconds
        self._calling: dict[Hook, Observer | Consumer] = {}
        self._stopping = trio.Event()
        self._over = trio.Event()

    async def started(self) -> None:
        """Begin to observe, and start the tasks of the hooks."""
        for hook in self._hooks:
            if hook.consumer is None:
                self._calling[hook] = observer = self._observers.observe(hook.types)
                self.nursery.start_soon(self._call, hook, observer)
            else:
                consumer = self._consumers.consume(hook.consumer, hook.types, from_start=hook.from_start)
                self._calling[hook] = consumer
                self.nursery.start_soon(self._feed, hook, consumer)

    async def stopping(self, reason: object) -> None:
        """Let the hooks handle the events that wait, for at most the given time. Then cancel them."""
        del reason
        self._stopping.set()
        for source in tuple(self._calling.values()):
            if isinstance(source, Observer):
                source.close()
            else:
                source.end()
        if self._calling:
            with trio.move_on_after(self._seconds):
                await self._over.wait()
        for hook, source in self._calling.items():
            if isinstance(source, Observer):
                text = "the function %s is stopped with the server, before it has handled its last events: %d more wait"
                log_line(logger, logging.WARNING, text, hook.name, source.waiting)

    async def _call(self, hook: Hook, observer: Observer) -> None:
        """Call a hook for each event, until its observer ends. An exception of the hook is logged."""
        try:
            async for item in observer:
                if isinstance(item, Lagged):
                    text = "the function %s is too slow for its events: it missed %d"
                    log_line(logger, logging.WARNING, text, hook.name, item.missed)
                else:
                    await attempted(f"the function {hook.name}", self._function, hook, item)
        finally:
            observer.close()
            self._end(hook)

    async def _feed(self, hook: Hook, consumer: Consumer) -> None:
        """Call a hook for each event of its consumer. After an exception, call it for the same event again, later."""
        try:
            while not self._stopping.is_set():
                if not await attempted(f"the consumer {consumer.name}", self._consume, hook, consumer):
                    await self._pause(0)
        finally:
            await consumer.aclose()
            self._end(hook)

    async def _consume(self, hook: Hook, consumer: Consumer) -> None:
        async for item in consumer:
            if isinstance(item, Lagged):
                text = "the consumer %s has missed %d events, which the log no longer has"
                log_line(logger, logging.ERROR, text, consumer.name, item.missed)
                continue
            attempt = 0
            while not await attempted(f"the function {hook.name}", self._function, hook, item):
                if self._stopping.is_set():
                    return  # without an acknowledgement: the event comes again at the next start
                await self._pause(attempt)
                attempt += 1

    async def _function(self, hook: Hook, item: Observed) -> None:
        """Call the function of a hook in its own library."""
        if hook.host == "asyncio" and self._host is not None:
            await self._host.await_asyncio(hook.function, item)
        else:
            await hook.function(item)

    async def _pause(self, attempt: int) -> None:
        """Wait before the next attempt, but not longer than until the server ends."""
        with trio.move_on_after(RETRIES.bound(attempt)):
            await self._stopping.wait()

    def _end(self, hook: Hook) -> None:
        del self._calling[hook]
        if not self._calling:
            self._over.set()


def runner_of(
    hooks: Sequence[Hook],
    observers: Observers,
    consumers: Consumers,
    settings: SessionSettings,
    host: AsyncioHost | None,
) -> tuple[ChildSpec, ...]:
    """Return the spec of the permanent actor that calls the hooks. Return an empty tuple if there are no hooks."""
    if not hooks:
        return ()
    seconds = settings.hook_seconds
    return (
        ChildSpec(
            "hooks",
            lambda: HookRunner(observers, consumers, hooks, seconds, host),
            Restart.PERMANENT,
            seconds + settings.abandon_seconds + GRACE_SECONDS,
        ),
    )
