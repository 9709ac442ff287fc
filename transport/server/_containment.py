"""Error handling for tasks that serve all connections: an error in one connection closes only that connection."""

from __future__ import annotations

import logging
from typing import Protocol

import trio

from actors.failures import log_failure

logger = logging.getLogger("greenroom.connections")


class Contained(Protocol):
    """The interface of an object that belongs to one connection, and is called by a task for all connections.

    If a method of the object raises, only its own connection is closed.
    """

    def on_failed(self, error: BaseException) -> None:
        """Close the connection, because a method of this part raised ``error``. Must not wait."""


@trio.lowlevel.enable_ki_protection
def end_failed(connection: Contained, error: BaseException) -> None:
    """Close a connection because one of its methods raised ``error``. Never raises."""
    try:
        connection.on_failed(error)
    except BaseException as again:  # noqa: BLE001 - the other connections have their turn in any case
        log_failure(logger, "a connection that failed could not be closed", error=again)
