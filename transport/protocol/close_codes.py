"""The close codes of the protocol as a table, and the rule that tells a client whether to connect again.

The range of a code decides: after 4000-4499 a client reconnects with ``resume``, after 4500-4999 it does not. After a
standard code (RFC 6455, section 7.4.1) the client reconnects if the network or the server caused the end, and not the
messages: after 1001, 1005, 1006 and 1011 to 1015.
"""

from __future__ import annotations

import attrs

MAX_REASON_BYTES = 123
"""Maximum size of the reason in a close frame, in bytes.

A close frame carries 125 bytes (RFC 6455, section 5.5). The close code takes two bytes, the reason can have 123.
"""
_CUT = "…"

_FIRST_OWN, _FIRST_FOR_GOOD, _LAST_OWN = 4000, 4500, 4999


@attrs.frozen
class CloseCode:
    """One row of the table of close codes: the code, its name, whether the client reconnects, and the meaning."""

    code: int
    name: str
    come_back: bool
    description: str


GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
NO_STATUS = 1005
ABNORMAL = 1006
NOT_UTF_8 = 1007
POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009
SLOW_CONSUMER = 4001
HEARTBEAT_LOST = 4002
SESSION_MOVED = 4003
TOKEN_EXPIRED = 4004
OVERLOADED = 4005
INTERNAL_ERROR = 4006
UNRECOVERABLE_POSITION = 4410
BAD_FRAME = 4500
NOT_AUTHENTICATED = 4501
FORBIDDEN = 4502
NO_HELLO = 4503
TOO_MANY_CONNECTIONS = 4504
FLOODING = 4505
SESSION_CLOSED = 4506

_COME_BACK = (
    (GOING_AWAY, "going away", "the server shuts down or drains"),
    (NO_STATUS, "no status", "the peer closed without a code; never sent"),
    (ABNORMAL, "abnormal", "the connection ended without a close frame; never sent"),
    (SLOW_CONSUMER, "slow consumer", "nothing could be written for slow_seconds, or the position fell behind the log"),
    (HEARTBEAT_LOST, "heartbeat lost", "no frame came from the client for too long, or none while a newer one waited"),
    (SESSION_MOVED, "session moved", "another node serves this session now"),
    (TOKEN_EXPIRED, "token expired", "at hello or later; bring a fresh one"),
    (OVERLOADED, "overloaded", "try later"),
    (INTERNAL_ERROR, "internal error", "a fault of the server; its log has the reference"),
    (UNRECOVERABLE_POSITION, "unrecoverable position", "a strict resume from a position that the log cannot serve"),
)
_FOR_GOOD = (
    (PROTOCOL_ERROR, "protocol error", "the bytes are not a WebSocket frame"),
    (UNSUPPORTED_DATA, "unsupported data", "a binary message"),
    (NOT_UTF_8, "not UTF-8", "a text message that is not UTF-8"),
    (POLICY_VIOLATION, "policy violation", "refused by something between client and server; never sent"),
    (MESSAGE_TOO_BIG, "frame too big", "a frame over max_frame_bytes, or over max_fragments"),
    (BAD_FRAME, "bad frame", "not a frame of the protocol, or not allowed at this point"),
    (NOT_AUTHENTICATED, "not authenticated", "anything wrong with the token but its age"),
    (FORBIDDEN, "forbidden", "the user is known and refused"),
    (NO_HELLO, "no hello in time", "no hello within hello_seconds of the upgrade"),
    (TOO_MANY_CONNECTIONS, "too many connections", "for this user"),
    (FLOODING, "flooding", "a rate limit was ignored"),
    (SESSION_CLOSED, "session closed for good", "attaching again is refused until retention removes it"),
)

CLOSE_CODES: dict[int, CloseCode] = {
    code: CloseCode(code, name, come_back, description)
    for come_back, lines in ((True, _COME_BACK), (False, _FOR_GOOD))
    for code, name, description in lines
}
"""All close codes that have a meaning in the protocol; the key is the number."""

NO_WEBSOCKET = (PROTOCOL_ERROR, NOT_UTF_8)
"""Close codes that mean: the peer sent bytes that are not valid WebSocket frames (RFC 6455)."""


def comes_back(code: int) -> bool:
    """Return True if a client should reconnect after its connection was closed with ``code``.

    For a code that is not in the table, the number decides. Outside 4000-4999, a client does not reconnect after a code
    up to 1010: such a code is a normal end, or an error of the client. A client reconnects after 1011 to 1015, which
    are errors of the server or the network.
    """
    known = CLOSE_CODES.get(code)
    if known is not None:
        return known.come_back
    if _FIRST_OWN <= code <= _LAST_OWN:
        return code < _FIRST_FOR_GOOD
    return 1010 < code < _FIRST_OWN  # noqa: PLR2004  1010, mandatory extension, is the last that blames the client


def truncate_reason(text: str) -> str:
    """Return ``text``, cut to 123 bytes of UTF-8 if it is longer. A cut text ends with ``…``.

    The reason in a close frame can have no more bytes. The cut is never inside a character.
    """
    encoded = text.encode(errors="replace")
    if len(encoded) <= MAX_REASON_BYTES:
        return encoded.decode()
    return encoded[: MAX_REASON_BYTES - len(_CUT.encode())].decode(errors="ignore") + _CUT
