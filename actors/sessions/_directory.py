"""The interface through which a handle on a session finds the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from actors.eventlog.base import StreamKey
    from actors.events.types import Event
    from actors.runs._agents import Agents
    from actors.sessions._settings import SessionSettings
    from actors.sessions._statistics import SessionStatistics


class Directory(Protocol):
    """A service that finds sessions by key: sessions in this process, or on other servers."""

    settings: SessionSettings
    agents: Agents

    def require_task(self, call: str) -> None:
        """Raise RuntimeError outside of the event loop that runs the sessions.

        ``call`` names the caller in the error.
        """

    def ask(self, key: StreamKey, message: object) -> Coroutine[Any, Any, object]:
        """Send a message to the session, and return the session's answer.

        If the session is not in memory, make it first.
        """
        ...

    def lease(self, key: StreamKey) -> AbstractAsyncContextManager[None]:
        """Keep the session in memory inside the ``async with`` block, even if it is idle."""
        ...

    async def history(self, key: StreamKey, after: int | None, before: int | None, limit: int) -> Sequence[Event]:
        """Return committed events of the session; see :meth:`actors.SessionHandle.history`."""
        ...

    def statistics_of(self, key: StreamKey) -> SessionStatistics | None:
        """Return the state of one session. Return None if the session is not in memory."""
        ...
