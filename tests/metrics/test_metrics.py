"""The metrics of a server: their values, their names and types, and the two forms of their text."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
from docs.documents import document
from metrics.scraping import FORMS, OPEN, PLAIN, app_with_agents, parsed, scrape
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import exposition
from protocol.wire import client, greeted, wait_for_connections

from actors import ClusterStatistics, LogUnavailable, MemoryLog, NodeState, StreamKey
from actors.testing.faulty_log import FaultyLog
from transport import Greenroom
from transport.metrics._families import CLUSTER, CLUSTER_STATE, OWN, Family, Reading, steps
from transport.metrics.collector import MAX_SAMPLES, MetricsCollector, Scrape

if TYPE_CHECKING:
    from types import FrameType

    from protocol.wire import Client

    from transport import Server

PAGE = document("transport/metrics/README.md")


async def ended(one: Client, *starts: tuple[Any, ...]) -> None:
    """Start runs, one after another, and wait for the end of each."""
    for number, (agent, *given) in enumerate(starts):
        await one.completed(await one.start(f"c{number}", agent, *given))


@pytest.mark.parametrize("form", FORMS)
async def test_runs_and_tools_are_counted(form: str) -> None:
    """Runs and tool calls are counted by name and status, with their durations. Events are counted, too."""
    async with app_with_agents().running(port=0) as server, greeted(server) as one:
        await ended(one, ("adds",), ("adds",), ("fails",), ("plans", "plan"))
        found = await scrape(server, form)
    for agent, status, number in (("adds", "ok", 2), ("fails", "error", 1), ("plans", "ok", 1), ("plan", "ok", 1)):
        assert found.value("runs_total", agent=agent, status=status) == number
        assert found.value("run_duration_seconds_count", agent=agent) == number
        assert found.value("run_duration_seconds_bucket", agent=agent, le="+Inf") == number
    for tool, status, number in (("sum_of", "ok", 2), ("broken", "error", 1)):
        assert found.value("tool_duration_seconds_count", tool=tool, status=status) == number
        assert found.value("tool_duration_seconds_sum", tool=tool, status=status) is not None
    assert found.value("sessions") == found.value("connections") == 1
    assert found.value("events_total") == 2 * 5 + 6
    assert found.value("runs", state="running") == found.value("runs", state="queued") == 0
    assert found.value("tool_threads", state="running") == found.value("tool_threads", state="waiting") == 0


async def test_open_and_queued_runs() -> None:
    """The gauges show the runs that are executed now, and those that wait."""
    app = app_with_agents(runs_per_user=1)

    @app.agent
    async def waits(_: Any) -> None:
        await trio.sleep_forever()

    async with app.running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await handle.start("waits")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.start, "waits")
            await trio.testing.wait_all_tasks_blocked()
            found = await scrape(server)
            nursery.cancel_scope.cancel()
    assert (found.value("runs", state="running"), found.value("runs", state="queued")) == (1, 1)


async def test_closes_and_resumes() -> None:
    """Ends of connections are counted by their code, and clients that come back by the result of their resume."""
    async with app_with_agents().running(port=0) as server:
        async with greeted(server) as one:
            epoch = one.welcome["epoch"]
            await one.say("hello")
        async with greeted(server, resume={"epoch": epoch, "seq": 1}):
            pass
        async with greeted(server, resume={"epoch": "another", "seq": 1}):
            pass
        async with client(server) as one:
            await one.send("nonsense")
            assert (await one.ended()).code == 4500
        await wait_for_connections(server)
        found = await scrape(server)
    assert {key[1][0][1]: value for key, value in found.samples.items() if key[0] == "closes_total"} == {
        "1000": 3,
        "4500": 1,
    }
    assert found.value("resumes_total", result="recovered") == 1
    assert found.value("resumes_total", result="epoch_changed") == 1


async def test_restarts_are_counted() -> None:
    """Each restart of an actor by its supervisor is counted, and the counts of the endpoint stay."""
    async with app_with_agents().running(port=0) as server:
        async with greeted(server):
            pass
        await wait_for_connections(server)
        assert (await scrape(server)).value("restarts_total") == 0
        ref = server.system.find("/greenroom/endpoint")
        assert ref is not None
        ref.kill()
        await trio.testing.wait_all_tasks_blocked()
        found = await scrape(server)
    assert (found.value("restarts_total"), found.value("closes_total", code="1000")) == (1, 1)


async def test_interrupted_runs_are_counted_where_they_are_closed() -> None:
    """A run that a killed session left open is counted once, as interrupted, when the session is made again."""
    app = app_with_agents()

    @app.agent
    async def waits(_: Any) -> None:
        await trio.sleep_forever()

    async with app.running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await handle.start("waits")
        ref = await server.sessions.get_or_spawn(StreamKey("ann", "s1"))
        ref.kill()
        await ref.terminated()
        await server.sessions.get("ann", "s1")
        found = await scrape(server)
    assert found.value("runs_total", agent="waits", status="interrupted") == 1


async def test_runs_of_a_session_that_cannot_be_written_are_counted_once() -> None:
    """A run whose end is not committed is counted once, when a later session has closed it in the log."""
    log = FaultyLog(MemoryLog())
    app = Greenroom(log, settings={"drain_seconds": 0})

    @app.agent
    async def waits(_: Any) -> None:
        await trio.sleep_forever()

    async with app.running(port=0) as server:
        handle = await server.sessions.get("ann", "s1")
        await handle.start("waits")
        log.fail("append")
        await handle.emit("note", 1)
        await trio.testing.wait_all_tasks_blocked()
        log.fail("append")
        with pytest.raises(LogUnavailable):
            await server.sessions.get_or_spawn(StreamKey("ann", "s1"))
        await server.sessions.get_or_spawn(StreamKey("ann", "s1"))
        found = await scrape(server)
    ended = {dict(key[1])["status"]: value for key, value in found.samples.items() if key[0] == "runs_total"}
    assert ended == {"interrupted": 1}


NAMES = ["plain", 'say "hi"', "back\\slash", "two\nlines", "ünïcode ☃", "{curly}", "a=b,c", "# EOF", ""]


@pytest.mark.parametrize("form", FORMS)
async def test_labels_are_escaped(form: str) -> None:
    """A name with any characters arrives as it is in the label."""
    async with app_with_agents().running(port=0) as server, greeted(server) as one:
        for number, name in enumerate(NAMES):
            await one.completed(await one.start(f"c{number}", "plans", name))
        found = await scrape(server, form)
    assert [name for name in NAMES if found.value("runs_total", agent=name, status="ok") != 1] == []


async def test_hundred_names() -> None:
    """Beyond 100 agents, and for very long names, runs are counted as of the agent ``other``."""
    async with app_with_agents().running(port=0) as server, greeted(server) as one:
        for number, name in enumerate([*(f"agent {each}" for each in range(99)), "x" * 129, "one more", "agent 7"]):
            await one.completed(await one.start(f"c{number}", "plans", name))
        found = await scrape(server)
    agents = {key[1][0][1] for key in found.samples if key[0] == "runs_total"}
    assert agents == {"plans", "other", *(f"agent {each}" for each in range(99))}
    assert found.value("runs_total", agent="other", status="ok") == 2
    assert found.value("runs_total", agent="agent 7", status="ok") == 2


@pytest.mark.parametrize("form", FORMS)
async def test_large_scrape_comes_in_small_parts(form: str) -> None:
    """Each part of a text has a bounded number of lines, and together they are one valid text. A small one is few."""
    async with app_with_agents().running(port=0) as server:
        reading = Reading.of(server)
        small = list(Scrape(reading, form).parts())
        tool = reading.sessions.meter.tool_seconds
        lag = reading.endpoint.lag
        assert isinstance(tool, dict)
        tool.update({(f"tool {number}", status): lag for number in range(100) for status in ("ok", "error", "timeout")})
        parts = list(Scrape(reading, form).parts())
    assert max(len(part.splitlines()) for part in parts) <= MAX_SAMPLES + 1  # the last line is no sample
    assert len(small) == 1
    found = parsed(b"".join(parts).decode(), form)
    assert len(found.samples) > 300 * len(lag.bounds)


async def test_scrape_costs_the_same_with_many_sessions() -> None:
    """The number of calls for reading the statistics does not depend on the number of users and sessions."""
    async with app_with_agents().running(port=0) as server:
        await server.sessions.get("user 0", "s1")
        few = calls_of(server)
        for number in range(1, 40):
            await server.sessions.get(f"user {number}", "s1")
        assert calls_of(server) == few


def calls_of(server: Server) -> int:
    """Return the number of calls of Python functions in a reading of the statistics."""
    count = 0

    def on_call(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(on_call)
    try:
        Reading.of(server)
    finally:
        sys.setprofile(None)
    return count


async def test_names_types_and_buckets_are_those_of_the_page() -> None:
    """The page of the metrics has each metric with its type, labels, description and buckets."""
    assert PAGE.section("The metrics").count("| --- | --- | --- | --- |") == 2
    rows = [
        re.fullmatch(r"\| `(\w+)` \| (\w+) \| (.*)\| (.*) \|", line)
        for line in PAGE.section("The metrics").splitlines()
        if line.startswith("| `")
    ]
    listed = {row[1]: (row[2], row[3].strip(), row[4]) for row in rows if row is not None}
    families = (*OWN, CLUSTER_STATE, *CLUSTER.values())
    assert listed == {
        each.name: (each.kind, ", ".join(f"`{label}`" for label in each.labels), each.help) for each in families
    }
    buckets = {
        row[1]: tuple(map(float, row[2].split(", ")))
        for line in PAGE.section("The metrics").splitlines()
        if (row := re.fullmatch(r"\| `(\w+)` \| ([\d., ]+) \|", line)) is not None
    }
    async with app_with_agents().running(port=0) as server, greeted(server) as one:
        await ended(one, ("adds",))
        found = {family.name: list(points) for family, points in Reading.of(server).families()}
    histograms = [each.name for each in OWN if each.kind == "histogram"]
    assert buckets == {name: found[name][0][1].bounds for name in histograms}  # type: ignore[union-attr] # histograms


DESIGNED = {
    *("sessions", "runs{state}", "runs_total{agent,status}", "run_duration_seconds{agent}", "events_total"),
    *("tool_duration_seconds{tool,status}", "commit_wait_seconds", "connections", "closes_total{code}"),
    *("resumes_total{result}", "signals_dropped_total", "crashes_total", "restarts_total", "tool_threads{state}"),
    "loop_lag_seconds",
}


def test_names_are_a_contract() -> None:
    """The names and labels are those that were agreed on."""

    def shown(family: Family) -> str:
        return family.name + (f"{{{','.join(family.labels)}}}" if family.labels else "")

    assert {shown(family) for family in OWN} == DESIGNED


@pytest.mark.parametrize("form", FORMS)
async def test_types(form: str) -> None:
    """Each metric has its type in the text. In OpenMetrics ``runs_total`` has none, as ``runs`` has its name."""
    async with app_with_agents().running(port=0) as server:
        found = await scrape(server, form)
    kinds = {name.removeprefix("greenroom_"): family.type for name, family in found.families.items()}
    expected = {each.name.removesuffix("_total") if each.kind == "counter" else each.name: each.kind for each in OWN}
    if form == OPEN:
        expected |= {"runs": "gauge", "runs_total": "unknown"}
        assert kinds == expected
    else:  # the parser shows the last of the two that are called runs
        assert {name: kind for name, kind in kinds.items() if name != "runs"} == {
            name: kind for name, kind in expected.items() if name != "runs"
        }


@pytest.mark.parametrize("form", FORMS)
async def test_node_of_a_cluster(form: str) -> None:
    """In a cluster each sample names its node, and each number of the cluster's statistics is a metric."""
    async with app_with_agents().running(port=0) as server:
        statistics = ClusterStatistics(node="n1", state=NodeState.LIVE, nodes=3, gaps=2)
        reading = attrs.evolve(Reading.of(server), cluster=statistics)
        found = parsed(b"".join(Scrape(reading, form).parts()).decode(), form)
    assert [key for key in found.samples if ("node", "n1") not in key[1]] == []
    assert found.value("cluster_nodes", node="n1") == 3
    assert found.value("cluster_gaps_total", node="n1") == 2
    assert found.value("cluster_until_suspended_seconds", node="n1") == float("-inf")
    assert found.value("cluster_state", node="n1", state="live") == 1
    assert found.value("cluster_state", node="n1", state="suspended") == 0
    numbers = {field.name for field in attrs.fields(ClusterStatistics)} - {"node", "state"}
    assert set(CLUSTER) == numbers


