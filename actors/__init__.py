"""Supervised actors on trio, and user sessions on top of them.

The actors of a server::

    ActorSystem                          the root supervisor
    ├── event-log     permanent          commits the events of all sessions, one transaction at a time
    ├── sessions      permanent          spawns a session when it is needed, and stops it when it is idle
    │   ├── alice/s1  temporary          one session: its runs, its events, its attached clients
    │   │   ├── run r1                   a task: an agent's code
    │   │   │   └── run r2               a sub-agent of r1
    │   │   └── …
    │   └── bob/s7
    └── endpoint      permanent          (package transport) the WebSocket listener and its connections

The way of an event, and of a command::

    agent ──emit──▶ Run ──▶ SessionStream ──▶ Committer ──▶ EventLog
                  encodes   gives it seq      commits          │
                            and ts                             ▼ committed
    client ◀──frames── Connection ◀──lines── Cursor ◀──── SessionStream

    client ──command──▶ Connection ──▶ mailbox of the session ──▶ start, cancel, answer, message, close

The packages inside, from the bottom up: :mod:`actors.errors`, :mod:`actors.failures`, :mod:`actors.loop` (trio itself),
:mod:`actors.events` (the events of sessions), :mod:`actors.runtime` (actors), :mod:`actors.eventlog` (their storage),
:mod:`actors.streams` (delivery), :mod:`actors.runs` (the API of agents), :mod:`actors.sessions`. Each package has a
README. :mod:`actors.spi` has names for a package that serves the sessions; an application does not need them.

Concurrency:

- Actors and sessions belong to one trio run. In a thread that trio started, an emit or signal crosses to the loop by
  itself; any other call must be awaited with ``trio.from_thread.run``. A call from any other thread raises an error
  before it changes anything.
- An actor handles one message at a time. Its state needs no lock.
- Messages from one sender to one actor arrive in the order in which they were sent. There is no order between senders.
- A function that is not ``async`` never waits and is safe to call from any task of the loop. An ``async`` one is a
  checkpoint, and its docstring says what a cancellation leaves.
- A failure stays with its owner: a tool fails its call, a run fails alone, an actor's failure is handled by its
  supervisor.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from actors._elsewhere import module_of
from actors.backoff import Backoff
from actors.cluster._statistics import ClusterStatistics
from actors.cluster.interfaces import NodeState
from actors.errors import (
    ActorError,
    ActorRestarted,
    ActorTerminated,
    AppendRefused,
    AskAbandoned,
    AskTimeout,
    ChildNotFound,
    ChildRunning,
    CommandRefused,
    ConfigError,
    DeathPact,
    EventError,
    Fenced,
    GrammarError,
    GreenroomError,
    LogCorrupt,
    LogError,
    LogSchemaTooNew,
    LogUnavailable,
    LogUncertain,
    MailboxFull,
    MaxChildren,
    MessageUnhandled,
    NameTaken,
    PositionLost,
    ReplyDropped,
    RestartLimit,
    RunCancelled,
    RunClosed,
    RunError,
    RunFailed,
    SessionClosed,
    SpecError,
    StashFull,
    ToolTimeout,
    Trimmed,
    UnserialisableEvent,
)
from actors.eventlog import (
    Batch,
    ConsumerPosition,
    ConsumerUsage,
    EventLog,
    Head,
    LogStatistics,
    MemoryLog,
    Retention,
    Revocation,
    SqliteLog,
    StreamKey,
    open_log,
)
from actors.eventlog.verify import LogFault, LogReport, verify_log
from actors.events import (
    JSON,
    AgentCompleted,
    AgentOutput,
    AgentStarted,
    AgentThinking,
    Custom,
    Event,
    InputReceived,
    InputRequested,
    InputWithdrawn,
    Position,
    ToolCompleted,
    ToolExecuting,
    UnknownEvent,
    UserMessage,
)
from actors.events.decoding import decode_event
from actors.events.redaction import DEFAULT_SECRET_KEYS, Redact, redact_keys
from actors.recent_failures import FailureKind, FailureReport, RecentFailures
from actors.runtime._actor import Actor, Context
from actors.runtime._dead_letters import DeadLetter, DeadLetters, Undelivered
from actors.runtime._gather import gather
from actors.runtime._idle import Idle
from actors.runtime._lifecycle import ExitReason, Failure, Killed, Normal, Shutdown, State
from actors.runtime._mailbox import MailboxStatistics
from actors.runtime._on_demand import OnDemandSpec, on_demand
from actors.runtime._parts import ReplyParts
from actors.runtime._ref import ActorRef, ActorStatistics, Terminated
from actors.runtime._reply import Reply, ReplyStream
from actors.runtime._restart import Restart
from actors.runtime._shutdown import Phase, PhaseReport
from actors.runtime._spec import AutoShutdown, ChildSpec, MailboxSpec, Overflow, Strategy, SupervisorSpec
from actors.runtime._supervisor import ChildCounts, ChildInfo, OnDemandRef, SupervisorRef, SupervisorStatistics
from actors.runtime._system import ActorSystem, SystemStatistics, open_system
from actors.runtime._tree import TreeEntry, TreeNode
from actors.runtime._typed import LATER, UNHANDLED, Later, Request, Unhandled
from actors.runtime.pools._pool import PoolRef, PoolStatistics
from actors.runtime.pools._router import RouterRef, RouterSpec, RouterStatistics, router
from actors.runtime.pools._spec import PoolSpec, Routing, pool
from actors.runtime.topics._buffer import EventStreamStatistics
from actors.runtime.topics._bus import EventBus, EventBusStatistics
from actors.runtime.topics._lane import EventsMissed
from actors.runtime.topics._stream import EventStream
from actors.runtime.topics._supervision import (
    ChildFailed,
    ChildRestarted,
    ChildStarted,
    ChildStopped,
    FailureEscalated,
    RestartLimitReached,
    SupervisionEvent,
)
from actors.sessions import (
    Agent,
    AgentFunction,
    AgentNames,
    Agents,
    CommitterStatistics,
    Consumer,
    ConsumerStatistics,
    Forgotten,
    Lagged,
    Observed,
    Observer,
    ObserversStatistics,
    OpenCall,
    OpenItem,
    QuotaStatistics,
    Run,
    RunBlock,
    RunContext,
    RunLimiterStatistics,
    RunState,
    RunStatistics,
    SessionExtent,
    SessionFactory,
    SessionHandle,
    SessionHealth,
    SessionInfo,
    Sessions,
    SessionSettings,
    SessionsStatistics,
    SessionStatistics,
    StreamStatistics,
    Survey,
    ToolCall,
    ToolThreadsStatistics,
    current_run,
)

if TYPE_CHECKING:
    from actors.runs._asyncio_run import AsyncioRun
    from actors.sessions._asyncio_block import AsyncioRunBlock
    from actors.sessions._asyncio_session import AsyncioSession

__all__ = [
    "DEFAULT_SECRET_KEYS",
    "JSON",
    "LATER",
    "UNHANDLED",
    "Actor",
    "ActorError",
    "ActorRef",
    "ActorRestarted",
    "ActorStatistics",
    "ActorSystem",
    "ActorTerminated",
    "Agent",
    "AgentCompleted",
    "AgentFunction",
    "AgentNames",
    "AgentOutput",
    "AgentStarted",
    "AgentThinking",
    "Agents",
    "AppendRefused",
    "AskAbandoned",
    "AskTimeout",
    "AsyncioRun",
    "AsyncioRunBlock",
    "AsyncioSession",
    "AutoShutdown",
    "Backoff",
    "Batch",
    "ChildCounts",
    "ChildFailed",
    "ChildInfo",
    "ChildNotFound",
    "ChildRestarted",
    "ChildRunning",
    "ChildSpec",
    "ChildStarted",
    "ChildStopped",
    "ClusterStatistics",
    "CommandRefused",
    "CommitterStatistics",
    "ConfigError",
    "Consumer",
    "ConsumerPosition",
    "ConsumerStatistics",
    "ConsumerUsage",
    "Context",
    "Custom",
    "DeadLetter",
    "DeadLetters",
    "DeathPact",
    "Event",
    "EventBus",
    "EventBusStatistics",
    "EventError",
    "EventLog",
    "EventStream",
    "EventStreamStatistics",
    "EventsMissed",
    "ExitReason",
    "Failure",
    "FailureEscalated",
    "FailureKind",
    "FailureReport",
    "Fenced",
    "Forgotten",
    "GrammarError",
    "GreenroomError",
    "Head",
    "Idle",
    "InputReceived",
    "InputRequested",
    "InputWithdrawn",
    "Killed",
    "Lagged",
    "Later",
    "LogCorrupt",
    "LogError",
    "LogFault",
    "LogReport",
    "LogSchemaTooNew",
    "LogStatistics",
    "LogUnavailable",
    "LogUncertain",
    "MailboxFull",
    "MailboxSpec",
    "MailboxStatistics",
    "MaxChildren",
    "MemoryLog",
    "MessageUnhandled",
    "NameTaken",
    "NodeState",
    "Normal",
    "Observed",
    "Observer",
    "ObserversStatistics",
    "OnDemandRef",
    "OnDemandSpec",
    "OpenCall",
    "OpenItem",
    "Overflow",
    "Phase",
    "PhaseReport",
    "PoolRef",
    "PoolSpec",
    "PoolStatistics",
    "Position",
    "PositionLost",
    "QuotaStatistics",
    "RecentFailures",
    "Redact",
    "Reply",
    "ReplyDropped",
    "ReplyParts",
    "ReplyStream",
    "Request",
    "Restart",
    "RestartLimit",
    "RestartLimitReached",
    "Retention",
    "Revocation",
    "RouterRef",
    "RouterSpec",
    "RouterStatistics",
    "Routing",
    "Run",
    "RunBlock",
    "RunCancelled",
    "RunClosed",
    "RunContext",
    "RunError",
    "RunFailed",
    "RunLimiterStatistics",
    "RunState",
    "RunStatistics",
    "SessionClosed",
    "SessionExtent",
    "SessionFactory",
    "SessionHandle",
    "SessionHealth",
    "SessionInfo",
    "SessionSettings",
    "SessionStatistics",
    "Sessions",
    "SessionsStatistics",
    "Shutdown",
    "SpecError",
    "SqliteLog",
    "StashFull",
    "State",
    "Strategy",
    "StreamKey",
    "StreamStatistics",
    "SupervisionEvent",
    "SupervisorRef",
    "SupervisorSpec",
    "SupervisorStatistics",
    "Survey",
    "SystemStatistics",
    "Terminated",
    "ToolCall",
    "ToolCompleted",
    "ToolExecuting",
    "ToolThreadsStatistics",
    "ToolTimeout",
    "TreeEntry",
    "TreeNode",
    "Trimmed",
    "Undelivered",
    "Unhandled",
    "UnknownEvent",
    "UnserialisableEvent",
    "UserMessage",
    "current_run",
    "decode_event",
    "gather",
    "on_demand",
    "open_log",
    "open_system",
    "pool",
    "redact_keys",
    "router",
    "verify_log",
]


def __getattr__(name: str) -> object:
    """Return a class for asyncio code, or an attribute of :mod:`actors.spi` that earlier versions had in this module.

    For any other name, raise ``AttributeError``.
    """
    module = module_of(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)
