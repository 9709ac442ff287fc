"""The client of the command line, websocat: a line on stdin is a message, and a message is a line on stdout."""

from __future__ import annotations

import subprocess

from _processes import PATIENCE, put_down


class OfWebsocat:
    """A connection of websocat, with a process of its own."""

    agreed: tuple[str | None, str] = ("greenroom.v1", "")  # it does not say

    def __init__(self, program: str, url: str) -> None:
        # Beyond its buffer it would cut a message. It ends as soon as one side has ended.
        # The round trip of each ping is a line on stderr.
        options = ["--ping-interval", "1", "--print-ping-rtts"]
        options += ["--text", "--exit-on-eof", "--buffer-size", "1000000", "--protocol", "greenroom.v1"]
        options += ["--close-status-code", "4000", "--close-reason", "done"]
        self._process = subprocess.Popen(
            [program, *options, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def send(self, message: str | bytes) -> None:
        assert isinstance(message, str), "websocat --text sends text"
        print(message, file=self._stdin, flush=True)

    def receive(self) -> str:
        return self._stdout.readline()

    def ping(self) -> None:
        assert self._process.stderr
        assert "RTT" in self._process.stderr.readline()

    def close(self, code: int, reason: str) -> None:
        assert (code, reason) == (4000, "done"), "websocat is told at its start"
        self._stdin.close()
        self._wait()

    def ended(self) -> tuple[int, str]:
        if not self._stdin.closed:
            while self._stdout.readline():
                pass
            self._wait()
        return (0, "")

    def _wait(self) -> None:
        try:
            self._process.wait(PATIENCE)
        finally:
            put_down(self._process)


class Websocat:
    """The client of the command line, websocat."""

    sees_the_answer = False

    def __init__(self, program: str) -> None:
        self._program = program

    def connect(self, url: str) -> OfWebsocat:
        return OfWebsocat(self._program, url)
