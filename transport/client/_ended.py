"""The end of a connection, or of an attempt to connect, as one value. Exceptions become values here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs

from actors.failures import describe, is_a, leaves, led_to, log_failure, text_of
from transport.protocol.close_codes import ABNORMAL, truncate_reason

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("greenroom.client")

CLOSE_SECONDS = 2.0
"""Time limit of the close handshake, in seconds. After this time the connection is closed by force."""


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


class ConnectionEnded(Exception):
    """The connection has ended: :attr:`ended` says how. The client handles this error itself."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended)
        self.ended = ended


NO_ANSWER = Ended(ABNORMAL, "no answer to the upgrade")
NOT_IN_TIME = Ended(ABNORMAL, "cannot connect: no answer in time")


def ended_by_status(status: int, body: bytes) -> Ended:
    """Return the end of an attempt to connect that the server refused with this HTTP status and this body."""
    return Ended(ABNORMAL, truncate_reason(body.decode(errors="replace").strip()), status=status)


def ended_by_failure(
    raised: BaseException,
    expected: tuple[type[BaseException], ...],
    original: Callable[[BaseException], BaseException],
    *,
    upgraded: bool,
) -> Ended:
    """Return the end of an attempt to connect that failed with the exceptions in ``raised``.

    Args:
        raised: An exception, or a group of exceptions.
        expected: Exceptions caused by the network, or by a peer that does not follow this protocol. Any other exception
            is a bug in the application's own function that opens the socket, or in this package. It is logged with its
            traceback.
        original: Returns the exception that led to an exception of the library, for the reason.
        upgraded: Whether the connection was open.
    """
    errors = list(leaves(raised))
    if not all(is_a(error, expected) for error in errors):
        log_failure(logger, "a connection attempt failed in code, and is tried again", error=raised)
    described = "; ".join(describe(original(error)) for error in errors)
    message = f"the connection failed: {described}" if upgraded else f"no WebSocket: {described}"
    return Ended(ABNORMAL, truncate_reason(message))


def ended_by_dialling(error: BaseException) -> Ended:
    """Return the end of an attempt in which no byte stream could be opened.

    If several addresses were tried, the text of trio's exception only says that all failed. The reasons are in the
    cause of that exception.
    """
    cause, _ = led_to(error)
    reasons = dict.fromkeys(text_of(each) for each in leaves(cause or error))
    return Ended(ABNORMAL, truncate_reason(f"cannot connect: {'; '.join(reasons)}"))
