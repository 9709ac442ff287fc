"""Notification of a session's listeners. A listener that raises is detached, and other listeners are not affected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.loop.boundary import contained, report
from actors.streams._cursor import SessionEnding

if TYPE_CHECKING:
    from actors.streams._cursor import Cursor


def notify_events(cursors: dict[Cursor, None]) -> None:
    """Notify the listeners of all cursors that new events are committed. This never raises.

    A listener is not notified if its cursor is attached or detached during the call.
    """
    # A try statement and not contained(), which would be one more call for each listener at every commit.
    for cursor in tuple(cursors):
        if cursor in cursors:
            try:
                cursor.listener.on_events()
            except BaseException as error:  # noqa: BLE001 - the failure of a listener ends that listener alone
                _expel(cursor, error)


def notify_signal(cursors: dict[Cursor, None], name: str, data: bytes) -> None:
    """Pass a signal to the listeners of all cursors. Like :func:`notify_events`, this never raises."""
    for cursor in tuple(cursors):
        if cursor in cursors:
            try:
                cursor.listener.on_signal(name, data)
            except BaseException as error:  # noqa: BLE001 - as above
                _expel(cursor, error)


def notify_ended(cursors: dict[Cursor, None], reason: SessionEnding) -> None:
    """Notify the listeners of all cursors that the session has ended, and empty ``cursors``. This never raises.

    The listener of a cursor that is attached during the call is notified too: otherwise the owner would wait for ever.
    """
    while cursors:
        cursor = next(iter(cursors))
        del cursors[cursor]
        contained("a listener that was told of its session's end", cursor.listener.on_ended, reason)


def _expel(cursor: Cursor, error: BaseException) -> None:
    """Detach the cursor of a listener that raised ``error``. Notify this listener as if the session had crashed."""
    report("a listener", error)
    listener = cursor.listener  # detach() releases it
    cursor.detach()
    contained("a listener that was told of its own failure", listener.on_ended, SessionEnding.CRASHED)
