"""The tasks of one session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.errors import LogError, LogUnavailable
from actors.failures import text_of

if TYPE_CHECKING:
    import trio

    from actors.sessions._services import SessionServices


class SessionTasks:
    """The background tasks of one session. They run in the session's nursery, so a task that fails ends the session.

    This object refers to the nursery, not to the session. The stream refers to this object, so a reference to the
    session would complete a cycle. Such a cycle would keep an ended session in memory until the next garbage
    collection.
    """

    __slots__ = ("_nursery", "_services", "is_failing", "is_up")

    def __init__(self, nursery: trio.Nursery, services: SessionServices) -> None:
        self._nursery = nursery
        self._services = services
        self.is_up = False
        """Whether the session accepts work. True from the end of the recovery until the stop."""
        self.is_failing = False
        """Whether the log has failed. The session ends in the next turn of its tasks, and handles no more commands."""

    def start_soon(self, function: Any, *args: object) -> None:  # as trio types it
        """Start a task of the session with a copy of the server's context variables."""
        self._services.start_soon(self._nursery, function, *args)

    def on_log_failed(self, error: LogError) -> None:
        """End the session as failed, because its events can no longer be committed to the log."""
        self.is_failing = True
        if self.is_up and not self._nursery.cancel_scope.cancel_called:
            self.start_soon(_fail, error)


async def _fail(error: LogError) -> None:
    raise LogUnavailable(f"the session's events could not be committed: {text_of(error)}") from error
