"""The parts of an app that are for the application's own objects: ``app.state``, and the app's lifespan."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from actors import ConfigError
from actors.failures import shown
from actors.spi import Hook
from transport._app_agents import AppAgents
from transport._running import OneRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from actors import Consumer, ConsumerUsage, Event, Observed, Observer
    from actors.spi import AgentHost

    Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[object]]

H = TypeVar("H", bound="Callable[[Observed], Awaitable[object]]")


class AppHooks(AppAgents):
    """The base class of :class:`~transport.Greenroom` with the application's own objects and functions.

    Args:
        lifespan: See :class:`~transport.Greenroom`.
        host: The library of agents and of functions of :meth:`on`, if their registration does not name it.
    """

    def __init__(self, lifespan: Lifespan | None, host: AgentHost) -> None:
        super().__init__(host)
        if lifespan is not None and not callable(lifespan):
            raise ConfigError(
                f"lifespan must be a function (app) that returns an async context manager, not {shown(lifespan)}"
            )
        self._lifespan = lifespan
        self._hooks: list[Hook] = []
        self._one_run = OneRun()
        self.state = SimpleNamespace()
        """A namespace for the application's own objects, such as a pool of connections. Agents use ``run.app.state``.

        Greenroom never reads or changes it.
        """

    def observe(self, *types: str | type[Event], user: str | None = None) -> Observer:
        """Return an async iterator over the events that are committed from now on, in all sessions.

        Use it as ``async with app.observe("agent_completed") as events: async for item in events: …``. An item is an
        :class:`~actors.Observed`, or a :class:`~actors.Lagged` with the number of events that the observer missed: at
        most ``observer_events`` wait for it. An observer never holds up a session. It ends with the server.

        In a cluster, the iterator gets the events of the users that this server has. Events that close runs of a dead
        server come only to consumers.

        Events of a time when the server or the observer did not run are missed, too. For billing see :meth:`consume`.

        Args:
            *types: Names of event types, such as ``"agent_completed"``, or event classes. By default all events.
            user: Only events of this user.

        Raises:
            ConfigError: The app is not running, or there is no such event type.
        """
        sessions = self._one_run.server.sessions
        sessions.require_task("observe()")
        return sessions.observers.observe(types, user)

    def consume(self, name: str, *types: str | type[Event], from_start: bool = False) -> Consumer:
        """Return an async iterator over the committed events of all sessions, at least once: for billing and the like.

        Use it as ``async with app.consume("billing", "agent_completed") as events: async for item in events: …``. The
        log keeps the consumer's position in each session, so it continues where it stopped, also after a restart or a
        crash. Asking for the next item acknowledges the item before. After a crash, the last items can come again: the
        user, the session, ``epoch`` and ``event.seq`` of an :class:`~actors.Observed` recognise them. Retention keeps
        unread events up to an age of ``retain_unread_seconds``, if ``retain_user_bytes`` allows it. A
        :class:`~actors.Lagged` comes in place of events that the log no longer has.

        In a cluster, run the consumer on every server: each gets the events of the users that it has. If a server dies,
        its events that were not acknowledged come at the others.

        Args:
            name: Name of the consumer, of 1 to 128 characters. At most one consumer of a name runs in a server.
            *types: Names of event types, or event classes. By default all events. The position passes other events.
            from_start: Whether a new consumer begins with the oldest events in the log, and not with new ones.

        Raises:
            ConfigError: The app is not running, the name cannot be used, or there is no such event type.
        """
        sessions = self._one_run.server.sessions
        sessions.require_task("consume()")
        return sessions.consumers.consume(name, types, from_start=from_start)

    async def consumers(self) -> Sequence[ConsumerUsage]:
        """Return each consumer that the log knows, running or not, with the number of its unread events.

        Raises:
            ConfigError: The app is not running.
            LogError: The log failed.
        """
        sessions = self._one_run.server.sessions
        sessions.require_task("consumers()")
        return await sessions.consumers.usage()

    async def remove_consumer(self, name: str) -> None:
        """Forget a consumer that is no longer needed, so that retention does not keep events for it.

        Raises:
            ConfigError: The app is not running, or the consumer runs.
            LogError: The log failed.
        """
        sessions = self._one_run.server.sessions
        sessions.require_task("remove_consumer()")
        await sessions.consumers.remove(name)

    def on(
        self,
        *types: str | type[Event],
        consumer: str | None = None,
        from_start: bool = False,
        host: AgentHost | None = None,
    ) -> Callable[[H], H]:
        """Register an async function that is called with an :class:`~actors.Observed` for each event of some types.

        Use it as a decorator: ``@app.on("agent_completed")``. The function is called while the app runs, for one event
        after another, and also for the last events of a server that ends (for at most ``hook_seconds``). If it raises,
        the exception is logged, and the next event follows. If it is too slow, it misses events, and the log has their
        number. It never holds up a session. In a cluster, each server calls it for its own users.

        With ``consumer``, the function gets each event at least once, as from :meth:`consume`. If it raises, it is
        called for the same event again, after 1 to 60 s.

        Args:
            *types: Names of event types, or event classes; at least one.
            consumer: Name of a consumer, of which no other one runs.
            from_start: As for :meth:`consume`.
            host: The library that the function is written for, ``trio`` or ``asyncio``; by default that of the app. An
                asyncio function needs :mod:`transport.hosting`.

        Returns:
            A decorator that returns the function itself.

        Raises:
            ConfigError: There is no such event type, the function is not async, the app is running, or another function
                has this consumer.
        """
        if not types or not isinstance(types[0], (str, type)):  # pyright: ignore[reportUnnecessaryIsInstance]  # @app.on
            raise ConfigError('app.on needs the types of events: @app.on("agent_completed")')

        def register(function: H) -> H:
            self._one_run.require_stopped()
            if consumer is not None and any(hook.consumer == consumer for hook in self._hooks):
                raise ConfigError(
                    f"there is a function with the consumer {consumer} already: give each a name of its own"
                )
            self._hooks.append(Hook.of(function, types, consumer, from_start=from_start, host=host or self._host))
            return function

        return register

    @asynccontextmanager
    async def _resources(self) -> AsyncGenerator[None]:
        """Open the app's lifespan before the ``async with`` block, and close it after the block.

        The exceptions of the lifespan are raised unchanged.
        """
        if self._lifespan is None:
            yield
            return
        resources: Any = self._lifespan(self)
        if not isinstance(resources, AbstractAsyncContextManager):
            raise ConfigError(
                "lifespan must return an async context manager (decorate it with contextlib.asynccontextmanager), "
                f"not {shown(resources)}"
            )
        async with resources:
            yield
