"""The credentials of a connection, and the user that an auth function finds for them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

NO_TOKEN, BAD_TOKEN = "a token is required", "the token is not valid"
"""Texts with which a client without a token, or with a wrong token, is refused. The server counts these apart."""
REVOKED = "the token was revoked"
"""Text with which a client is refused, and with which its connection is closed, after its token was revoked."""

MAX_USER = 256
"""Maximum length of a user's id, in characters."""
MAX_TOKEN_ID = 256
"""Maximum length of a token's id, in characters."""


@attrs.frozen
class Credentials:
    """The credentials of a connection. The token is never logged, and ``repr`` does not show it."""

    token: str | None = attrs.field(repr=False)
    """The token in the client's ``hello`` or ``token`` frame. None if there is no token."""
    session: str
    """Name of the session that the connection asks for."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """The headers of the HTTP request that opened the WebSocket, with names in lower case.

    Empty if the client renews its token on an open connection (a ``token`` frame): the server keeps no headers.
    """
    address: str = ""
    """The network address from which the client connects, without the port."""
    renews: User | None = attrs.field(default=None, repr=False)
    """The user of the open connection on which the client renews its token. None for a ``hello``."""


def _check_user(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_USER:
        raise ValueError(f"{attribute.name} of a user must be a string of 1 to {MAX_USER} characters")
    value.encode()  # raises ValueError for a lone surrogate: no log could hold the name


def _check_token_id(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_ID:
        raise ValueError(f"{attribute.name} of a user must be a string of 1 to {MAX_TOKEN_ID} characters or None")
    value.encode()  # as above


def _check_time(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ValueError(f"{attribute.name} of a user must be a time in s since 1970 or None")
    float(value)  # raises OverflowError for an integer that is too large for a float


def checked_user(user: object) -> User:
    """Check the result of an auth function, and return it as a plain :class:`User`.

    Raises:
        TypeError: If ``user`` is not a :class:`User`.
        ValueError: If a value in ``user`` is invalid. A subclass of :class:`User` can let such a value pass.
    """
    if not isinstance(user, User):
        raise TypeError(f"auth must return a User, not {type(user).__name__}")
    # Again, since a subclass may hold values that were not checked.
    return User(user.id, user.expires, user.token_id, user.issued)


@attrs.frozen
class User:
    """An authenticated user: the result of an auth function."""

    id: str = attrs.field(validator=_check_user)
    """The user's name. Sessions are stored under this name. A user can read only sessions under this name."""
    expires: float | None = attrs.field(default=None, validator=_check_time)
    """Time when the server closes connections of this user, in seconds since 1970. None means never."""
    token_id: str | None = attrs.field(default=None, validator=_check_token_id)
    """The id of the token, by which :meth:`Greenroom.revoke` can revoke this token alone. None if it has no id."""
    issued: float | None = attrs.field(default=None, validator=_check_time)
    """Time when the token was issued (or when the user logged in), in seconds since 1970. None if it is not known.

    :meth:`Greenroom.revoke` revokes the tokens that were issued before. Without this time, a token counts as issued
    before. If the clock of the issuer may be ahead of the clock of this server, subtract the difference.
    """


Authenticate: TypeAlias = "Callable[[Credentials], Awaitable[User]]"
"""The type of auth functions, which return the :class:`User` that has the given :class:`Credentials`.

An auth function refuses a client by raising :class:`~transport.NotAuthenticated` or :class:`~transport.Forbidden`,
alone or in an exception group. By :class:`~transport.AuthUnavailable` it sends the client away for now (4005). If the
function raises or returns anything else, the connection is closed with an internal error (4006). An auth function is
cancelled after ``auth_seconds``.
"""

ANONYMOUS = User("anonymous")


async def anonymous(_: Credentials) -> User:
    """Return the user ``anonymous`` for every connection. Only for a server that other machines cannot reach."""
    return ANONYMOUS
