"""Helpers of the checks of event logs: valid events, and comparisons that raise AssertionError."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.eventlog.base import Batch, EventLog, StreamKey
from actors.events.line import build_line, envelope
from actors.events.types import EventType
from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable

KEY = StreamKey("alice", "s1")
"""The stream of most checks."""
OTHER = StreamKey("betty", "s1")
"""A stream of another user. On Valkey both users are in one partition, so that one append can have both streams."""
TS = 1_700_000_000_000
"""The time of the first event, in ms since 1970."""
ALL = 1 << 30
"""A size limit in bytes that no read in these tests reaches."""
_CUSTOM = envelope(EventType.CUSTOM, None)


def event_line(seq: int, ts: int = TS, text: str = "") -> bytes:
    """Return the line (the encoded bytes) of a ``custom`` event, as a session writes it to its log.

    Args:
        seq: The event's number.
        ts: The event's time in ms since 1970.
        text: The event's value, without characters that JSON escapes.
    """
    return build_line(seq, ts, _CUSTOM, b'{"name":"n","value":"%s"}' % text.encode())


def event_batch(key: StreamKey, first: int, count: int, state: bytes = b"", ts: int = TS) -> Batch:
    """Return a batch (consecutive events of one stream) of ``custom`` events that are one ms apart.

    Args:
        key: The stream.
        first: The seq of the first event.
        count: Number of events.
        state: The state of the stream after the batch.
        ts: The time of the first event in ms since 1970.
    """
    return Batch(key, first, [event_line(first + i, ts + i) for i in range(count)], state)


def same(actual: object, expected: object) -> None:
    """Raise AssertionError unless the two values are equal."""
    # No assert statements: pytest rewrites them only in test files, and python -O removes them.
    if actual != expected:
        raise AssertionError(f"got {shown(actual)}, the contract requires {shown(expected)}")


async def refused(call: Awaitable[object], *kinds: type[Exception]) -> Exception:
    """Await a call, and return the exception of one of the given kinds. Raise AssertionError if it does not raise."""
    try:
        got = await call
    except kinds as error:
        return error
    raise AssertionError(f"got {shown(got)}, the contract requires one of {kinds}")


async def filled(log: EventLog) -> list[bytes]:
    """Append ten events, one ms apart, in batches of 1, 2, 3 and 4 and in two commits. Return their lines."""
    await log.make(KEY)
    rows = ((1, 1), (2, 2), (4, 3), (7, 4))
    batches = [event_batch(KEY, first, count, b"open", TS + first - 1) for first, count in rows]
    await log.append(batches[:2])
    await log.append(batches[2:])
    return [line for batch in batches for line in batch.lines]
