"""``run_example``: run a short piece of untrusted Python, which reaches nothing of the server.

The code runs in namespaces of its own, without rights and with limits (see ``sandboxed.py``). That needs Linux, and a
system that lets this user make namespaces. On any other machine no code runs, and the outcome says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from transport.demo.sandboxed import HOME, NO_SANDBOX

if TYPE_CHECKING:
    from actors import JSON

SECONDS = 5.0
MAX_OUTPUT = 8_000
CUT = "\n… (output cut)"
NOT_RUN = "examples are not run here"
"""The status of an example that was not run because this machine lacks a part of the sandbox."""
_KILL_SECONDS = 2.0
_PYTHON = str(Path(sys.executable).resolve())  # that of a virtual environment is a link
SCRIPT = Path(__file__).with_name("sandboxed.py")
_ENVIRONMENT = {"HOME": HOME, "TMPDIR": HOME, "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1"}
PLACES = trio.CapacityLimiter(2)
"""The limit on the number of examples that run at the same time, for all users together. A further example waits."""


@attrs.frozen
class Outcome:
    """The outcome of an example.

    ``status`` is ``ok``, ``timeout``, ``error`` or ``NOT_RUN``. With ``error``, the example raised an exception or
    exceeded a limit. With ``NOT_RUN``, ``output`` says why the example was not run.
    """

    status: str
    output: str
    seconds: float


async def run(code: str, seconds: float = SECONDS) -> Outcome:
    """Run ``code`` and return its outcome. If ``code`` is a session (``>>> …``), the output has its prompts too.

    If the example fails, its outcome says so, and no exception is raised. Raises OSError if no process can be started.

    Cancellation:
        All processes of the example are killed. No process is left when this function ends.
    """
    if sys.platform != "linux":
        return Outcome(NOT_RUN, f"{NOT_RUN}: this machine offers no sandbox: it needs Linux", 0.0)
    output, exit_code = bytearray(), None
    async with PLACES:
        started = trio.current_time()
        with trio.move_on_after(seconds):
            exit_code = await _run_process(code.encode("utf-8", "replace"), seconds, output)
    text = output[:MAX_OUTPUT].decode("utf-8", "replace").rstrip() + (CUT if len(output) > MAX_OUTPUT else "")
    took = trio.current_time() - started
    if exit_code == NO_SANDBOX:
        return Outcome(NOT_RUN, f"{NOT_RUN}: {text}", took)
    return Outcome("timeout" if exit_code is None else "error" if exit_code else "ok", text, took)


async def run_example(code: str) -> dict[str, JSON]:
    """Run a short piece of Python in the sandbox. The result has ``status``, ``output`` and ``seconds``."""
    outcome = await run(code)
    return {"status": outcome.status, "output": outcome.output, "seconds": round(outcome.seconds, 3)}


async def _run_process(code: bytes, seconds: float, output: bytearray) -> int:
    """Run the sandbox's script until it ends or prints too much. Add its output to ``output``, also when cancelled."""
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            [_PYTHON, "-I", "-S", "-X", "utf8", "-u", str(SCRIPT), str(int(seconds) + 1), str(len(code))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd="/",
            env=_ENVIRONMENT,  # nothing of the server's environment: its keys are in there
            start_new_session=True,
            deliver_cancel=_end,
        )
        process: trio.Process = await nursery.start(start)
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        async with process.stdin, process.stdout:
            with suppress(trio.BrokenResourceError):  # it ended before it read its input: its output says why
                await process.stdin.send_all(code)
            async for chunk in process.stdout:
                output += chunk
                if len(output) > MAX_OUTPUT:
                    nursery.start_soon(_end, process)
                    break
            await process.wait()
    return process.returncode or 0


async def _end(process: trio.Process) -> None:
    """End an example: close the input of the sandbox's script, which then kills the example.

    If the script has not ended after ``_KILL_SECONDS``, kill the script too.
    """
    if process.stdin is not None:
        await process.stdin.aclose()
    with trio.move_on_after(_KILL_SECONDS):
        await process.wait()
        return
    os.killpg(process.pid, signal.SIGKILL)
