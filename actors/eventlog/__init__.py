"""Event logs: the contract, its engines, and the URLs that name a log."""

from __future__ import annotations

from typing import Literal

from actors.errors import ConfigError
from actors.eventlog._walk import StreamWalk
from actors.eventlog.base import (
    Batch,
    ConsumerPosition,
    ConsumerUsage,
    EventLog,
    Head,
    LogStatistics,
    Retention,
    Revocation,
    StreamKey,
)
from actors.eventlog.memory import MemoryLog
from actors.eventlog.sqlite import SqliteLog

__all__ = [
    "Batch",
    "ConsumerPosition",
    "ConsumerUsage",
    "EventLog",
    "Head",
    "LogStatistics",
    "MemoryLog",
    "Retention",
    "Revocation",
    "SqliteLog",
    "StreamKey",
    "StreamWalk",
    "open_log",
]


def open_log(url: str, *, read_only: bool = False) -> EventLog:
    """Return the log that a URL describes. The log is not opened yet.

    Args:
        url: ``memory:``, ``sqlite:PATH`` or ``sqlite:PATH?synchronous=FULL``. With ``FULL`` every commit is written to
            the disk before it succeeds. With ``NORMAL``, the default, the operating system chooses the time at which a
            commit is written to the disk.
        read_only: Open the log for reading only. A server can have the log open at the same time. ``memory:`` cannot be
            opened for reading only.

    Raises:
        ConfigError: The URL does not name a log.
    """
    scheme, colon, rest = url.partition(":")
    if scheme == "valkey" and colon:
        raise ConfigError(f"log {url!r}: the valkey engine is not available in this version")
    if url == "memory:" and read_only:
        raise ConfigError("log 'memory:' ends with its process: there is nothing to read")
    if url == "memory:":
        return MemoryLog()
    # sqlite://logs/x.db looks like a relative path, but would be the path //logs/x.db in the root directory.
    if scheme == "sqlite" and rest and (not rest.startswith("//") or rest.startswith("///")):
        path, _, query = rest.partition("?")
        return SqliteLog(path, _synchronous(url, query), read_only=read_only)
    raise ConfigError(f"log {url!r}: give memory: or sqlite:PATH")


def _synchronous(url: str, query: str) -> Literal["NORMAL", "FULL"]:
    match query.partition("="):
        case "", "", "":
            return "NORMAL"
        case "synchronous", "=", ("NORMAL" | "FULL") as value:
            return value
        case _:
            raise ConfigError(f"log {url!r}: after the path give ?synchronous=NORMAL or ?synchronous=FULL, or nothing")
