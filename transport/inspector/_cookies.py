"""The cookie of a browser in which an operator has logged in.

The cookie has its end and an authentication code, made with ``operator_token``. So every process with the same token
accepts it, such as the workers of one port, and a new token ends all cookies. The token itself is not in it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

LOGIN_SECONDS = 12 * 3600.0
"""Time after which an operator has to log in again, in seconds."""
MAX_LOGOUTS = 1_000
"""Number of cookies that are remembered as logged out. Beyond it the oldest are forgotten, and would be valid again."""
_PURPOSE = b"greenroom inspector cookie 1"
_PORT = re.compile(r":([0-9]{1,5})\Z")


class Cookies:
    """The cookies of operators.

    Args:
        token: The setting ``operator_token``.
    """

    def __init__(self, token: str) -> None:
        self._key = hmac.digest(token.encode(), _PURPOSE, hashlib.sha256)
        self._ended: dict[str, None] = {}
        """The cookies of operators that have logged out, in this process. The oldest come first."""

    def make(self, now: float) -> str:
        """Return the value of a new cookie. ``now`` is in seconds since 1970."""
        text = f"{int(now + LOGIN_SECONDS)}.{secrets.token_hex(16)}"
        return f"{text}.{self._code(text)}"

    def accepts(self, value: str, now: float) -> bool:
        """Return whether ``value`` is a cookie of this class that has not ended."""
        text, _, code = value.rpartition(".")
        if not hmac.compare_digest(code.encode("utf-8", "replace"), self._code(text).encode()) or value in self._ended:
            return False
        return now < int(text.partition(".")[0])  # the code shows that the text is one of make()

    def end(self, value: str) -> None:
        """Accept a cookie no more, since its operator has logged out. Another process accepts it until its end."""
        self._ended[value] = None
        while len(self._ended) > MAX_LOGOUTS:
            del self._ended[next(iter(self._ended))]

    def _code(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def cookie_name(connection: HTTPConnection) -> str:
    """Return the name of the cookie. It has the port, since cookies do not keep the ports of a host apart."""
    port = _PORT.search(connection.headers.get("host", ""))
    return f"greenroom_operator_{port[1] if port else connection.scope['scheme']}"
