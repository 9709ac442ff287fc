"""Sessions: one supervised actor for each session of each user, with its runs and its events."""

from actors.sessions._agents import Agent, AgentFunction, Agents
from actors.sessions._attachment import Attachment
from actors.sessions._audit import SessionAudit
from actors.sessions._commands import Command, CommandReply
from actors.sessions._committer import CommitterStatistics
from actors.sessions._context import RunContext, current_run
from actors.sessions._factory import SessionFactory, Sessions, SessionsStatistics
from actors.sessions._handle import SessionHandle
from actors.sessions._journal import Cursor, JournalStatistics, Listener
from actors.sessions._messages import Attach
from actors.sessions._run import Run
from actors.sessions._run_limiter import GateStatistics
from actors.sessions._session import SessionStatistics
from actors.sessions._settings import SessionSettings, number_from, whole_from
from actors.sessions._threads import ToolThreadsStatistics
from actors.sessions._tools import ToolCall

__all__ = [
    "Agent",
    "AgentFunction",
    "Agents",
    "Attach",
    "Attachment",
    "Command",
    "CommandReply",
    "CommitterStatistics",
    "Cursor",
    "GateStatistics",
    "JournalStatistics",
    "Listener",
    "Run",
    "RunContext",
    "SessionAudit",
    "SessionFactory",
    "SessionHandle",
    "SessionSettings",
    "SessionStatistics",
    "Sessions",
    "SessionsStatistics",
    "ToolCall",
    "ToolThreadsStatistics",
    "current_run",
    "number_from",
    "whole_from",
]
