"""What the inspector shows of sessions: the list, the runs of one as a waterfall, and its events as they come."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from _inspector import cancelled, inspected, started

from transport.inspector._live import MAX_WATCHERS

if TYPE_CHECKING:
    from trio.testing import MockClock


# Sessions


async def test_sessions() -> None:
    """The sessions in memory are shown by user and name, with their runs and events."""
    async with inspected() as site:
        await started(site, "bob", "s1", "slow")
        await started(site, "alice", "s2", "quick", "hello")
        await started(site, "alice", "s1", "curious")
        seen = await site.json("api/sessions")
        assert [(row["user"], row["session"], row["runs"]) for row in seen["sessions"]] == [
            ("alice", "s1", 1),
            ("alice", "s2", 0),
            ("bob", "s1", 1),
        ]
        assert (seen["sessions"][1]["committed"], seen["sessions"][0]["agents"]) == (3, ["curious"])
        assert (await site.json("api/sessions?user=bob"))["total"] == 1


async def test_waterfall() -> None:
    """A session is shown as its runs, the newest first, each with its tools, from start to end."""
    async with inspected() as site:
        first = await started(site, "alice", "s1", "quick", "hello")
        second = await started(site, "alice", "s1", "nested")
        asking = await started(site, "alice", "s1", "curious")
        seen = await site.json("api/session?user=alice&session=s1")
        runs = {run["agent"]: run for run in seen["runs"]}
        assert [run["agent"] for run in seen["runs"]][-1] == "quick"
        assert (runs["quick"]["run"], runs["quick"]["status"], runs["quick"]["tools"]) == (first, "ok", [])
        assert runs["quick"]["ended_at"] >= runs["quick"]["started_at"]
        assert (runs["slow"]["parent"], runs["slow"]["status"], runs["slow"]["ended_at"]) == (second, "running", None)
        assert [(tool["name"], tool["kind"], tool["status"]) for tool in runs["slow"]["tools"]] == [
            ("dig", "tool", "running")
        ]
        assert (runs["curious"]["run"], runs["curious"]["status"]) == (asking, "asking")
        assert [(tool["kind"], tool["status"]) for tool in runs["curious"]["tools"]] == [("question", "asking")]
        assert (seen["live"], seen["seq"], seen["next"], seen["connections"]) == (True, 8, None, 0)
        # Cancelled, the question ends with its run.
        await cancelled(site, "alice", "s1", asking)
        await trio.testing.wait_all_tasks_blocked()
        ended = (await site.json("api/session?user=alice&session=s1"))["runs"]
        (run,) = [run for run in ended if run["run"] == asking]
        assert (run["status"], run["tools"][0]["status"]) == ("cancelled", "cancelled")


async def test_waterfall_in_windows() -> None:
    """A long session is shown in windows. A run whose start is in an older window has its start from its duration."""
    async with inspected() as site:
        handle = await site.server.sessions.get("alice", "s1")
        await started(site, "alice", "s1", "quick", "hello")
        for number in range(600):
            await handle.emit("n", number)
        await site.server.sessions.committed()
        newest = await site.json("api/session?user=alice&session=s1")
        assert (newest["runs"], newest["next"]) == ([], 104)
        older = await site.json("api/session?user=alice&session=s1&before=104")
        assert ([run["agent"] for run in older["runs"]], older["next"]) == (["quick"], None)
        cut = (await site.json("api/session?user=alice&session=s1&before=2"))["runs"]
        assert [(run["agent"], run["status"]) for run in cut] == [("quick", "running")]


async def test_session_that_left_memory(autojump_clock: MockClock) -> None:
    """A session that is only in the log is shown from there, and is not made again by looking at it."""
    async with inspected(idle_seconds=1) as site:
        await started(site, "alice", "s1", "quick", "hello")
        await trio.sleep(10)
        assert site.server.sessions.of() == ()
        seen = await site.json("api/session?user=alice&session=s1")
        assert (seen["live"], seen["seq"], [run["status"] for run in seen["runs"]]) == (False, 3, ["ok"])
        assert len((await site.json("api/session/events?user=alice&session=s1"))["events"]) == 3
        assert site.server.sessions.of() == ()


@pytest.mark.parametrize("path", ["session", "session/events"])
async def test_unknown_session(path: str) -> None:
    """A session that the log does not have is 404. Without a user or a session, the request is 400."""
    async with inspected() as site:
        assert (await site.get(f"api/{path}?user=nobody&session=s1")).status == 404
        assert (await site.get(f"api/{path}?user=nobody")).status == 400


# Events


async def test_events_have_no_content() -> None:
    """Events are shown without texts, inputs, arguments and results, but with names, status and size."""
    async with inspected() as site:
        await started(site, "alice", "s1", "quick", "my secret diary")
        await started(site, "alice", "s1", "slow")
        answer = await site.get("api/session/events?user=alice&session=s1")
        assert all(text not in answer.body for text in (b"diary", b"garden"))
        events = answer.json["events"]
        assert [event["type"] for event in events][:3] == ["agent_started", "agent_output", "agent_completed"]
        assert (events[1]["data"], events[2]["data"]["status"]) == ({}, "ok")
        assert (events[4]["data"], events[4]["size"] > 50) == ({"tool": "dig"}, True)
        assert answer.json["seq"] == answer.json["latest"] == 5
        refused = await site.get("api/session/events?user=alice&session=s1&content=1")
        assert (refused.status, refused.code) == (403, "forbidden")


async def test_content_is_a_setting(caplog: pytest.LogCaptureFixture) -> None:
    """With ``inspect_content``, ``content=1`` shows the data of events. Each look is in the audit log."""
    caplog.set_level(logging.INFO, "greenroom.audit")
    async with inspected(inspect_content=True) as site:
        await started(site, "alice", "s1", "quick", "hello")
        seen = await site.json("api/session/events?user=alice&session=s1&content=1")
        assert seen["events"][1]["data"] == {"text": "hello"}
    assert "operator loopback from 127.0.0.1: read content of user alice session s1: done" in caplog.text


async def test_live_events(autojump_clock: MockClock) -> None:
    """A request waits for the next event, and is answered without events when its time is over."""
    async with inspected() as site:
        handle = await site.server.sessions.get("alice", "s1")
        await handle.emit("n", 1)
        path = "api/session/events?user=alice&session=s1&after=1&wait=20"
        began = trio.current_time()
        seen: list[Any] = [await site.json(path)]
        assert (seen[0]["events"], seen[0]["seq"]) == ([], 1)
        assert trio.current_time() - began == pytest.approx(20)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                seen.append(await site.json(path))

            nursery.start_soon(wait)
            await trio.sleep(3)
            assert len(seen) == 1
            await handle.emit("n", 2)
        assert [event["seq"] for event in seen[1]["events"]] == [2]
        assert trio.current_time() - began < 24


async def test_watchers_are_bounded(autojump_clock: MockClock) -> None:
    """Only so many requests may wait for events at the same time. A further one is told to come later."""
    async with inspected() as site:
        await (await site.server.sessions.get("alice", "s1")).emit("n", 1)
        await site.server.sessions.committed()
        path = "api/session/events?user=alice&session=s1&after=1&wait=20"
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_WATCHERS):
                nursery.start_soon(site.json, path)
            await trio.testing.wait_all_tasks_blocked(0.01)
            answer = await site.get(path)
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "busy", "5")
        assert (await site.get(path)).status == 200
