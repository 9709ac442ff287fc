"""The renewal of a client's token on an open connection: the frames ``token``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from transport.auth import Credentials
from transport.protocol import close_codes
from transport.server._greeting import authenticate
from transport.server._lifetime import End

if TYPE_CHECKING:
    from transport.auth import User
    from transport.server._context import ServerContext
    from transport.server._lifetime import Lifetime


class TokenHolder(Protocol):
    """The interface of a connection, for the renewal of its token."""

    user: User | None

    @property
    def address(self) -> str:
        """Network address of the client."""
        ...

    def on_renewed(self, user: User) -> None:
        """Continue with a fresh token: ``user`` has the values of this token. Must not wait."""


class Renewal:
    """The checks of the fresh tokens of one connection, one after the other, in a task of the connection.

    While a token is checked, the other frames of the client are handled. The newest token counts: of the tokens that
    come during a check, only the newest is kept and checked.
    """

    __slots__ = ("_checking", "_context", "_holder", "_life", "_newest", "_session")

    def __init__(self, context: ServerContext, life: Lifetime, holder: TokenHolder, session: str) -> None:
        self._context = context
        self._life = life
        self._holder = holder
        self._session = session
        self._newest: str | None = None
        """The token to check next. None if there is none."""
        self._checking = False

    def renew(self, token: str) -> None:
        """Check ``token`` in a task, after the token that is being checked. Never waits."""
        self._newest = token
        if not self._checking:
            self._checking = True
            self._life.start(self._check_all)

    async def _check_all(self) -> None:
        try:
            while (token := self._newest) is not None:
                self._newest = None
                await self._check(token)
        except End as end:
            self._life.close(end.code, end.reason)
        finally:
            self._checking = False

    async def _check(self, token: str) -> None:
        """Check one token, as the token of a hello is checked, and tell the connection if it is accepted.

        Raises:
            End: As :func:`authenticate` does, and with 4501 if the token belongs to another user.
        """
        present = self._holder.user
        credentials = Credentials(token, self._session, {}, self._holder.address, present)
        user = await authenticate(self._context, self._life, credentials)
        if present is None or user.id != present.id:
            raise End(close_codes.NOT_AUTHENTICATED, "the fresh token belongs to another user")
        if self._life.closing is None and not self._life.over:
            self._holder.on_renewed(user)
