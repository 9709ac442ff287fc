"""``greenroom serve --workers`` as real processes, with real sockets and signals."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING

import orjson
import pytest
import trio
from _ports import held_ports, number_of

from actors import AgentOutput
from transport import connect
from transport.cli._main import main
from transport.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

APP = """
import os
from actors import MemoryLog
from transport import Greenroom

class SharedLog(MemoryLog):
    shared_by_processes = True

app = Greenroom(log=SharedLog())

@app.agent
async def pid(run):
    await run.output(f"{os.getpid()} {app.settings.node_name}")

@app.agent
async def stubborn(run):
    import trio
    print("runs", file=__import__("sys").stderr)
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()
"""
PATIENCE = 170
RATES = ("handshakes_per_second", "handshakes_per_address_per_second", "max_connections_per_user")


class Served:
    """A server with workers: its parent process, its addresses, and its lines on stderr."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.url = self.pages = ""
        self._stderr = ""
        self._changed = trio.Event()

    async def read_stderr(self) -> None:
        """Read what the processes write to stderr."""
        assert self.process.stderr is not None
        async for part in self.process.stderr:
            self._stderr += part.decode()
            self._changed.set()
            self._changed = trio.Event()

    async def until_line(self, text: str) -> None:
        """Wait until stderr contains a text."""
        while text not in self._stderr:
            await self._changed.wait()

    def workers(self) -> set[int]:
        """Return the numbers of the parent's child processes."""
        # The system lists them for each thread: a thread of the parent starts them.
        lists = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return {int(word) for path in lists for word in path.read_text().split()}


@asynccontextmanager
async def served(folder: Path, *more: str) -> AsyncGenerator[Served]:
    """Run a server with two workers inside the block. At its end nothing of it is left."""
    (folder / "app.py").write_text(APP)
    limits = [each for name in RATES for each in ("--set", f"{name}=10000")]
    command = [sys.executable, "-m", "transport", "serve", "app:app", "--workers", "2", "--port", "0"]
    command += ["--http-port", "0", "--set", "node_name=web", *limits, "--set", "loop_stall_seconds=60", *more]
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            process = await trio.lowlevel.open_process(command, cwd=folder, stdout=PIPE, stderr=PIPE)
            server = Served(process)
            nursery.start_soon(server.read_stderr)
            try:
                assert process.stdout is not None
                line = b""
                while not line.endswith(b"\n"):
                    line += await process.stdout.receive_some()
                ready, server.url, server.pages = line.decode().split()
                assert ready == "ready"
                yield server
            finally:
                left = server.workers()
                process.kill()
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                with trio.CancelScope(shield=True):
                    await process.wait()
            nursery.cancel_scope.cancel()


async def answering(url: str, session: str) -> tuple[int, str]:
    """Return the process that serves a new connection, and the name of its node."""
    async with connect(url, session) as client:
        await client.start("pid")
        async for event in client.events():
            if isinstance(event, AgentOutput):
                pid, name = event.text.split()
                return int(pid), name
    raise AssertionError("no answer")


async def knock(url: str, errors: list[OSError], enough: trio.Event) -> None:
    """Connect to the port of a URL again and again, and note each connection that is refused."""
    host, port = url.removeprefix("ws://").rstrip("/").split(":")
    while not enough.is_set():
        try:
            stream = await trio.open_tcp_stream(host, int(port))
        except OSError as error:
            errors.append(error)
            return
        async with stream:
            # The server reads the request's end and answers it, or ends the connection, since it drains.
            with suppress(trio.BrokenResourceError):
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await stream.receive_some()


