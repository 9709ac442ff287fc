"""Can an event get lost on its way from the emit to the tab without anybody being told?

A fault is put at each step of that way: the commit, the log's reads, the session's actor, the bytes on the socket, the
reader, retention. The rules held here:

- what a tab gets has no hole, however often it is cut off: it resumes where it was, at whatever byte the cut came;
- what cannot be recovered is told (``reset``), and what follows begins at the oldest kept;
- a fault costs its own session at most, which ends its open runs as ``interrupted``;
- the audit of a log (``verify_log``, ``greenroom verify``) names each planted hole, by session and rule, and no other.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
import trio.testing
from _damaged import DamagedLog
from _scale import scaled
from delivery.stalling import stalled
from protocol.wire import VIRTUAL_PATIENCE, Client, Frame, greeted_in_memory
from suites.stage import gone, house, in_order, types
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
    """A run of so many events: its start, its end, a tool's two, and words."""
    await run.call_tool(noop)
    for number in range(count - 4):
        await run.output(f"{number}")
    return count


async def noop() -> None: ...


class Cutting(trio.abc.Stream):
    """The server's end of a connection, which breaks after so many bytes were sent."""

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
    """A client that comes back, and that takes nothing on trust: each event is the next one, or a reset was told."""

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
            nursery.start_soon(self._server.endpoint.serve, Cutting(theirs, cut_after))
            with suppress(ConnectionClosed, InvalidHandshake, trio.BrokenResourceError, EOFError):
                async with connect(
                    "ws://memory/", stream=ours, compression=None, ping_interval=None, proxy=None, max_queue=None
                ) as socket:
                    await self._read(Client(socket, patience=VIRTUAL_PATIENCE))
            nursery.cancel_scope.cancel()

    async def _read(self, one: Client) -> None:
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
        return bool(self.events) and self.events[-1]["type"] == "agent_completed"


# The bytes


@pytest.mark.parametrize("step", [scaled(41, 7), 211])
async def test_a_cut_at_any_byte_costs_no_event(step: int, autojump_clock: trio.testing.MockClock) -> None:
    """Cut after 1 byte, after 1 + step, and so on, while the run goes on and after it."""
    async with house(talk).running(port=0) as server:
        run = await server.sessions.get("ada", "s1")
        await run.start("talk", EVENTS)
        tab = Tab(server)
        left = 1
        while not tab.done and tab.connections < 4_000:
            await tab.connected(cut_after=left)
            left += step
        assert tab.done
        in_order(tab.events)
        assert (len(tab.events), tab.resets) == (EVENTS, [])
        assert tab.connections > 3


# The reader


async def pour(run: Run, count: int) -> int:
    """A run of so many events that a slow reader cannot keep up with."""
    for number in range(count - 2):
        await run.output(f"{number}:".ljust(5_000, "."))
    return count


async def taken(one: Client) -> None:
    """Read one message, and show that there is life: a ping would come behind everything that waits."""
    await one.receive()
    await one.send("pong")


@pytest.mark.parametrize("pause", [0.5, 4, 9])
async def test_a_slow_reader_that_goes_on_gets_every_event_once_and_costs_no_memory(
    pause: float, autojump_clock: trio.testing.MockClock
) -> None:
    """It falls far behind what is in memory: what it needs is read from the log, and nobody waits for it."""
    async with (
        house(pour, ring_events=8).running(port=0) as server,
        stalled(server, token="ada") as slow,
        greeted_in_memory(server, token="ada") as quick,
    ):
        await quick.completed(await quick.start("1", "pour", 300))
        assert trio.current_time() == 0
        while not slow.events() or slow.events()[-1]["type"] != "agent_completed":
            await trio.sleep(pause)
            await taken(slow)
        assert slow.events() == quick.events()
        in_order(slow.events())
        (session,) = server.sessions.of("ada")
        assert session.journal.log_reads > 0
        assert session.journal.in_memory <= 2 * 8


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_reader_that_stops_is_told_and_has_the_rest_when_it_comes_back(
    after: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        house(pour).running(port=0) as server,
        greeted_in_memory(server, token="ada") as quick,
        stalled(server, token="ada") as slow,
    ):
        await quick.completed(await quick.start("1", "pour", 300))
        for _ in range(after):
            await taken(slow)
        await trio.sleep(11)
        ended = await slow.ended()
        assert (ended.code, ended.goodbye is not None) == (4001, True)
        first = slow.events()
        position = {"epoch": slow.welcome["epoch"], "seq": first[-1]["seq"] if first else 0}
        async with greeted_in_memory(server, token="ada", resume=position) as again:
            assert again.welcome["recovered"]
            rest = await again.until(300)
        assert first + rest == quick.events()
        assert len(first) < 300


