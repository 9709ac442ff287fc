"""The counters of a client."""

from __future__ import annotations

import attrs


@attrs.frozen
class ClientStatistics:
    """The counters of a client since it was made."""

    connections: int
    """Connections that got a welcome."""
    failures: int
    """Connections that ended, and attempts that failed."""
    last_failure: str
    """Code and reason of the newest of these."""
    events: int
    """Events that the application took."""
    waiting: int
    """Events and resets in the buffer, which the application has not taken."""
    duplicates: int
    """Events that arrived again and were dropped."""
    skipped: int
    """Events that arrived while the buffer was full, and were left to a later resume."""
    catch_ups: int
    """Reconnects that fetched skipped events."""
    resets: int
    """Resets: welcomes that did not recover the position."""
    commands: int
    """Commands without a reply."""
    resent: int
    """Commands that were sent again on a new connection."""
    signals_dropped: int
    """Signals that were dropped because the application did not take them."""
    pings: int
    """Pings that were answered."""
    errors: int
    """``error`` frames: refused history requests and typing."""
