"""Sessions: one supervised actor for each session of each user, with the session's runs and events."""

from actors.runs._agents import Agent, AgentFunction, AgentNames, Agents
from actors.runs._context import RunContext, current_run
from actors.runs._open_call import OpenCall
from actors.runs._run import Run
from actors.runs._tool_threads import ToolThreadsStatistics
from actors.runs._tools import ToolCall
from actors.sessions._attachment import Attachment
from actors.sessions._commands import Command, CommandReply
from actors.sessions._consumer import Consumer
from actors.sessions._forgetting import Forgotten
from actors.sessions._handle import SessionHandle
from actors.sessions._health import SessionHealth
from actors.sessions._messages import Attach
from actors.sessions._reader import SessionInfo
from actors.sessions._registry import Sessions
from actors.sessions._run_block import RunBlock
from actors.sessions._run_limiter import RunLimiterStatistics
from actors.sessions._run_statistics import OpenItem, RunState, RunStatistics
from actors.sessions._settings import SessionSettings
from actors.sessions._statistics import ConsumerStatistics, SessionsStatistics, SessionStatistics
from actors.sessions._supervision import SessionFactory
from actors.sessions._survey import SessionExtent, Survey
from actors.streams._accounts import QuotaStatistics
from actors.streams._committer import CommitterStatistics
from actors.streams._cursor import Cursor, Listener
from actors.streams._feed import StreamStatistics
from actors.streams._observed import Lagged, Observed
from actors.streams.observing import Observer, ObserversStatistics

__all__ = [
    "Agent",
    "AgentFunction",
    "AgentNames",
    "Agents",
    "Attach",
    "Attachment",
    "Command",
    "CommandReply",
    "CommitterStatistics",
    "Consumer",
    "ConsumerStatistics",
    "Cursor",
    "Forgotten",
    "Lagged",
    "Listener",
    "Observed",
    "Observer",
    "ObserversStatistics",
    "OpenCall",
    "OpenItem",
    "QuotaStatistics",
    "Run",
    "RunBlock",
    "RunContext",
    "RunLimiterStatistics",
    "RunState",
    "RunStatistics",
    "SessionExtent",
    "SessionFactory",
    "SessionHandle",
    "SessionHealth",
    "SessionInfo",
    "SessionSettings",
    "SessionStatistics",
    "Sessions",
    "SessionsStatistics",
    "StreamStatistics",
    "Survey",
    "ToolCall",
    "ToolThreadsStatistics",
    "current_run",
]
