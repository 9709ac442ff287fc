"""The logs that the commands name: a file, or a URL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from actors import ConfigError, LogError, open_log
from actors.valkey.address import without_password
from transport.cli._options import valkey_options
from transport.cli._terminal import told

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from actors import EventLog
    from actors.cluster.looking import SeenNode


def url_of(log: str) -> str:
    """Return the URL of a log that is named by its URL, or by the path of its file."""
    return f"sqlite:{log}" if ":" not in log or Path(log).is_file() else log


def file_of(log: str) -> Path | None:
    """Return the file of a log. Return None if the log is not in a SQLite file."""
    url = url_of(log)
    return Path(url.removeprefix("sqlite:").partition("?")[0]) if url.startswith("sqlite:") else None


def refuse_memory(log: str, action: str) -> None:
    """Raise ConfigError if the log is ``memory:``. ``action`` is the refused action, such as ``copied``."""
    if url_of(log) == "memory:":
        raise ConfigError(f"log 'memory:' ends with its process: it cannot be {action}")


def require_file(log: str) -> None:
    """Raise ConfigError if the log is in a SQLite file that does not exist."""
    path = file_of(log)
    if path is not None and not path.is_file():
        raise ConfigError(f"there is no file {path}")


@asynccontextmanager
async def reading(log: str) -> AsyncGenerator[EventLog]:
    """Open a log for reading only, inside the ``async with`` block. Say so if that takes long."""
    url = url_of(log)
    async with _opened(log, open_log(url, read_only=True, valkey=valkey_options(url))) as opened:
        yield opened


@asynccontextmanager
async def unused(log: str) -> AsyncGenerator[EventLog]:
    """Open a log that no server uses, inside the ``async with`` block. Say so if that takes long.

    Raises:
        LogError: A server uses the log. A SQLite log refuses a second program itself.
    """
    url = url_of(log)
    async with _opened(log, open_log(url, valkey=valkey_options(url))) as opened:
        if opened.statistics().engine == "valkey":
            nodes: tuple[SeenNode, ...] = await import_module("actors.cluster.looking").seen_nodes(opened)
            if beating := [node.name for node in nodes if node.is_beating]:
                names = ", ".join(beating)
                raise LogError(f"{without_password(log)} is in use by {names}: end all servers that use it first")
        yield opened


@asynccontextmanager
async def _opened(log: str, engine: EventLog) -> AsyncGenerator[EventLog]:
    name, path = without_password(log), file_of(log)
    reason = "it does not answer" if path is None else "another program has locked it, or it is large and is checked"
    await told(f"still opening {name}: {reason}", engine.open)
    try:
        yield engine
    finally:
        await engine.close()
