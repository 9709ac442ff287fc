"""``greenroom serve --reload``: the server is started again when a file has changed, and clients resume."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import trio
from _processes import started

from actors import AgentOutput
from transport import Reset, connect
from transport.cli import main
from transport.cli._reloading import difference, files_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from transport import Client

APP = """
from actors import Run
from transport import Greenroom
from words import WORD

app = Greenroom()

@app.agent
async def speak(run: Run) -> None:
    await run.output(WORD)
"""
SECONDS = 120.0
QUIETLY = ("--port", "0", "--http-port", "0", "--set", "loop_stall_seconds=60")


def test_files(tmp_path: Path) -> None:
    """Python files and the settings below the folder count, but not those of hidden folders and environments."""
    for name in (
        "app.py",
        "notes.txt",
        "greenroom.toml",
        "inner/part.py",
        ".git/x.py",
        "env/lib/y.py",
        "__pycache__/z.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    old = files_of(tmp_path)
    assert set(old) == {"app.py", "greenroom.toml", "inner/part.py"}
    assert difference(old, old) == ""
    (tmp_path / "inner" / "part.py").write_text("longer")
    assert difference(old, files_of(tmp_path)) == "inner/part.py"
    (tmp_path / "app.py").unlink()
    assert difference(old, files_of(tmp_path)) == "app.py and 1 more"


def reader_of(stream: object) -> Callable[[str], str]:
    """Return a function that returns the next line of a stream that contains a text."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:  # type: ignore[attr-defined]  # a text stream
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()

    def until(text: str) -> str:
        seen: list[str] = []
        while text not in (line := lines.get(timeout=SECONDS)):
            seen.append(line)
            assert line, f"no {text!r} in {seen}"
        return line

    return until


async def spoken(client: Client) -> str:
    """Run the agent, and return the next word that comes."""
    await client.start("speak")
    async for event in client.events():
        assert not isinstance(event, Reset)
        if isinstance(event, AgentOutput):
            return event.text
    raise AssertionError


async def test_reloading_server(tmp_path: Path) -> None:
    """A change starts the server again at the same port, and a connected client resumes and gets what is new.

    A fault in the file is shown and waited for: the next change starts the server. SIGTERM ends both processes.
    """
    words = tmp_path / "words.py"
    (tmp_path / "app.py").write_text(APP)
    words.write_text("WORD = 'one'\n")
    command = [sys.executable, "-m", "transport", "serve", "app:app", "--reload", *QUIETLY]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with trio.fail_after(SECONDS), started(command, cwd=tmp_path, env=os.environ, **pipes) as server:
        told = reader_of(server.stderr)
        assert server.stdout is not None
        ready, url, _ = (await trio.to_thread.run_sync(server.stdout.readline)).split()
        assert ready == "ready"
        async with connect(url, session="s1") as client:
            assert await spoken(client) == "one"
            words.write_text("WORD = (\n")
            await trio.to_thread.run_sync(told, "words.py changed: starting again")
            await trio.to_thread.run_sync(told, "SyntaxError")
            await trio.to_thread.run_sync(told, "waiting for a change of a file")
            words.write_text("WORD = 'two'\n")
            await trio.to_thread.run_sync(told, "the server is ready again")
            assert await spoken(client) == "two"
        server.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(server.wait) == 0


def test_several_processes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """``--reload`` runs one process."""
    assert main(["serve", "app:app", "--reload", "--workers", "2"]) == 2
    assert capsys.readouterr().err == "greenroom: --reload is for one process: leave out --workers\n"
