"""What a client counts."""

from __future__ import annotations

import attrs


@attrs.frozen
class ClientStatistics:
    """What a client did since it was made."""

    connections: int
    """Connections that got a welcome."""
    failures: int
    """Connections that ended, and attempts that failed."""
    last_failure: str
    """How the newest of those ended: its code and what was said."""
    events: int
    """Events that the application took."""
    waiting: int
    """Events, and resets, that arrived and were not taken."""
    duplicates: int
    """Events that arrived again and were dropped."""
    skipped: int
    """Events that arrived while the buffer was full, and were left for a later resume."""
    catch_ups: int
    """Reconnects to fetch those."""
    resets: int
    """Times that the position was lost."""
    commands: int
    """Commands without a reply."""
    resent: int
    """Commands that were sent again on a new connection."""
    signals_dropped: int
    """Signals that were not taken before newer ones came."""
    pings: int
    """Pings that were answered."""
    errors: int
    """``error`` frames: refused history requests and typing."""
