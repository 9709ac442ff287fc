"""The health of a session in memory: runs that should have ended, runs without a task, and missing events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from actors.events.grammar import Kind

if TYPE_CHECKING:
    from actors.runs._recorder import RunRecorder

LATE_SECONDS = 10.0
"""Time from the deadline of a run until the run counts as overdue, in seconds. A run needs some time to clean up."""


@attrs.frozen
class SessionHealth:
    """The faults that were found in one session. A healthy session has no faults."""

    overdue: tuple[str, ...]
    """Ids of runs that still run more than 10 s after their deadline, because the code of the run shields itself."""
    unowned: tuple[str, ...]
    """Ids of runs and tool calls that are open according to their events, but that no code in this process closes."""
    missing: int
    """Number of missing events between the oldest event in memory and the newest event. Clients would see a gap."""
    open_calls: int
    """Number of open tool calls. This number is only information: an open call is not a fault."""

    @property
    def sound(self) -> bool:
        """Whether the session has no faults."""
        return not (self.overdue or self.unowned or self.missing)


def audit(recorder: RunRecorder) -> SessionHealth:
    """Look for faults in a session, and return its health. Never wait."""
    runs, stream, now = recorder.runs, recorder.stream, trio.current_time()
    late = (run for run in runs.values() if run.context.deadline + LATE_SECONDS < now)
    items = stream.grammar.open
    return SessionHealth(
        overdue=tuple(run.id for run in late),
        unowned=tuple(item.id for item in items if item.run_id not in runs and item.kind in {Kind.RUN, Kind.CALL}),
        missing=stream.seq + 1 - stream.ring.base - len(stream.ring),
        open_calls=sum(item.kind is Kind.CALL for item in items),
    )
