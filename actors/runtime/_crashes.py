"""The crashes of actors: each is logged with a reference number, counted, and shown to a listener."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

import attrs

from actors.failures import log_failure, shown

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("actors")


@attrs.frozen
class Crash:
    """The end of one incarnation of an actor (its life between two restarts) by an exception."""

    path: str
    """Path of the actor in the tree."""
    incarnation: int
    """Number of the incarnation that has ended. The first one is 1."""
    reference: str
    """The number by which the log names this crash."""
    error: BaseException = attrs.field(repr=shown)
    """The exception."""


class Crashes:
    """The crashes of the actors of one system."""

    def __init__(self) -> None:
        self.total = 0
        """Number of crashes since the system was opened. An actor need not be restarted after a crash."""
        self.listener: Callable[[Crash], None] | None = None
        """Function that is called with each crash. It must neither wait nor raise."""

    def note(self, path: str, incarnation: int, error: BaseException) -> str:
        """Log the exception with which an actor has ended, count it, and call the listener. Return the reference."""
        self.total += 1
        crash = Crash(path, incarnation, secrets.token_hex(4), error)
        message, fields = "%s failed: %s, reference %s", {"reference": crash.reference}
        log_failure(logger, message, path, shown(error), crash.reference, error=error, fields=fields)
        if self.listener is not None:
            self.listener(crash)
        return crash.reference
