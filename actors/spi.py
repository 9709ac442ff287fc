"""Names for a package that serves the sessions to clients, such as ``transport``. An application does not need them."""

from actors.checks import number_from, whole_from
from actors.cluster._following import CUT_OFF
from actors.cluster._questions import UNREACHABLE
from actors.cluster._settings import ClusterSettings
from actors.eventlog import StreamWalk
from actors.eventlog.backup import back_up_file, back_up_log, restore_file, restore_log
from actors.eventlog.copying import CopyReport, copy_log
from actors.events import MAX_SEQ
from actors.events.encoding import MAX_DEPTH, encode, too_deep
from actors.loop.trio_internals import INTERRUPT_HANDLER, cancel_with_force
from actors.runs._agents import AgentHost, needs_asyncio, require_host
from actors.runs._outcome import Outcome
from actors.runs._tracing import Span, Traced, Tracer
from actors.sessions import Attach, Attachment, Command, CommandReply, Cursor, Listener
from actors.sessions._actor_names import report_crash
from actors.sessions._counters import SessionsCounters
from actors.sessions._hooks import Hook
from actors.streams._cursor import SessionEnding
from actors.streams._signal_queue import MAX_SIGNALS, SignalQueue
from actors.streams.subscription import Subscription, SubscriptionEnd

__all__ = [
    "CUT_OFF",
    "INTERRUPT_HANDLER",
    "MAX_DEPTH",
    "MAX_SEQ",
    "MAX_SIGNALS",
    "UNREACHABLE",
    "AgentHost",
    "Attach",
    "Attachment",
    "ClusterSettings",
    "Command",
    "CommandReply",
    "CopyReport",
    "Cursor",
    "Hook",
    "Listener",
    "Outcome",
    "SessionEnding",
    "SessionsCounters",
    "SignalQueue",
    "Span",
    "StreamWalk",
    "Subscription",
    "SubscriptionEnd",
    "Traced",
    "Tracer",
    "back_up_file",
    "back_up_log",
    "cancel_with_force",
    "copy_log",
    "encode",
    "needs_asyncio",
    "number_from",
    "report_crash",
    "require_host",
    "restore_file",
    "restore_log",
    "too_deep",
    "whole_from",
]
