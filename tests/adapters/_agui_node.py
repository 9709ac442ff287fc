"""A Node process with AG-UI's own client, and servers for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _processes import put_down, started
from web.node import node_with_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
NATIVE = [sys.executable, "-m", "transport", "serve", "adapters.agui_app:app", "--port", "0", "--http-port", "0"]
MOUNTED = [sys.executable, "-m", "adapters.agui_app"]


class AguiNode:
    """The process. Each conversation of a test is an agent there, which keeps its messages from run to run."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [node_with_packages(), str(HERE / "agui.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._ids = count(1)
        self._answers: dict[str, dict[str, Any]] = {}

    def begin(self, url: str, thread: str, **asked: Any) -> str:
        """Begin an AG-UI run, and return its number for :meth:`answer`."""
        assert self._process.stdin
        number = str(next(self._ids))
        line = {"agent": thread, **asked, "id": number, "url": url, "thread": thread}
        print(json.dumps(line), file=self._process.stdin, flush=True)
        return number

    def answer(self, number: str) -> dict[str, Any]:
        """Wait for the end of an AG-UI run, and return what the client was told. Its events must be valid."""
        told = self._wait(number)
        assert told["invalid"] == []
        return told

    def told(self, number: str) -> None:
        """Wait until the client was told the event for which it was asked to wait (``tell``)."""
        self._wait(f"{number}!")

    def run(self, url: str, thread: str, **asked: Any) -> dict[str, Any]:
        """Make one AG-UI run to its end, and return what the client was told."""
        return self.answer(self.begin(url, thread, **asked))

    def end(self) -> None:
        """End the process."""
        put_down(self._process)

    def _wait(self, id_: str) -> dict[str, Any]:
        assert self._process.stdout
        while id_ not in self._answers:
            answer = json.loads(self._process.stdout.readline())
            self._answers[answer["id"]] = answer
        return self._answers.pop(id_)


@contextmanager
def served(command: list[str], folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server inside the block. Yield the address of AG-UI, and the process."""
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with started(
        [*command, *options], cwd=folder, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        line = process.stdout.readline().split()
        assert line[:1] == ["ready"], "the server did not start"
        yield f"{line[2].rstrip('/')}/agui", process


def post(url: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    """Post JSON, and return the status and the body."""
    fields = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    request = urllib.request.Request(url, json.dumps(body).encode(), fields, method="POST")  # noqa: S310 - of a test's server
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
        return response.status, response.read()
