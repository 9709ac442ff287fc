"""The grammar rules G1 to G6 hold under random commands, faults and time. The server is real, but without sockets."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import trio
import trio.testing
from _scale import scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol.agents import auth_by_name
from protocol.wire import Client, memory_client
from websockets.exceptions import ConnectionClosed

from actors import GreenroomError, MemoryLog, Run, StreamKey, verify_log
from actors.testing import FaultyLog
from transport import Greenroom

if TYPE_CHECKING:
    from transport import Server

KEYS = [StreamKey(*key) for key in (("alice", "s1"), ("alice", "s1"), ("alice", "s2"), ("bob", "s1"))]
AGENTS = ("quick", "slow", "family", "broken", "curious", "stubborn")


async def nap(seconds: float) -> str:
    await trio.sleep(seconds)
    return "rested"


async def quick(run: Run) -> str:
    await run.output(run.user)
    return run.user


async def slow(run: Run) -> None:
    for _ in range(5):
        await run.thinking(run.user)
        await run.call_tool(nap, seconds=30)


async def family(run: Run) -> None:
    async def child(name: str, seconds: float) -> None:
        async with run.subrun(name, run.user) as below:
            await below.output(run.user)
            await below.call_tool(nap, seconds=seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child, "first", 5)
        nursery.start_soon(child, "second", 50)
        await run.call_agent("quick")


async def broken(run: Run) -> None:
    async with run.subrun("below"), run.tool("t", {"user": run.user}):
        raise LookupError(run.user)


async def curious(run: Run) -> Any:
    try:
        return await run.ask_user(run.user, timeout=60)
    except TimeoutError:
        return await run.ask_user(run.user, timeout=60)


async def stubborn(run: Run) -> None:
    with run.shield(20):
        await trio.sleep(100)


def server_of(log: FaultyLog) -> Greenroom:
    app = Greenroom(
        log=log, auth=auth_by_name, settings={"runs_per_user": 2, "queued_runs_per_user": 2, "idle_seconds": 60}
    )
    for agent in (quick, slow, family, broken, curious, stubborn):
        app.agent(agent)
    return app


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(
            ("open", "start", "start", "start", "cancel", "withdraw", "say", "answer", "leave", "time", "fault", "end")
        ),
        st.integers(0, len(KEYS) - 1),
        st.integers(0, 11),
    ),
    min_size=1,
    max_size=scaled(25, 60),
)


@attrs.define(eq=False)
class Tab:
    """One client, with all events that it has received over all of its connections."""

    key: StreamKey
    events: list[Any] = attrs.Factory(list[Any])
    queued: list[str] = attrs.Factory(list[str])
    """The queued starts, by command id."""
    epoch: str = ""
    client: Client | None = None
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    async def live(self, server: Server) -> None:
        """Connect and resume, and read until the connection ends."""
        hello: dict[str, Any] = {"session": self.key.session, "token": self.key.user}
        if self.epoch:
            hello["resume"] = {"epoch": self.epoch, "seq": self.events[-1]["seq"] if self.events else 0}
        self.scope = trio.CancelScope()
        with self.scope:
            async with memory_client(server) as client:
                with contextlib.suppress(ConnectionClosed):
                    await client.send("hello", **hello)
                    self.client = client
                    while True:
                        await self.shows(client, await client.receive())
        self.client = None

    async def shows(self, client: Client, frame: dict[str, Any]) -> None:
        if frame["type"] == "ping":
            await client.send("pong")
        if frame["type"] == "welcome":
            if self.epoch:
                assert frame["recovered"], frame
            self.epoch = frame["epoch"]
            self.queued = [start["command_id"] for start in frame["queued"]]
        if frame["type"] == "signal" and frame["name"] == "queued":
            if frame["data"]["waiting"]:
                self.queued.append(frame["data"]["command_id"])
            else:
                self.queued.remove(frame["data"]["command_id"])
        if frame["type"] == "events":
            for event in frame["events"]:
                assert event["seq"] == (self.events[-1]["seq"] if self.events else 0) + 1
                self.events.append(event)


class World:
    """A server, its clients, and the checks after each step."""

    def __init__(self) -> None:
        self.log = FaultyLog(MemoryLog())
        self.tabs = [Tab(key) for key in KEYS]
        self.commands = self.faults = 0

    async def run(self, script: list[Step]) -> None:
        async with server_of(self.log).running(port=0) as server, trio.open_nursery() as nursery:
            for tab in self.tabs:
                nursery.start_soon(tab.live, server)
            await trio.testing.wait_all_tasks_blocked()
            for step in script:
                await self.step(server, nursery, *step)
                await trio.testing.wait_all_tasks_blocked()
                await self.check(server)
            await trio.sleep(1000)
            for _ in range(self.faults + 1):
                await self.come_back(server)
            await self.check(server)
            await self.check_all_is_closed()
            nursery.cancel_scope.cancel()

    async def come_back(self, server: Server) -> None:
        """Use up one remaining fault. The next start of each session then finishes the work of the previous one."""
        for tab in self.tabs:
            with contextlib.suppress(GreenroomError):
                await (await server.sessions.get(*tab.key)).emit("n")
            await trio.testing.wait_all_tasks_blocked()

    async def step(self, server: Server, nursery: trio.Nursery, what: str, number: int, value: int) -> None:
        tab = self.tabs[number]
        if what == "open" and tab.client is None:
            nursery.start_soon(tab.live, server)
        elif what == "leave":
            tab.scope.cancel()
        elif what == "time":
            await trio.sleep((0.1, 5, 31, 100)[value % 4])
        elif what == "fault":
            self.log.fail("append", 1 + value % 3)
            self.faults += 1 + value % 3
        elif tab.client is not None:
            with contextlib.suppress(ConnectionClosed):
                await self.command(tab, tab.client, what, value)

    async def command(self, tab: Tab, client: Client, what: str, value: int) -> None:
        runs = [event["run_id"] for event in tab.events if event["type"] == "agent_started"]
        asked = [event for event in tab.events if event["type"] == "input_requested"]
        self.commands += 1
        if what == "start":
            await self.give(client, "run.start", agent=AGENTS[value % len(AGENTS)])
        elif what == "cancel" and runs:
            await self.give(client, "run.cancel", run_id=runs[-1 - value % min(len(runs), 3)])
        elif what == "withdraw" and tab.queued:
            await self.give(client, "run.cancel", command_id=tab.queued[value % len(tab.queued)])
        elif what == "say":
            await self.give(client, "message.send", text=tab.key.user)
        elif what == "answer" and asked:
            ids = {name: asked[-1][name] for name in ("run_id", "call_id")}
            await self.give(client, "input.answer", **ids, value=tab.key.user)
        elif what == "end" and value == 0:
            await self.give(client, "session.close")

    async def give(self, client: Client, name: str, **args: Any) -> None:
        await client.send("command", id=f"c{self.commands}", name=name, args=args)

    async def check(self, server: Server) -> None:
        report = await verify_log(self.log)
        assert report.faults == ()  # G1 to G5
        waiting = {StreamKey(each.user, each.session): each.queued for each in server.sessions.of()}
        for tab in self.tabs:
            assert tab.client is None or len(tab.queued) == waiting[tab.key]
            if tab.events:
                lines = await self.log.read(tab.key, 0, len(tab.events), 1 << 30)
                assert [orjson.loads(line) for line in lines] == tab.events  # no others (G6)

    async def check_all_is_closed(self) -> None:
        for key in await self.log.streams():
            events = [orjson.loads(line) for line in await self.log.read(key, 0, 1 << 20, 1 << 30)]
            for opening, closing in (("agent_started", "agent_completed"), ("tool_executing", "tool_completed")):
                kinds = [event["type"] for event in events]
                assert kinds.count(opening) == kinds.count(closing), key
            told = [text for event in events if isinstance(text := event["data"].get("text"), str)]
            assert set(told) <= {key.user}


@settings(max_examples=scaled(15, 1000))
@given(script=steps)
def test_grammar_holds_after_every_step(script: list[Step]) -> None:
    """After every step of a random script of commands, faults and time, the events are in a valid order.

    The rules for their order are called G1 to G6.
    """
    trio.run(World().run, script, clock=trio.testing.MockClock(autojump_threshold=0))
