"""The wait of a client that is ahead of the committed events, until it is sure whether the log lacks its events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.errors import LogUnavailable

if TYPE_CHECKING:
    from actors.events.types import Position
    from actors.streams._stream import SessionStream

UNSURE_SECONDS = 1.0
"""Time in seconds for which an attach waits until it is known whether events are committed. Then it is refused."""


async def until_sure(stream: SessionStream, resume: Position | None) -> None:
    """Wait until it is sure whether a client's position is ahead of the log.

    A client can have an event of which this process does not know yet that it is committed: the log of a cluster sends
    events to the other nodes itself, and its answer to this process may be late. *When the server of the log was killed
    between the two, the client connected here, and was told to drop its events: the log had lost them.*

    Raises:
        LogUnavailable: It is still not known, or another process has added events to the session.
        LogError: The log cannot be read.
    """
    if resume is None or resume.epoch != stream.epoch or resume.seq <= stream.committed_seq:
        return
    if resume.seq <= stream.seq:
        with trio.move_on_after(UNSURE_SECONDS):
            await stream.synced()
            return
        raise LogUnavailable("it is not known yet whether the newest events of the session are stored: try again")
    head = await stream.head()
    if head is not None and head.epoch == resume.epoch and stream.committed_seq < resume.seq <= head.latest:
        raise LogUnavailable("another server has added events to the session: try again")
