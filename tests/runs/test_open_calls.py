"""``run.call_started`` records a tool call that a framework reports as two events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from _played import data_of, events_of

from actors import OpenCall, Run, RunClosed, UnserialisableEvent

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_call_is_two_events() -> None:
    """The start of the call and its result are one event each, and neither needs an await."""

    async def agent(run: Run) -> None:
        call = run.call_started("search", {"query": "tea"})
        other = run.call_started("count")
        assert (call.name, other.name) == ("search", "count")
        other.completed()
        call.completed(["tea 1"])

    events = await events_of(agent)
    assert data_of(events, "tool_executing") == [
        {"tool": "search", "arguments": {"query": "tea"}},
        {"tool": "count", "arguments": {}},
    ]
    assert data_of(events, "tool_completed") == [
        {"tool": "count", "status": "ok", "result": None},
        {"tool": "search", "status": "ok", "result": ["tea 1"]},
    ]


async def test_await_waits_while_the_window_is_full() -> None:
    """Awaiting a started or completed call waits until the session's events are stored."""
    uncommitted: list[int] = []

    async def agent(run: Run) -> None:
        stream = run._stream  # noqa: SLF001 - only it tells how many events wait
        for ending in (False, True):
            for _ in range(40):
                run.call_started("search").completed()
            call = run.call_started("last")
            uncommitted.append(stream.seq - stream.committed_seq)
            assert await (call.completed() if ending else call) is call
            uncommitted.append(stream.seq - stream.committed_seq)

    await events_of(agent)
    before, after, before_end, after_end = uncommitted
    assert min(before, before_end) > 64 > max(after, after_end)


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (LookupError("no tea"), "error", {"code": "LookupError", "message": "no tea"}),
        ("no tea", "error", {"code": "error", "message": "no tea"}),
        (trio.Cancelled, "cancelled", {"code": "cancelled", "message": "the call was cancelled"}),
    ],
)
async def test_failed_call(error: object, status: str, shown: object) -> None:
    """A failure is reported as an exception or as a text. An exception that cancels ends the call as cancelled."""

    async def agent(run: Run) -> None:
        call = run.call_started("search")
        if error is trio.Cancelled:
            with trio.CancelScope() as scope:
                scope.cancel()
                try:
                    await trio.lowlevel.checkpoint()
                except trio.Cancelled as cancelled:
                    call.failed(cancelled)
                    raise
        else:
            assert isinstance(error, (Exception, str))
            call.failed(error)

    assert data_of(await events_of(agent), "tool_completed") == [{"tool": "search", "status": status, "error": shown}]


async def test_end_is_reported_once() -> None:
    """A second report of the end raises RuntimeError, and emits nothing."""

    async def agent(run: Run) -> None:
        call = run.call_started("search")
        call.completed(1)
        again: list[Callable[[], object]] = [call.completed, lambda: call.failed("late")]
        for report in again:
            with pytest.raises(RuntimeError, match="was reported already"):
                report()

    assert len(data_of(await events_of(agent), "tool_completed")) == 1


async def test_result_that_is_not_json() -> None:
    """A result that is not JSON raises, and closes the call as an error."""

    async def agent(run: Run) -> None:
        with pytest.raises(UnserialisableEvent):
            run.call_started("search").completed(object())

    (completed,) = data_of(await events_of(agent), "tool_completed")
    assert completed["status"] == "error"


async def test_left_open() -> None:
    """A call whose end is never reported is closed with its run, as cancelled. A later report raises RunClosed."""
    kept: list[OpenCall] = []

    async def agent(run: Run) -> str:
        kept.append(run.call_started("search"))
        return "done"

    events = await events_of(agent)
    assert [event["type"] for event in events[-2:]] == ["tool_completed", "agent_completed"]
    assert [event["data"]["status"] for event in events[-2:]] == ["cancelled", "ok"]
    late: list[Callable[[], object]] = [kept[0].completed, lambda: kept[0].failed("late")]
    for report in late:
        with pytest.raises(RunClosed, match="is over"):
            report()
