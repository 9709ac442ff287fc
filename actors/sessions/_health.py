"""Whether a session in memory keeps its promises: what should have ended, what nobody will end, what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from actors.events.grammar import Kind

if TYPE_CHECKING:
    from actors.runs._recorder import RunRecorder

LATE_SECONDS = 10.0
"""How long after its deadline a run may take to end, before it counts as overdue."""


@attrs.frozen
class SessionHealth:
    """All is well where the first three are empty."""

    overdue: tuple[str, ...]
    """Runs whose time was over more than 10 s ago, and that go on: they shield themselves from their cancellation."""
    unowned: tuple[str, ...]
    """Runs and calls that are open, and that no code in this process will close."""
    missing: int
    """Events that have a number and are neither in memory nor let go by it: a gap that a client would see."""
    open_calls: int
    """Tool calls that have begun and not completed."""

    @property
    def sound(self) -> bool:
        """Whether all is well."""
        return not (self.overdue or self.unowned or self.missing)


def audit(recorder: RunRecorder) -> SessionHealth:
    """Look at one session as it stands. Never waits."""
    runs, stream, now = recorder.runs, recorder.stream, trio.current_time()
    late = (run for run in runs.values() if run.context.deadline + LATE_SECONDS < now)
    items = stream.grammar.open
    return SessionHealth(
        overdue=tuple(run.id for run in late),
        unowned=tuple(item.id for item in items if item.run_id not in runs and item.kind in {Kind.RUN, Kind.CALL}),
        missing=stream.seq + 1 - stream.ring.base - len(stream.ring),
        open_calls=sum(item.kind is Kind.CALL for item in items),
    )
