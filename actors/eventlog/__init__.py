"""Event logs: the contract, its engines, and the URLs that name a log."""

from __future__ import annotations

from typing import Literal, TypedDict

from actors.errors import ConfigError
from actors.eventlog._valkey_options import ValkeyOptions
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
from actors.valkey.address import parse_address, without_password

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
    "ValkeyOptions",
    "open_log",
]


class _Options(TypedDict, total=False):
    """The options in the URL of a SQLite log."""

    synchronous: Literal["NORMAL", "FULL"]
    commit: Literal["thread", "inline"]


def open_log(url: str, *, read_only: bool = False, valkey: ValkeyOptions | None = None) -> EventLog:
    """Return the log that a URL describes. The log is not opened yet.

    Args:
        url: ``memory:``, ``sqlite:PATH``, ``sqlite:PATH?synchronous=FULL``, ``sqlite:PATH?commit=inline`` or
            ``valkey://HOST:PORT``. With ``FULL`` every commit is written to the disk before it succeeds. With
            ``NORMAL``, the default, the operating system chooses the time at which a commit is written to the disk.
            With ``inline`` commits are made on the thread of the event loop, which a slow disk then stops (see
            :class:`SqliteLog`). Two options are joined by ``&``. For the other URLs of a Valkey server see
            :func:`actors.valkey.address.parse_address`; they need the extra ``valkey``.
        read_only: Open the log for reading only. A server can have the log open at the same time. ``memory:`` cannot be
            opened for reading only.
        valkey: The options of a log in Valkey. Other logs do not use them.

    Raises:
        ConfigError: The URL does not name a log.
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme.startswith("valkey"):
        return _valkey_log(url, valkey, read_only=read_only)
    if url == "memory:" and read_only:
        raise ConfigError("log 'memory:' ends with its process: there is nothing to read")
    if url == "memory:":
        return MemoryLog()
    # sqlite://logs/x.db looks like a relative path, but would be the path //logs/x.db in the root directory.
    if scheme == "sqlite" and rest and (not rest.startswith("//") or rest.startswith("///")):
        path, _, query = rest.partition("?")
        return SqliteLog(path, **_options(url, query), read_only=read_only)
    raise ConfigError(f"log {url!r}: give memory:, sqlite:PATH or valkey://HOST:PORT")


def _valkey_log(url: str, options: ValkeyOptions | None, *, read_only: bool) -> EventLog:
    address = parse_address(url)
    try:
        from actors.eventlog.valkey import ValkeyLog  # noqa: PLC0415 - only this engine needs its client library
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "coredis":
            raise
        raise ConfigError(
            f"log {without_password(url)!r}: the client library coredis is not installed: install the extra valkey"
        ) from None
    return ValkeyLog(address, options, read_only=read_only)


def _options(url: str, query: str) -> _Options:
    options: _Options = {}
    for option in query.split("&") if query else ():
        match option.partition("="):
            case "synchronous", "=", ("NORMAL" | "FULL") as level if "synchronous" not in options:
                options["synchronous"] = level
            case "commit", "=", ("thread" | "inline") as place if "commit" not in options:
                options["commit"] = place
            case _:
                raise ConfigError(
                    f"log {url!r}: after the path give ?synchronous=NORMAL or ?synchronous=FULL, ?commit=thread or "
                    "?commit=inline, one of each joined by &, or nothing"
                )
    return options
