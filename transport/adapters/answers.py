"""Whole responses to a request, and the refusal of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import orjson

from transport.protocol import close_codes, server_frames
from transport.server._lifetime import retry_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transport.protocol.handshake import Reject
    from transport.server._lifetime import End

_STATUSES: Mapping[int, int] = {
    close_codes.BAD_FRAME: 400,
    close_codes.UNSUPPORTED_DATA: 400,
    close_codes.NOT_AUTHENTICATED: 401,
    close_codes.TOKEN_EXPIRED: 401,
    close_codes.FORBIDDEN: 403,
    close_codes.UNRECOVERABLE_POSITION: 409,
    close_codes.SESSION_CLOSED: 410,
    close_codes.MESSAGE_TOO_BIG: 413,
    close_codes.TOO_MANY_CONNECTIONS: 429,
    close_codes.FLOODING: 429,
    close_codes.GOING_AWAY: 503,
    close_codes.SESSION_MOVED: 503,
    close_codes.OVERLOADED: 503,
}
"""The HTTP status of a refusal with a close code of ``greenroom.v1``. Other codes are errors of the server: 500."""

_CODES: Mapping[int, int] = {
    400: close_codes.BAD_FRAME,
    403: close_codes.FORBIDDEN,
    503: close_codes.OVERLOADED,
}
"""The close code of a refusal that is an HTTP status on the port of the WebSocket."""


class Refused(Exception):
    """A request is refused with a close code of ``greenroom.v1``. Code of an adapter raises it in a handler.

    Args:
        code: The close code, which tells the client whether to come back.
        reason: The reason, for people.
        status: The HTTP status. By default, the code decides.
    """

    def __init__(self, code: int, reason: str, status: int | None = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = close_codes.truncate_reason(reason)
        self.status = _STATUSES.get(code, 500) if status is None else status
        self.retry_ms: int | None = retry_ms(code)
        """Time in ms after which the client comes back. None if it does not come back."""

    @classmethod
    def by(cls, end: End) -> Refused:
        """Return the refusal that the server has decided."""
        return cls(end.code, end.reason)

    @classmethod
    def rejected(cls, reject: Reject) -> Refused:
        """Return the refusal of a stream that would get an HTTP error at the port of the WebSocket."""
        return cls(_CODES.get(reject.status, close_codes.INTERNAL_ERROR), reject.body, reject.status)

    def goodbye(self) -> bytes:
        """Return the ``goodbye`` frame that says the same."""
        return server_frames.goodbye(self.code, self.reason, self.retry_ms)


@attrs.frozen
class Answer:
    """A whole response."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


def json_answer(status: int, value: object, **headers: str) -> Answer:
    """Return a response with a JSON value. In the names of ``headers``, an underscore stands for a hyphen."""
    return Answer(status, orjson.dumps(value), headers={name.replace("_", "-"): text for name, text in headers.items()})


def refusal_answer(refused: Refused) -> Answer:
    """Return the usual response to a refused request: the status, and the ``goodbye`` frame as JSON."""
    headers: dict[str, str] = {}
    if refused.retry_ms is not None:
        headers["Retry-After"] = str(-(-refused.retry_ms // 1000))
    if refused.status == 401:  # noqa: PLR2004 - HTTP's own number
        headers["WWW-Authenticate"] = "Bearer"
    return Answer(refused.status, refused.goodbye(), headers=headers)
