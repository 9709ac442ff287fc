"""The events that close the runs of a dead node, made from the state of a stream alone. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from actors.eventlog.base import Batch
from actors.events.encoding import encode
from actors.events.grammar import interrupted
from actors.events.line import build_line, envelope
from actors.streams._record import DoneCommands, decode_record, encode_record

if TYPE_CHECKING:
    from actors.eventlog.base import Head, StreamKey


def has_open_runs(head: Head) -> bool:
    """Return whether runs are open in a stream."""
    return has_open_items(head.state)


def has_open_items(state: bytes) -> bool:
    """Return whether runs are open in a stream with this state. Called for each batch of a commit.

    The open items are the second value of the state, ``[]`` if there are none; an empty state is the one of a new
    stream (:func:`~actors.streams._record.encode_record`). Nothing is open outside of a run.
    """
    return bool(state) and not state.startswith(b"[]", state.find(b",") + 1)


def interrupted_items(head: Head) -> list[tuple[str, str, float]]:
    """Return the runs and tool calls that :func:`closing_batch` closes: event, name and duration in seconds of each."""
    record = decode_record(head.state)
    last_ts = max(record.ts, head.touched) if head.latest else record.ts
    return [
        (closing.type, closing.item.name, max(0, last_ts - closing.item.started) / 1000)
        for closing in record.grammar.closings()
    ]


def closing_batch(key: StreamKey, head: Head, now: int, max_event_bytes: int) -> Batch | None:
    """Return the events that close all open runs and tool calls of a stream as ``interrupted``, innermost first.

    They are the events with which the session itself would begin (:mod:`actors.sessions._recovery`), but the log is not
    read for them. Return None if nothing is open.

    Args:
        key: The stream.
        head: Its summary.
        now: The time of day, in ms since 1970.
        max_event_bytes: Maximum bytes of the data of one event.

    Raises:
        LogCorrupt: The stream's state cannot be read.
    """
    record = decode_record(head.state)
    last_ts = max(record.ts, head.touched) if head.latest else record.ts
    grammar, ts, lines = record.grammar, max(now, last_ts), list[bytes]()
    for closing in grammar.closings():
        item = closing.item
        call_id = None if item.id == item.run_id else item.id
        run = grammar.run(item.run_id)
        head_of_line = envelope(closing.type, item.run_id, run.parent_run_id if run is not None else None, call_id)
        data = encode(interrupted(closing, last_ts), max_event_bytes)
        lines.append(build_line(head.latest + 1 + len(lines), ts, head_of_line, data))
        grammar.apply(closing.type, item.run_id, call_id, ts=ts)
    if not lines:
        return None
    # The commands stay as they are: the session forgets the old ones when it is made again.
    done = DoneCommands(1 << 62, math.inf, record.done)
    return Batch(key, head.latest + 1, lines, encode_record(ts, grammar.snapshot(), record.closed_at, done))
