"""Forked and started processes hold no port, connection or log of the server."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from _ports import held_port, number_of
from _processes import started
from eventlog.test_contract import KEY
from protocol.agents import make_app
from protocol.wire import greeted

from actors import LogUnavailable, SqliteLog
from actors.loop.forks import keep_ports
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60
APP = """
import concurrent.futures, multiprocessing, os, signal
from transport import Greenroom
app = Greenroom(log="sqlite:g.db")
pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))

def look(n):
    return [os.getpid(), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL]

def crunch(n):
    return pool.submit(look, n).result()

@app.agent
async def use(run, n):
    return await run.call_tool(crunch, n=n)
"""
USE = """
import json, sys, trio
from actors import AgentCompleted
from transport import connect

async def main():
    async with connect(sys.argv[1], session="s") as client:
        await client.start("use", 7)
        async for event in client.events():
            if isinstance(event, AgentCompleted):
                return print(json.dumps(event.result))

trio.run(main)
"""


@contextmanager
def running_server(folder: Path, port: int, http_port: int) -> Iterator[subprocess.Popen[str]]:
    """Run ``greenroom serve`` on two ports, and kill it at the end of the block."""
    (folder / "app.py").write_text(APP)
    command = [sys.executable, "-m", "transport", "serve", "app:app"]
    command += ["--port", str(port), "--http-port", str(http_port)]
    with (folder / "stderr").open("a") as stderr:
        with started(command, cwd=folder, stdout=subprocess.PIPE, stderr=stderr) as running:
            yield running


def wait_until_ready(process: subprocess.Popen[str], folder: Path) -> list[str]:
    """Wait until the server accepts connections. Return its URLs."""
    assert process.stdout is not None
    said = process.stdout.readline().split()
    assert said, (folder / "stderr").read_text()
    return said[1:]


def port_of(url: str) -> int:
    """Return the port in a URL."""
    return int(url.rstrip("/").rpartition(":")[2])


def _link_target(path: Path) -> str:
    """Return the target of a file descriptor, or an empty string if it is already closed."""
    try:
        return str(path.readlink())
    except FileNotFoundError:  # the descriptor that listed the folder
        return ""


def open_files(pid: int) -> list[str]:
    """Return the names of the open files of a process."""
    return [_link_target(path) for path in Path(f"/proc/{pid}/fd").iterdir()]


def ports_of(pid: int) -> set[int]:
    """Return the ports to which sockets of a process are bound."""
    numbers = {name.removeprefix("socket:[").rstrip("]") for name in open_files(pid)}
    tables = [Path(f"/proc/net/{kind}").read_text().splitlines()[1:] for kind in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    return {int(line[1].rpartition(":")[2], 16) for line in lines if line[9] in numbers}


def log_files(pid: int) -> list[str]:
    """Return the open log files of a process."""
    return [name for name in open_files(pid) if "g.db" in name]


def test_killed_server_with_forked_workers(tmp_path: Path) -> None:
    """A new server can use the ports and the log of a killed server, even if a worker of the killed server still runs.

    The worker is a forked process.
    """
    worker = 0
    holders = held_port(), held_port()
    ws, http = map(number_of, holders)
    try:
        with running_server(tmp_path, ws, http) as first:
            urls = wait_until_ready(first, tmp_path)
            said = subprocess.run([sys.executable, "-c", USE, urls[0]], capture_output=True, text=True, check=True)
            worker, ends_by_sigterm = json.loads(said.stdout)
            assert log_files(worker) == []
            assert ports_of(worker) == set()
            assert ends_by_sigterm
            first.send_signal(signal.SIGKILL)
            first.wait(PATIENCE)
        os.kill(worker, 0)
        with running_server(tmp_path, ws, http) as second:
            assert wait_until_ready(second, tmp_path) == urls
    finally:
        for holder in holders:
            holder.close()
        if worker:
            os.kill(worker, signal.SIGKILL)


def run_in_fork(look: object) -> object:
    """Return the result of ``look()`` in a forked child, which then ends."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=lambda: there.send(look()))  # type: ignore[operator]  # a function
    child.start()
    there.close()
    try:
        return here.recv()
    finally:
        child.join(PATIENCE)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # what is tested
async def test_log_in_a_forked_child(tmp_path: Path) -> None:
    """In a forked child process the parent's log is not open. In the parent the log stays open and locked."""
    path = tmp_path / "g.db"
    async with SqliteLog(path) as log:
        await log.make(KEY)

        def use() -> tuple[str, list[str]]:
            """Return the error of a use of the log, and the log files that this process has open."""
            try:
                log._opened(log._writer)  # noqa: SLF001 - what every call does first
            except LogUnavailable as error:
                return str(error), log_files(os.getpid())
            return "usable", []

        assert run_in_fork(use) == (f"{path} is not open", [])
        with pytest.raises(LogUnavailable, match="in use"):
            await SqliteLog(path).open()
        assert await log.head(KEY) is not None
    async with SqliteLog(path) as log:
        assert await log.head(KEY) is not None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # what is tested
async def test_sockets_in_a_forked_child() -> None:
    """A forked child process has no socket of the server, and the server can still serve its client."""
    async with make_app().running(port=0) as running, greeted(running) as one:
        port = port_of(running.url)
        assert port in ports_of(os.getpid())
        assert run_in_fork(lambda: port in ports_of(os.getpid())) is False
        await one.say("still here")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # what is tested
def test_other_sockets_are_inherited() -> None:
    """A forked child process inherits every socket of its parent except the sockets of a ``keep_ports`` block."""
    (kept,), (other,) = listen("127.0.0.1", 0), listen("127.0.0.1", 0)

    ports = [sock.getsockname()[1] for sock in (kept, other)]

    def inherited() -> list[bool]:
        """Return for each port whether this process has its socket."""
        found = ports_of(os.getpid())
        return [port in found for port in ports]

    with kept, other:
        with keep_ports([kept]):
            assert run_in_fork(inherited) == [False, True]
        assert run_in_fork(inherited) == [True, True]


async def test_started_program_inherits_nothing(tmp_path: Path) -> None:
    """A program that the server starts has no log file and no socket of the server, even with ``close_fds=False``."""
    async with make_app(f"sqlite:{tmp_path}/g.db").running(port=0) as running, greeted(running):
        seen = await trio.run_process(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_stdout=True)
        assert b"g.db" not in seen.stdout
        assert b"socket:" not in seen.stdout
