"""For tests of an application and of an event log of your own."""

from actors.testing.log_contract import (
    EventLogContract,
    FaultyLog,
    Hold,
    event_batch,
    event_line,
)

__all__ = [
    "EventLogContract",
    "FaultyLog",
    "Hold",
    "event_batch",
    "event_line",
]
