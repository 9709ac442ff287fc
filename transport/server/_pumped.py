"""The border between a pump and the connections that it visits: one that fails ends alone, and the pump goes on."""

from __future__ import annotations

import logging
from typing import Protocol

import trio

from actors.failures import log_failure

logger = logging.getLogger("greenroom.connections")


class Pumped(Protocol):
    """A connection, as every pump sees it."""

    def failed(self, error: BaseException) -> None:
        """Close, since ``error`` was raised by what a pump called. Must not wait."""


@trio.lowlevel.enable_ki_protection
def end_failed(connection: Pumped, error: BaseException) -> None:
    """End a connection whose turn raised ``error``. Never raise, whatever the connection does."""
    try:
        connection.failed(error)
    except BaseException as again:  # noqa: BLE001 - the others have their turn in any case
        log_failure(logger, "a connection that failed could not be closed", error=again)
