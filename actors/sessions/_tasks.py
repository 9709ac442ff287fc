"""The tasks of one session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.errors import LogError, LogUnavailable

if TYPE_CHECKING:
    import trio

    from actors.sessions._services import SessionServices


class SessionTasks:
    """Starts the tasks of one session in its nursery. A task that fails ends the session.

    It knows the nursery, not the session: the stream calls it, and a reference from there to the session would be a
    cycle, which keeps an ended session in memory until the next garbage collection.
    """

    __slots__ = ("_nursery", "_services", "is_up")

    def __init__(self, nursery: trio.Nursery, services: SessionServices) -> None:
        self._nursery = nursery
        self._services = services
        self.is_up = False
        """Whether the session takes on work: from the end of its recovery until it stops."""

    def start_soon(self, function: Any, *args: object) -> None:  # as trio types it
        """Start a task with context variables of its own."""
        self._services.start_soon(self._nursery, function, *args)

    def on_log_failed(self, error: LogError) -> None:
        """End the session as failed: nothing that it emits can be promised any more."""
        if self.is_up and not self._nursery.cancel_scope.cancel_called:
            self.start_soon(_fail, error)


async def _fail(error: LogError) -> None:
    raise LogUnavailable("the session's events could not be committed") from error
