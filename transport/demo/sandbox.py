"""``run_example``: run a short piece of Python apart from the server, for a limited time, and say what it printed.

A process of its own with ``-I`` (no user site, no ``PYTHON…`` variables), an empty environment, an empty folder and
limits on CPU time, memory, files and output. These limits stop accidents. They are no wall against malice: the
process has the server's user and its network, so a server for strangers runs examples in a container.
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
_SCRIPT = Path(__file__).with_name("sandboxed.py")


@attrs.frozen
class Outcome:
    """What became of an example.

    ``status`` is ``ok``, ``error`` (it raised, or a limit killed it, that of the output among them) or ``timeout``.
    """

    status: str
    output: str
    seconds: float

    def as_json(self) -> dict[str, JSON]:
        """As a tool's result."""
        return {"status": self.status, "output": self.output, "seconds": round(self.seconds, 3)}


async def run(code: str, seconds: float = SECONDS) -> Outcome:
    """Run ``code``; a session (``>>> …``) comes back with its prompts.

    An example that fails is an outcome, not an exception. The process and all that it started are gone when this
    returns or is cancelled. Raises OSError when no process can be started.
    """
    started = trio.current_time()
    output, exit_code = bytearray(), None
    with tempfile.TemporaryDirectory(prefix="greenroom-example-", ignore_cleanup_errors=True) as folder:
        with trio.move_on_after(seconds):
            exit_code = await _process(code, seconds, folder, output)
    text = output[:MAX_OUTPUT].decode("utf-8", "replace").replace(folder, ".")
    cut = CUT if len(output) > MAX_OUTPUT else ""
    status = "timeout" if exit_code is None else "error" if exit_code else "ok"
    return Outcome(status, text.rstrip() + cut, trio.current_time() - started)


async def run_example(code: str) -> dict[str, JSON]:
    """Run a short piece of Python: :func:`run` as a tool. The result has ``status``, ``output`` and ``seconds``."""
    return (await run(code)).as_json()


async def _process(code: str, seconds: float, folder: str, output: bytearray) -> int | None:
    """Run it to its end, or until it has written more than is kept; ``output`` has what came, also when cancelled."""
    command = [sys.executable, "-I", "-X", "utf8", "-u", str(_SCRIPT), str(int(seconds) + 1)]
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            command,
            stdin=code.encode("utf-8", "replace"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=folder,
            env=_environment(folder),
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
    """Until the example itself has ended; a child that it left behind may hold the pipe open for ever."""
    pipe = process.stdout
    if pipe is None:
        raise RuntimeError("the process has no output pipe")
    async with trio.open_nursery() as nursery:

        async def end() -> None:
            await process.wait()
            nursery.cancel_scope.deadline = trio.current_time() + 0.2

        nursery.start_soon(end)
        async for chunk in pipe:
            output += chunk
            if len(output) > MAX_OUTPUT:
                break
        nursery.cancel_scope.cancel()


async def _kill(process: trio.Process) -> None:
    _kill_group(process)


def _kill_group(process: trio.Process) -> None:
    """Kill the process and all that it started; those that are gone already are no error."""
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
    else:
        process.kill()


def _environment(folder: str) -> dict[str, str]:
    """Nothing of the server's: its keys are in there."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    return {"HOME": folder, "TMPDIR": folder, "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", **kept}
