"""Does each of many users at once, on one process, get its five events, and is nothing left afterwards?

The rules tested here, with 60 users, and with a thousand in ``make soak``:

- All users are connected at the same moment, and all their runs are open at the same moment.
- Each user gets agent_started, agent_thinking, tool_executing, tool_completed and agent_completed of its own run: each
  once, in order, with its own input. It gets nothing else.
- When the users have left, after their runs or during them, no connection, session, run, task or open file is left,
  and memory is within 2 % of the value before. A run continues without its user, who later gets all its events.

The speed is printed (``pytest -s``) and not asserted. The benchmarks measure it.
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

USERS = scaled(60, 1_000)
AGAIN = scaled(50, 1_000)
"""Users that come again in later waves: the first wave also warms up the server."""
VANISHING = scaled(60, 1_000)
WAVES = scaled(1, 5)
"""Number of waves after the first one."""
GROWTH = 1.02
FILES = 4 * USERS
"""Files of the test: both ends of every socket are in this process."""
IDLE_SECONDS = 0.2
LAST_ONES = 10
"""Objects of one class that the workers of the last user may hold. The number does not grow with the users."""


@pytest.fixture(autouse=True)
def enough_files() -> Iterator[None]:
    """Raise the limit of open files for the test. Fail if the machine does not allow enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.fail(f"this machine allows {hard} open files, and {FILES} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Barrier:
    """A barrier: each task waits until ``count`` tasks wait. A tool that waits here keeps all runs open."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._complete = trio.Event()

    async def attend(self, key: str) -> str:
        """Wait until all have come. Return a text with the key."""
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        with trio.fail_after(PATIENCE):
            await self._complete.wait()
        return f"found {key}"


def server_for_waves(barriers: list[Barrier], log: Path) -> Greenroom:
    """Return a server with an agent that emits the five events.

    The agent's tool waits for all other runs of the wave.
    """

    async def five(run: Run, key: str) -> str:
        await run.thinking(f"thought of {key}")
        return str(await run.call_tool(barriers[-1].attend, key=key))

    return server_with(five, log=f"sqlite:{log}", idle_seconds=IDLE_SECONDS)


def expected_data(name: str, wave: int) -> list[dict[str, Any]]:
    """Return the data of a user's five events, without fields that cannot be predicted."""
    key = f"{name} in wave {wave}"
    return [
        {"agent": "five", "input": key, "command_id": f"start-{wave}"},
        {"text": f"thought of {key}"},
        {"tool": "attend", "arguments": {"key": key}},
        {"tool": "attend", "status": "ok", "result": f"found {key}"},
        {"agent": "five", "status": "ok", "result": f"found {key}"},
    ]


async def start_run(one: LightClient, name: str, wave: int) -> None:
    """Send the command that starts the run of a wave."""
    args = {"agent": "five", "input": f"{name} in wave {wave}"}
    await one.send("command", id=f"start-{wave}", name="run.start", args=args)


async def five_events(one: LightClient, name: str, wave: int) -> list[Frame]:
    """Start a run and read until it has ended. Check every event and return the events."""
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
    """Connect all users, start all runs, disconnect all users.

    With ``leave``, the users do not wait for their runs, but disconnect when it is set.
    """
    slots = trio.CapacityLimiter(64)
    arrived, done = Barrier(users), Barrier(users)

    async def connect_and_talk(name: str) -> None:
        """Connect one user and take part in the wave."""
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
    """Return the target of a file descriptor without its number, or an empty string if it is already closed."""
    try:
        target = str(link.readlink())
    except FileNotFoundError:
        return ""
    return target.partition(":[")[0]


@attrs.frozen
class Resources:
    """The resources that this process holds."""

    tasks: int
    files: tuple[str, ...]
    blocks: int
    """Number of memory blocks that Python has allocated. Unlike bytes, it has no reserve of the allocator."""
    own: Counter[str]
    """Objects of the server's own classes."""

    @classmethod
    def now(cls) -> Self:
        """Return the resources of this moment."""
        gc.collect()
        return cls(
            tasks=trio.lowlevel.current_statistics().tasks_living,
            files=tuple(sorted(filter(None, map(_link_target, Path("/proc/self/fd").iterdir())))),
            blocks=sys.getallocatedblocks(),
            own=Counter(
                f"{type(each).__module__}.{type(each).__qualname__}"
                for each in gc.get_objects()
                # Some library's class has a property of this name, which is no string.
                if str(type(each).__module__).partition(".")[0] in {"actors", "transport"}
            ),
        )


async def wait_until(holds: Callable[[], bool]) -> None:
    """Check a condition repeatedly until it is true."""
    with trio.fail_after(PATIENCE):
        while not holds():
            await trio.lowlevel.checkpoint()


async def wait_until_gone(server: Server) -> None:
    """Wait until no client is connected and all idle sessions have left memory."""
    await wait_until(lambda: not server.endpoint.statistics().connections and not server.sessions.statistics().sessions)
    statistics = server.sessions.statistics()
    assert (statistics.runs.running, statistics.runs.queued, statistics.runs.users) == (0, 0, 0)
    assert statistics.crashed == 0
    assert server.endpoint.statistics().users == 0


async def wait_and_warm_up(server: Server) -> None:
    """Wait until all users are gone, and read the log once, because its reader opens a file at its first read."""
    await wait_until_gone(server)
    assert await all_events(server, token="user-0")
    await wait_until_gone(server)


def assert_nothing_left(before: Resources, after: Resources) -> None:
    """Check that there are no more tasks, files, objects or memory than before."""
    assert after.tasks == before.tasks
    assert after.files == before.files
    assert not {name: more for name, more in (after.own - before.own).items() if more > LAST_ONES}
    assert after.blocks <= before.blocks * GROWTH


@contextmanager
def print_rate(what: str, events: int) -> Iterator[None]:
    """Print how many events per second the block handled."""
    began = time.perf_counter()
    yield
    spent = time.perf_counter() - began
    print(f"\n{what}: {events / spent:,.0f} events/s over {spent:.1f} s")  # noqa: T201 - for pytest -s


@pytest.mark.timeout(300)
async def test_many_users(tmp_path: Path) -> None:
    """Many users at the same time each get the five events of their run.

    When they have left, no task, file, object or memory of these users is left.
    """
    barriers: list[Barrier] = []
    async with server_for_waves(barriers, tmp_path / "log.db").running(port=0) as server:
        measured: list[Resources] = []
        for wave, users in enumerate((USERS, *[AGAIN] * WAVES)):
            barriers.append(Barrier(users))
            with print_rate(f"wave {wave}", 5 * users):
                await run_wave(server, wave, users)
            await wait_and_warm_up(server)
            measured.append(Resources.now())
        warm, *later = measured
        for each in later:
            assert_nothing_left(warm, each)
        statistics = server.sessions.statistics()
        assert statistics.spawned == statistics.reaped == USERS + AGAIN * WAVES + len(measured)
        assert server.endpoint.statistics().refused == 0


@pytest.mark.timeout(300)
async def test_users_who_vanish(tmp_path: Path) -> None:
    """When users disconnect during their runs, the runs continue, and users that come back get all their events.

    When the runs have ended, no task, file, object or memory of these users is left.
    """
    barriers: list[Barrier] = []
    async with server_for_waves(barriers, tmp_path / "log.db").running(port=0) as server:
        barriers.append(Barrier(VANISHING))
        await run_wave(server, 0, VANISHING)
        await wait_and_warm_up(server)
        before = Resources.now()
        barriers.append(Barrier(VANISHING + 1))  # the test itself comes last
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
