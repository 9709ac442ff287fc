"""Do a thousand users at once, on one process, each get their five events, and is nothing left when they have gone?

The rules held here:

- a thousand users are connected at the same moment, and a thousand runs are open at the same moment;
- each gets agent_started, agent_thinking, tool_executing, tool_completed and agent_completed of their own run: each
  once, in order, with what they themselves had asked; nobody gets anything else;
- when they have gone, after their run or in the middle of it, so have their connections, sessions, runs, tasks and
  open files, and memory is within 2 % of what it was; a run goes on without its user, who misses nothing of it.

How fast it goes is printed (``pytest -s``) and not asserted: that is what the bench is for.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
import pytest
import trio
from _scale import scaled
from suites.light import PATIENCE, LightClient, light_client
from suites.stage import REQUIRED, all_events, check_history, event_types, server_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from protocol.wire import Frame

    from actors import Run
    from transport import Greenroom, Server

USERS = scaled(1_000, 1_000)
VANISHING = scaled(200, 1_000)
WAVES = scaled(1, 5)
"""Number of waves after the first, which warms up."""
GROWTH = 1.02
FILES = 4 * USERS
"""Files of the test: both ends of every socket are in this process."""
IDLE_SECONDS = 0.2
LAST_ONES = 10
"""Objects of a class that the workers of the last user may hold. None of them grows with a crowd."""


@pytest.fixture(autouse=True)
def enough_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.fail(f"this machine allows {hard} open files, and {FILES} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Barrier:
    """Agents whose tools wait for each other: no run ends before all are open."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._complete = trio.Event()

    async def attend(self, key: str) -> str:
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        with trio.fail_after(PATIENCE):
            await self._complete.wait()
        return f"found {key}"


def server_for_waves(barriers: list[Barrier], log: Path) -> Greenroom:
    async def five(run: Run, key: str) -> str:
        await run.thinking(f"thought of {key}")
        return str(await run.call_tool(barriers[-1].attend, key=key))

    return server_with(five, log=f"sqlite:{log}", idle_seconds=IDLE_SECONDS)


def expected_data(name: str, wave: int) -> list[dict[str, Any]]:
    """Return the content of a user's five events, without fields that cannot be predicted."""
    key = f"{name} in wave {wave}"
    return [
        {"agent": "five", "input": key, "command_id": f"start-{wave}"},
        {"text": f"thought of {key}"},
        {"tool": "attend", "arguments": {"key": key}},
        {"tool": "attend", "status": "ok", "result": f"found {key}"},
        {"agent": "five", "status": "ok", "result": f"found {key}"},
    ]


async def start_run(one: LightClient, name: str, wave: int) -> None:
    args = {"agent": "five", "input": f"{name} in wave {wave}"}
    await one.send("command", id=f"start-{wave}", name="run.start", args=args)


async def five_events(one: LightClient, name: str, wave: int) -> list[Frame]:
    """Start a run, read until it has ended, check every event, and return the events."""
    await start_run(one, name, wave)
    events: list[Frame] = []
    replies: list[Frame] = []
    while not replies or event_types(events)[-1:] != ["agent_completed"]:
        frame = await one.receive()
        assert frame["type"] in {"events", "reply", "ping"}, frame
        events += frame.get("events", ())
        replies += [frame] * (frame["type"] == "reply")
    assert [reply["result"]["run_id"] for reply in replies] == [events[0]["run_id"]]
    assert event_types(events) == list(REQUIRED)
    check_history(events, 1 + 5 * wave)
    assert {event["run_id"] for event in events} == {events[0]["run_id"]}
    for event in events:
        event["data"].pop("duration_ms", None)
    assert [event["data"] for event in events] == expected_data(name, wave)
    return events


async def run_wave(server: Server, wave: int, users: int, leave: trio.Event | None = None) -> None:
    """Connect all users, start all runs, disconnect all users. With ``leave``, they disconnect when it is set."""
    slots = trio.CapacityLimiter(64)
    arrived, done = Barrier(users), Barrier(users)

    async def connect_and_talk(name: str) -> None:
        await slots.acquire()
        async with light_client(server, token=name, **{"from": "latest"}) as one:
            welcome = await one.receive()
            assert (welcome["type"], welcome["latest"], welcome["runs"]) == ("welcome", 5 * wave, [])
            slots.release_on_behalf_of(trio.lowlevel.current_task())
            await arrived.attend(name)
            assert server.endpoint.statistics().connections == users
            assert server.endpoint.statistics().users == users
            if leave is None:
                await five_events(one, name, wave)
                await done.attend(name)
            else:
                await start_run(one, name, wave)
                await leave.wait()

    async with trio.open_nursery() as nursery:
        for number in range(users):
            nursery.start_soon(connect_and_talk, f"user-{number}")


