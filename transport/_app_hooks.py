"""The parts of an app that are for the application's own objects: ``app.state``, and the app's lifespan."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from actors import ConfigError
from actors.failures import shown
from actors.spi import Hook
from transport._running import OneRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from actors import Event, Observed, Observer

    Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[object]]

H = TypeVar("H", bound="Callable[[Observed], Awaitable[object]]")


class AppHooks:
    """The base class of :class:`~transport.Greenroom` with the application's own objects and functions.

    Args:
        lifespan: See :class:`~transport.Greenroom`.
    """

    def __init__(self, lifespan: Lifespan | None) -> None:
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

        Args:
            *types: Names of event types, such as ``"agent_completed"``, or event classes. By default all events.
            user: Only events of this user.

        Raises:
            ConfigError: The app is not running, or there is no such event type.
        """
        sessions = self._one_run.server.sessions
        sessions.require_task("observe()")
        return sessions.observers.observe(types, user)

    def on(self, *types: str | type[Event]) -> Callable[[H], H]:
        """Register an async function that is called with an :class:`~actors.Observed` for each event of some types.

        Use it as a decorator: ``@app.on("agent_completed")``. The function is called while the app runs, for one event
        after another, and also for the last events of a server that ends (for at most ``hook_seconds``). If it raises,
        the exception is logged, and the next event follows. If it is too slow, it misses events, and the log has their
        number. It never holds up a session.

        Args:
            *types: Names of event types, or event classes; at least one.

        Returns:
            A decorator that returns the function itself.

        Raises:
            ConfigError: There is no such event type, the function is not async, or the app is running.
        """
        if not types or not isinstance(types[0], (str, type)):  # pyright: ignore[reportUnnecessaryIsInstance]  # @app.on
            raise ConfigError('app.on needs the types of events: @app.on("agent_completed")')

        def register(function: H) -> H:
            self._one_run.require_stopped()
            self._hooks.append(Hook.of(function, types))
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
