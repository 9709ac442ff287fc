"""The server that is loaded: its agents emit as many events as the client asks for.

Every connection is a user of its own (the token is the user's name): delivery is measured, not signatures. At SIGUSR1
the server prints its statistics as one JSON object a line; a server with pages prints their longest step.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import _steps
import _traffic
import attrs
import trio

from transport import Credentials, Greenroom, User
from transport._process import Reporter, run_until_signal
from transport.http.serving import serve as serve_with_pages

if TYPE_CHECKING:
    from actors import Run
    from transport import Server


TEXT = " Searching the knowledge base for documents that say something about the question of the user ..."
MOST = 100_000
"""Limit of connections and sessions: more than are measured."""
UNLIMITED: dict[str, object] = {
    "max_connections": MOST,
    "max_connections_per_address": MOST,
    "handshakes_per_second": MOST,
    "handshakes_per_address_per_second": MOST,
    "max_sessions": MOST,
    "max_sessions_per_user": MOST,
    "max_connections_per_user": MOST,
    "runs_per_user": MOST,
    "starts_per_minute": 0,
    "drain_seconds": 1,
}
"""The settings of a server without limits."""
HELD_SECONDS = 280
"""Time for which a node owns users of other nodes' clients: less than the ``run_seconds`` of a server."""


@attrs.frozen
class Job:
    """The input of an agent: ``events`` to emit, ``rate`` a second; 0 is as fast as possible.

    ``file`` is for :func:`noted`.
    """

    events: int
    rate: float
    file: str = ""


async def who(credentials: Credentials) -> User:
    """Return a user named after the token."""
    return User(credentials.token or "anonymous")


async def load(run: Run, job: Job) -> None:
    """Emit events of about 200 bytes with the time of their emission.

    Each session draws its phase before its first event. *Drawn later, sessions that woke late fell in step.*
    """
    due = trio.current_time() + (random.random() / job.rate if job.rate else 0)  # noqa: S311 - a phase, not a secret
    for _ in range(job.events):
        if job.rate:
            await trio.sleep_until(due)
            due += 1 / job.rate
        await run.output(f"{time.monotonic_ns()}{TEXT}")


async def custom(run: Run, job: Job) -> None:
    """Emit nested values of the same size as the text of :func:`load`."""
    due = trio.current_time() + (random.random() / job.rate if job.rate else 0)  # noqa: S311 - as above
    for step in range(job.events):
        if job.rate:
            await trio.sleep_until(due)
            due += 1 / job.rate
        value = {
            "agent": "researcher",
            "tool": "web_search",
            "step": step,
            "at": [time.monotonic_ns()],
            "text": "a" * 40,
        }
        await run.custom("progress", value)


async def noted(run: Run, job: Job) -> None:
    """Emit the same events as :func:`load`, and note the time of each in ``job.file`` once its emit is over.

    The file outlives a killed process.
    """
    due = trio.current_time() + random.random() / job.rate  # noqa: S311 - as above
    with Path(job.file).open("ab", buffering=0) as notes:  # noqa: ASYNC230 - a few bytes for the page cache
        for _ in range(job.events):
            await trio.sleep_until(due)
            due += 1 / job.rate
            stamp = time.monotonic_ns()
            await run.output(f"{stamp}{TEXT}")
            notes.write(f"{stamp}\n".encode())


async def hold(_: Run, seconds: float) -> None:
    """Do nothing for so long: a user with an open run stays at the node that runs it."""
    await trio.sleep(seconds)


async def own(server: Server, users: int) -> None:
    """Make this node the owner of ``user-0``, ``user-1`` …, by an open run of each."""
    for number in range(users):
        session = await server.sessions.get(f"user-{number}", "held")
        await session.start("hold", HELD_SECONDS)


async def tell(server: Server) -> None:
    """Print the statistics at each SIGUSR1."""
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        print("ready", flush=True)
        async for _ in signals:
            said = {
                "at": time.monotonic(),
                "sessions": attrs.asdict(server.sessions.statistics()),
                "endpoint": attrs.asdict(server.endpoint.statistics()),
            }
            print(json.dumps(said), flush=True)


async def serve(app: Greenroom, port: int, owned: int) -> None:
    """Serve until SIGTERM."""
    async with app.running(port=port) as server, trio.open_nursery() as nursery:
        await own(server, owned)
        await run_until_signal(lambda: nursery.start_soon(tell, server), app.settings.gc_threshold)
        nursery.cancel_scope.cancel()


PAGES = ("/transport/http/", "/transport/inspector/", "/transport/metrics/")
"""Folders of the code that answers an operator's requests."""


async def serve_pages(app: Greenroom) -> None:
    """Serve with the pages until SIGTERM. At SIGUSR1 print the longest step of the pages since the signal before."""
    async with trio.open_nursery() as nursery:
        await nursery.start(tell_steps)
        await serve_with_pages(app, Ready())
        nursery.cancel_scope.cancel()


async def tell_steps(task_status: trio.TaskStatus[None]) -> None:
    """Print the longest step of the pages at each SIGUSR1. Steps are measured from the first signal on."""
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        task_status.started()
        steps, measures = _steps.LongestSteps(PAGES), False
        async for _ in signals:
            print(json.dumps({"longest_step": steps.longest_seconds}), flush=True)
            steps.longest_seconds = 0.0
            if not measures:
                trio.lowlevel.add_instrument(steps)
                measures = True


class Ready(Reporter):
    """Prints a line once the server with its pages accepts connections, as :func:`tell` does without pages."""

    def on_ready(self, ws_url: str, page_url: str | None) -> None:  # noqa: ARG002 - the signature of Reporter
        """Print the line."""
        print("ready", flush=True)


def main() -> None:
    """Serve on the given port until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", default="memory:")
    parser.add_argument("--limits", choices=("none", "default"), default="none")
    parser.add_argument("--owned", type=int, default=0, help="so many users stay at this node of a cluster")
    parser.add_argument("--pages", type=int, default=0, help="port of the pages: inspector and metrics")
    options = parser.parse_args()
    settings = UNLIMITED if options.limits == "none" else {"drain_seconds": 1}
    if options.pages:
        settings = {**settings, "port": options.port, "http_port": options.pages}
    app = Greenroom(log=options.log, auth=who, settings=settings)
    app.agent(load)
    app.agent(custom)
    app.agent(noted)
    app.agent(hold)
    app.agent(_traffic.tokens)
    app.agent(_traffic.runs)
    if options.pages:
        trio.run(serve_pages, app)
    else:
        trio.run(serve, app, options.port, options.owned)


if __name__ == "__main__":
    main()
