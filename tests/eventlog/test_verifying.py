"""The check of a log: every fault is reported with its session, event and rule, and valid logs have none."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
from _damaged import DamagedLog
from hypothesis import given
from hypothesis import strategies as st

from actors import (
    Agents,
    Batch,
    ConfigError,
    LogReport,
    LogUnavailable,
    Retention,
    Run,
    Sessions,
    SqliteLog,
    StreamKey,
    SupervisorSpec,
    open_log,
    open_system,
    verify_log,
)
from transport.cli import main

if TYPE_CHECKING:
    from pathlib import Path

KEY = StreamKey("alice", "s1")
STARTED, COMPLETED, EXECUTING, DONE = "agent_started", "agent_completed", "tool_executing", "tool_completed"
ASKED, ANSWERED, WITHDRAWN = "input_requested", "input_received", "input_withdrawn"
DATA: dict[str, dict[str, object]] = {
    STARTED: {"agent": "a"},
    COMPLETED: {"agent": "a", "status": "ok"},
    EXECUTING: {"tool": "t", "arguments": {}},
    DONE: {"tool": "t", "status": "ok"},
    "agent_output": {"text": "x"},
    "user_message": {"text": "x"},
    ASKED: {"prompt": "x"},
    ANSWERED: {"value": "x", "by": "c"},
    WITHDRAWN: {"reason": "timeout"},
}


def line(seq: int, event: str, run: str | None = None, call: str | None = None, parent: str | None = None) -> bytes:
    """Return the line of an event."""
    ids = {"run_id": run, "call_id": call, "parent_run_id": parent}
    present = {name: value for name, value in ids.items() if value is not None}
    return orjson.dumps({"seq": seq, "ts": 1_700_000_000_000 + seq, "type": event, **present, "data": DATA[event]})


def lines(*events: tuple[str | None, ...]) -> list[bytes]:
    """Return the lines of events, numbered from 1."""
    return [line(seq, *event) for seq, event in enumerate(events, 1)]  # type: ignore[arg-type]  # the first is a string


async def report(events: list[bytes], state: bytes = b"", keep: int | None = None) -> LogReport:
    """Verify a log with these bytes as its lines, trimmed to ``keep`` events."""
    async with DamagedLog() as log:
        await log.stored(KEY, events, state)
        if keep is not None:
            await log.trim(KEY, Retention(events=keep), 0)
        return await verify_log(log)


async def faults(events: list[bytes], state: bytes = b"", keep: int | None = None) -> list[tuple[int, str]]:
    """Return the seq and the rule of each fault."""
    return [(fault.seq, fault.rule) for fault in (await report(events, state, keep)).faults]


WHOLE = lines(
    ("user_message",),
    (STARTED, "r1"),
    (EXECUTING, "r1", "c1"),
    (STARTED, "r2", None, "r1"),
    ("agent_output", "r2", None, "r1"),
    (EXECUTING, "r2", "c2", "r1"),
    (DONE, "r2", "c2", "r1"),
    (COMPLETED, "r2", None, "r1"),
    (DONE, "r1", "c1"),
    (COMPLETED, "r1"),
    (STARTED, "r3"),
    (COMPLETED, "r3"),
)


@pytest.mark.parametrize("keep", [None, *range(13)])
async def test_valid_session_has_no_fault(keep: int | None) -> None:
    """``verify`` finds no fault in a valid session, no matter how many of its oldest events are trimmed."""
    assert await faults(WHOLE, b"[1,[]]", keep) == []


@pytest.mark.parametrize("keep", [None, *range(10)])
@pytest.mark.parametrize("answered", [[ANSWERED], [WITHDRAWN], []], ids=["answered", "withdrawn", "as older versions"])
async def test_closed_questions_have_no_fault(answered: list[str], keep: int | None) -> None:
    """``verify`` accepts a question that an answer, a withdrawal or (in old logs) only the end of its run closes."""
    events = lines(
        (STARTED, "r1"),
        (ASKED, "r1", "q1"),
        ("user_message",),
        *((event, "r1", "q1") for event in answered),
        (ASKED, "r1", "q2"),
        ("agent_output", "r1"),
        *((event, "r1", "q2") for event in answered),
        (COMPLETED, "r1"),
    )
    assert await faults(events, b"[1,[]]", keep) == []


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([line(1, "user_message"), line(3, "user_message")], [(3, "G1"), (2, "G1")]),
        ([b'{"seq":1,"ts":1}'], [(1, "event")]),
        ([b'{"seq":1,"ts":1,'], [(1, "event")]),
        ([b'{"seq":1,"ts":5,"type":"agent_output","run_id":"r","data":{}}'], [(1, "event")]),
        (lines(("agent_output", "r1")), [(1, "G2")]),
        (lines((STARTED, "r1"), (COMPLETED, "r1"), (COMPLETED, "r1")), [(3, "G2")]),
        (lines((STARTED, "r1"), (COMPLETED, "r1"), (STARTED, "r1"), (COMPLETED, "r1")), [(3, "G2")]),
        (lines((STARTED, "r1"), (EXECUTING, "r1", "c"), (COMPLETED, "r1")), [(3, "G3"), (3, "G5"), (3, "G5")]),
        (lines((STARTED, "r1"), (DONE, "r1", "c"), (COMPLETED, "r1")), [(2, "G3")]),
        (lines((STARTED, "r1"), (WITHDRAWN, "r1", "q"), (COMPLETED, "r1")), [(2, "G2")]),
        (
            lines(
                (STARTED, "r1"), (ASKED, "r1", "q"), (WITHDRAWN, "r1", "q"), (ANSWERED, "r1", "q"), (COMPLETED, "r1")
            ),
            [(4, "G2")],
        ),
        (lines((STARTED, "r2", None, "r1")), [(1, "G4")]),
        (lines((STARTED, "r1")), [(1, "G5")]),
    ],
)
async def test_each_rule(events: list[bytes], expected: list[tuple[int, str]]) -> None:
    """For each rule of the grammar that a log breaks, ``verify`` reports the rule and the event that breaks it."""
    assert await faults(events) == expected


async def test_time_goes_back() -> None:
    """``verify`` reports an event if its time (``ts``) is earlier than the time of the previous event."""
    assert await faults([line(1, "user_message"), line(2, "user_message").replace(b"17000", b"16000")]) == [(2, "ts")]


async def test_state_must_match_the_events() -> None:
    """``verify`` reports a fault if the stream's state lists other open runs than the events show."""
    state = b'[1,[["run","r1","r1",null,"a",1]]]'
    assert await faults(lines((STARTED, "r1")), state) == []
    assert await faults(lines((STARTED, "r1"), (COMPLETED, "r1")), state) == [(2, "G5")]
    assert await faults(lines((STARTED, "r1")), b"no") == [(1, "state")]


