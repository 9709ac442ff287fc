"""A real web server process with the application of ``served.py``, which a test sends requests and signals to."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from _ports import held_port, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
PATIENCE = 60.0
UVICORN = ("uvicorn", "hosting.served:api", "--port", "{port}", "--loop")
HYPERCORN = ("hypercorn", "hosting.served:api", "--bind", "127.0.0.1:{port}", "-k")
SERVERS: dict[str, tuple[str, ...]] = {
    "uvicorn-asyncio": (*UVICORN, "asyncio"),
    "uvicorn-uvloop": (*UVICORN, "uvloop"),
    "hypercorn-asyncio": (*HYPERCORN, "asyncio"),
    "hypercorn-trio": (*HYPERCORN, "trio"),
}
"""The arguments of ``python -m`` for each web server."""


class WebServer:
    """A web server process in its own folder. Its log is read line by line, and so are the notes of its agents."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes], notes: int) -> None:
        self.folder = folder
        self.port = port
        self.process = process
        self.said = ""
        """Everything that the server has logged, as far as it was read."""
        self.noted: list[str] = []
        """The notes of the application, as far as they were read."""
        self._notes = notes
        self._rest = b""

    def until_said(self, words: str, times: int = 1) -> None:
        """Wait until the server has logged these words, so many times."""
        assert self.process.stderr is not None
        while self.said.count(words) < times:
            part = self._read(self.process.stderr.fileno())
            assert part, f"the server ended without {words!r}:\n{self.said}"
            self.said += part.decode()

    def until_noted(self, text: str) -> None:
        """Wait until the application has noted this text."""
        while text not in self.noted:
            self.note_more()

    def note_more(self) -> None:
        """Wait for further notes of the application."""
        *lines, self._rest = (self._rest + self._read(self._notes)).split(b"\n")
        self.noted += [line.decode() for line in lines]

    def _read(self, descriptor: int) -> bytes:
        readable, _, _ = select.select([descriptor], [], [], PATIENCE)
        assert readable, f"nothing came for {PATIENCE} s; noted {self.noted}, said:\n{self.said}"
        return os.read(descriptor, 1 << 16)

    def until_listening(self) -> None:
        """Wait until the server accepts connections."""
        self.until_said("unning on http")

    def post(self, path: str) -> None:
        """Send a POST request, and wait for the answer. A server that has just started may refuse it for a moment."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method="POST")
        while self.process.poll() is None:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 - as above
                    assert response.status == 200
                    return
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionRefusedError):
                    raise
        raise AssertionError(f"the server ended:\n{self.said}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def release(self) -> None:
        """Let the application go on that waits for the pipe ``release``."""
        os.close(os.open(self.folder / "release", os.O_WRONLY))

    def wait(self) -> int:
        """Wait for the end of the process, read everything that is left, and return the exit status."""
        assert self.process.stderr is not None
        while part := self._read(self.process.stderr.fileno()):
            self.said += part.decode()
        status = self.process.wait(PATIENCE)
        os.set_blocking(self._notes, False)
        try:
            while left := os.read(self._notes, 1 << 16):
                self._rest += left
        except BlockingIOError:
            self.noted += self._rest.decode().splitlines()
        return status


@contextmanager
def web_server(folder: Path, arguments: tuple[str, ...], **variables: str) -> Iterator[WebServer]:
    """Run a web server inside the block. Kill what is left of it at the end.

    Args:
        folder: The current folder of the process.
        arguments: What follows ``python -m``.
        variables: Variables of the environment besides.
    """
    notes, release = folder / "notes", folder / "release"
    os.mkfifo(notes)
    os.mkfifo(release)
    reader = os.open(notes, os.O_RDWR)
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "NOTES": str(notes), "RELEASE": str(release), **variables}
    with held_port() as holder:
        port = number_of(holder)
        command = [sys.executable, "-m", *(each.format(port=port) for each in arguments)]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield WebServer(folder, port, process, reader)
        finally:
            kill_group(process.pid)
            process.wait()
            assert process.stderr is not None
            process.stderr.close()
            os.close(reader)


def kill_group(leader: int) -> None:
    """Kill all processes of the group that ``leader`` began."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
