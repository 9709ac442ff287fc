"""Logs in Valkey in place of the logs that tests ask for: in memory, or in a file of SQLite.

A log in memory is a new one each time. A log of a file has the events that an earlier log of the same path had.
"""

from __future__ import annotations

import atexit
import os
import secrets
import socket
from functools import cache
from pathlib import Path
from typing import Any

import _valkey

from actors.eventlog import ValkeyOptions
from actors.eventlog import open_log as own_open_log
from actors.eventlog.valkey import ValkeyLog
from actors.valkey.address import parse_address
from actors.valkey.keys import Keyspace

URL = "TEST_VALKEY_URL"
"""Environment variable with the URL of the server, for the processes that a test starts."""
SECONDS = 30.0
"""Time limit of a call. The machine may be busy."""


@cache
def server_url() -> str:
    """Return the URL of the server of this process and of the processes below it."""
    if URL not in os.environ:
        server = _valkey.Server("--maxclients", "20000").start()
        atexit.register(server.__exit__, None, None, None)
        os.environ[URL] = server.url
    return os.environ[URL]


def prefix_of(path: str | Path) -> str:
    """Return the prefix of the log in place of a file."""
    return f"file-{Path(path).absolute()}"


def bury_nodes(path: str | Path) -> None:
    """Remove all nodes of the log in place of a file, whose processes are dead. Other nodes would do it later."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(server_url().partition(":")[2])
        sock.sendall(f"DEL {Keyspace(prefix_of(path)).nodes}\r\n".encode())
        assert sock.recv(64).startswith(b":")


class Log(ValkeyLog):
    """A log in the server of this process."""

    def __init__(self, prefix: str, *, read_only: bool = False) -> None:
        options = ValkeyOptions(prefix=prefix, timeout_seconds=SECONDS)
        super().__init__(parse_address(server_url()), options, read_only=read_only)
        self.prefix = prefix
        self.first: Log | None = None
        """The log of the first node, if this log is for another node on the same events."""
        self.membership: Any = None
        """The node that uses this log."""

    def again(self) -> Log:
        """Return another log with the same events, for another node."""
        other = Log(self.prefix)
        other.first = self
        return other


class InPlaceOfMemory(Log):
    """A new log, made as :class:`actors.MemoryLog` is. Its commits begin at once, too."""

    gather_seconds = 0.0

    def __init__(self) -> None:
        super().__init__(f"memory-{secrets.token_hex(4)}")


class InPlaceOfSqlite(Log):
    """The log of a path, made as :class:`actors.SqliteLog` is. Its options are those of a file."""

    def __init__(self, path: str | Path, *_: object, read_only: bool = False, **__: object) -> None:
        super().__init__(prefix_of(path), read_only=read_only)
        self.path = Path(path)


def open_log(url: str, *, read_only: bool = False, valkey: ValkeyOptions | None = None) -> Any:
    """Do as :func:`actors.open_log`, with the logs of this module."""
    log = own_open_log(url, read_only=read_only, valkey=valkey)
    if isinstance(log, ValkeyLog):
        return log
    if url == "memory:":
        return InPlaceOfMemory()
    return InPlaceOfSqlite(url.partition(":")[2].partition("?")[0], read_only=read_only)
