"""Clients that always read and always start runs, while a test ends and restarts their server."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio
from delivery.agents import CALLS, count_starts
from delivery.process import ServerProcess, connect_arguments

from actors import CommandRefused, Event
from transport import Reset, connect
from transport.errors import ClientClosed

if TYPE_CHECKING:
    from transport import Client


@attrs.define(eq=False)
class Tab:
    """A client of ``user`` that always reads, and starts one run after another until the test stops it."""

    user: str
    name: str
    work: tuple[str, Any] = ("calls", 20)
    """The agent of each run, and its input."""
    seen: list[Event] = attrs.Factory(list[Event])
    answered: set[str] = attrs.Factory(set[str])
    more: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    started: trio.Event = attrs.Factory(trio.Event)
    """Set when the tab starts no more runs."""
    client: Client | None = None
    running: set[str | None] = attrs.Factory(set[str | None])
    """The runs that the tab has seen begin, and not end."""

    async def run(self, server: ServerProcess, stop: trio.Event) -> None:
        """Read and start runs until the last message arrives."""
        async with connect("ws://server/", "s1", **connect_arguments(server, self.user, len(self.name))) as self.client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._start_runs, self.client, stop)
                nursery.start_soon(self._read, self.client)

    async def _read(self, client: Client) -> None:
        """Keep all events up to the user message that ends the test."""
        async for event in client.events():
            assert not isinstance(event, Reset)
            self.seen.append(event)
            if event.type == "agent_started":
                self.running.add(event.run_id)
            elif event.type == "agent_completed":
                self.running.discard(event.run_id)
            self.more.unpark_all()
            if event.type == "user_message":
                return

    async def _start_runs(self, client: Client, stop: trio.Event) -> None:
        """Start one run after another until ``stop`` is set."""
        number = 0
        while not stop.is_set():
            command_id = f"{self.name}-{number}"
            try:
                await client.start(*self.work, command_id=command_id)
            except CommandRefused as refusal:
                assert refusal.code in ("internal", "overloaded"), refusal  # noqa: PT017 - any other is a failure
                continue
            self.answered.add(command_id)
            number += 1
        self.started.set()

    async def until(self, count: int) -> None:
        """Wait until the tab has a number of events."""
        while len(self.seen) < count:
            await self.more.park()

    async def mid_run(self) -> None:
        """Wait until the tab has a new event, and a run that it has seen begin has not ended."""
        count = len(self.seen) + 1
        while len(self.seen) < count or not self.running:
            await self.more.park()


async def end_session(tab: Tab, answered: set[str]) -> None:
    """Wait until each of the user's answered starts has begun and no run is open, then send the last message.

    A start of the user's other tab may be answered before ``tab`` has its ``agent_started``.
    """
    assert tab.client is not None
    while True:
        count = len(tab.seen)
        begun = sum(event.type == "agent_started" for event in tab.seen)
        ended = sum(event.type == "agent_completed" for event in tab.seen)
        if begun == ended and answered <= set(count_starts(tab.seen)):
            with suppress(ClientClosed):  # the event can come before the reply, and it ends the client
                await tab.client.send("the end")
            return
        await tab.until(count + 1)


def agent_calls(server: ServerProcess) -> list[tuple[str, str]]:
    """Return the user and the run of each call of an agent, in all processes of the server."""
    lines = (server.folder / CALLS).read_text().splitlines()
    return [(user, run_id) for user, run_id in map(str.split, lines)]


def check_owner(events: list[Event], user: str) -> None:
    """Check rule G6: every text has the name of its own user."""
    texts = [event.data["text"] for event in events if event.type == "agent_output"]
    assert {str(text).split()[0] for text in texts} <= {user}
