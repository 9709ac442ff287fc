"""An auth function whose tokens say what they grant, for the tests of revocation and of fresh tokens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from protocol.agents import auth_by_name

from transport import AuthUnavailable, Credentials, User

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def grant(user: str, token_id: str = "", issued: float | None = None, seconds: float | None = None) -> str:
    """Return a token of ``user``. ``seconds`` is the time until the token expires."""
    expires = "" if seconds is None else time.time() + seconds
    return f"{user}/{token_id}/{'' if issued is None else issued}/{expires}"


async def granted(credentials: Credentials) -> User:
    """Return the user of a token of :func:`grant`. Any other token: see :func:`auth_by_name`."""
    parts = (credentials.token or "").split("/")
    if credentials.token == "unavailable":
        raise AuthUnavailable("no keys")
    if len(parts) == 1:
        return await auth_by_name(credentials)
    user, token_id, issued, expires = parts
    return User(user, float(expires) if expires else None, token_id or None, float(issued) if issued else None)


class Slow:
    """An auth function like :func:`granted`. It waits before the tokens that a test names."""

    def __init__(self, waits: Callable[[str], Awaitable[None]]) -> None:
        self._waits = waits
        self.checked: list[str] = []
        """The tokens, in the order in which their checks began."""

    async def __call__(self, credentials: Credentials) -> User:
        """Return the user of the token, after the wait."""
        self.checked.append(credentials.token or "")
        await self._waits(credentials.token or "")
        return await granted(credentials)
