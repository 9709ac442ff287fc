"""What the inspector shows and does: overview, runs, failures, connections, tree, users."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from _inspector import PATIENCE, cancelled, inspected, make_app, site_of, started

from actors import CommandRefused, RunState
from transport.client import connect
from transport.inspector._sampler import LOOK_SECONDS
from transport.inspector._workers import workers_of

if TYPE_CHECKING:
    from trio.testing import MockClock

    from actors import SessionHandle


# The overview


async def test_overview(autojump_clock: MockClock) -> None:
    """The overview has the numbers of the server: its runs by agent and state, its events, its health."""
    async with inspected() as site:
        await started(site, "alice", "s1", "nested")
        await started(site, "alice", "s2", "curious")
        await started(site, "bob", "s1", "broken")
        seen = await site.json("api/overview")
        assert seen["health"] == {"ok": True, "ready": True, "reasons": []}
        assert (seen["sessions"], seen["failures"], seen["restarts"], seen["cluster"]) == (3, 1, 0, None)
        assert seen["workers"] is None
        assert seen["operator"] == {"name": "loopback", "by": "loopback"}
        assert (seen["runs"]["running"], seen["runs"]["asking"], seen["runs"]["queued"]) == (3, 1, 0)
        by_agent = {row["agent"]: row for row in seen["runs"]["by_agent"]}
        assert [by_agent[name]["running"] for name in ("curious", "nested", "slow")] == [1, 1, 1]
        assert (by_agent["broken"]["running"], by_agent["broken"]["error"], by_agent["broken"]["ok"]) == (0, 1, 0)
        assert seen["log"]["engine"] == "memory"
        assert seen["events_total"] == seen["log"]["events"] > 5
        assert seen["started_at"] <= seen["at"]


@pytest.mark.parametrize(
    ("name", "first", "others"),
    [
        ("web-2", 8771, [("web-1", 8771), ("web-2", 8772), ("web-3", 8773)]),
        ("", 0, [(None, None)] * 3),
    ],
)
async def test_workers(name: str, first: int, others: list[tuple[str | None, int | None]]) -> None:
    """A worker names its number, and lists all workers of the server with the nodes and ports that they have."""
    async with make_app(workers=3, worker_http_port=first).running(port=0) as server:
        settings = attrs.evolve(server.endpoint.settings, node_name=name)
        seen = workers_of(settings, 2)
        assert seen is not None
        assert (seen["number"], seen["count"], seen["scheme"]) == (2, 3, "http")
        assert seen["all"] == [{"worker": n, "node": node, "port": port} for n, (node, port) in enumerate(others, 1)]
        shown = (await site_of(server, worker=2).json("api/overview"))["workers"]
        assert (shown["number"], shown["all"][2]["port"]) == (2, others[2][1])


async def test_samples_are_taken_while_somebody_looks(autojump_clock: MockClock) -> None:
    """Samples are taken once a second after a look, and stop when no operator looks any more."""
    async with inspected() as site:
        assert (await site.json("api/overview"))["events_per_second"] is None
        handle = await site.server.sessions.get("alice", "s1")
        for _ in range(50):
            await handle.emit("n", 1)
        await trio.sleep(1.5)
        seen = await site.json("api/overview")
        assert seen["events_per_second"] == pytest.approx(50, rel=0.01)
        assert [round(each["events_per_second"]) for each in seen["samples"]] == [50]
        await trio.sleep(10 * LOOK_SECONDS)
        assert len((await site.json("api/overview"))["samples"]) == 0


# Runs


async def test_runs_and_their_open_tools() -> None:
    """An open run is shown with its tool or question, its parent and its age. Runs in the queue are shown as queued."""
    async with inspected(runs_per_user=2) as site:
        outer = await started(site, "alice", "s1", "nested")
        asking = await started(site, "alice", "s2", "curious")
        handle = await site.server.sessions.get("alice", "s3")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused_start, handle)
            await trio.testing.wait_all_tasks_blocked()
            order = {"nested": 0, "slow": 1, "curious": 2}
            rows = (await site.json("api/runs"))["runs"]
            rows.sort(key=lambda row: (row["state"] == "queued", order[row["agent"]]))  # they began in one millisecond
            assert [(row["agent"], row["state"], row["depth"]) for row in rows] == [
                ("nested", "running", 0),
                ("slow", "running", 1),
                ("curious", "asking", 0),
                ("slow", "queued", 0),
            ]
            assert (rows[1]["parent"], rows[1]["root"], rows[0]["subruns"]) == (outer, outer, 1)
            assert (rows[0]["open_tool"], rows[1]["open_tool"]["name"], rows[1]["open_tools"]) == (None, "dig", 1)
            assert rows[1]["open_tool"]["since"] >= rows[1]["started_at"]
            assert (rows[2]["run"], bool(rows[2]["question"]["call_id"])) == (asking, True)
            assert await cancelled(site, "alice", "s3", rows[3]["run"])


async def refused_start(handle: SessionHandle) -> None:
    """Start a run that is cancelled while it waits for its turn."""
    with pytest.raises(CommandRefused, match="before its turn"):
        await handle.start("slow")


@pytest.mark.parametrize(
    ("query", "agents"),
    [
        ("agent=slow", ["slow"]),
        ("user=bob", ["curious"]),
        ("user=nobody", []),
        ("session=s2", ["slow"]),
        ("state=asking", ["curious"]),
        ("state=queued", []),
        ("older_than=1000", []),
        ("older_than=0", ["nested", "slow", "slow", "curious"]),
        ("user=alice&session=s1&agent=nested", ["nested"]),
    ],
)
async def test_runs_are_filtered(query: str, agents: list[str]) -> None:
    """Each filter keeps the runs that it names; several filters keep those that all of them keep."""
    async with inspected() as site:
        await started(site, "alice", "s1", "nested")
        if query in {"session=s2", "older_than=0"}:
            await started(site, "alice", "s2", "slow")
        await started(site, "bob", "s1", "curious")
        seen = await site.json(f"api/runs?{query}")
        assert sorted(row["agent"] for row in seen["runs"]) == sorted(agents)
        assert seen["total"] == len(agents)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "state=dead",
        "older_than=-1",
        "older_than=nan",
        "sort=age",
        "after=!!",
        "after=W10",
    ],
)
async def test_wrong_parameters(query: str) -> None:
    """A parameter that cannot be used is 400, and the message names it."""
    async with inspected() as site:
        answer = await site.get(f"api/runs?{query}")
        assert (answer.status, answer.code) == (400, "bad_args")
        assert query.partition("=")[0] in answer.json["error"]["message"]


async def test_cancel(caplog: pytest.LogCaptureFixture) -> None:
    """A run is cancelled with its sub-agents. The audit log says who did it, to which run, and whether it was there."""
    caplog.set_level(logging.INFO, "greenroom.audit")
    async with inspected() as site:
        run = await started(site, "alice", "s1", "nested")
        assert await cancelled(site, "alice", "s1", run)
        await trio.testing.wait_all_tasks_blocked()
        assert (await site.json("api/runs"))["total"] == 0
        assert not await cancelled(site, "alice", "s1", run)
        events = await (await site.server.sessions.get("alice", "s1")).history()
        assert [event.data["status"] for event in events if event.type == "agent_completed"] == ["cancelled"] * 2
    lines = [record.getMessage() for record in caplog.records if record.name == "greenroom.audit"]
    subject = f"operator loopback from 127.0.0.1: cancel run {run} of user alice session s1"
    assert lines == [f"{subject}: done", f"{subject}: not found"]


async def test_cancel_makes_no_session() -> None:
    """A cancellation for a session that does not exist finds nothing, and does not make the session."""
    async with inspected() as site:
        assert not await cancelled(site, "nobody", "s1", "r-1")
        assert (site.server.sessions.of(), await site.server.sessions.list("nobody")) == ((), ())


async def test_stopping_run_is_shown() -> None:
    """A run that was asked to stop and still cleans up is shown as stopping."""
    app = make_app()

    @app.agent
    async def tidy(run: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await cleaned.wait()

    cleaned = trio.Event()
    async with app.running(port=0) as server:
        site = site_of(server)
        run = await started(site, "alice", "s1", "tidy")
        assert await cancelled(site, "alice", "s1", run)
        assert [row["state"] for row in (await site.json("api/runs"))["runs"]] == [RunState.STOPPING]
        cleaned.set()


# Failures


async def test_failures_have_their_references(caplog: pytest.LogCaptureFixture) -> None:
    """Failures are shown, the newest first, with run or reference and traceback, and without secrets."""
    async with inspected() as site:
        run = await started(site, "alice", "s1", "broken")
        site.server.endpoint.statistics = None  # type: ignore[method-assign, assignment]  # so that the overview fails
        answer = await site.get("api/overview")
        assert answer.status == 500
        reference = answer.json["error"]["message"].split()[-1]
        seen = await site.json("api/failures")
        assert [(each["kind"], each["reference"], each["run"]) for each in seen["failures"]] == [
            ("http", reference, None),
            ("agent", None, run),
        ]
        agent = seen["failures"][1]
        assert (agent["user"], agent["session"], agent["what"]) == ("alice", "s1", "agent broken failed")
        assert "no agent is perfect" in agent["message"]
        assert "_inspector.py" in agent["traceback"]
        assert "hunter2" not in answer.body.decode() + str(seen)
        assert (seen["total"], len((await site.json("api/failures?limit=1"))["failures"])) == (2, 1)


# Connections


async def test_connections_are_shown_and_closed() -> None:
    """A connection is shown with its user, session and lag. A closed one gets 1001, and its client comes back."""
    async with make_app().running(port=0) as server:
        site = site_of(server)
        with trio.fail_after(PATIENCE):
            async with connect(server.url, session="s1") as client:
                await client.start("quick", "hello")
                (row,) = (await site.json("api/connections"))["connections"]
                assert (row["user"], row["session"], row["state"]) == ("anonymous", "s1", "open")
                assert (row["lag_events"], row["blocked_seconds"], row["address"]) == (0, 0, "127.0.0.1")
                assert (await site.json("api/connections?user=bob"))["total"] == 0
                answer = await site.post("api/connections/close", {"connection": row["connection"]})
                assert answer.json["closed"] is True
                await client.start("quick", "again")
                (back,) = [
                    each
                    for each in (await site.json("api/connections?sort=age"))["connections"]
                    if each["state"] == "open"
                ]
                assert back["connection"] != row["connection"]
                answer = await site.post("api/connections/close", {"connection": row["connection"]})
                assert answer.json["closed"] is False


# The tree


async def test_tree() -> None:
    """The tree is shown level by level: an actor, and its children with the number of theirs."""
    async with inspected() as site:
        await started(site, "alice", "s1", "slow")
        top = await site.json("api/tree")
        assert (top["node"]["kind"], top["node"]["name"]) == ("system", "/")
        assert [child["path"] for child in top["children"]] == ["/greenroom"]
        below = await site.json("api/tree?path=/greenroom")
        assert below["node"]["strategy"] == "rest_for_one"
        assert [child["name"] for child in below["children"]] == ["event-log", "sessions", "endpoint"]
        (parent,) = [child for child in below["children"] if child["children"]]
        found = await site.json(f"api/tree?path={parent['path']}")
        while found["children"] and found["children"][0]["kind"] == "supervisor":
            found = await site.json(f"api/tree?path={found['children'][0]['path']}")
        assert [child["name"] for child in found["children"]] == ["alice:s1"]
        assert (await site.get("api/tree?path=/greenroom/nobody")).status == 404


# Users


async def test_user_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """An operator can remove everything of a user, also the user's failures. The action is in the audit log."""
    caplog.set_level(logging.INFO, "greenroom.audit")
    async with inspected() as site:
        for user in ("alice", "bob"):
            await started(site, user, "s1", "broken")
        await started(site, "alice", "s2", "slow")
        assert (await site.post("api/forget", {"user": "alice", "thorough": "no"})).code == "bad_args"
        answer = await site.post("api/forget", {"user": "alice", "thorough": False})
        assert (answer.status, answer.json["sessions"], answer.json["connections"]) == (200, 2, 0)
        assert [each["user"] for each in (await site.json("api/sessions"))["sessions"]] == ["bob"]
        assert [each["user"] for each in (await site.json("api/failures"))["failures"]] == ["bob"]
        assert (await site.post("api/forget", {})).code == "bad_args"
    told = "operator loopback from 127.0.0.1: forget user alice: done: 2 sessions, 0 connections"
    assert told in caplog.messages
