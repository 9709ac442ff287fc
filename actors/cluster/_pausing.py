"""The time in which this node is suspended, as its clients see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import trio

from actors.cluster._watched import PAUSED
from actors.streams._cursor import SessionEnding

if TYPE_CHECKING:
    from actors.cluster._following import Moving
    from actors.cluster._mirrors import Mirrors
    from actors.sessions._session_table import SessionTable


class Pausing:
    """The notices to all clients of this node while it is suspended, and the end of the clients if that takes long."""

    def __init__(self, mirrors: Mirrors, moving: Moving, table: SessionTable, patience_seconds: float) -> None:
        self._mirrors = mirrors
        self._moving = moving
        self._table = table
        self._patience_seconds = patience_seconds
        self._since: float | None = None

    def follow(self, *, suspended: bool) -> None:
        """Tell all clients if the node is suspended now, or no longer. After ``patience_seconds``, end them.

        Call this often. It never waits.
        """
        now = trio.current_time()
        if suspended != (self._since is not None):
            self._since = now if suspended else None
            data = orjson.dumps({"active": suspended})
            self._mirrors.signal(PAUSED, data)
            self._moving.signal(PAUSED, data)
            self._table.signal_all(PAUSED, data)
        if self._since is not None and now >= self._since + self._patience_seconds:
            self._mirrors.end_all(SessionEnding.SUSPENDED)
            self._table.end_listeners(SessionEnding.SUSPENDED)
