"""Workers that are small scripts: they speak with their parent as a worker does, and note what happens to them."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from actors import RestartLimit
from transport.server.listening import Listeners
from transport.workers.group import Workers
from transport.workers.launch import Launch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from transport.workers._process import Addresses

# A worker reads its behaviour from the file "worker-NUMBER", or "worker": words as below. It notes each signal.
SCRIPT = r"""
import json, os, signal, socket, sys
from pathlib import Path

channel = socket.socket(fileno=int(sys.argv[1]))
given = json.loads(channel.makefile("rb").readline())
own, common = Path(f"worker-{given['number']}"), Path("worker")
words = (own if own.exists() else common).read_text().split()

notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notes.connect("notes")

def note(what):
    notes.send(f"{given['number']} {what} {os.getpid()}".encode())

def end(number, frame):
    note("term" if number == signal.SIGTERM else "int")
    if "stubborn" not in words:
        os._exit(9 if "unclean" in words else 0)

if "fails" in words:
    sys.exit(7)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGHUP, lambda number, frame: note("hup"))
note("starts")
if "late" in words:
    Path("now").read_text()  # a pipe: this waits until the test has closed it
note("ready")
channel.sendall(json.dumps(["ws://here/", "http://here/"]).encode() + b"\n")
while True:
    signal.pause()
"""


@attrs.define(eq=False)
class Stage:
    """A group of workers that runs, with everything that it reports."""

    folder: Path
    count: int
    send: trio.MemorySendChannel[int]
    """The signals to the parent."""
    ready: list[Addresses] = attrs.field(factory=list["Addresses"])
    lines: list[str] = attrs.Factory(list[str])
    """The lines for the operator."""
    status: int | None = None
    failure: RestartLimit | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)
    _notes: list[tuple[int, str, int]] = attrs.Factory(list[tuple[int, str, int]])
    _changed: trio.Event = attrs.field(factory=trio.Event)

    def notes(self, *kinds: str) -> list[tuple[int, str, int]]:
        """Return the notes of all workers of these kinds, or all: the worker's number, the kind, the process."""
        return [each for each in self._notes if not kinds or each[1] in kinds]

    async def until_up(self) -> None:
        """Wait until the parent has said that all workers are ready, and the note of each worker is read."""
        await self.until(lambda: self.ready and len(self.notes("ready")) >= self.count)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        with trio.fail_after(60):
            while not condition():
                await self._changed.wait()

    def go_on(self) -> None:
        """Let the worker continue that is ``late``."""
        (self.folder / "now").write_text("")

    def say(self, line: str) -> None:
        """Note a line for the operator."""
        self.lines.append(line)
        self.notify()

    def on_ready(self, addresses: Addresses) -> None:
        """Note that all workers are ready."""
        self.ready.append(addresses)
        self.notify()

    def notify(self) -> None:
        """Look at the awaited condition again."""
        self._changed.set()
        self._changed = trio.Event()

    async def read_notes(self, source: trio.socket.SocketType) -> None:
        """Read the notes of the workers."""
        while True:
            number, kind, pid = (await source.recv(100)).decode().split()
            self._notes.append((int(number), kind, int(pid)))
            self.notify()


@asynccontextmanager
async def workers_on_stage(
    folder: Path, *, count: int = 2, drain_seconds: float = 30, **behaviour: str
) -> AsyncGenerator[Stage]:
    """Run workers inside the block. At its end they get SIGTERM.

    Args:
        folder: An empty folder.
        count: The number of workers.
        drain_seconds: As the setting.
        behaviour: ``worker=WORDS`` for all workers, ``worker_1=WORDS`` for one of them.
    """
    for name, words in {"worker": "", **behaviour}.items():
        (folder / name.replace("_", "-")).write_text(words)
    (folder / "script.py").write_text(SCRIPT)
    os.mkfifo(folder / "now")
    send, receive = trio.open_memory_channel[int](10)
    stage = Stage(folder, count, send)
    launch = Launch((), str(folder), dict(os.environ), (sys.executable, "-I", "-S", "script.py"))
    group = Workers(launch, count, Listeners(), drain_seconds, stage.say)

    async def run() -> None:
        try:
            stage.status = await group.run(stage.on_ready, receive)
        except RestartLimit as error:
            stage.failure = error
        stage.ended.set()
        stage.notify()

    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as source:
        await source.bind(str(folder / "notes"))
        async with trio.open_nursery() as reading:
            reading.start_soon(stage.read_notes, source)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                yield stage
                if not stage.ended.is_set():
                    await send.send(15)
                    await stage.until(stage.ended.is_set)
            await wait_all_tasks_blocked()  # the last notes are read
            reading.cancel_scope.cancel()
