"""Common parts of the suites: servers with a test's own agents, many clients at once, and the rules of the protocol.

:func:`check_event` and :func:`check_history` implement the tables of the protocol without code of the product. So a
rule that the product forgets is still checked here.
"""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
from protocol.agents import auth_by_name
from protocol.wire import Client, Frame, client, greeted
from websockets.trio.client import connect

from actors import MemoryLog
from actors.testing import FaultyLog
from transport import Greenroom

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from actors import EventLog
    from transport import Server

REQUIRED = ("agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed")
"""The five types of events that every page of an agent server needs."""
STATUSES = {"ok", "error", "timeout", "cancelled", "interrupted"}
CONNECTING = 32
"""Limit of concurrent upgrades. Many clients are connected at once, but need not connect within one second."""
CROWDED = {
    "max_connections_per_address": 10_000,
    "handshakes_per_address_per_second": 10_000,
    "max_sessions": 10_000,
    "starts_per_minute": 0,
}


def server_with(
    *agents: Any, log: str | EventLog = "memory:", auth: Any = auth_by_name, **settings: object
) -> Greenroom:
    """Return a server with these agents. The token is the user's name, unless ``auth`` decides otherwise."""
    app = Greenroom(log=log, auth=auth, settings={"drain_seconds": 0, **CROWDED, **settings})
    for agent in agents:
        app.agent(agent)
    return app


async def many_clients(
    server: Server,
    users: Iterable[tuple[str, str | None]],
    talk: Callable[[str, Client], Awaitable[object]],
    session: str = "s1",
) -> None:
    """Call ``talk`` at once for each user (name, token), on its own socket. All stay connected until the last ends."""
    listed = list(users)
    slots = trio.CapacityLimiter(CONNECTING)
    arrived, done = _Barrier(len(listed)), _Barrier(len(listed))

    async def connect_and_talk(name: str, token: str | None) -> None:
        """Connect one user, wait for all others, and talk."""
        async with AsyncExitStack() as stack:
            async with slots:
                one = await stack.enter_async_context(client(server))
                await one.hello(session, token=token)
            await arrived.wait()
            await talk(name, one)
            await done.wait()

    async with trio.open_nursery() as nursery:
        for name, token in listed:
            nursery.start_soon(connect_and_talk, name, token)


class _Barrier:
    """A barrier: each task waits in :meth:`wait` until ``count`` tasks wait there. Then all continue."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._all = trio.Event()

    async def wait(self) -> None:
        """Wait until ``count`` tasks wait."""
        self._missing -= 1
        if not self._missing:
            self._all.set()
        await self._all.wait()


def many_users(count: int) -> list[tuple[str, str]]:
    """Return users for :func:`many_clients`. Each token is the user's name."""
    return [(f"user-{number}", f"user-{number}") for number in range(count)]


@asynccontextmanager
async def remote_client(url: str, session: str = "s1", **hello: object) -> AsyncIterator[Client]:
    """Yield a welcomed client of a server in another process."""
    async with connect(
        url, compression=None, ping_interval=None, open_timeout=None, proxy=None, max_size=None
    ) as socket:
        one = Client(socket)
        await one.hello(session, **hello)
        yield one


class SurvivingLog(FaultyLog):
    """A log in memory that outlives its server. It needs no thread, so it works with a clock that jumps."""

    def __init__(self) -> None:
        super().__init__(MemoryLog())
        self._open = False

    async def open(self) -> None:
        """Open the log, the first time only."""
        if not self._open:
            self._open = True
            await super().open()

    async def close(self) -> None:
        """Keep everything."""


async def all_events(server: Server, session: str = "s1", **hello: object) -> list[Frame]:
    """Return all events in the log of a session, as a new client gets them."""
    async with greeted(server, session, **hello) as one:
        return await one.events_until(one.welcome["latest"]) if one.welcome["latest"] else []


# The rules of the protocol, without code of the product


Fields = dict[str, Any]
"""Names of fields, with their allowed types."""


@attrs.frozen
class _Shape:
    """The ids of an event, and the required and optional fields of its data."""

    must: Fields
    may: Fields = attrs.Factory(dict[str, Any])
    ids: frozenset[str] = frozenset({"run_id"})
    may_ids: frozenset[str] = frozenset({"parent_run_id"})


_JSON = (dict, list, str, int, float, bool, type(None))
_ENDING: Fields = {"status": str, "duration_ms": int}
_ENDED: Fields = {"result": _JSON, "error": dict}
_CALL = frozenset({"run_id", "call_id"})
_SHAPES = {
    "agent_started": _Shape({"agent": str, "input": _JSON}, {"command_id": str}),
    "agent_thinking": _Shape({"text": str}),
    "agent_output": _Shape({"text": str}),
    "tool_executing": _Shape({"tool": str, "arguments": dict}, ids=_CALL),
    "tool_completed": _Shape({"tool": str, **_ENDING}, _ENDED, ids=_CALL),
    "input_requested": _Shape({"prompt": str}, {"schema": _JSON}, ids=_CALL),
    "input_received": _Shape({"value": _JSON, "by": str}, ids=_CALL),
    "input_withdrawn": _Shape({"reason": str}, ids=_CALL),
    "agent_completed": _Shape({"agent": str, **_ENDING}, {**_ENDED, "usage": _JSON}),
    "user_message": _Shape({"text": str}, ids=frozenset(), may_ids=frozenset()),
    "custom": _Shape({"name": str, "value": _JSON}, ids=frozenset(), may_ids=frozenset({"run_id", "parent_run_id"})),
}


