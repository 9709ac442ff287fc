"""The tokens of a client: a fixed token, or the application's callable."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING

from actors.failures import log_line, shown
from transport.client._options import checked_token
from transport.errors import TokenUnavailable

if TYPE_CHECKING:
    from transport.client._loop import EventLoop
    from transport.client._options import Token

logger = logging.getLogger("greenroom.client")


class TokenSource:
    """The source of a client's tokens. ``newest`` is the token that every new connection uses until it expires."""

    def __init__(self, loop: EventLoop, token: Token, session: str) -> None:
        self._loop = loop
        self._token = token
        self._session = session
        self.newest: str | None = None

    async def fetch(self) -> None:
        """Get a token from the application, and store it as the newest token.

        Raise :class:`~transport.errors.TokenUnavailable` if the callable raises, or returns an object that is no token.
        """
        try:
            self.newest = await self._ask()
        except TokenUnavailable:
            raise
        except Exception as error:
            raise TokenUnavailable(f"the token callable raised {shown(error)}") from error

    async def fresh(self) -> str | None:
        """Return a fresh token for the open connection. Return None if the application has none.

        A failure of the callable is only logged: when the present token has expired, the callable is called again.
        """
        if not callable(self._token):
            return None
        try:
            self.newest = await self._ask()
        except Exception as error:  # noqa: BLE001  the application's own code
            log_line(logger, logging.INFO, "session %s: no fresh token: %s", self._session, shown(error))
            return None
        return self.newest

    async def _ask(self) -> str | None:
        if not callable(self._token):
            return self._token
        token = self._token()
        return checked_token(await self._loop.foreign(token) if inspect.isawaitable(token) else token)