@given(drop=st.integers(0, 11))
def test_missing_event_is_found(drop: int) -> None:
    """If the start or end of a run or call is missing, ``verify`` finds this, even if the events are numbered anew.

    Only a missing message or output cannot be found then.
    """
    left = [WHOLE[i] for i in range(12) if i != drop]
    numbered = [orjson.dumps({**orjson.loads(text), "seq": seq}) for seq, text in enumerate(left, 1)]
    assert bool(trio.run(faults, numbered)) == (drop not in (0, 4))


async def test_log_of_a_running_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """``verify`` can check the log of a running server. It finds no fault and changes nothing.

    After the server has ended, ``export`` prints the log completely.
    """
    path = tmp_path / "log.db"

    async def child(run: Run) -> None:
        await run.output("x")

    async def agent(run: Run) -> None:
        await run.call_agent("child")
        async with run.tool("t", {}):
            await trio.sleep_forever()

    agents = Agents()
    agents.add(agent)
    agents.add(child)
    sessions = Sessions(SqliteLog(path), agents)
    async with open_system() as system:
        await system.supervise(SupervisorSpec("rest_for_one", children=sessions.children()))
        for user in ("alice", "bob"):
            await (await sessions.get(user, "s1")).start("agent")
        while sessions.statistics().log.events < 10:
            await trio.lowlevel.checkpoint()
        before = path.read_bytes()
        assert await trio.to_thread.run_sync(main, ["verify", str(path)]) == 0
        assert path.read_bytes() == before
        assert "2 sessions, 10 events: whole" in capfd.readouterr().out
    assert await trio.to_thread.run_sync(main, ["verify", f"sqlite:{path}"]) == 0
    capfd.readouterr()
    assert await trio.to_thread.run_sync(main, ["export", str(path), "--user", "bob"]) == 0
    events: list[Any] = [json.loads(text) for text in capfd.readouterr().out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, 8))
    assert {(event["user"], event["session"]) for event in events} == {("bob", "s1")}
    assert events[-1]["data"]["status"] == "cancelled"


