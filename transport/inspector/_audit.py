"""The audit log: a line of the logger ``greenroom.audit`` for each action of an operator, also if it was refused."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from actors.failures import log_line
from transport.protocol.limits import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from transport.inspector._access import Operator

logger = logging.getLogger("greenroom.audit")

REFUSED_LINES_PER_SECOND, REFUSED_LINES_BURST = 1.0, 100
"""Lines about refused requests per second, on average, and at once. *A stranger could fill the disk with them.*"""
_UNKNOWN = "an unknown address"


def note_action(operator: Operator, action: str, subject: str, result: str) -> None:
    """Log an action of an operator.

    Args:
        operator: The operator.
        action: The action, such as ``cancel``.
        subject: Its target, such as the user, the session and the run.
        result: The result, such as ``done``.
    """
    done = f"{action} {subject}".strip()
    address = operator.address or _UNKNOWN
    log_line(logger, logging.INFO, "operator %s from %s: %s: %s", operator.name, address, done, result)


def note_login(address: str) -> None:
    """Log that an operator has logged in with the token."""
    log_line(logger, logging.INFO, "operator token from %s: log in: done", address or _UNKNOWN)


class RefusedLines:
    """The lines about requests without access: wrong tokens, and actions of callers that are no operators.

    If they come too fast, only their number is logged, with the next line.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bucket = TokenBucket(REFUSED_LINES_PER_SECOND, REFUSED_LINES_BURST, clock())
        self._skipped = 0

    def note(self, address: str, request: str, reason: str) -> None:
        """Log a refused request, or only count it."""
        if not self._bucket.take(self._clock()):
            self._skipped += 1
            return
        more = f" (and {self._skipped} more before)" if self._skipped else ""
        self._skipped = 0
        log_line(logger, logging.WARNING, "refused %s from %s: %s%s", request, address or _UNKNOWN, reason, more)
