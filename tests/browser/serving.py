"""A server in its own process. It can be killed and started again on the same ports and log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from _ports import held_port, number_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class ServerProcess:
    """A process that runs ``greenroom demo``, or ``greenroom serve`` with an app of the folder ``apps``."""

    def __init__(self, folder: Path, *command: str, apps: Path = HERE, cache: Path | None = None) -> None:
        self._command = command
        self._apps = apps
        self._cache = cache or folder / "cache"
        self._folder = folder
        self._holders = (held_port(), held_port())
        self.start()

    def start(self) -> None:
        """Start the process, always on the same ports. Return when it accepts connections on both ports."""
        ws, http = map(str, map(number_of, self._holders))
        command = [sys.executable, "-m", "transport", *self._command]
        self._process = subprocess.Popen(
            [*command, "--port", ws, "--http-port", http, "--log", f"sqlite:{self._folder / 'log.db'}"],
            cwd=self._apps,
            env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self._cache)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        ready, self.ws_url, self.url = self._process.stdout.readline().split()
        assert ready == "ready"

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def kill(self) -> None:
        """Kill the process. Its ports stay reserved, so that it can be started again."""
        self._process.send_signal(signal.SIGKILL)
        self.status()

    def stop(self) -> None:
        """Stop the process with SIGTERM if it still runs, and release its ports.

        A failed test can leave a run that never ends. SIGKILL ends a process that still waits for it after the drain.
        """
        if self._process.poll() is None:
            self.ask_to_stop()
        try:
            self.status()
        finally:
            self.kill()
            for holder in self._holders:
                holder.close()

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process, and do not wait for its end."""
        self._process.send_signal(signal.SIGTERM)

    def status(self) -> int:
        """Wait until the process has ended, and return its exit status. A drain takes up to 30 s."""
        assert self._process.stdout
        self._process.stdout.close()
        return self._process.wait(60)
