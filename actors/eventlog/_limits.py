"""Limits that a log gets: how much it keeps of a stream, and how large one append is at most. Pure."""

from __future__ import annotations

import attrs


@attrs.frozen
class CommitLimit:
    """The size of an append that a log should get at most, so that one append does not delay other calls for long.

    A larger append is allowed. A batch that is larger than ``size`` by itself is appended alone.
    """

    batches: int
    """Number of batches."""
    size: int
    """Size of the lines of all batches in bytes."""


@attrs.frozen
class Retention:
    """Limits for the number, the size and the age of the events that a log keeps of one stream.

    An event is dropped in three cases: ``events`` newer events exist; the event and all newer events together have more
    than ``size`` bytes; the event is older than ``seconds`` (an event of exactly this age is kept). All events within
    the three limits are kept. Even the newest event can be dropped.

    If the log has consumers, an event that one of them has not read is kept beyond the three limits, for as long as the
    event is not older than ``unread_seconds`` (see :mod:`actors.eventlog._positions`).
    """

    events: int = 10_000
    size: int = 16 * 1024 * 1024
    seconds: float = 7 * 24 * 3600.0
    unread_seconds: float = 0.0

    def beside(self, state: int) -> Retention:
        """Return the same limits, but with ``size`` reduced by ``state``, the size of the stream's state in bytes.

        A log compares ``size`` only with the size of the stream's lines. The reduced limit makes room for the state.
        """
        # A state that is larger than the limit leaves no room for events.
        return attrs.evolve(self, size=max(0, self.size - state))


BY_AGE_ALONE = Retention(events=1 << 62, size=1 << 62, seconds=0)
"""Limits with which ``trim`` drops all events with a ``ts`` below ``now``, read or not, and no others."""
