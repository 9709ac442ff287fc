"""``run_example``: run a short piece of Python apart from the server, for a limited time.

The code runs in a process of its own with ``-I`` (no user site, no ``PYTHON…`` variables), an empty environment, an
empty folder, and limits on CPU time, memory, files and output. The limits stop accidents, not attacks: the process has
the user and the network of the server. A server for strangers runs examples in a container.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from actors import JSON

SECONDS = 5.0
MAX_OUTPUT = 8_000
CUT = "\n… (output cut)"
_PIPE_SECONDS = 0.2
"""Time limit to read the rest of the output after the example ended: its child process may keep the pipe open."""
_SCRIPT = Path(__file__).with_name("sandboxed.py")


@attrs.frozen
class Outcome:
    """The outcome of an example.

    ``status`` is ``ok``, ``timeout`` or ``error``: the example raised, or exceeded a limit (of output, for example).
    """

    status: str
    output: str
    seconds: float


async def run(code: str, seconds: float = SECONDS) -> Outcome:
    """Run ``code`` and return its outcome. The output of a session (``>>> …``) has its prompts.

    An example that fails is an outcome, not an exception. Raises OSError if no process can be started.

    Cancellation:
        The process and all processes that it started are killed.
    """
    started = trio.current_time()
    output, exit_code = bytearray(), None
    with tempfile.TemporaryDirectory(prefix="greenroom-example-", ignore_cleanup_errors=True) as folder:
        with trio.move_on_after(seconds):
            exit_code = await _run_process(code, seconds, folder, output)
    text = output[:MAX_OUTPUT].decode("utf-8", "replace").replace(folder, ".")
    cut = CUT if len(output) > MAX_OUTPUT else ""
    status = "timeout" if exit_code is None else "error" if exit_code else "ok"
    return Outcome(status, text.rstrip() + cut, trio.current_time() - started)


async def run_example(code: str) -> dict[str, JSON]:
    """Run a short piece of Python: :func:`run` as a tool. The result has ``status``, ``output`` and ``seconds``."""
    outcome = await run(code)
    return {"status": outcome.status, "output": outcome.output, "seconds": round(outcome.seconds, 3)}


async def _run_process(code: str, seconds: float, folder: str, output: bytearray) -> int | None:
    """Run the process until it ends or its output is too long. Store the output in ``output``, also when cancelled."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}  # Windows needs it
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            [sys.executable, "-I", "-X", "utf8", "-u", str(_SCRIPT), str(int(seconds) + 1)],
            stdin=code.encode("utf-8", "replace"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=folder,
            # Nothing of the server's environment: its keys are in there.
            env={"HOME": folder, "TMPDIR": folder, "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", **kept},
            start_new_session=True,
            deliver_cancel=_kill,
        )
        process: trio.Process = await nursery.start(start)
        try:
            await _read(process, output)
        finally:
            _kill_group(process)
    return process.returncode


async def _read(process: trio.Process, output: bytearray) -> None:
    """Read the output until the example itself has ended, or the output is too long."""
    pipe = process.stdout
    if pipe is None:
        raise RuntimeError("the process has no output pipe")
    async with trio.open_nursery() as nursery:

        async def limit_reading() -> None:
            await process.wait()
            nursery.cancel_scope.deadline = trio.current_time() + _PIPE_SECONDS

        nursery.start_soon(limit_reading)
        async for chunk in pipe:
            output += chunk
            if len(output) > MAX_OUTPUT:
                break
        nursery.cancel_scope.cancel()


async def _kill(process: trio.Process) -> None:
    _kill_group(process)


def _kill_group(process: trio.Process) -> None:
    """Kill the process and all processes that it started, if they are still there."""
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
    else:
        process.kill()
