"""A server under load in its own process. It prints its address, then one line of JSON for each line of input.

The process makes its own load: ``users`` sessions, each with one run after another.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio
from delivery.agents import auth_by_name, server_on

from actors import CommandRefused

if TYPE_CHECKING:
    from transport import Server


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def memory_limit(server: Server) -> int:
    """Return the upper limit of the server's memory in bytes, by the sum in actors/streams/GUIDE.md."""
    settings, sessions, endpoint = (
        server.endpoint.settings,
        server.sessions.statistics(),
        server.endpoint.statistics(),
    )
    per_session = settings.ring_bytes * 5 // 4 + settings.emit_window * settings.max_event_bytes
    return sessions.sessions * per_session + endpoint.connections * PER_CONNECTION


PER_CONNECTION = (1024 + 64 + 64 + 64) * 1024
"""Bytes for each connection: replies and pings, one message of events, signals, received data.

actors/streams/GUIDE.md explains them in "What it costs in memory".
"""


def print_line(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def start_runs(server: Server, user: str) -> None:
    """Start one run after another in the session of ``user``."""
    handle = await server.sessions.get(user, "s1")
    while True:
        try:
            await handle.start("chatter", 200)
        except CommandRefused:
            await trio.lowlevel.checkpoint()


async def main(folder: str, users: int) -> None:
    """Run the server under load. Print its state for each line of input."""
    app = server_on(
        f"sqlite:{folder}/log.db",
        auth=auth_by_name,
        ring_bytes=256 * 1024,
        max_event_bytes=4096,
        retain_events=5_000,
        slow_seconds=2,
        max_connections_per_address=100_000,
        handshakes_per_second=100_000,
        handshakes_per_address_per_second=100_000,
        idle_seconds=4,
    )
    async with app.running(port=0) as server, trio.open_nursery() as nursery:
        before = resident_bytes()
        print_line(server.url)
        for number in range(users):
            nursery.start_soon(start_runs, server, f"user-{number}")
        async for _ in trio.lowlevel.FdStream(0):
            sessions = server.sessions.of()
            state = {
                "resident": resident_bytes() - before,
                "bound": memory_limit(server),
                "rings": [session.journal.bytes_in_memory for session in sessions],
                "commands": max((session.commands for session in sessions), default=0),
                "events": server.sessions.statistics().log.events,
                **attrs.asdict(server.endpoint.statistics()),
            }
            print_line(json.dumps(state))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
