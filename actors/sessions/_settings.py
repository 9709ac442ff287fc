"""The settings of sessions: each has a name, a default and bounds."""

from __future__ import annotations

import attrs

from actors.checks import number_from, whole_from
from actors.eventlog.base import Retention
from actors.streams._accounts import UserLimits


@attrs.frozen(kw_only=True)
class SessionSettings:
    """The limits and times of all sessions of a server. Times are in seconds, sizes in bytes."""

    ring_events: int = attrs.field(default=1_024, validator=whole_from(1))
    """Maximum number of a session's events in memory. Older ones are read from the log."""
    ring_bytes: int = attrs.field(default=4 * 1024 * 1024, validator=whole_from(0))
    """Maximum bytes of a session's events in memory. The real size may be up to a quarter larger."""
    retain_events: int = attrs.field(default=10_000, validator=whole_from(1))
    """Maximum number of a session's events in the log."""
    retain_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=whole_from(1))
    """Maximum bytes of a session in the log: its events, and the remembered commands and open runs beside them."""
    retain_user_bytes: int = attrs.field(default=1024**3, validator=whole_from(1))
    """Maximum bytes of a user in the log. Beyond it the oldest events are deleted, but not those of open runs."""
    retain_seconds: float = attrs.field(default=7 * 24 * 3600.0, validator=number_from(0))
    """Maximum age of events in the log."""
    retain_unread_seconds: float = attrs.field(default=7 * 24 * 3600.0, validator=number_from(0))
    """Age up to which events that a consumer has not read stay in the log, beyond the number and bytes of a session."""
    forget_seconds: float = attrs.field(default=2_592_000.0, validator=number_from(0))
    """Time from a session's newest event until the session is forgotten, if the log has no more events of it."""
    max_event_bytes: int = attrs.field(default=1024 * 1024, validator=whole_from(64))
    """Maximum bytes of one event's payload."""
    emit_window: int = attrs.field(default=64, validator=whole_from(1))
    """Maximum number of a session's uncommitted events. Beyond it an emit waits."""
    mailbox_size: int = attrs.field(default=64, validator=whole_from(1))
    """Maximum number of messages that wait for a session."""
    runs_per_user: int = attrs.field(default=5, validator=whole_from(1))
    """Maximum number of a user's concurrent runs. Sub-agents do not count."""
    queued_runs_per_user: int = attrs.field(default=20, validator=whole_from(0))
    """Maximum number of a user's queued runs. Further starts are refused as ``overloaded``."""
    starts_per_minute: int = attrs.field(default=120, validator=whole_from(0))
    """Runs that a user may start per minute on average, and at once. Beyond it ``rate_limited``; 0 for no limit."""
    events_per_second: float = attrs.field(default=0.0, validator=number_from(0))
    """Events that a user's runs may emit per second on average, and at once. Beyond it emits wait; 0 for no limit."""
    bytes_per_second: float = attrs.field(default=0.0, validator=number_from(0))
    """Maximum bytes of these events per second, and at once. Beyond it emits wait; 0 for no limit."""
    tool_threads: int = attrs.field(default=256, validator=whole_from(1))
    """Maximum number of threads for the sync tools of all users. Waiting for a thread counts towards the timeout."""
    tool_threads_per_user: int = attrs.field(default=8, validator=whole_from(1))
    """Maximum number of threads for one user's sync tools. A thread that still runs after a timeout counts too."""
    max_run_depth: int = attrs.field(default=64, validator=whole_from(0))
    """Maximum number of runs above a sub-agent. Also the maximum nesting of sync tools that call each other."""
    max_subruns: int = attrs.field(default=1_000, validator=whole_from(0))
    """Maximum number of open sub-agents below one run, at all depths."""
    open_questions_per_user: int = attrs.field(default=20, validator=whole_from(0))
    """Maximum number of a user's open questions. Beyond it ``ask_user`` raises ``RunFailed``."""
    run_seconds: float = attrs.field(default=300.0, validator=number_from(0.001))
    """Maximum time of a run. An agent may set its own."""
    abandon_seconds: float = attrs.field(default=5.0, validator=number_from(0))
    """Time in which an asyncio agent must end after its cancellation. Beyond it the agent is left behind and logged."""
    idle_seconds: float = attrs.field(default=300.0, validator=number_from(0.001))
    """Time after which an idle session leaves memory."""
    command_memory_seconds: float = attrs.field(default=300.0, validator=number_from(0))
    """Time for which a command is remembered, so that it is not carried out again if it is sent again."""
    command_memory_bytes: int = attrs.field(default=64 * 1024, validator=whole_from(0))
    """Maximum bytes of a session's remembered commands. Beyond it the oldest are forgotten first."""
    typing_seconds: float = attrs.field(default=5.0, validator=number_from(0.001))
    """Time for which a client's typing is shown, unless it is renewed."""
    max_sessions: int = attrs.field(default=10_000, validator=whole_from(1))
    """Maximum number of sessions in memory."""
    max_sessions_per_user: int = attrs.field(default=100, validator=whole_from(1))
    """Maximum number of one user's sessions in memory."""
    sessions_per_user: int = attrs.field(default=10_000, validator=whole_from(1))
    """Maximum number of one user's sessions in the log. Beyond it no new session is made for the user."""
    observer_events: int = attrs.field(default=1_024, validator=whole_from(1))
    """Maximum number of events that wait for one observer. Beyond it the oldest are dropped and counted."""
    observer_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=whole_from(1))
    """Maximum bytes of the events that wait for one observer. Beyond it the oldest are dropped, never the newest."""
    hook_seconds: float = attrs.field(default=5.0, validator=number_from(0))
    """Time that the functions of ``app.on`` have at the end of the server for the last events."""
    revocation_memory_seconds: float = attrs.field(default=2_592_000.0, validator=number_from(0))
    """Time for which a revocation is remembered. It must be longer than the life of every token."""
    max_revocations: int = attrs.field(default=100_000, validator=whole_from(1))
    """Maximum number of revoked users and tokens. Beyond it ``revoke`` raises ``CommandRefused``."""
    drain_seconds: float = attrs.field(default=30.0, validator=number_from(0))
    """Time for which runs may go on after the server was asked to stop."""

    @property
    def user_limits(self) -> UserLimits:
        """The limits that are counted for each user over all of the user's sessions."""
        return UserLimits(
            starts_per_minute=self.starts_per_minute,
            events_per_second=self.events_per_second,
            bytes_per_second=self.bytes_per_second,
            retain_user_bytes=self.retain_user_bytes,
        )

    @property
    def retention(self) -> Retention:
        """The limits for a session's events in the log: ``retain_events``, ``retain_bytes`` and ``retain_seconds``."""
        return Retention(
            events=self.retain_events,
            size=self.retain_bytes,
            seconds=self.retain_seconds,
            unread_seconds=self.retain_unread_seconds,
        )
