"""The counters of a client."""

from __future__ import annotations

import attrs


@attrs.frozen
class ClientStatistics:
    """The counters of a client since it was made."""

    connections: int
    """Number of connections that got a welcome."""
    failures: int
    """Number of connections that ended, plus attempts to connect that failed."""
    last_failure: str
    """Code and reason of the newest failure, as :attr:`Client.last_failure <transport.Client.last_failure>`."""
    events: int
    """Number of events that the application took."""
    waiting: int
    """Number of events and resets in the buffer that the application has not taken yet."""
    duplicates: int
    """Number of events that were dropped because they had arrived before."""
    skipped: int
    """Number of events that were dropped because the buffer was full. A later resume brings them again."""
    catch_ups: int
    """Number of times that the client reconnected by itself, to fetch events that it had skipped."""
    resets: int
    """Number of times that the client's position could not be recovered."""
    commands: int
    """Number of commands that wait for their reply."""
    resent: int
    """Number of times that a command was sent again, on a new connection."""
    signals_dropped: int
    """Number of signals that were dropped because the application did not take them in time."""
    pings: int
    """Number of pings from the server that the client answered."""
    errors: int
    """Number of ``error`` frames from the server, which refuse history requests or typing."""
