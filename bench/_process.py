"""A server under load: a process of its own, on a core of its own where there are two."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

HERE = Path(__file__).parent
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
GENERATOR_CORE = _CORES[-1]
_PATIENCE_SECONDS = 20.0


@contextmanager
def serving(command: Sequence[str], port: int, core: int = SERVER_CORE) -> Generator[int]:
    """Run a server on ``core`` until the block is left; its pid, once its ``port`` takes connections.

    SystemExit when it ends, or does not listen in time.
    """
    process = subprocess.Popen(command)  # noqa: S603 - a script of ours
    try:
        os.sched_setaffinity(process.pid, {core})
        _wait(process, port)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def greenroom(port: int, log: str = "memory:", **options: object) -> list[str]:
    """The command of our own server."""
    words = [sys.executable, str(HERE / "_server.py"), "--port", str(port), "--log", log]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"the server did not listen within {_PATIENCE_SECONDS:g} s")
