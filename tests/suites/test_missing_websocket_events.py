"""Can a tab miss an event without a notice?

A fault is put at each step from the emit to the tab: the commit, the log's reads, the session's actor, the bytes on
the socket, the reader, retention. The rules tested here:

- The events of a tab have no gap, however often its connection is cut, and at whatever byte. It resumes where it was.
- If events cannot be recovered, the tab gets a reset, and its events begin at the oldest one in the log.
- A fault ends at most its own session. The open runs of that session end as ``interrupted``.
- The audit of a log (``verify_log``, ``greenroom verify``) names the session and the rule of each gap, and no other.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from _damaged import DamagedLog
from _engine import ENGINE, NODES
from _scale import scaled
from delivery.stalling import stalled_client
from protocol.wire import VIRTUAL_PATIENCE, Client, Frame, greeted_in_memory
from suites.stage import check_history, event_types, server_with, wait_for_all_runs
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.trio.client import connect

from actors import MemoryLog, StreamKey, verify_log
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from actors import Run
    from transport import Server

SESSIONS = scaled(30, 300)
EVENTS = 60


async def talk(run: Run, count: int) -> int:
    """Emit ``count`` events: the start, a tool call, texts, the end."""
    await run.call_tool(noop)
    for number in range(count - 4):
        await run.output(f"{number}")
    return count


async def noop() -> None: ...


class CuttingStream(trio.abc.Stream):
    """The server's end of a connection. It breaks after a number of sent bytes."""

    def __init__(self, inner: trio.abc.Stream, left: int) -> None:
        self._inner = inner
        self._left = left

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        whole = bytes(data)
        await self._inner.send_all(whole[: self._left])
        self._left -= len(whole)
        if self._left <= 0:
            await self._inner.aclose()
            raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Tab:
    """A client that reconnects, and checks that each event is the next one unless there was a reset."""

    def __init__(self, server: Server, **hello: Any) -> None:
        self._server = server
        self._hello = hello
        self.epoch = ""
        self.events: list[Frame] = []
        self.last = 0
        self.resets: list[str] = []
        self.connections = 0

    async def connected(self, cut_after: int = 2**60) -> None:
        """Read one connection to its end, or until the newest event completes a run."""
        ours, theirs = trio.testing.memory_stream_pair()
        self.connections += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._server.endpoint.serve, CuttingStream(theirs, cut_after))
            with suppress(ConnectionClosed, InvalidHandshake, trio.BrokenResourceError, EOFError):
                async with connect(
                    "ws://memory/", stream=ours, compression=None, ping_interval=None, proxy=None, max_queue=None
                ) as socket:
                    await self._read(Client(socket, patience=VIRTUAL_PATIENCE))
            nursery.cancel_scope.cancel()

    async def _read(self, one: Client) -> None:
        """Say hello, then read events until the newest one."""
        resume = {"epoch": self.epoch, "seq": self.last} if self.epoch else None
        welcome = await one.hello(token="ada", resume=resume, **self._hello)
        if not welcome["recovered"]:
            self.epoch, self.last, self.events = welcome["epoch"], welcome["oldest"] - 1, []
            if resume is not None:
                self.resets.append(welcome["reset"])
        while not self.done or self.last < welcome["latest"]:
            for event in (await one.receive("events"))["events"]:
                assert event["seq"] == self.last + 1, f"{event['seq']} after {self.last}, and nothing was told"
                self.last = event["seq"]
                self.events.append(event)

    @property
    def done(self) -> bool:
        """Whether the newest event is the end of a run."""
        return bool(self.events) and self.events[-1]["type"] == "agent_completed"


# The bytes


@pytest.mark.parametrize("step", [scaled(41, 7), 211])
async def test_cut_at_any_byte(step: int, autojump_clock: trio.testing.MockClock) -> None:
    """If a tab's connection is cut again and again, each time at another byte, the tab resumes and misses no event."""
    async with server_with(talk).running(port=0) as server:
        run = await server.sessions.get("ada", "s1")
        await run.start("talk", EVENTS)
        tab = Tab(server)
        left = 1
        while not tab.done and tab.connections < 4_000:
            await tab.connected(cut_after=left)
            left += step
        assert tab.done
        check_history(tab.events)
        assert (len(tab.events), tab.resets) == (EVENTS, [])
        assert tab.connections > 3


