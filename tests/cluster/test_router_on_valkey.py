"""Two nodes on a real Valkey server: clients of both get the events of one session, and follow it to the other node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import orjson
import trio
from _valkey import Server
from _valkey_nodes import nodes

from actors import Agents, Sessions
from actors.cluster.interfaces import Token
from actors.eventlog.valkey import ValkeyLog
from actors.spi import Attach, Command, CommandReply, SessionEnding
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.spi import Attachment

SECONDS = 60
"""Time limit for each wait."""


@attrs.define(eq=False)
class Tab:
    """A client. Its tests wait until it has got something."""

    events: list[Any] = attrs.Factory(list[Any])
    replies: list[CommandReply] = attrs.Factory(list[CommandReply])
    ended: list[SessionEnding] = attrs.Factory(list[SessionEnding])
    news: trio.Event = attrs.Factory(trio.Event)
    made: list[Attachment] = attrs.Factory(list["Attachment"])

    async def attach(self, sessions: Sessions) -> Attachment:
        """Attach to the session."""
        self.made.append(await sessions.attach("ann", "s1", Attach(f"c-{id(self)}", self)))
        self.on_events()
        return self.made[0]

    def on_events(self) -> None:
        """Take what is new."""
        for attachment in self.made:
            self.events += [orjson.loads(line) for line in attachment.cursor.take(1000, 1 << 20)]
        self._notify()

    def on_signal(self, name: str, data: bytes) -> None:
        """Ignore a signal."""

    def on_ended(self, reason: SessionEnding) -> None:
        """Note the end."""
        self.ended.append(reason)
        self._notify()

    def on_reply(self, reply: CommandReply) -> None:
        """Note a reply."""
        self.replies.append(reply)
        self._notify()

    def _notify(self) -> None:
        self.news.set()
        self.news = trio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the client has got something. Read what is no longer in memory, as a connection does."""
        with trio.fail_after(SECONDS):
            while not condition():
                behind = [attachment.cursor for attachment in self.made if attachment.cursor.behind]
                for cursor in behind:
                    self.events += [orjson.loads(line) for line in await cursor.fetch(1000, 1 << 20)]
                if not behind:
                    await self.news.wait()


def agents() -> Agents:
    """Return an agent that emits one event."""
    registry = Agents()

    async def work(run: Any, value: object) -> str:
        await run.output(str(value))
        return "done"

    registry.add(work)
    return registry


async def test_clients_of_both_nodes_and_a_node_that_leaves() -> None:
    """A client of the other node gets each event once, by the log's pushes. It goes on when the owner leaves."""
    with trio.fail_after(3 * SECONDS), Server() as server:
        async with nodes(server, "a", "b", lease=4, agents=agents()) as ((sessions, a), (others, b)):
            here, there = Tab(), Tab()
            await here.attach(sessions)
            attachment = await there.attach(others)
            await (await others.get("ann", "s1")).start("work", 1)
            await there.until(lambda: len(there.events) == 3)
            await here.until(lambda: len(here.events) == 3)
            assert here.events == there.events
            assert (b.router.statistics().mirrors, b.router.statistics().resyncs) == (1, 0)
            assert b.router.statistics().pushes > 0
            attachment.command(Command("k1", "message.send", {"text": "x"}, "c-1", there.on_reply))
            await there.until(lambda: there.replies)
            assert there.replies[0].ok
            here.made[0].detach()
            await sessions.drain(SECONDS)
            attachment.command(Command("k2", "message.send", {"text": "y"}, "c-1", there.on_reply))
            await there.until(lambda: len(there.replies) > 1)
            await there.until(lambda: len(there.events) == 5)
            assert [event["seq"] for event in there.events] == [1, 2, 3, 4, 5]
            assert (there.ended, a.router.statistics().owned, b.router.statistics().owned) == ([], 0, 1)


async def test_a_node_that_is_fenced_though_it_lives() -> None:
    """If an older copy of the data names another owner, the refused node looks for the owner, and goes on."""
    with trio.fail_after(3 * SECONDS), Server() as server:
        async with nodes(server, "a", "b", lease=4, agents=agents()) as ((_, a), (others, b)):
            there = Tab()
            attachment = await there.attach(others)
            token = str(b.node.claims.owned["ann"])
            key = ValkeyLog(parse_address(server.url)).valkey.keys.token("ann")
            server.ask("SET", key, str(Token(7, a.node.incarnation)))
            command = Command("k1", "message.send", {"text": "x"}, "c-1", there.on_reply)
            attachment.command(command)
            await there.until(lambda: there.replies)
            assert there.replies[0].code == "owner_unreachable"  # clients send it again
            attachment.command(command)
            await there.until(lambda: there.events and len(there.replies) == 2)
            assert (there.replies[1].ok, there.ended, [event["seq"] for event in there.events]) == (True, [], [1])
            assert (b.node.statistics().fenced, b.node.statistics().burials) == (1, 0)
            assert str(b.node.claims.owned["ann"]) != token
