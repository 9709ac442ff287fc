"""Names of this package that are in modules which are loaded at the first use of a name."""

from __future__ import annotations

_NAMES_OF_SPI = frozenset(
    {
        "Attach",
        "Attachment",
        "Command",
        "CommandReply",
        "Cursor",
        "INTERRUPT_HANDLER",
        "Listener",
        "MAX_DEPTH",
        "MAX_SEQ",
        "StreamWalk",
        "cancel_with_force",
        "encode",
        "number_from",
        "too_deep",
        "whole_from",
    }
)

# Loaded at their first use: a server without asyncio agents never loads asyncio.
_NAMES_ON_ASYNCIO = {
    "AsyncioRun": "actors.runs._asyncio_run",
    "AsyncioRunBlock": "actors.sessions._asyncio_block",
    "AsyncioSession": "actors.sessions._asyncio_session",
}


def module_of(name: str) -> str | None:
    """Return the module that a name is loaded from; None if the package has no such name."""
    return "actors.spi" if name in _NAMES_OF_SPI else _NAMES_ON_ASYNCIO.get(name)
