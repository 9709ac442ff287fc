"""The functions of an application that are called for events, and the actor that calls them."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import trio

from actors.errors import ConfigError
from actors.failures import log_line, shown
from actors.loop.boundary import attempted
from actors.runtime._actor import Actor
from actors.streams._observed import EventChoice, Lagged, Observed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from actors.events.types import Event
    from actors.streams.observing import Observer, Observers

    HookFunction: TypeAlias = Callable[[Observed], Awaitable[object]]

logger = logging.getLogger("greenroom.hooks")

GRACE_SECONDS = 5.0
"""Time beyond ``hook_seconds`` in which the hooks must end after their cancellation, in seconds."""


@attrs.frozen(eq=False)
class Hook:
    """An async function of the application that is called for each event of some types."""

    function: HookFunction
    """The function. Its only argument is an :class:`~actors.Observed`."""
    types: tuple[str | type[Event], ...]
    """The types of the events. All events if there are none."""

    @classmethod
    def of(cls, function: Any, types: Iterable[str | type[Event]]) -> Hook:
        """Return a hook after a check of its function and types.

        Raises:
            ConfigError: The function is not async, or there is no such event type.
        """
        if not inspect.iscoroutinefunction(function):
            raise ConfigError(
                f"{shown(function)} is not an async function: app.on calls only async functions, since a function that "
                "blocks would hold up the whole server (use trio.to_thread.run_sync inside it)"
            )
        hook = cls(function, tuple(types))
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
        hooks: The hooks.
        seconds: Time that the hooks have at the end of the server for the events that still wait.
    """

    def __init__(self, observers: Observers, hooks: Sequence[Hook], seconds: float) -> None:
        self._observers = observers
        self._hooks = hooks
        self._seconds = seconds
        self._calling: dict[Hook, Observer] = {}
        self._over = trio.Event()

    async def started(self) -> None:
        """Begin to observe, and start the tasks of the hooks."""
        for hook in self._hooks:
            self._calling[hook] = observer = self._observers.observe(hook.types)
            self.nursery.start_soon(self._call, hook, observer)

    async def stopping(self, reason: object) -> None:
        """Let the hooks handle the events that wait, for at most the given time. Then cancel them."""
        del reason
        for observer in self._calling.values():
            observer.close()
        if self._calling:
            with trio.move_on_after(self._seconds):
                await self._over.wait()
        for hook, observer in self._calling.items():
            text = "the function %s is stopped with the server, before it has handled its last events: %d more wait"
            log_line(logger, logging.WARNING, text, hook.name, observer.waiting)

    async def _call(self, hook: Hook, observer: Observer) -> None:
        """Call a hook for each event, until its observer ends. An exception of the hook is logged."""
        try:
            async for item in observer:
                if isinstance(item, Lagged):
                    text = "the function %s is too slow for its events: it missed %d"
                    log_line(logger, logging.WARNING, text, hook.name, item.missed)
                else:
                    await attempted(f"the function {hook.name}", hook.function, item)
        finally:
            observer.close()
            del self._calling[hook]
            if not self._calling:
                self._over.set()
