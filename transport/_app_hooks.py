"""The parts of an app that are for the application's own objects: ``app.state``, and the app's lifespan."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

from actors import ConfigError
from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[object]]


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
        self.state = SimpleNamespace()
        """A namespace for the application's own objects, such as a pool of connections. Agents use ``run.app.state``.

        Greenroom never reads or changes it.
        """

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