# The reader


async def pour(run: Run, count: int) -> int:
    """Emit ``count`` events, each of 5,000 characters."""
    for number in range(count - 2):
        await run.output(f"{number}:".ljust(5_000, "."))
    return count


async def read_one_message(one: Client) -> None:
    """Read one message, then send a pong, because a ping would wait behind the data."""
    await one.receive()
    await one.send("pong")


@pytest.mark.parametrize("pause", [0.5, 4, 9])
async def test_slow_reader(pause: float, autojump_clock: trio.testing.MockClock) -> None:
    """A client that reads slowly gets every event once: the session keeps few events in memory and reads the log."""
    async with (
        server_with(pour, ring_events=8).running(port=0) as server,
        stalled_client(server, token="ada") as slow,
        greeted_in_memory(server, token="ada") as quick,
    ):
        await quick.completed(await quick.start("1", "pour", 300))
        assert trio.current_time() == 0
        while not slow.events() or slow.events()[-1]["type"] != "agent_completed":
            await trio.sleep(pause)
            await read_one_message(slow)
        assert slow.events() == quick.events()
        check_history(slow.events())
        (session,) = server.sessions.of("ada")
        assert ENGINE == NODES or session.journal.log_reads > 0  # the other nodes read by themselves
        assert session.journal.in_memory <= 2 * 8


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_reader_that_stops(after: int, autojump_clock: trio.testing.MockClock) -> None:
    """A client that stops reading is closed with 4001. When it reconnects and resumes, it gets the missing events."""
    async with (
        server_with(pour).running(port=0) as server,
        greeted_in_memory(server, token="ada") as quick,
        stalled_client(server, token="ada") as slow,
    ):
        await quick.completed(await quick.start("1", "pour", 300))
        for _ in range(after):
            await read_one_message(slow)
        await trio.sleep(11)
        ended = await slow.ended()
        assert (ended.code, ended.goodbye is not None) == (4001, True)
        first = slow.events()
        position = {"epoch": slow.welcome["epoch"], "seq": first[-1]["seq"] if first else 0}
        async with greeted_in_memory(server, token="ada", resume=position) as again:
            assert again.welcome["recovered"]
            rest = await again.events_until(300)
        assert first + rest == quick.events()
        assert len(first) < 300


