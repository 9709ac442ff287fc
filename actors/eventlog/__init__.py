"""Event logs: the contract, the engines that keep it, and how a URL names one."""

from __future__ import annotations

from typing import Literal

from actors.errors import ConfigError
from actors.eventlog._walk import StreamWalk
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
    "StreamWalk",
    "open_log",
]


def open_log(url: str, *, read_only: bool = False) -> EventLog:
    """Return the log that ``url`` names, not opened yet: ``memory:`` or ``sqlite:PATH``.

    ``sqlite:PATH?synchronous=FULL`` has every commit written to the disk before it counts; without it, or with
    ``NORMAL``, that is left to the system. With ``read_only`` it is read, and never changed, also while a
    server has it open. Anything else is a ``ConfigError``.
    """
    scheme, colon, rest = url.partition(":")
    if scheme == "valkey" and colon:
        raise ConfigError(f"log {url!r}: the valkey engine is not available in this version")
    if url == "memory:" and read_only:
        raise ConfigError("log 'memory:' ends with its process: there is nothing to read")
    if url == "memory:":
        return MemoryLog()
    # sqlite://logs/x.db looks like a relative path and would be one in the root directory.
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
            raise ConfigError(f"log {url!r}: what may follow the path is ?synchronous=NORMAL or ?synchronous=FULL")
