"""Tools for the tests of an application, and for the tests of an event log of your own."""

from actors.testing.faulty_log import FaultyLog, Hold
from actors.testing.log_contract import EventLogContract, event_batch, event_line

__all__ = [
    "EventLogContract",
    "FaultyLog",
    "Hold",
    "event_batch",
    "event_line",
]
