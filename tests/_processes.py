"""Programs that tests start. Each is killed at the end of its block, also if the test fails, and its pipes are closed.

*A process or a pipe that a failed test leaves behind would make a later test fail, of another file even.*
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 60.0
"""Seconds that something may take which should happen at once. It takes longer only if it never happens."""


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program inside the block. The options are those of ``subprocess.Popen``, and its pipes have text."""
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        put_down(process)


def put_down(process: subprocess.Popen[Any]) -> None:
    """Kill a process if it still runs, wait for its end, and close its pipes."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):  # something was not yet read by the process
                stream.close()
