"""The sessions of an app for asyncio code of the web server around it: ``app.sessions_aio``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import StreamKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import AsyncioSession, Sessions


class AppAsyncioSessions:
    """The sessions of an app that runs inside an asyncio server, for its routes and tasks."""

    def __init__(self, sessions: Callable[[], Sessions]) -> None:
        self._sessions = sessions

    def get(self, user: str, session: str) -> AsyncioSession:
        """Return an object for a session of the user. Does no I/O: the session is made at the first use.

        The methods of the object raise ConfigError if the app is not running in the event loop of the caller.

        Args:
            user: Id of the user.
            session: Name of the session, unique among the sessions of the user.
        """
        from actors import AsyncioSession  # noqa: PLC0415 - it loads asyncio, which a server on trio never needs

        return AsyncioSession(self._sessions, StreamKey(user, session))
