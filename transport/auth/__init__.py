"""Authentication: it turns the credentials of a connection into a user.

An application's auth function takes :class:`Credentials` and returns a :class:`User`. :class:`TokenAuth` is such a
function, for JSON Web Tokens.
"""

from transport.auth._limits import MAX_TOKEN, MIN_KEY_BYTES
from transport.auth._token_auth import TokenAuth
from transport.auth._user import (
    ANONYMOUS,
    BAD_TOKEN,
    MAX_TOKEN_ID,
    MAX_USER,
    NO_TOKEN,
    REVOKED,
    Authenticate,
    Credentials,
    User,
    anonymous,
    checked_user,
)

__all__ = [
    "ANONYMOUS",
    "BAD_TOKEN",
    "MAX_TOKEN",
    "MAX_TOKEN_ID",
    "MAX_USER",
    "MIN_KEY_BYTES",
    "NO_TOKEN",
    "REVOKED",
    "Authenticate",
    "Credentials",
    "TokenAuth",
    "User",
    "anonymous",
    "checked_user",
]
