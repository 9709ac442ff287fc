"""The end of a connection, or of an attempt to connect, as one value. Exceptions become values here."""

from __future__ import annotations

import logging
from typing import cast

import attrs
import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected
from wsproto.utilities import ProtocolError

from actors.failures import describe, is_a, leaves, led_to, log_failure, text_of
from transport.protocol.close_codes import ABNORMAL, NO_STATUS, truncate_reason

logger = logging.getLogger("greenroom.client")

_EXPECTED = (ConnectionRejected, ConnectionClosed, ProtocolError, h11.ProtocolError, OSError, trio.BrokenResourceError)
"""Exceptions caused by the network, or by a peer that does not follow this protocol.

Any other exception is a bug in the application's ``open_stream`` or in this package, and is logged with its traceback.
"""


@attrs.frozen
class Ended:
    """The end of a connection: a close code, or the HTTP ``status`` of a refused upgrade.

    ``lived`` is the time since the welcome, in seconds.
    """

    code: int
    reason: str
    status: int | None = None
    lived: float = 0.0
    catching_up: bool = False
    """Whether the client itself ended the connection, to reconnect at once and fetch the events that it had skipped."""


def ended_by_failure(raised: BaseException, *, upgraded: bool) -> Ended:
    """Return the end of an attempt to connect that failed with the exceptions in ``raised``.

    An exception that neither the network nor the peer can cause is logged with its traceback.
    """
    errors = list(leaves(raised))
    rejection = next((error for error in errors if is_a(error, ConnectionRejected)), None)
    # A refused upgrade has a status, which decides the next step. So it goes before all other exceptions.
    if rejection is not None:
        return _rejection(cast("ConnectionRejected", rejection))
    if not all(is_a(error, _EXPECTED) for error in errors):
        log_failure(logger, "a connection attempt failed in code, and is tried again", error=raised)
    described = "; ".join(describe(_original(error)) for error in errors)
    message = f"the connection failed: {described}" if upgraded else f"no WebSocket: {described}"
    return Ended(ABNORMAL, truncate_reason(message))


def _original(error: BaseException) -> BaseException:
    """Return the protocol error of the peer that led to ``error``. If there was none, return ``error`` itself."""
    _, context = led_to(error)
    return context if context is not None and is_a(context, ProtocolError) else error


def _rejection(rejection: ConnectionRejected) -> Ended:
    body = (rejection.body or b"").decode(errors="replace").strip()
    return Ended(ABNORMAL, truncate_reason(body), status=rejection.status_code)


def ended_by_stream(error: BaseException) -> Ended:
    """Return the end of an attempt in which no byte stream could be opened.

    If several addresses were tried, the text of trio's exception only says that all failed. The reasons are in the
    cause of that exception.
    """
    cause, _ = led_to(error)
    reasons = dict.fromkeys(text_of(each) for each in leaves(cause or error))
    return Ended(ABNORMAL, truncate_reason(f"cannot connect: {'; '.join(reasons)}"))


def ended_by_close(closed: ConnectionClosed) -> Ended:
    """Return the end of a connection with the code and reason of its close frame."""
    # The stream ended without a close frame.
    if closed.reason is None:
        return Ended(NO_STATUS, "")
    return Ended(int(closed.reason.code), closed.reason.reason or "")
