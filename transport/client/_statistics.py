"""The counters of a client."""

from __future__ import annotations

import attrs


@attrs.frozen
class ClientStatistics:
    """The counters of a client since it was made."""

    connections: int
    """Connections that got a welcome."""
    failures: int
    """Connections that ended, plus attempts to connect that failed."""
    last_failure: str
    """Code and reason of the newest failure."""
    events: int
    """Events that the application took."""
    waiting: int
    """Events and resets in the buffer that the application has not taken yet."""
    duplicates: int
    """Events that were dropped because they had arrived before."""
    skipped: int
    """Events that were dropped because the buffer was full. A later resume brings them again."""
    catch_ups: int
    """Reconnects that fetched skipped events."""
    resets: int
    """Number of times that the position could not be recovered."""
    commands: int
    """Commands that wait for their reply."""
    resent: int
    """Commands that were sent again on a new connection."""
    signals_dropped: int
    """Signals that were dropped because the application did not take them."""
    pings: int
    """Pings that were answered."""
    errors: int
    """``error`` frames from the server, which refuse history requests or typing."""
