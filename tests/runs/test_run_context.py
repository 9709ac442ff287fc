"""The context of a run: code sees the values of its own run, wherever it runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from actors import Agents, MemoryLog, Run, RunContext, Sessions, SupervisorSpec, current_run, open_system

if TYPE_CHECKING:
    from trio.testing import MockClock


# On the real clock: one that jumps does so while everybody waits for a thread, and the run would be out of time.
async def test_all_code_of_a_run_sees_its_context() -> None:
    """In a run, and in its tasks and threads, ``current_run()`` returns the context of this run.

    A sub-agent has a context of its own.
    """
    seen: dict[tuple[str, str], list[RunContext | None]] = {}

    def in_a_thread() -> RunContext | None:
        return current_run()

    async def child(run: Run) -> None:
        seen[run.user, "child"] = [current_run(), run.context]

    async def parent(run: Run) -> None:
        mine = seen[run.user, "parent"] = [current_run()]
        results: list[RunContext | None] = []

        async def note() -> None:
            await trio.lowlevel.checkpoint()
            results.append(current_run())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note)
            mine.append(await trio.to_thread.run_sync(in_a_thread))
        mine += results
        await run.call_agent("child")
        mine += [current_run(), run.context]

    agents = Agents()
    agents.add(parent, timeout=100)
    agents.add(child)
    sessions = Sessions(MemoryLog(), agents)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        for user in ("alice", "bob"):
            await (await sessions.get(user, "s1")).start("parent")
        assert current_run() is None
        await sessions.drain(200)
    for user in ("alice", "bob"):
        first = seen[user, "parent"][0]
        assert first is not None
        assert (first.user, first.session, first.agent, first.depth, first.parent_run_id) == (
            user, "s1", "parent", 0, None
        )  # fmt: skip
        assert seen[user, "parent"] == [first] * 5
        below = seen[user, "child"][0]
        assert below is not None
        assert (below.parent_run_id, below.depth, below.deadline) == (first.run_id, 1, first.deadline)
        assert seen[user, "child"] == [below] * 2
    assert current_run() is None


def test_a_context_cannot_be_changed() -> None:
    """Assigning to an attribute of a run's context raises an exception."""
    context = RunContext(user="alice", session="s1", run_id="r-1", agent="a")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        context.user = "bob"  # type: ignore[misc]  # what must not be possible


async def test_a_logging_filter_gets_the_fields(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """A logging filter can add the fields of a run (its context) to each line that the run logs.

    A line that is logged outside of a run gets no fields.
    """

    class Fields(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            run = current_run()
            record.run = run.log_fields() if run is not None else {}
            return True

    async def logs(run: Run) -> None:
        logging.getLogger("app").warning("here")

    caplog.handler.addFilter(fields := Fields())
    agents = Agents()
    agents.add(logs)
    sessions = Sessions(MemoryLog(), agents)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        run_id = await (await sessions.get("alice", "s1")).start("logs")
        await sessions.drain(10)
    logging.getLogger("app").warning("there")
    caplog.handler.removeFilter(fields)
    told = [vars(record)["run"] for record in caplog.records if record.name == "app"]
    expected = {
        "user": "alice", "session": "s1", "run_id": run_id, "agent": "logs", "parent_run_id": None, "depth": 0
    }  # fmt: skip
    assert told == [expected, {}]
