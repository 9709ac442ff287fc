"""The counts of ended runs and tool calls, with their durations, for metrics. Pure.

A run or a tool call is counted once, at its end. An event costs nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.histogram import Durations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors.histogram import Histogram

BOUNDS = tuple(0.01 * 2**step for step in range(16))
"""Upper bounds of the steps of durations, in seconds: from 10 ms to 5 minutes, each twice the one before.

The first 14 are the bounds that OpenTelemetry advises for ``gen_ai.client.operation.duration``.
"""
MAX_NAMES = 100
"""Maximum number of agents, and of tools, that are counted by name. All further ones are counted as :data:`OTHER`.

Code can make up names of tools and of sub-agents. *Each name would be a time series of its own, for ever.*
"""
OTHER = "other"
"""The name under which agents or tools beyond :data:`MAX_NAMES` are counted together."""
_LONGEST = 128
"""Maximum length of a name, in characters. A longer one is counted as :data:`OTHER`."""


@attrs.frozen
class MeterStatistics:
    """The runs and tool calls that have ended since the start of the server."""

    runs: Mapping[tuple[str, str], int]
    """Number of runs, sub-agents included, by agent and status."""
    run_seconds: Mapping[str, Histogram]
    """Durations of runs, by agent."""
    tool_seconds: Mapping[tuple[str, str], Histogram]
    """Durations of tool calls, by tool and status."""


class Meter:
    """Counts the runs and the tool calls of a server as they end."""

    def __init__(self) -> None:
        self._agents: set[str] = set()
        self._tools: set[str] = set()
        self._runs: dict[tuple[str, str], int] = {}
        self._run_seconds: dict[str, Durations] = {}
        self._tool_seconds: dict[tuple[str, str], Durations] = {}

    def run_ended(self, agent: str, status: str, seconds: float) -> None:
        """Count a run that has ended with ``status``, ``seconds`` after its start."""
        if type(agent) is not str or agent not in self._agents:
            agent = _counted_as(agent, self._agents)
        key = (agent, status)
        self._runs[key] = self._runs.get(key, 0) + 1
        durations = self._run_seconds.get(agent)
        if durations is None:
            durations = self._run_seconds[agent] = Durations(BOUNDS)
        durations.add(seconds)

    def tool_ended(self, tool: str, status: str, seconds: float) -> None:
        """Count a tool call that has ended with ``status``, ``seconds`` after its start."""
        if type(tool) is not str or tool not in self._tools:
            tool = _counted_as(tool, self._tools)
        key = (tool, status)
        durations = self._tool_seconds.get(key)
        if durations is None:
            durations = self._tool_seconds[key] = Durations(BOUNDS)
        durations.add(seconds)

    def ended(self, event: str, name: str, status: str, seconds: float) -> None:
        """Count a run or a tool call by the type of the event that closed it. Other types of events do not count."""
        if event == "agent_completed":
            self.run_ended(name, status, seconds)
        elif event == "tool_completed":
            self.tool_ended(name, status, seconds)

    def statistics(self) -> MeterStatistics:
        """Return the counts at this moment. They do not change later."""
        return MeterStatistics(
            runs=dict(self._runs),
            run_seconds={agent: each.value() for agent, each in self._run_seconds.items()},
            tool_seconds={key: each.value() for key, each in self._tool_seconds.items()},
        )


def _counted_as(name: str, known: set[str]) -> str:
    """Return the name under which ``name`` is counted. Add it to the ``known`` names, if there is room."""
    if type(name) is not str:
        name = str.__str__(name)  # a subclass may compare and hash in any way
    if name in known:
        return name
    if len(known) >= MAX_NAMES or len(name) > _LONGEST:
        return OTHER
    known.add(name)
    return name
