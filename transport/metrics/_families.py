"""The metrics by name, type, labels and buckets, and their values from the statistics of a server (pure)."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

import attrs

from actors import ConfigError, NodeState
from actors.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actors import ClusterStatistics, CommitterStatistics, SystemStatistics
    from actors.spi import SessionsCounters
    from transport._running import Server
    from transport.app import Greenroom
    from transport.server.endpoint import EndpointCounters

Point: TypeAlias = "tuple[tuple[str, ...], float | Histogram]"
"""The values of a metric's labels, and its value."""


@attrs.frozen
class Family:
    """One metric: its name without the prefix, its type, its labels and its description."""

    name: str
    kind: str
    """``gauge``, ``counter`` or ``histogram``."""
    labels: tuple[str, ...]
    help: str


COMMIT_STEPS = (1, 2, 4, 8, 16, 32, 64)
"""Upper bounds of ``commit_wait_seconds``, as numbers of steps of :attr:`CommitterStatistics.waits` of 0.25 ms."""

SESSIONS = Family("sessions", "gauge", (), "Sessions in memory.")
RUNS = Family("runs", "gauge", ("state",), "Runs that are executed (running) or wait for their turn (queued).")
RUNS_TOTAL = Family("runs_total", "counter", ("agent", "status"), "Runs that have ended, sub-agents included.")
RUN_DURATION = Family("run_duration_seconds", "histogram", ("agent",), "Durations of runs, sub-agents included.")
TOOL_DURATION = Family("tool_duration_seconds", "histogram", ("tool", "status"), "Durations of tool calls.")
EVENTS = Family("events_total", "counter", (), "Events that were committed to the log.")
COMMIT_WAIT = Family(
    "commit_wait_seconds", "histogram", (), "Times from the first emit of a batch to its commit, if the log waits."
)
CONNECTIONS = Family("connections", "gauge", (), "Open connections of clients, those in their handshake included.")
CLOSES = Family("closes_total", "counter", ("code",), "WebSockets that have ended, by close code.")
RESUMES = Family("resumes_total", "counter", ("result",), "Clients that came back with a position, by result.")
SIGNALS_DROPPED = Family("signals_dropped_total", "counter", (), "Signals that were dropped for slow clients.")
CRASHES = Family("crashes_total", "counter", (), "Exceptions that ended an actor, restarted or not.")
RESTARTS = Family("restarts_total", "counter", (), "Restarts of actors by their supervisors.")
TOOL_THREADS = Family(
    "tool_threads", "gauge", ("state",), "Threads of sync tools at work, and tools that wait for one."
)
LOOP_LAG = Family("loop_lag_seconds", "histogram", (), "Times after which the event loop answers the watchdog.")

OWN = (
    *(SESSIONS, RUNS, RUNS_TOTAL, RUN_DURATION, TOOL_DURATION, EVENTS, COMMIT_WAIT, CONNECTIONS, CLOSES, RESUMES),
    *(SIGNALS_DROPPED, CRASHES, RESTARTS, TOOL_THREADS, LOOP_LAG),
)
"""The metrics of every server."""

CLUSTER_STATE = Family("cluster_state", "gauge", ("state",), "1 for the present state of the node.")
_CLUSTER_GAUGES = {
    "until": ("until_suspended_seconds", "Seconds until the node is suspended if no beat is answered until then."),
    "deaf": ("deaf", "Whether the node hears no messages of other nodes (1) or does (0)."),
    "nodes": ("nodes", "Registered nodes."),
    "owned": ("owned", "Users that the node owns."),
    "mirrors": ("mirrors", "Sessions of other nodes that this node follows."),
    "watchers": ("watchers", "Sessions of this node that other nodes follow, counted for each of them."),
}
_CLUSTER_COUNTERS = {
    "claims": "Users that the node has claimed.",
    "claims_lost": "Claims for which another node was faster.",
    "fenced": "Users that the node lost while it still wrote their events.",
    "buried": "Dead nodes that this node has removed.",
    "burials": "Times that this node was removed by others, or by a loss of data.",
    "taken_over": "Users of dead nodes that this node has taken over.",
    "forwarded": "Questions, such as commands, that were sent to other nodes.",
    "resent": "Questions to other nodes that were sent again.",
    "unreachable": "Questions to other nodes that were given up.",
    "pushes": "Messages with events of other nodes.",
    "gaps": "Times that messages to this node were lost, or may be.",
    "resyncs": "Times that the events of another node's session were read from the log.",
    "dropped": "Messages to other nodes that were lost before they left this node.",
    "signals_dropped": "Signals for clients of other nodes that were dropped before they left this node.",
    "restored": "Events that were written again because the engine had lost them.",
    "epochs_renewed": "Sessions that got a new epoch because the engine may have lost events.",
    "flushes": "Commits, each of which is one command.",
    "commands": "Commands that were sent to the engine.",
    "reconnects": "Connections to the engine that were made again.",
    "oom": "Attempts to commit that the engine refused because its memory was full.",
}
CLUSTER = {
    **{field: Family(f"cluster_{name}", "gauge", (), text) for field, (name, text) in _CLUSTER_GAUGES.items()},
    **{field: Family(f"cluster_{field}_total", "counter", (), text) for field, text in _CLUSTER_COUNTERS.items()},
}
"""The metrics of a node of a cluster, by the field of :class:`~actors.ClusterStatistics`."""


