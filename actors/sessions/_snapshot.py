"""The statistics of one session that is in memory, collected from its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.sessions._health import audit
from actors.sessions._statistics import SessionStatistics

if TYPE_CHECKING:
    from actors.runs._recorder import RunRecorder
    from actors.sessions._command_memory import CommandMemory
    from actors.sessions._services import SessionServices
    from actors.sessions._starts import Starts


def snapshot(
    services: SessionServices, recorder: RunRecorder, memory: CommandMemory, starts: Starts
) -> SessionStatistics:
    """Return numbers that describe a session's state, and the faults that were found in the session."""
    key = recorder.key
    return SessionStatistics(
        user=key.user,
        session=key.session,
        runs=len(recorder.runs),
        agents=tuple(run.name for run in recorder.stream.open_runs() if run.parent_run_id is None),
        queued=len(starts.queued()),
        commands=len(memory),
        command_bytes=memory.size,
        typing=len(recorder.signals.typing()),
        leases=services.leases.get(key, 0),
        journal=recorder.stream.statistics(),
        audit=audit(recorder),
    )
