"""Tools for the tests of actors, of an application, and of an event log of your own."""

from actors.testing.faulty_log import FaultyLog, Hold
from actors.testing.log_contract import EventLogContract, event_batch, event_line
from actors.testing.probe import TestProbe

__all__ = [
    "EventLogContract",
    "FaultyLog",
    "Hold",
    "TestProbe",
    "event_batch",
    "event_line",
]
