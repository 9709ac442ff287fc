"""A real server process with a log in its own folder. A test can kill it and start it again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import trio
from _below import HOST, NATIVE
from _engine import ENGINE, OWN

if ENGINE != OWN:
    from engines import logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GREENROOM = Path(sys.executable).with_name("greenroom")
TESTS = Path(__file__).parents[1]
COMMAND = (
    [str(GREENROOM), "serve", "app:app", "--port", "0", "--http-port", "0"]
    if HOST == NATIVE
    else [sys.executable, "-m", "hosting.serve_mounted", HOST, "app:app"]
)
"""The program that serves the app in the current folder, and prints its address as the second word."""
STOPPED = {-signal.SIGTERM} if HOST.startswith(("uvicorn", "handover")) else {0}
"""The exit status after SIGTERM: uvicorn ends by the signal, after everything has ended."""
APP = """
from actors import SqliteLog
from delivery.agents import auth_by_name, server_on
log = SqliteLog("log.db", busy_seconds=0.05)
app = server_on(log, auth=auth_by_name, retain_events=1_000_000, retain_bytes=1 << 34)
"""


ON_ENGINE = "from engines import everything; everything.install()\n"
"""The beginning of a program whose logs are in Valkey."""


class ServerProcess:
    """A process of ``greenroom serve``. ``url`` is the address of its latest start."""

    def __init__(self, folder: Path, app: str = APP) -> None:
        self.folder = folder
        self.log = folder / "log.db"
        self.url = ""
        self.is_dead = True
        """Whether the process was killed or has ended, or does not accept connections yet."""
        self.process: trio.Process
        self.paths = [str(TESTS)]
        """The folders from which the process imports, too."""
        self.variables: dict[str, str] = {}
        """More variables of its environment."""
        (folder / "app.py").write_text(app if ENGINE == OWN else ON_ENGINE + app)

    async def start(self) -> None:
        """Start the process and wait until it accepts connections. Append its log output to the file ``stderr``."""
        await self.spawn()
        assert await self.becomes_ready(), (self.folder / "stderr").read_text()

    async def becomes_ready(self) -> bool:
        """Wait until the process accepts connections. Return False if it ends before that."""
        said = b""
        assert self.process.stdout is not None
        while not said.endswith(b"\n"):
            part = await self.process.stdout.receive_some()
            if not part:
                return False
            said += part
        self.url, self.is_dead = said.split()[1].decode(), False
        return True

    async def spawn(self) -> None:
        """Start the process without waiting for it. No other process of this folder may run."""
        if ENGINE != OWN:
            logs.bury_nodes(self.log)
        path = os.pathsep.join([*self.paths, *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self.folder / "stderr").open("a") as stderr:
            self.process = await trio.lowlevel.open_process(
                COMMAND,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path, **self.variables},
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.is_dead = True
        self.process.send_signal(signal.SIGKILL)
        await self._reap()

    async def wait_for_end(self) -> int:
        """Wait until the process ends by itself. Return its exit status."""
        return await self._reap()

    async def stop(self) -> int:
        """Stop the process with SIGTERM. Return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await self._reap()

    async def _reap(self) -> int:
        """Wait for the end of the process and close its output. Return its exit status."""
        status = await self.process.wait()
        self.is_dead = True
        if self.process.stdout is not None:
            await self.process.stdout.aclose()
        return status

    @property
    def port(self) -> int:
        """The port of the latest start."""
        return int(self.url.rstrip("/").rpartition(":")[2])

    async def open_stream(self, *_: object) -> trio.abc.Stream:
        """Open a connection to the latest address of the server. Raise OSError while the process is dead.

        *A server of another test got the port of a killed one, and answered its client with a page.*
        """
        if self.is_dead:
            raise ConnectionRefusedError("the process is dead")
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    def image(self, target: Path) -> Path:
        """Copy the log of the dead process to ``target``, so that a reader cannot repair the original."""
        if ENGINE != OWN:
            return self.log
        target.mkdir()
        for part in self.folder.glob("log.db*"):
            if not part.name.endswith(("-lock", "-shm")):
                (target / part.name).write_bytes(part.read_bytes())
        return target / self.log.name


@asynccontextmanager
async def server_process(folder: Path, app: str = APP) -> AsyncIterator[ServerProcess]:
    """Start a server with the program ``app``, and kill it at the end of the block if it still runs."""
    server = ServerProcess(folder, app)
    try:
        await server.start()
        yield server
    finally:
        with trio.CancelScope(shield=True):
            if server.process.returncode is None:
                await server.kill()


class FastJitter(Random):
    """Jitter that makes a client reconnect within 0.03 s, however often it has failed."""

    def uniform(self, a: float, b: float) -> float:
        """Return a number that is at most 0.03 above ``a``."""
        return super().uniform(a, min(b, a + 0.03))


def connect_arguments(server: ServerProcess, user: str, seed: int = 0) -> dict[str, Any]:
    """Return the arguments with which ``connect`` joins the session of a user."""
    return {"token": user, "open_stream": server.open_stream, "rng": FastJitter(seed)}
