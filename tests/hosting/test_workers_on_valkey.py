"""A web application with several workers, on a log in Valkey: each worker is a node of a cluster."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import trio
from _cluster_servers import patiently
from _valkey import Server
from hosting.web_server import SERVERS, web_server

from actors import AgentOutput
from transport import connect

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 150


async def test_worker_that_is_killed(tmp_path: Path) -> None:
    """Of two workers of uvicorn one has the session. If it is killed, the session goes on, with all its events."""
    arguments = (*SERVERS["uvicorn-asyncio"], "--workers", "2")
    with Server() as valkey, web_server(tmp_path, arguments, LOG=valkey.url, GREENROOM_LEASE_SECONDS="1") as server:
        server.until_said("Application startup complete", 2)
        with trio.fail_after(SECONDS):
            async with connect(f"ws://127.0.0.1:{server.port}/ws", session="s1") as client:
                events = client.events()
                first = await run(client, events)
                os.kill(first.number, signal.SIGKILL)
                second = await run(client, events)
                assert second.number != first.number
                assert [*first.seqs, *second.seqs] == [1, 2, 3, 4, 5, 6]
                assert client.statistics().resets == 0


class Outcome:
    """The process that has run an agent, and the numbers of the run's events."""

    def __init__(self) -> None:
        self.number = 0
        self.seqs: list[int] = []


async def run(client: Any, events: Any) -> Outcome:
    """Run the agent, and return its outcome."""
    await patiently(lambda: client.start("process"))
    outcome = Outcome()
    while len(outcome.seqs) < 3:
        event = await anext(events)
        outcome.seqs.append(event.seq)
        if isinstance(event, AgentOutput):
            outcome.number = int(event.text)
    return outcome