def test_verify_command_reports_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a log with a fault, the command ``verify`` ends with code 1 and prints the file, session, event and rule."""
    path = tmp_path / "log.db"

    async def fill() -> None:
        async with SqliteLog(path) as log:
            await log.make(KEY)
            await log.append([Batch(KEY, 1, lines((STARTED, "r1"), (DONE, "r1", "c"), (COMPLETED, "r1")), b"")])

    trio.run(fill)
    assert main(["verify", str(path)]) == 1
    assert f"{path}: 'alice' s1: seq 2: G3: call c of run r1 is not open\n" in capsys.readouterr().out


def test_changed_row_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If a row in the log's file was changed, ``verify`` and ``export`` report it and still handle other sessions."""
    path = tmp_path / "log.db"

    async def fill() -> None:
        async with SqliteLog(path) as log:
            for user in ("alice", "bob"):
                key = StreamKey(user, "s1")
                await log.make(key)
                await log.append([Batch(key, 1, WHOLE, b"[1,[]]")])

    trio.run(fill)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE batches SET body = CAST(replace(body, 'output', 'outpux') AS BLOB) WHERE stream = 1")
    connection.close()
    assert main(["verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert "'alice' s1: seq 1: log:" in out
    assert "bob" not in out
    assert main(["export", str(path)]) == 1
    printed = capsys.readouterr()
    assert "'alice' s1: the row of" in printed.err
    assert len(printed.out.splitlines()) == printed.out.count('"user":"bob"') == len(WHOLE)


def test_changed_state_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the state of a session was changed in the log's file, ``verify`` reports it, because the checksum is wrong.

    The other sessions are checked all the same.
    """
    path = tmp_path / "log.db"

    async def fill() -> None:
        async with SqliteLog(path) as log:
            for user in ("alice", "bob"):
                key = StreamKey(user, "s1")
                await log.make(key)
                await log.append([Batch(key, 1, WHOLE, b"[1,[]]")])

    trio.run(fill)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE streams SET state = CAST('[2,[]]' AS BLOB) WHERE user = 'alice'")
    connection.close()
    assert main(["verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert "'alice' s1: seq 0: log: the state of" in out
    assert f"1 sessions, {len(WHOLE)} events: 1 faults" in out


def test_commands_refuse_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a path or URL that is not a log, ``verify`` and ``export`` print one line and end with exit code 2."""
    other = tmp_path / "other.db"
    other.write_bytes(b"something else, and quite long enough to be looked at " * 100)
    for log in (str(tmp_path / "none.db"), str(other), "memory:", "nonsense:x"):
        for command in ("verify", "export"):
            assert main([command, log]) == 2, log
            assert len(capsys.readouterr().err.splitlines()) == 1


async def test_read_only_log_refuses_changes(tmp_path: Path) -> None:
    """A log that is opened read-only can be read. Calls that would change it raise LogUnavailable."""
    path = tmp_path / "log.db"
    async with SqliteLog(path) as log:
        await log.make(KEY)
    async with open_log(f"sqlite:{path}", read_only=True) as log:
        assert await log.streams() == [KEY]
        for call in (log.make(KEY), log.append([]), log.remove(KEY), log.mark(KEY, b"")):
            with pytest.raises(LogUnavailable, match="open for reading only"):
                await call
    with pytest.raises(ConfigError):
        open_log("memory:", read_only=True)