async def test_a_reader_that_stopped_for_longer_than_events_are_kept_is_told_what_it_missed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with house(pour, ring_events=8, retain_events=20).running(port=0) as server:
        async with stalled(server, token="ada") as slow, greeted_in_memory(server, token="ada") as quick:
            await quick.completed(await quick.start("1", "pour", 300))
            await trio.sleep(11)
            assert (await slow.ended()).code == 4001
            position = {"epoch": slow.welcome["epoch"], "seq": len(slow.events())}
        async with greeted_in_memory(server, token="ada", resume=position) as again:
            assert (again.welcome["recovered"], again.welcome["reset"]) == (False, "trimmed")
            assert (await again.until(300))[0]["seq"] == again.welcome["oldest"] == 281


# The log


@pytest.mark.parametrize("which", range(6))
async def test_a_commit_that_fails_ends_one_session_whose_tab_misses_nothing(
    which: int, autojump_clock: trio.testing.MockClock
) -> None:
    """The which-th commit of Ada fails for good; Bob's events are beside it and go on."""
    log = FaultyLog(MemoryLog())
    async with house(talk, log=log, emit_window=8).running(port=0) as server:
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
        in_order(tab.events)
        assert tab.events[-1]["data"]["status"] == "ok"
        assert not (await verify_log(log)).faults


async def test_a_slow_commit_shows_nothing_early_and_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    log = FaultyLog(MemoryLog())
    async with house(talk, log=log).running(port=0) as server, greeted_in_memory(server, token="ada") as one:
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
                await tab.until(EVENTS)
                in_order(tab.events())


async def test_a_read_that_fails_is_told_with_4006_and_the_next_try_has_it_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = FaultyLog(MemoryLog())
    async with house(talk, log=log, ring_events=8, idle_seconds=1000).running(port=0) as server:
        await (await server.sessions.get("ada", "s1")).start("talk", EVENTS)
        await gone(server)
        log.fail("read", 1)
        async with greeted_in_memory(server, token="ada") as one:
            assert (await one.ended()).code == 4006
            assert one.events() == []
        tab = Tab(server)
        await tab.connected()
        assert len(tab.events) == EVENTS
        in_order(tab.events)


# The session


