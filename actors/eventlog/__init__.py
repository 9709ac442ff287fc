"""Event logs: the contract, the engines that keep it, and how a URL names one."""

from __future__ import annotations

from actors.errors import ConfigError
from actors.eventlog.base import Batch, EventLog, Head, LogStatistics, Retention, StreamKey
from actors.eventlog.memory import MemoryLog
from actors.eventlog.sqlite import SqliteLog

__all__ = [
    "Batch",
    "EventLog",
    "Head",
    "LogStatistics",
    "MemoryLog",
    "Retention",
    "SqliteLog",
    "StreamKey",
    "open_log",
]


def open_log(url: str) -> EventLog:
    """Return the log that ``url`` names, not opened yet: ``memory:`` or ``sqlite:PATH``.

    Anything else is a ``ConfigError``.
    """
    scheme, colon, rest = url.partition(":")
    if scheme == "valkey" and colon:
        raise ConfigError(f"log {url!r}: the valkey engine is not available in this version")
    if url == "memory:":
        return MemoryLog()
    # sqlite://logs/x.db looks like a relative path and would be one in the root directory.
    if scheme == "sqlite" and rest and (not rest.startswith("//") or rest.startswith("///")):
        return SqliteLog(rest)
    raise ConfigError(f"log {url!r}: give memory: or sqlite:PATH")
