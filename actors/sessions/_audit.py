"""Whether a session in memory keeps its promises: what should have ended, what nobody will end, what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from actors.grammar import CALL, RUN

if TYPE_CHECKING:
    from actors.sessions._stage import Stage

LATE_SECONDS = 10.0
"""How long after its deadline a run may take to end, before it counts as overdue."""


@attrs.frozen
class SessionAudit:
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


def audit(stage: Stage) -> SessionAudit:
    """Look at one session as it stands. Never waits."""
    runs, journal, now = stage.runs, stage.journal, trio.current_time()
    late = (run for run in runs.values() if run.context.deadline + LATE_SECONDS < now)
    items = journal.grammar.open
    return SessionAudit(
        overdue=tuple(run.id for run in late),
        unowned=tuple(item.id for item in items if item.run_id not in runs and item.kind in {RUN, CALL}),
        missing=journal.seq + 1 - journal.ring.base - len(journal.ring),
        open_calls=sum(item.kind == CALL for item in items),
    )
