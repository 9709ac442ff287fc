"""``greenroom serve --reload``: the parent, which starts the server again when a file of the app has changed."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

from transport.server.listening import Listeners
from transport.workers._process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from transport.workers._process import Addresses
    from transport.workers.launch import Launch

    Files: TypeAlias = Mapping[str, tuple[int, int]]

POLL_SECONDS = 0.4
"""Interval in seconds at which the files are looked at."""
SETTLE_SECONDS = 0.1
"""Time in seconds without a further change after which the server is started again: editors write several files."""
ENDING_SECONDS = 10.0
"""Maximum time in seconds that the old server has to end. After it, it is killed."""
NUMBER = 0
"""The number of the only process among the workers: its lines have no prefix."""
_ENDINGS = (".py", "greenroom.toml")
_OTHERS = {"__pycache__", "node_modules", "site-packages"}
"""Names of folders with files that are not the app's own. Hidden folders and virtual environments are not, either."""


def files_of(folder: Path) -> Files:
    """Return the Python files and the settings below a folder: the time of the last change and the size of each.

    Files that vanish meanwhile are left out.
    """
    found: dict[str, tuple[int, int]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _is_own(Path(place, name))]
        for name in names:
            if name.endswith(_ENDINGS):
                path = Path(place, name)
                try:
                    status = path.stat()
                except OSError:
                    continue
                found[str(path.relative_to(folder))] = status.st_mtime_ns, status.st_size
    return found


def _is_own(folder: Path) -> bool:
    return not folder.name.startswith(".") and folder.name not in _OTHERS and not (folder / "pyvenv.cfg").exists()


def difference(old: Files, new: Files) -> str:
    """Return the name of a file that has changed, and the number of others. Return "" if none has."""
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{changed[0]}{more}" if changed else ""


@attrs.define(eq=False)
class Reloader:
    """The parent of a server that is started again after each change of a file.

    Args:
        launch_at: Returns how the server is started. It gets the addresses of the first one that was ready, or None.
        say: Called with each line for the person at the terminal.
        on_ready: Called with the addresses when the server accepts connections for the first time.
    """

    _launch_at: Callable[[Addresses | None], Launch]
    _say: Callable[[str], None]
    _on_ready: Callable[[Addresses], None]
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _changed: str = attrs.field(default="", init=False)
    """The files that have changed since the last start."""
    _signal: signal.Signals | None = attrs.field(default=None, init=False)
    _process: WorkerProcess | None = attrs.field(default=None, init=False)
    _addresses: Addresses | None = attrs.field(default=None, init=False)

    async def run(self, signals: AsyncIterator[int]) -> int:
        """Run the server until a signal comes. Return its exit status.

        A second signal kills the server, and then this process, at once.
        """
        status = 0
        async with trio.open_nursery() as nursery:
            folder = Path(self._launch_at(None).folder)
            nursery.start_soon(self._watch, folder, await trio.to_thread.run_sync(files_of, folder))
            nursery.start_soon(self._heed, signals)
            while self._signal is None:
                self._changed = ""
                status = await self._serve()
                if self._signal is None and not self._changed:
                    self._say(f"the server has ended (status {status}): waiting for a change of a file")
                    await self._until(lambda: bool(self._changed) or self._signal is not None)
                if self._signal is None:
                    self._say(f"{self._changed} changed: starting again")
            nursery.cancel_scope.cancel()
        return max(status, 0)

    async def _serve(self) -> int:
        """Run one process of the server to its end. Return its exit status."""
        process = self._process = await WorkerProcess.start(
            NUMBER, self._launch_at(self._addresses), Listeners(), ENDING_SECONDS
        )
        status: list[int] = []
        with closing(process):
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    status.append(await process.wait())
                    nursery.cancel_scope.cancel()

                nursery.start_soon(wait)
                nursery.start_soon(self._note_ready, process)
                await self._until(lambda: bool(self._changed) or self._signal is not None)
                process.send_signal(self._signal or signal.SIGTERM)
                if self._signal is None:
                    await trio.sleep(ENDING_SECONDS)
                    process.send_signal(signal.SIGKILL)
                await trio.sleep_forever()
        self._process = None
        return status[0]

    async def _note_ready(self, process: WorkerProcess) -> None:
        if await process.until_ready() and process.addresses is not None:
            if self._addresses is not None:
                self._say("the server is ready again")
            else:
                self._addresses = process.addresses
                self._on_ready(process.addresses)

    async def _heed(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if self._signal is not None:
                if self._process is not None:
                    self._process.send_signal(signal.SIGKILL)
                # As a server without a parent ends: by the signal itself.
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self._signal = signal.Signals(number)
            self._notify()

    async def _watch(self, folder: Path, known: Files) -> None:
        while True:
            await trio.sleep(POLL_SECONDS)
            now = await trio.to_thread.run_sync(files_of, folder)
            if not difference(known, now):
                continue
            while True:
                await trio.sleep(SETTLE_SECONDS)
                settled, now = now, await trio.to_thread.run_sync(files_of, folder)
                if settled == now:
                    break
            self._changed = difference(known, now) or self._changed
            known = now
            self._notify()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._news.wait()

    def _notify(self) -> None:
        self._news.set()
        self._news = trio.Event()


async def serve_again(
    launch_at: Callable[[Addresses | None], Launch], say: Callable[[str], None], on_ready: Callable[[Addresses], None]
) -> int:
    """Run a server, and start it again after each change of a file, until SIGTERM or SIGINT. Return its exit status.

    For the arguments see :class:`Reloader`.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        return await Reloader(launch_at, say, on_ready).run(signals)