@pytest.mark.parametrize("after", [1, 2, 3, 17, 40])
async def test_a_session_killed_in_mid_run_is_told_and_its_tab_gets_every_committed_event_once(
    after: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with house(talk, ask).running(port=0) as server:
        tab = Tab(server)
        async with greeted_in_memory(server, token="ada") as one:
            await one.start("1", "ask", after)
            before = await one.until(after + 2)
            session = server.system.find("greenroom/sessions/all/ada:s1")
            assert session is not None
            session.kill()
            assert (await one.ended()).code == 4006
        await tab.connected()
        in_order(tab.events)
        assert tab.events[: len(before)] == before
        assert tab.events[-1]["data"]["status"] == "interrupted"


async def ask(run: Run, count: int) -> None:
    """Says so much, then waits for ever."""
    for number in range(count):
        await run.output(f"{number}")
    await run.ask_user("And now?")


# Retention, and a log that is another


@pytest.mark.parametrize("kept", [1, 5, EVENTS - 1])
async def test_what_retention_took_while_a_tab_was_away_is_told(
    kept: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with house(talk, retain_events=kept).running(port=0) as server:
        handle = await server.sessions.get("ada", "s1")
        await handle.emit("first")
        async with greeted_in_memory(server, token="ada") as one:
            epoch = one.welcome["epoch"]
        await handle.start("talk", EVENTS)
        await gone(server)
        resume = {"epoch": epoch, "seq": 0}
        async with greeted_in_memory(server, token="ada", resume=resume) as one:
            assert (one.welcome["recovered"], one.welcome["reset"]) == (False, "trimmed")
            assert one.welcome["oldest"] == EVENTS + 1 - kept + 1
            events = await one.until(EVENTS + 1)
            assert [event["seq"] for event in events] == list(range(one.welcome["oldest"], EVENTS + 2))


async def test_a_log_that_was_lost_is_told_to_every_tab(autojump_clock: trio.testing.MockClock) -> None:
    async with house(talk).running(port=0) as server:
        await (await server.sessions.get("ada", "s1")).start("talk", EVENTS)
        tab = Tab(server)
        await tab.connected()
    async with house(talk).running(port=0) as rebuilt:
        await (await rebuilt.sessions.get("ada", "s1")).start("talk", EVENTS * 2)
        back = Tab(rebuilt)
        back.epoch, back.last, back.events = tab.epoch, tab.last, tab.events
        await back.connected()
        assert back.resets == ["epoch_changed"]
        in_order(back.events)


# The audit


async def logs() -> dict[StreamKey, tuple[list[bytes], bytes]]:
    """The lines that real runs of many sessions left, and what is remembered beside them."""
    log = MemoryLog()
    async with house(talk, log=log).running(port=0) as server:
        for number in range(SESSIONS):
            await (await server.sessions.get(f"user-{number}", f"s{number % 3}")).start("talk", 8 + number % 20)
        await gone(server)
        await trio.testing.wait_all_tasks_blocked()
        found = {}
        for key in await log.streams():
            head = await log.head(key)
            assert head is not None
            found[key] = (list(await log.read(key, 0, 1_000, 2**20)), head.state)
        return found


async def audited(found: dict[StreamKey, tuple[list[bytes], bytes]]) -> dict[tuple[str, str], set[str]]:
    """The rules that the audit says are broken, by user and session."""
    async with DamagedLog() as log:
        for key, (lines, state) in found.items():
            await log.stored(key, lines, state)
        report = await verify_log(log)
        assert (report.sessions, report.events) == (len(found), sum(len(lines) for lines, _ in found.values()))
    broken: dict[tuple[str, str], set[str]] = {}
    for fault in report.faults:
        broken.setdefault((fault.user, fault.session), set()).add(fault.rule)
    return broken


async def test_the_audit_of_whole_logs_names_nothing(autojump_clock: trio.testing.MockClock) -> None:
    assert await audited(await logs()) == {}


async def test_the_audit_names_each_missing_event_and_no_session_that_is_whole(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A different event is taken out of every second session: each place in a log has its turn."""
    found = await logs()
    holed: set[tuple[str, str]] = set()
    for number, (key, (lines, _)) in enumerate(found.items()):
        if number % 2:
            del lines[number % len(lines)]
            holed.add((key.user, key.session))
    broken = await audited(found)
    assert broken.keys() == holed
    # Where the last one is missing no number is, but the run has no end.
    assert all({"G1", "G5"} & rules for rules in broken.values()), broken


def renumbered(lines: list[bytes]) -> list[bytes]:
    """As a writer would leave them who never knew of the event that is missing."""
    return [orjson.dumps({**orjson.loads(line), "seq": seq}) for seq, line in enumerate(lines, 1)]


@pytest.mark.parametrize(
    ("missing", "rule"),
    [("agent_started", "G2"), ("tool_executing", "G3"), ("tool_completed", "G3"), ("agent_completed", "G5")],
)
async def test_the_audit_names_a_missing_bracket_even_where_the_numbers_hide_it(
    missing: str, rule: str, autojump_clock: trio.testing.MockClock
) -> None:
    found = await logs()
    holed: set[tuple[str, str]] = set()
    for number, (key, (lines, state)) in enumerate(found.items()):
        if number % 3 == 0:
            events: list[dict[str, Any]] = [orjson.loads(line) for line in lines]
            del lines[types(events).index(missing)]
            found[key] = (renumbered(lines), state)
            holed.add((key.user, key.session))
    broken = await audited(found)
    assert broken.keys() == holed
    assert all(rule in rules for rules in broken.values()), broken
