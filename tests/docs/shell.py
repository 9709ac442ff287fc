"""Runs the programs and the terminal sessions of a document, in a folder of its own, as a reader would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

import attrs
from _ports import held_port, number_of
from docs.documents import Block, document
from web.node import HERE, node_with_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

BASH = "/bin/bash"
OWN_PROGRAMS = Path(sys.executable).parent
"""The folder of programs of the environment in which the tests run."""
PATIENCE = 60
"""Seconds that a command may take."""
PORTS = {"PORT": "8765", "HTTP_PORT": "8766"}
"""Default ports of a server. The documents name them, and in a test each stands for a free one."""
SERVERS = ("greenroom serve", "greenroom demo", "python -m transport serve", "uvicorn")
"""Commands that go on until the end of the section."""
CTRL_C = "^C"
"""Last line of the output of a command that the reader ends with Ctrl-C."""


@attrs.frozen
class Step:
    """A command of a terminal session, and the lines that it prints."""

    command: str
    output: tuple[str, ...]

    @property
    def is_server(self) -> bool:
        """Whether the command is a server, which later commands use."""
        return self.command.startswith(SERVERS)


def steps(session: str) -> list[Step]:
    """Return the steps of a session: each line that begins with ``$`` is a command, the others are its output."""
    found: list[Step] = []
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, *output = part.splitlines()
        found.append(Step(command, tuple(output)))
    return found


def matches(expected: list[str], printed: list[str]) -> bool:
    """Return whether the printed lines are the expected ones. ``…`` is any text; a line of ``…`` alone any lines."""
    parts = ["(?:.*\\n)*" if line == "…" else re.escape(line).replace("…", ".*") + "\\n" for line in expected]
    return re.fullmatch("".join(parts), "".join(f"{line}\n" for line in printed)) is not None


class Terminal:
    """A folder with the files of a document, and the servers that run in it."""

    def __init__(self, folder: Path, path: str, ports: dict[str, str], programs: Path | str) -> None:
        self._folder = folder
        self.ports = ports
        self._servers: list[subprocess.Popen[str]] = []
        self._status = 0
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
        # The folder is on no path of Python's own: a program that is run from it finds its neighbours, as for a reader.
        self._environment = {
            **environment,
            "PATH": f"{programs}{os.pathsep}{environment['PATH']}",
            "PYTHONUNBUFFERED": "1",
            # On a busy machine the event loop stands still for a second, which is a warning among the printed lines.
            "GREENROOM_LOOP_STALL_SECONDS": "60",
            **{f"GREENROOM_{name}": ports[port] for name, port in PORTS.items()},
        }
        for block in document(path).blocks:
            if block.name:
                file = folder / block.name
                file.parent.mkdir(exist_ok=True)
                file.write_text(self._real(block.text), "utf-8")
        if any(block.language == "js" for block in document(path).blocks):
            node_with_packages()
            (folder / "node_modules").symlink_to(HERE / "node_modules")

    def _real(self, text: str) -> str:
        for written, free in self.ports.items():
            text = text.replace(written, free)
        return text

    def _written(self, text: str) -> str:
        for written, free in self.ports.items():
            text = text.replace(free, written)
        return text

    def run(self, block: Block) -> None:
        """Carry out a session, and compare everything that it prints."""
        for number in range(len(steps(block.text))):
            self.run_step(block, number)

    def run_step(self, block: Block, number: int) -> None:
        """Carry out one command of a session, and compare everything that it prints."""
        step = steps(block.text)[number]
        printed = self._printed(step)
        assert matches(list(step.output), printed), f"{block.place}: $ {step.command}\n" + "\n".join(printed)

    def _printed(self, step: Step) -> list[str]:
        if step.command == "echo $?":
            return [str(self._status)]
        if step.is_server:
            return self.serve(step)
        if step.output[-1:] == (CTRL_C,):
            return self._interrupt(step)
        done = subprocess.run(
            [BASH, "-c", self._real(step.command)],
            cwd=self._folder,
            env=self._environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        self._status = done.returncode
        return self._written(done.stdout).splitlines()

    def _start(self, step: Step) -> subprocess.Popen[str]:
        # `exec` makes the command the process that gets the signals.
        command = re.sub(r"^((?:\w+=\S+ )*)", r"\1exec ", step.command)
        running = subprocess.Popen(
            [BASH, "-c", self._real(command)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._servers.append(running)
        return running

    def _lines(self, running: subprocess.Popen[str], count: int) -> list[str]:
        assert running.stdout is not None
        watch = Timer(PATIENCE, running.kill)  # else a line that never comes would hold up the suite
        watch.start()
        try:
            return [self._written(running.stdout.readline()).rstrip("\n") for _ in range(count)]
        finally:
            watch.cancel()

    def serve(self, step: Step) -> list[str]:
        """Start a server, and return its first lines, as many as the step expects."""
        return self._lines(self._start(step), len(step.output))

    def _interrupt(self, step: Step) -> list[str]:
        running = self._start(step)
        printed = self._lines(running, len(step.output) - 1)
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=PATIENCE)
        self._servers.remove(running)
        self._status = running.returncode
        return [*printed, *self._written(rest).splitlines(), CTRL_C]

    def program(self, block: Block) -> list[str]:
        """Run a program and return the lines that it prints."""
        return self._printed(Step(f"python {block.name}", ()))

    def close(self) -> None:
        """End the servers, each of which must end well. (A SIGTERM would be the exit status of uvicorn.)"""
        for running in self._servers:
            running.send_signal(signal.SIGINT)
        for running in self._servers:
            rest, _ = running.communicate(timeout=PATIENCE)
            assert running.returncode == 0, rest

    def kill(self) -> None:
        """Kill the processes that still run."""
        for running in self._servers:
            running.kill()
            running.communicate()


@contextmanager
def terminal(folder: Path, path: str, programs: Path | str = OWN_PROGRAMS) -> Iterator[Terminal]:
    """Open a terminal in a new folder with every file of a document. Its servers end with the block.

    Args:
        folder: The folder.
        path: The document.
        programs: The folder (or folders) with the programs ``python`` and ``greenroom``.
    """
    with held_port() as first, held_port() as second:
        free = (str(number_of(first)), str(number_of(second)))
        own = Terminal(folder, path, dict(zip(PORTS.values(), free, strict=True)), programs)
        try:
            yield own
            own.close()
        finally:
            own.kill()
