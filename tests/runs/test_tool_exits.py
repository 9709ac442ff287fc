"""Any exception of a tool ends its call and its run only; its result is recorded as JSON."""

from __future__ import annotations

import datetime as dt
import enum
import math
from typing import Any

import attrs
import orjson
import pytest
import trio
import trio.testing

from actors import Agents, MemoryLog, Run, Sessions, StreamKey, SupervisorSpec, open_system


class Rude(BaseException):
    """An exception that extends BaseException but not Exception."""


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Found:
    when: dt.datetime
    colour: Colour
    where: list[str]


async def events_of(tool: Any) -> list[Any]:
    """Run an agent that calls the tool, then another agent, which shows that the server has survived."""

    async def calls(run: Run) -> Any:
        return await run.call_tool(tool)

    async def nothing(run: Run) -> None:
        await run.output("still there")

    agents, log = Agents(), MemoryLog()
    agents.add(calls)
    agents.add(nothing)
    sessions = Sessions(log, agents)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        handle = await sessions.get("alice", "s1")
        await handle.start("calls")
        while sessions.statistics().runs.running:  # on the real clock: a virtual one would not wait for threads
            await trio.lowlevel.checkpoint()
        await handle.start("nothing")
        await sessions.drain(math.inf)
        await trio.testing.wait_all_tasks_blocked()
        assert sessions.statistics().crashed == 0
        return [orjson.loads(line) for line in await log.read(StreamKey("alice", "s1"), 0, 1000, 10**7)]


@pytest.mark.parametrize("in_a_thread", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LookupError("no"), "LookupError"),
        (ExceptionGroup("two", [LookupError("no"), OSError("no")]), "ExceptionGroup"),
        (ExceptionGroup("one", [LookupError("no")]), "LookupError"),
        (SystemExit(3), "SystemExit"),
        (GeneratorExit(), "GeneratorExit"),
        (Rude(), "Rude"),
        (BaseExceptionGroup("both", [Rude(), LookupError("no")]), "BaseExceptionGroup"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_exception_ends_call_and_run(error: BaseException, code: str, in_a_thread: bool) -> None:
    """If a tool raises any exception, its call and its run end as ``error``. The server continues."""

    def in_thread() -> None:
        raise error

    async def on_trio() -> None:
        raise error

    events = await events_of(in_thread if in_a_thread else on_trio)
    ends = [event["data"] for event in events if event["type"].endswith("_completed")]
    assert [(end["status"], end.get("error", {}).get("code")) for end in ends] == [
        ("error", code),
        ("error", code),
        ("ok", None),
    ]


async def test_attrs_times_and_enums_become_json() -> None:
    """If a tool returns an attrs object, a time or an enum, it is recorded as a JSON value."""

    def find() -> Found:
        return Found(dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), Colour.RED, ["here"])

    events = await events_of(find)
    results = [event["data"].get("result") for event in events if event["type"].endswith("_completed")]
    told = {"when": "2026-01-02T03:04:00+00:00", "colour": "red", "where": ["here"]}
    assert results == [told, told, None]
