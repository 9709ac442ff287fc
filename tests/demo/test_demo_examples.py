"""The hand-written example sessions."""

from __future__ import annotations

import pytest

from transport.demo.answer import shows_something
from transport.demo.index import SESSIONS
from transport.demo.sandbox import run

TOGETHER = 16
"""Number of sessions that run in one process: a process for each would take most of their time."""


@pytest.mark.parametrize(
    ("output", "shows"),
    [
        (">>> f()", False),
        (">>> f()\n<f object at 0x7f00>", False),
        (">>> f()\n3", True),
        (">>> if x:\n...     y\n...", False),
        ("", False),
    ],
)
def test_shows_something(output: str, *, shows: bool) -> None:
    """An output is worth showing if it has more than prompts and lines of code, and no address of an object."""
    assert shows_something(output) is shows


@pytest.mark.parametrize("start", range(0, len(SESSIONS), TOGETHER))
async def test_sessions_run(start: int) -> None:
    """Each hand-written example runs in an empty folder of its own, and its output shows a result."""
    symbols = [*SESSIONS][start : start + TOGETHER]
    heading = ">>> import os, tempfile; os.chdir(tempfile.mkdtemp(dir=os.environ['HOME'])); print('=== {}')\n"
    outcome = await run("".join(heading.format(symbol) + SESSIONS[symbol] for symbol in symbols))
    assert outcome.status == "ok", outcome.output
    shown = [part.partition("\n") for part in outcome.output.split("\n=== ")[1:]]
    assert [symbol for symbol, _, output in shown if shows_something(output)] == symbols