async def test_reader_beyond_retention(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If retention dropped the next events of a slow client before it reconnects, the client gets a reset."""
    async with server_with(pour, ring_events=8, retain_events=20).running(port=0) as server:
        async with stalled_client(server, token="ada") as slow, greeted_in_memory(server, token="ada") as quick:
            await quick.completed(await quick.start("1", "pour", 300))
            await trio.sleep(11)
            assert (await slow.ended()).code == 4001
            position = {"epoch": slow.welcome["epoch"], "seq": len(slow.events())}
        async with greeted_in_memory(server, token="ada", resume=position) as again:
            assert (again.welcome["recovered"], again.welcome["reset"]) == (False, "trimmed")
            assert (await again.events_until(300))[0]["seq"] == again.welcome["oldest"] == 281


# The log


@pytest.mark.parametrize("which", range(6))
async def test_failing_commit(which: int, autojump_clock: trio.testing.MockClock) -> None:
    """After a commit of events has failed, the session is started again, and a tab misses no committed event."""
    log = FaultyLog(MemoryLog())
    async with server_with(talk, log=log, emit_window=8).running(port=0) as server:
        handle = await server.sessions.get("ada", "s1")
        await handle.emit("first")
        for _ in range(which):
            await handle.emit("another")
        log.fail("append", 1)
        with suppress(Exception):
            await handle.start("talk", EVENTS)
        await trio.testing.wait_all_tasks_blocked()
        tab = Tab(server)
        again = await server.sessions.get("ada", "s1")
        await again.start("talk", EVENTS)
        await tab.connected()
        check_history(tab.events)
        assert tab.events[-1]["data"]["status"] == "ok"
        assert not (await verify_log(log)).faults


async def test_slow_commit(autojump_clock: trio.testing.MockClock) -> None:
    """While the commit of an event is running, no tab gets the event. After the commit every tab gets it."""
    log = FaultyLog(MemoryLog())
    async with server_with(talk, log=log).running(port=0) as server, greeted_in_memory(server, token="ada") as one:
        hold = log.hold("append")
        await one.send("command", id="1", name="run.start", args={"agent": "talk", "input": EVENTS})
        await hold.reached.wait()
        await one.send("typing", active=True)  # so that its connection is written to meanwhile
        await one.receive("signal")
        assert one.events() == []
        async with greeted_in_memory(server, token="ada") as other:
            assert (other.welcome["latest"], other.welcome["runs"], other.events()) == (0, [], [])
            hold.released.set()
            for tab in (one, other):
                await tab.events_until(EVENTS)
                check_history(tab.events())


async def test_failing_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If the log cannot be read for a client, the client is closed with 4006.

    On its next connection the client gets all events.
    """
    log = FaultyLog(MemoryLog())
    async with server_with(talk, log=log, ring_events=8, idle_seconds=1000).running(port=0) as server:
        await (await server.sessions.get("ada", "s1")).start("talk", EVENTS)
        await wait_for_all_runs(server)
        log.fail("read", 1)
        async with greeted_in_memory(server, token="ada") as one:
            assert (await one.ended()).code == 4006
            assert one.events() == []
        tab = Tab(server)
        await tab.connected()
        assert len(tab.events) == EVENTS
        check_history(tab.events)


# The session


@pytest.mark.parametrize("after", [1, 2, 3, 17, 40])
async def test_session_killed_during_a_run(after: int, autojump_clock: trio.testing.MockClock) -> None:
    """If a session is killed during a run, a tab gets every committed event once, and the run ends as interrupted."""
    async with server_with(talk, ask).running(port=0) as server:
        tab = Tab(server)
        async with greeted_in_memory(server, token="ada") as one:
            await one.start("1", "ask", after)
            before = await one.events_until(after + 2)
            session = server.system.find("greenroom/sessions/all/ada:s1")
            assert session is not None
            session.kill()
            assert (await one.ended()).code == 4006
        await tab.connected()
        check_history(tab.events)
        assert tab.events[: len(before)] == before
        assert tab.events[-1]["data"]["status"] == "interrupted"


async def ask(run: Run, count: int) -> None:
    """Emit ``count`` texts, then wait for an answer."""
    for number in range(count):
        await run.output(f"{number}")
    await run.ask_user("And now?")


# Retention, and a lost log


@pytest.mark.parametrize("kept", [1, 5, EVENTS - 1])
async def test_retention_while_away(kept: int, autojump_clock: trio.testing.MockClock) -> None:
    """If retention dropped events that a reconnecting tab needs, the tab gets a reset and the events that are left."""
    async with server_with(talk, retain_events=kept).running(port=0) as server:
        handle = await server.sessions.get("ada", "s1")
        await handle.emit("first")
        async with greeted_in_memory(server, token="ada") as one:
            epoch = one.welcome["epoch"]
        await handle.start("talk", EVENTS)
        await wait_for_all_runs(server)
        resume = {"epoch": epoch, "seq": 0}
        async with greeted_in_memory(server, token="ada", resume=resume) as one:
            assert (one.welcome["recovered"], one.welcome["reset"]) == (False, "trimmed")
            assert one.welcome["oldest"] == EVENTS + 1 - kept + 1
            events = await one.events_until(EVENTS + 1)
            assert [event["seq"] for event in events] == list(range(one.welcome["oldest"], EVENTS + 2))


async def test_lost_log(autojump_clock: trio.testing.MockClock) -> None:
    """If the log was lost, a tab with a position in the lost log gets a reset, and then all events of the new log."""
    async with server_with(talk).running(port=0) as server:
        await (await server.sessions.get("ada", "s1")).start("talk", EVENTS)
        tab = Tab(server)
        await tab.connected()
    async with server_with(talk).running(port=0) as rebuilt:
        await (await rebuilt.sessions.get("ada", "s1")).start("talk", EVENTS * 2)
        back = Tab(rebuilt)
        back.epoch, back.last, back.events = tab.epoch, tab.last, tab.events
        await back.connected()
        assert back.resets == ["epoch_changed"]
        check_history(back.events)


# The audit


async def logs_of_runs() -> dict[StreamKey, tuple[list[bytes], bytes]]:
    """Return for each of many sessions the lines of a real run, and the state that the log keeps beside them."""
    log = MemoryLog()
    async with server_with(talk, log=log).running(port=0) as server:
        for number in range(SESSIONS):
            await (await server.sessions.get(f"user-{number}", f"s{number % 3}")).start("talk", 8 + number % 20)
        await wait_for_all_runs(server)
        await trio.testing.wait_all_tasks_blocked()
        found = {}
        for key in await log.streams():
            head = await log.head(key)
            assert head is not None
            found[key] = (list(await log.read(key, 0, 1_000, 2**20)), head.state)
        return found


async def audit(found: dict[StreamKey, tuple[list[bytes], bytes]]) -> dict[tuple[str, str], set[str]]:
    """Check logs with these lines and states by ``verify_log``. Return the broken rules, by user and session."""
    async with DamagedLog() as log:
        for key, (lines, state) in found.items():
            await log.stored(key, lines, state)
        report = await verify_log(log)
        assert (report.sessions, report.events) == (len(found), sum(len(lines) for lines, _ in found.values()))
    broken: dict[tuple[str, str], set[str]] = {}
    for fault in report.faults:
        broken.setdefault((fault.user, fault.session), set()).add(fault.rule)
    return broken


async def test_audit_of_whole_logs(autojump_clock: trio.testing.MockClock) -> None:
    """The audit of a log (``verify_log``) finds no fault if the log is complete."""
    assert await audit(await logs_of_runs()) == {}


async def test_audit_finds_missing_events(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The audit of a log (``verify_log``) finds a missing event at any position, and reports only damaged sessions."""
    found = await logs_of_runs()
    holed: set[tuple[str, str]] = set()
    for number, (key, (lines, _)) in enumerate(found.items()):
        if number % 2:
            del lines[number % len(lines)]
            holed.add((key.user, key.session))
    broken = await audit(found)
    assert broken.keys() == holed
    # Without its last event a log has no gap, but its run has no end.
    assert all({"G1", "G5"} & rules for rules in broken.values()), broken


def renumber(lines: list[bytes]) -> list[bytes]:
    """Return the lines with new numbers, so that a missing event leaves no gap."""
    return [orjson.dumps({**orjson.loads(line), "seq": seq}) for seq, line in enumerate(lines, 1)]


@pytest.mark.parametrize(
    ("missing", "rule"),
    [("agent_started", "G2"), ("tool_executing", "G3"), ("tool_completed", "G3"), ("agent_completed", "G5")],
)
async def test_audit_finds_renumbered_gaps(missing: str, rule: str, autojump_clock: trio.testing.MockClock) -> None:
    """The audit of a log finds that the start or end of a run or call is missing, even if events are renumbered."""
    found = await logs_of_runs()
    holed: set[tuple[str, str]] = set()
    for number, (key, (lines, state)) in enumerate(found.items()):
        if number % 3 == 0:
            events: list[dict[str, Any]] = [orjson.loads(line) for line in lines]
            del lines[event_types(events).index(missing)]
            found[key] = (renumber(lines), state)
            holed.add((key.user, key.session))
    broken = await audit(found)
    assert broken.keys() == holed
    assert all(rule in rules for rules in broken.values()), broken
