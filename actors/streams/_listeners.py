"""The way from a session to its listeners: each is told behind a border, and one that fails is told no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.loop.boundary import contained, report

if TYPE_CHECKING:
    from actors.streams._stream import Cursor


def tell_more(cursors: dict[Cursor, None]) -> None:
    """Tell all that there is something to take. Those attached or detached meanwhile are not told. Never raise."""
    for cursor in tuple(cursors):
        if cursor in cursors:
            try:
                cursor.listener.on_events()
            except BaseException as error:  # noqa: BLE001 - the listener's failure ends the listener
                _expel(cursor, error)


def tell_signal(cursors: dict[Cursor, None], name: str, data: bytes) -> None:
    """Tell all of a signal, as :func:`tell_more` does."""
    for cursor in tuple(cursors):
        if cursor in cursors:
            try:
                cursor.listener.on_signal(name, data)
            except BaseException as error:  # noqa: BLE001 - as above
                _expel(cursor, error)


def tell_ended(cursors: dict[Cursor, None], reason: str) -> None:
    """Detach all, and tell each that the session ended; also those attached meanwhile. Never raise."""
    while cursors:
        cursor = next(iter(cursors))
        del cursors[cursor]
        contained("a listener that was told of its session's end", cursor.listener.on_ended, reason)


def _expel(cursor: Cursor, error: BaseException) -> None:
    """End a listener that failed."""
    report("a listener", error)
    listener = cursor.listener
    cursor.detach()
    contained("a listener that was told of its own failure", listener.on_ended, "crashed")