async def test_restart_in_turn_and_the_end(tmp_path: Path) -> None:
    """Both workers serve. While they restart in turn, no client is refused. SIGTERM lets them drain.

    Each worker has its own ``node_name``.

    A second SIGTERM ends all processes at once, in spite of a run. ``ready`` is printed once.
    """
    errors: list[OSError] = []
    async with served(tmp_path, "--set", "drain_seconds=1000") as server, trio.open_nursery() as nursery:
        first = server.workers()
        assert len(first) == 2
        pid, name = await answering(server.url, "s0")
        assert (pid in first, name) in {(True, "web-1"), (True, "web-2")}
        enough = trio.Event()
        for _ in range(20):
            nursery.start_soon(knock, server.url, errors, enough)
        server.process.send_signal(signal.SIGUSR2)
        await server.until_line("all workers were restarted")
        enough.set()
        second = server.workers()
        assert (len(second), second & first) == (2, set())
        processes = descriptors(second)
        async with connect(server.url, "s1") as client:
            await client.start("stubborn")
        await server.until_line(": runs")
        server.process.send_signal(signal.SIGTERM)
        await server.until_line(": greenroom: SIGTERM: waiting up to 1000 s for 1 run to finish: stubborn")
        server.process.send_signal(signal.SIGTERM)
        assert await server.process.wait() == -signal.SIGTERM
        await until_gone(processes)
        assert server.process.stdout is not None
        assert await server.process.stdout.receive_some() == b""
    assert errors == []


async def test_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """Each worker has a port of its own for its pages. If the parent is killed, the workers end, and free all ports.

    They drain first.
    """
    holders = held_ports(2)
    own = [number_of(holder) for holder in holders]
    async with served(tmp_path, "--set", f"worker_http_port={own[0]}") as server:
        async with connect(server.url, "s1"):
            pages = [await scraped(port) for port in own]
        assert sorted(page.partition("\ngreenroom_connections ")[2][:3] for page in pages) == ["0.0", "1.0"]
        seen = [orjson.loads((await fetched(port, "/inspect/api/overview")).partition("\r\n\r\n")[2]) for port in own]
        assert [each["workers"]["number"] for each in seen] == [1, 2]
        found = [(each["node"], each["port"]) for each in seen[1]["workers"]["all"]]
        assert found == list(zip(("web-1", "web-2"), own, strict=True))
        shared = [int(url.rstrip("/").rpartition(":")[2]) for url in (server.url, server.pages)]
        assert "\ngreenroom_connections " in await scraped(shared[1])
        workers = descriptors(server.workers())
        server.process.kill()
        await server.process.wait()
        await until_gone(workers)
        for port in (*shared, *own):
            (listener,) = listen("127.0.0.1", port)
            listener.close()
    for holder in holders:
        holder.close()


async def scraped(port: int) -> str:
    """Return the metrics at a port."""
    return await fetched(port, "/metrics")


async def fetched(port: int, path: str) -> str:
    """Return the response for a page at a port, with its head."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        return b"".join([part async for part in stream]).decode()


def test_no_ports_for_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ports of workers that do not exist are refused before any worker starts."""
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    options = ("--workers", "3", "--port", "0", "--http-port", "0", "--set", "worker_http_port=65534")
    assert main(["serve", "app:app", *options]) == 2
    assert "worker_http_port 65534 leaves no port for each of 3 workers" in capsys.readouterr().err


async def until_gone(processes: list[int]) -> None:
    """Wait until all processes have ended. They are given by the descriptors that :func:`descriptors` returned."""
    for descriptor in processes:
        await trio.lowlevel.wait_readable(descriptor)
        os.close(descriptor)


def descriptors(pids: set[int]) -> list[int]:
    """Return a file descriptor for each process. It can be read from when the process has ended."""
    return [os.pidfd_open(pid) for pid in pids]


@pytest.mark.parametrize("log", ["memory:", "sqlite:x.db"])
def test_log_that_cannot_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log: str
) -> None:
    """Several workers with a log of one process are refused, with status 2 and the kind of log to use."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unshared.py").write_text("from transport import Greenroom\napp = Greenroom()\n")
    monkeypatch.delitem(sys.modules, "unshared", raising=False)
    assert main(["serve", "unshared:app", "--workers", "2", "--log", log]) == 2
    told = "2 workers need a log that processes can share, such as valkey://HOST, and not "
    assert capsys.readouterr().err == f"greenroom: {told}{log}: set log, or workers=1\n"
