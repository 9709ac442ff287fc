"""The inspector of a node: it shows its own sessions, and cancels runs of other nodes through the router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from _cluster_nodes import Server, cluster, eventually, recording_agents

from actors.cluster.interfaces import NodeState
from transport.inspector import _runs, _waterfall
from transport.inspector._answers import Refused
from transport.inspector._query import Query
from transport.inspector._scan import SharedScan
from transport.inspector._sparing import Recent

if TYPE_CHECKING:
    from trio.testing import MockClock


def target(run: str) -> Query:
    """Return the parameters that name a run."""
    return Query({"user": "ann", "session": "s1", "run": run})


def statuses(server: Server) -> list[str]:
    """Return the states of the open runs of a node."""
    return [run.state for group in server.sessions.survey.runs() for run in group]


async def test_run_of_another_node_is_cancelled(autojump_clock: MockClock) -> None:
    """A node lists its own runs only, but cancels a run of any node, and the user stays there."""
    async with cluster("a", "b", agents=recording_agents([])) as (engine, (a, b)):
        run = await (await a.sessions.get("ann", "s1")).start("wait")
        nothing: dict[str, Any] = await _runs.runs(b.sessions, Query({}), SharedScan(b.sessions), Recent())
        assert (nothing["total"], statuses(a)) == (0, ["running"])
        assert await _runs.cancel(b.sessions, target(run))
        await eventually(lambda: statuses(a) == [])
        assert engine.tokens["ann"].incarnation == a.node.incarnation
        assert not await _runs.cancel(b.sessions, target(run))


async def test_session_of_another_node_is_shown_from_the_log(autojump_clock: MockClock) -> None:
    """The events of a session of another node are read from the common log, without taking the user over."""
    async with cluster("a", "b", agents=recording_agents([])) as (engine, (a, b)):
        await (await a.sessions.get("ann", "s1")).start("work", 1)
        await eventually(lambda: statuses(a) == [])
        seen: dict[str, Any] = await _waterfall.waterfall(b.sessions, target(""))
        assert (seen["live"], [run["status"] for run in seen["runs"]]) == (False, ["ok"])
        assert len(b.sessions.of()) == 0
        assert engine.tokens["ann"].incarnation == a.node.incarnation


async def test_node_that_is_cut_off_cancels_nothing(autojump_clock: MockClock) -> None:
    """A node that is cut off from its cluster says so, and does not say that the run is unknown."""
    async with cluster("a", "b", agents=recording_agents([])) as (_, (a, b)):
        run = await (await a.sessions.get("ann", "s1")).start("wait")
        b.node.state = NodeState.SUSPENDED
        with pytest.raises(Refused) as raised:
            await _runs.cancel(b.sessions, target(run))
        assert (raised.value.status, raised.value.code) == (503, "overloaded")
        assert statuses(a) == ["running"]
