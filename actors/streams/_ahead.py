"""The wait of a client that is ahead of the committed events, until it is sure whether the log lacks its events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.errors import Fenced, LogUnavailable

if TYPE_CHECKING:
    from actors.events.types import Position
    from actors.streams._stream import SessionStream

UNSURE_SECONDS = 1.0
"""Time in seconds for which an attach waits until it is known whether events are committed. Then it is refused."""


def is_ahead(resume: Position, epoch: str, committed: int) -> bool:
    """Return whether a client has events of this epoch that are newer than the newest event known to be committed."""
    return resume.epoch == epoch and resume.seq > committed


class AheadClients:
    """The clients of one session with a position ahead of the committed events.

    All of them wait for the same commit, so they share one second. *Each had a second of its own, one after the other,
    and meanwhile the session carried out no command.*
    """

    __slots__ = ("_committed", "_until")

    def __init__(self) -> None:
        self._committed = -1
        """Number of the newest committed event when the wait began."""
        self._until = 0.0
        """End of the wait, on trio's clock."""

    async def until_sure(self, stream: SessionStream, resume: Position) -> None:
        """Wait until it is sure whether a client's position is ahead of the log.

        A client can have an event of which this process does not know yet that it is committed: the log of a cluster
        sends events to the other nodes itself, and its answer to this process may be late. *When the server of the log
        was killed between the two, the client connected here, and was told to drop its events: the log had lost them.*

        Raises:
            LogUnavailable: It is still not known.
            Fenced: Another process has made the session again, or has added events to it.
            LogError: The log cannot be read.
        """
        if resume.seq <= stream.seq:
            with trio.move_on_at(self._end_of_wait(stream.committed_seq)):
                await stream.synced()
                return
            raise LogUnavailable("it is not known yet whether the newest events of the session are stored: try again")
        head = await stream.head()
        if head is not None and (head.epoch != stream.epoch or stream.committed_seq < resume.seq <= head.latest):
            raise Fenced("another server has changed the session: try again")

    def _end_of_wait(self, committed: int) -> float:
        """Return the time until which clients wait for the commit of the event after ``committed``, on trio's clock."""
        if committed != self._committed:
            self._committed, self._until = committed, trio.current_time() + UNSURE_SECONDS
        return self._until