def text_of(registry: CollectorRegistry) -> str:
    """Return the text that the library itself makes of a registry."""
    generate: Any = exposition.generate_latest
    return str(generate(registry).decode())


async def test_collector_in_a_registry() -> None:
    """The collector works in a registry of the application, before, while and after the app runs."""
    app, registry = app_with_agents(), CollectorRegistry()
    registry.register(MetricsCollector(app))
    assert parsed(text_of(registry), OPEN).samples == {}
    async with app.running(port=0) as server, greeted(server) as one:
        await ended(one, ("adds",))
        found = parsed(text_of(registry), OPEN)
        assert found.value("runs_total", agent="adds", status="ok") == 1
        assert found.samples.keys() == (await scrape(server, PLAIN)).samples.keys()
    assert parsed(text_of(registry), OPEN).samples == {}


async def test_commit_waits_of_a_log_on_disk(tmp_path: Any) -> None:
    """The histogram of commits has every batch of the committer, in fewer steps, and their sum."""
    async with app_with_agents().running(port=0, log=f"sqlite:{tmp_path}/log.db") as server, greeted(server) as one:
        await ended(one, ("adds",), ("adds",))
        committer = server.sessions.statistics().committer
        points = {family.name: list(found) for family, found in Reading.of(server).families()}
    ((_, histogram),) = points["commit_wait_seconds"]
    counts = [number for _, number in steps(histogram)]  # type: ignore[arg-type] # a histogram
    assert counts[-1] == sum(committer.waits)
    assert counts[0] == committer.waits[0]
    assert counts == sorted(counts)
    assert (committer.wait_seconds > 0) == (sum(committer.waits) > 0)