def _link_target(link: Path) -> str:
    """Return the target of a file descriptor, or an empty string for the descriptor of this very look."""
    try:
        target = str(link.readlink())
    except FileNotFoundError:
        return ""
    return target.partition(":[")[0]


@attrs.frozen
class Resources:
    """The resources of a process."""

    tasks: int
    files: tuple[str, ...]
    blocks: int
    """Pieces of memory that Python has given out: like bytes, without the reserve of the allocator."""
    own: Counter[str]
    """Objects of the server's own classes."""

    @classmethod
    def now(cls) -> Self:
        gc.collect()
        return cls(
            tasks=trio.lowlevel.current_statistics().tasks_living,
            files=tuple(sorted(filter(None, map(_link_target, Path("/proc/self/fd").iterdir())))),
            blocks=sys.getallocatedblocks(),
            own=Counter(
                f"{type(each).__module__}.{type(each).__qualname__}"
                for each in gc.get_objects()
                if type(each).__module__.partition(".")[0] in {"actors", "transport"}
            ),
        )


async def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until the server's statistics meet a condition."""
    with trio.fail_after(PATIENCE):
        while not holds():
            await trio.lowlevel.checkpoint()


async def wait_until_gone(server: Server) -> None:
    """Wait until no client is connected and the idle sessions have left memory."""
    await wait_until(lambda: not server.endpoint.statistics().connections and not server.sessions.statistics().sessions)
    statistics = server.sessions.statistics()
    assert (statistics.runs.running, statistics.runs.queued, statistics.runs.users) == (0, 0, 0)
    assert statistics.crashed == 0
    assert server.endpoint.statistics().users == 0


async def wait_and_warm_up(server: Server) -> None:
    """Wait until all users are gone, and read the log once: its reader opens a file at its first read."""
    await wait_until_gone(server)
    assert await all_events(server, token="user-0")
    await wait_until_gone(server)


def assert_nothing_left(before: Resources, after: Resources) -> None:
    assert after.tasks == before.tasks
    assert after.files == before.files
    assert not {name: more for name, more in (after.own - before.own).items() if more > LAST_ONES}
    assert after.blocks <= before.blocks * GROWTH


@contextmanager
def print_rate(what: str, events: int) -> Iterator[None]:
    began = time.perf_counter()
    yield
    spent = time.perf_counter() - began
    print(f"\n{what}: {events / spent:,.0f} events/s over {spent:.1f} s")  # noqa: T201 - for pytest -s


@pytest.mark.timeout(240)
async def test_a_thousand_users(tmp_path: Path) -> None:
    """A thousand concurrent users get their five events and leave nothing behind."""
    barriers: list[Barrier] = []
    async with server_for_waves(barriers, tmp_path / "log.db").running(port=0) as server:
        measured: list[Resources] = []
        for wave in range(WAVES + 1):
            barriers.append(Barrier(USERS))
            with print_rate(f"wave {wave}", 5 * USERS):
                await run_wave(server, wave, USERS)
            await wait_and_warm_up(server)
            measured.append(Resources.now())
        warm, *later = measured
        for each in later:
            assert_nothing_left(warm, each)
        statistics = server.sessions.statistics()
        assert statistics.spawned == statistics.reaped == (USERS + 1) * (WAVES + 1)
        assert server.endpoint.statistics().refused == 0


@pytest.mark.timeout(240)
async def test_users_who_vanish(tmp_path: Path) -> None:
    """Users who vanish during their runs leave nothing behind and miss nothing."""
    barriers: list[Barrier] = []
    async with server_for_waves(barriers, tmp_path / "log.db").running(port=0) as server:
        barriers.append(Barrier(VANISHING))
        await run_wave(server, 0, VANISHING)
        await wait_and_warm_up(server)
        before = Resources.now()
        barriers.append(Barrier(VANISHING + 1))  # the last one to come is the test
        leave = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_wave, server, 1, VANISHING, leave)
            await wait_until(lambda: server.sessions.statistics().runs.running == VANISHING)
            leave.set()
        await wait_until(lambda: not server.endpoint.statistics().connections)
        assert server.sessions.statistics().runs.running == VANISHING, "a run ended with its connection"
        await barriers[-1].attend("the test")
        await wait_and_warm_up(server)
        assert_nothing_left(before, Resources.now())
        for number in range(0, VANISHING, VANISHING // 20):
            async with light_client(server, token=f"user-{number}") as one:
                welcome = await one.receive()
                events: list[Frame] = []
                while len(events) < welcome["latest"]:
                    events += (await one.receive()).get("events", ())
                assert event_types(events) == list(REQUIRED) * 2
                check_history(events)
