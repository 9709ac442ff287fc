"""The limits and times of sessions, each with a name, a default and its bounds."""

from __future__ import annotations

import attrs

from actors.checks import number_from, whole_from
from actors.eventlog.base import Retention


@attrs.frozen(kw_only=True)
class SessionSettings:
    """What every session obeys. Times are in seconds, sizes in bytes."""

    ring_events: int = attrs.field(default=1_024, validator=whole_from(1))
    """Events of a session kept in memory; an older one is read from the log."""
    ring_bytes: int = attrs.field(default=4 * 1024 * 1024, validator=whole_from(0))
    """Bytes of those events, give or take a quarter."""
    retain_events: int = attrs.field(default=10_000, validator=whole_from(1))
    """Events of a session kept in the log."""
    retain_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=whole_from(1))
    """Bytes of a session's events kept in the log, and of what is remembered beside them."""
    retain_seconds: float = attrs.field(default=7 * 24 * 3600.0, validator=number_from(0))
    """Age up to which events are kept in the log."""
    forget_seconds: float = attrs.field(default=2_592_000.0, validator=number_from(0))
    """How long after its newest event a session of which none is kept is remembered; then it begins anew."""
    max_event_bytes: int = attrs.field(default=1024 * 1024, validator=whole_from(64))
    """The largest payload of one event."""
    emit_window: int = attrs.field(default=64, validator=whole_from(1))
    """Events of a session that may be uncommitted before whoever emits waits."""
    mailbox_size: int = attrs.field(default=64, validator=whole_from(1))
    """Messages that may wait for a session."""
    runs_per_user: int = attrs.field(default=5, validator=whole_from(1))
    """Runs of one user that run at once; sub-agents do not count."""
    queued_runs_per_user: int = attrs.field(default=20, validator=whole_from(0))
    """Runs of one user that wait for their turn; more are refused as overloaded."""
    tool_threads: int = attrs.field(default=256, validator=whole_from(1))
    """Threads for the sync tools of all users; a tool that has to wait for one does so within its own timeout."""
    tool_threads_per_user: int = attrs.field(default=8, validator=whole_from(1))
    """Threads for the sync tools of one user, those that a timeout left behind among them until they return."""
    max_run_depth: int = attrs.field(default=64, validator=whole_from(0))
    """Runs that a sub-agent may have above it, and sync tools that call each other."""
    max_subruns: int = attrs.field(default=1_000, validator=whole_from(0))
    """Sub-agents of one run, those of sub-agents among them, that are open at once."""
    run_seconds: float = attrs.field(default=300.0, validator=number_from(0.001))
    """How long a run may take, unless its agent says otherwise."""
    idle_seconds: float = attrs.field(default=300.0, validator=number_from(0.001))
    """How long a session may have nothing to do before it leaves memory."""
    command_memory_seconds: float = attrs.field(default=300.0, validator=number_from(0))
    """How long a command's id is remembered, so that a repeated one does nothing."""
    command_memory_bytes: int = attrs.field(default=64 * 1024, validator=whole_from(0))
    """Bytes of the commands so remembered, of one session; beyond it the oldest are forgotten first."""
    typing_seconds: float = attrs.field(default=5.0, validator=number_from(0.001))
    """How long a client's typing is shown without being renewed."""
    max_sessions: int = attrs.field(default=10_000, validator=whole_from(1))
    """Sessions in memory at once."""
    max_sessions_per_user: int = attrs.field(default=100, validator=whole_from(1))
    """Sessions of one user in memory at once."""
    drain_seconds: float = attrs.field(default=30.0, validator=number_from(0))
    """How long runs may go on after the server was asked to stop."""

    @property
    def retention(self) -> Retention:
        """The three limits of the log, for the log."""
        return Retention(events=self.retain_events, size=self.retain_bytes, seconds=self.retain_seconds)
