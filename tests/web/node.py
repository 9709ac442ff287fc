"""greenroom.js in a Node process, driven from the test."""

from __future__ import annotations

import json
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import transport

HERE = Path(__file__).parent
MODULE = Path(transport.__file__).parent / "web" / "greenroom.js"
PATIENCE = 10.0
"""Seconds that a test waits for something that should happen at once."""


class Node:
    """A Node process with greenroom.js, whose timers the test controls. See driver.mjs."""

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
        """Run ``js`` and return what it returns. ``url`` is the server's; ``kept`` lasts from call to call."""
        process, number = self._process, next(self._ids)
        assert process.stdin
        assert process.stdout
        print(json.dumps({"id": number, "js": f"const url = {self._url!r};\n{js}"}), file=process.stdin, flush=True)
        answer = json.loads(process.stdout.readline())
        assert answer["id"] == number
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def connect(self, options: str = "", extra: str = "") -> None:
        """Make ``kept.client``, a client of session s1 whose events are all noted."""
        self.run(f"kept.client = open(url, {{ session: 's1', {options} }}{', ' + extra if extra else ''})")

    def first(self, number: int, type_: str) -> list[Any]:
        """Wait for the first ``number`` details noted under ``type_``, and return them."""
        found: list[Any] = self.run(f"return first({number}, {type_!r})")
        return found

    def seqs(self, number: int) -> list[int]:
        """Wait for the first ``number`` events, and return their seqs."""
        return [event["seq"] for event in self.first(number, "event")]

    def noted(self, type_: str) -> list[Any]:
        """Return all details noted under ``type_`` so far."""
        found: list[Any] = self.run(f"return noted.filter(([type]) => type === {type_!r}).map(([, detail]) => detail)")
        return found

    def until(self, state: str) -> None:
        """Wait until the client is in that state."""
        self.run(f"return until(kept.client, {state!r})")

    def advance(self, ms: float) -> None:
        """Let ``ms`` of the client's time pass."""
        self.run(f"advance({ms})")

    def reconnect(self) -> None:
        """Wait until the client notices the lost connection, and let time pass until its next attempt."""
        self.until("waiting")
        self.advance(self.noted("state")[-1]["retryInMs"])

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        assert self._process.stdout
        self._process.stdout.close()