@attrs.frozen
class Reading:
    """The statistics of a server at one moment, as one scrape shows them."""

    sessions: SessionsCounters
    endpoint: EndpointCounters
    system: SystemStatistics
    cluster: ClusterStatistics | None

    @classmethod
    def of(cls, server: Server) -> Reading:
        """Read the statistics of a running server."""
        sessions, endpoint = server.sessions.survey.counters(), server.endpoint.counters()
        return cls(sessions, endpoint, server.system.statistics(), server.cluster_statistics())

    @property
    def node(self) -> str:
        """Name of the node of a cluster. Empty without a cluster."""
        return "" if self.cluster is None else self.cluster.node

    def families(self) -> Iterator[tuple[Family, Iterator[Point]]]:
        """Yield each metric with its points. A metric without a point is yielded, too."""
        sessions, endpoint, meter = self.sessions, self.endpoint, self.sessions.meter
        yield SESSIONS, _one(sessions.sessions)
        yield RUNS, _by({"running": sessions.runs.running, "queued": sessions.runs.queued})
        yield RUNS_TOTAL, ((key, number) for key, number in meter.runs.items())
        yield RUN_DURATION, (((agent,), value) for agent, value in meter.run_seconds.items())
        yield TOOL_DURATION, ((key, value) for key, value in meter.tool_seconds.items())
        yield EVENTS, _one(sessions.events)
        yield COMMIT_WAIT, _one(_commit_waits(sessions.committer))
        yield CONNECTIONS, _one(endpoint.connections)
        yield CLOSES, _by(endpoint.closes)
        yield RESUMES, _by(endpoint.resumes)
        yield SIGNALS_DROPPED, _one(endpoint.signals_dropped)
        yield CRASHES, _one(self.system.crashes)
        yield RESTARTS, _one(self.system.restarts)
        yield TOOL_THREADS, _by({"running": sessions.threads.running, "waiting": sessions.threads.waiting})
        yield LOOP_LAG, _one(endpoint.lag)
        if self.cluster is not None:
            yield CLUSTER_STATE, _by({state.value: int(state is self.cluster.state) for state in NodeState})
            for field, family in CLUSTER.items():
                yield family, _one(float(getattr(self.cluster, field)))


def server_of(app: Greenroom) -> Server | None:
    """Return the running server of an app. Return None if the app is not running."""
    try:
        return app.server
    except ConfigError:
        return None


def steps(histogram: Histogram) -> Iterator[tuple[float, int]]:
    """Yield the upper bound of each bucket of a histogram, and the number of durations up to it."""
    return zip((*histogram.bounds, math.inf), accumulate(histogram.counts), strict=True)


def _one(value: float | Histogram) -> Iterator[Point]:
    yield (), value


def _by(values: Mapping[str, int]) -> Iterator[Point]:
    return (((name,), number) for name, number in values.items())


def _commit_waits(committer: CommitterStatistics) -> Histogram:
    """Return the histogram of the commits' times in fewer steps. Those above its last bound have no upper end."""
    edges = (0, *COMMIT_STEPS)
    counts = [sum(committer.waits[low:high]) for low, high in zip(edges, COMMIT_STEPS, strict=False)]
    counts.append(sum(committer.waits[COMMIT_STEPS[-1] :]))
    bounds = tuple(step * committer.wait_step_seconds for step in COMMIT_STEPS)
    return Histogram(bounds, tuple(counts), committer.wait_seconds)