def check_event(event: Frame) -> None:
    """Check one event against the protocol's table: its ids, its fields and their types, and no others."""
    shape = _SHAPES[event["type"]]
    ids = event.keys() - {"seq", "type", "ts", "data"}
    assert shape.ids <= ids <= shape.ids | shape.may_ids, event
    assert all(isinstance(event[id_], str) and event[id_] for id_ in ids), event
    assert type(event["seq"]) is int, event
    assert type(event["ts"]) is int, event
    data = event["data"]
    assert shape.must.keys() <= data.keys() <= shape.must.keys() | shape.may.keys(), event
    assert all(isinstance(data[field], kind) for field, kind in (shape.must | shape.may).items() if field in data), (
        event
    )
    if "status" in data:
        _check_outcome(event)


def _check_outcome(event: Frame) -> None:
    """Check the status, the result or error, and the duration of a run or call that has ended."""
    data = event["data"]
    assert data["status"] in STATUSES, event
    assert ("result" in data, "error" in data) == ((data["status"] == "ok"), data["status"] != "ok"), event
    assert data["duration_ms"] >= 0, event
    if "error" in data:
        assert data["error"].keys() == {"code", "message"}, event
        assert all(isinstance(text, str) for text in data["error"].values()), event


def check_history(events: Sequence[Frame], first: int = 1, *, open_at_end: bool = False) -> None:
    """Check a session's events from seq ``first``: each is well formed, G1 to G5 hold, times never go back.

    ``open_at_end`` allows runs that have not ended. The check needs the start of every run, so it is meant for
    histories from their first event.
    """
    assert [event["seq"] for event in events] == list(range(first, first + len(events)))
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)
    runs: dict[str, str | None] = {}
    over: set[str] = set()
    calls: dict[str, str] = {}
    questions: dict[str, str | None] = {}
    for event in events:
        check_event(event)
        _check_runs_and_calls(event, runs, over, calls)
        _check_questions(event, questions)
    assert open_at_end or not runs, runs
    assert open_at_end or not calls, calls


def _check_runs_and_calls(event: Frame, runs: dict[str, str | None], over: set[str], calls: dict[str, str]) -> None:
    """Check that an event fits the open runs and calls, and update them."""
    kind, run_id, parent = event["type"], event.get("run_id"), event.get("parent_run_id")
    if kind == "agent_started":
        assert run_id not in runs.keys() | over, event
        assert parent is None or parent in runs, event
        runs[str(run_id)] = parent
        return
    if run_id is None:
        return
    assert run_id in runs, event
    assert parent == runs[run_id], event
    if kind == "tool_executing":
        assert event["call_id"] not in calls, event
        calls[event["call_id"]] = run_id
    elif kind == "tool_completed":
        assert calls.pop(event["call_id"]) == run_id, event
    elif kind == "agent_completed":
        assert run_id not in runs.values(), event
        assert run_id not in calls.values(), event
        del runs[run_id]
        over.add(run_id)


def _check_questions(event: Frame, questions: dict[str, str | None]) -> None:
    """Check that a question is answered or withdrawn at most once."""
    kind, run_id = event["type"], event.get("run_id")
    if kind == "input_requested":
        assert event["call_id"] not in questions, event
        questions[event["call_id"]] = run_id
    elif kind in {"input_received", "input_withdrawn"}:
        assert questions[event["call_id"]] == run_id, event
        questions[event["call_id"]] = None
        assert kind == "input_received" or event["data"]["reason"] in {"timeout", "cancelled"}, event


def events_of_run(events: Iterable[Frame], run_id: str) -> list[Frame]:
    """Return the events of one run."""
    return [event for event in events if event.get("run_id") == run_id]


def events_of_type(events: Iterable[Frame], *event_types: str) -> list[Frame]:
    """Return the events of some types."""
    return [event for event in events if event["type"] in event_types]


def event_types(events: Iterable[Frame]) -> list[str]:
    """Return the types of events, in order."""
    return [event["type"] for event in events]


def call_pairs(events: list[Frame]) -> dict[str, tuple[Frame, Frame]]:
    """Return the start event and the end event of each tool call, by the call's id.

    Fail unless each call has both events, in this order.
    """
    check_history(events)
    opened = {event["call_id"]: event for event in events_of_type(events, "tool_executing")}
    closed = {event["call_id"]: event for event in events_of_type(events, "tool_completed")}
    assert opened.keys() == closed.keys()
    assert len(opened) + len(closed) == len(events_of_type(events, "tool_executing", "tool_completed"))
    assert all(opened[id_]["data"]["tool"] == closed[id_]["data"]["tool"] for id_ in opened)
    return {id_: (opened[id_], closed[id_]) for id_ in opened}


def outcome_of_call(events: list[Frame]) -> dict[str, Any]:
    """Return the status, and the result or error, of the only tool call among the events."""
    ((_, completed),) = call_pairs(events).values()
    return {name: value for name, value in completed["data"].items() if name not in ("tool", "duration_ms")}


async def wait_for_all_runs(server: Server) -> None:
    """Wait until no run of any user is open."""
    await server.sessions.drain(math.inf)
