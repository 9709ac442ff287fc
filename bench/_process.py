"""A server under load: a process of its own, on a core of its own if there are two."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

HERE = Path(__file__).parent
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
GENERATOR_CORE = _CORES[-1]
_PATIENCE_SECONDS = 20.0
_LOG_OPTIONS = {"": "", "FULL": "?synchronous=FULL", "inline": "?commit=inline"}
_SHOWN = 2000
"""Bytes of a server's last output that are shown if it fails."""


@contextmanager
def serving(command: Sequence[str], port: int, core: int = SERVER_CORE) -> Generator[int]:
    """Run a server on ``core`` inside the block. Return its pid once its ``port`` accepts connections.

    The server is killed at the end: clients need no goodbye. Raises SystemExit with its last output if it ends, or does
    not listen in time. Later output is dropped: most of it says that clients were cut off.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)  # noqa: S603 - a script of ours
        try:
            os.sched_setaffinity(process.pid, {core})
            if complaint := _wait(process, port):
                said.seek(0)
                raise SystemExit(f"{complaint}: {said.read()[-_SHOWN:].decode(errors='replace').strip()}")
            yield process.pid
        finally:
            process.kill()
            process.wait()


@attrs.frozen(eq=False)
class Server:
    """Our own server in a process of its own, from :func:`measured`."""

    port: int
    _process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def statistics(self) -> dict[str, Any]:
        """Return its statistics: ``at`` (its clock, in seconds), ``sessions`` and ``endpoint``.

        A server with pages returns ``longest_step``: seconds of the longest step of its pages since the last call.
        Steps are measured from the first call on.
        """
        self._process.send_signal(signal.SIGUSR1)
        return cast("dict[str, Any]", json.loads(self._line()))

    def wait(self) -> None:
        """Return when the server can be asked for statistics. Raises SystemExit if it ends before."""
        if self._line() != b"ready\n":
            raise SystemExit("the server ended before it was ready")

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def measured(
    log: str = "memory:", core: int = SERVER_CORE, limits: str = "none", owned: int = 0, pages: int = 0
) -> Generator[Server]:
    """Run our own server on ``core`` inside the block, then kill it: clients need no goodbye.

    With ``limits="default"``, connections have the limits of a server without any settings. ``owned`` is the number of
    users that stay at this node of a cluster, though their clients are at another one. ``pages`` is the port of the
    inspector and the metrics.
    """
    port = free_port()
    command = greenroom(port, log, limits=limits, owned=owned, pages=pages)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - a script of ours
        try:
            os.sched_setaffinity(process.pid, {core})
            server = Server(port, process)
            server.wait()
            yield server
        finally:
            process.kill()


@contextmanager
def log_url(log: str) -> Generator[str]:
    """Make a log for a server to use inside the block: ``memory``, ``sqlite``, ``sqlite FULL`` or ``sqlite inline``."""
    engine, _, option = log.partition(" ")
    if engine == "memory":
        yield "memory:"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:{folder}/bench.db{_LOG_OPTIONS[option]}"


def allow_files() -> int:
    """Raise the limit of open files for this process and its children. Return the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def greenroom(port: int, log: str = "memory:", **options: object) -> list[str]:
    """Return the command of our own server."""
    words = [sys.executable, str(HERE / "_server.py"), "--port", str(port), "--log", log]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words


def free_port() -> int:
    """Return a port that no process listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int) -> str:
    """Wait until the server listens. Return an empty string, or the reason why it does not."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            return f"the server ended with {process.returncode} before it listened"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return ""
    return f"the server did not listen within {_PATIENCE_SECONDS:g} s"
