"""A Node process that runs greenroom.js and is controlled by a test."""

from __future__ import annotations

import fcntl
import json
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

from _processes import PATIENCE, put_down
from _requires import missing, require

import transport

HERE = Path(__file__).parent
MODULE = Path(transport.__file__).parent / "web" / "greenroom.js"


def node_with_packages() -> str:
    """Return the path of Node. If the packages of package.json are not in the folder of driver.mjs, install them there.

    Processes of one test run share the folder: the first one installs, and the others wait for it.
    """
    program = require("node")
    wanted = (HERE / "package.json").read_text()
    installed = HERE / "node_modules" / ".installed.json"
    with (HERE / ".installing.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.is_file() or installed.read_text() != wanted:
            npm = require("npm")
            install = subprocess.run(
                [npm, "install", "--no-package-lock", "--no-audit", "--no-fund"],
                cwd=HERE,
                capture_output=True,
                text=True,
                check=False,
            )
            if install.returncode:
                missing(f"npm cannot install the packages of package.json: {install.stderr.strip()[-200:]}")
            installed.write_text(wanted)
    return program


class Node:
    """A Node process that runs greenroom.js. The test controls its timers. See driver.mjs."""

    def __init__(self, program: str, url: str) -> None:
        self._process = subprocess.Popen(
            [program, str(HERE / "driver.mjs"), str(MODULE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
        )
        self._ids = count(1)
        self._url = url

    def run(self, js: str) -> Any:
        """Run the JavaScript ``js`` in the process, and return its result.

        In the script, ``url`` is the server's URL, and properties of ``kept`` last from call to call.
        """
        process, number = self._process, next(self._ids)
        assert process.stdin
        assert process.stdout
        print(json.dumps({"id": number, "js": f"const url = {self._url!r};\n{js}"}), file=process.stdin, flush=True)
        answer = json.loads(process.stdout.readline())
        assert answer["id"] == number
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def restart(self, url: str) -> None:
        """End all clients, and forget everything. The next clients connect to another URL."""
        self._url = url
        self.run("restart()")

    def connect(self, options: str = "", extra: str = "") -> None:
        """Make ``kept.client``: a client of the session s1. All its events are noted for :meth:`noted`."""
        self.run(f"kept.client = open(url, {{ session: 's1', {options} }}{', ' + extra if extra else ''})")

    def first(self, number: int, type_: str) -> list[Any]:
        """Wait until ``number`` events of the type ``type_`` were noted, and return their details."""
        found: list[Any] = self.run(f"return first({number}, {type_!r})")
        return found

    def seqs(self, number: int) -> list[int]:
        """Wait until ``number`` session events were noted, and return their seqs."""
        return [event["seq"] for event in self.first(number, "event")]

    def noted(self, type_: str) -> list[Any]:
        """Return the details of all events of the type ``type_`` that were noted so far."""
        found: list[Any] = self.run(f"return noted.filter(([type]) => type === {type_!r}).map(([, detail]) => detail)")
        return found

    def until(self, state: str) -> None:
        """Wait until the client has this state."""
        self.run(f"return until(kept.client, {state!r})")

    def advance(self, ms: float) -> None:
        """Advance the simulated clock of the process by ``ms``, so that timers fire."""
        self.run(f"advance({ms})")

    def reconnect(self) -> None:
        """Wait until the client notices its lost connection. Then advance the clock, so that the client reconnects."""
        self.until("waiting")
        self.advance(self.noted("state")[-1]["retryInMs"])

    def end(self) -> None:
        """End the Node process. A process that does not end by itself is a failure, and is killed."""
        assert self._process.stdin
        try:
            self._process.stdin.close()
            self._process.wait(PATIENCE)
        finally:
            put_down(self._process)
