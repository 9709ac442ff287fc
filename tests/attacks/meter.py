"""Measures of an attack that are the same on a slow machine: turns of the loop, calls of the server, resources."""

from __future__ import annotations

import gc
import logging
import os
import sys
import tracemalloc
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
import trio_websocket
import wsproto

import actors
import transport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_PARTS = (actors, transport, trio_websocket, wsproto)
_NAMES = tuple(module.__name__ for module in _PARTS)
_FOLDERS = tuple(str(module.__file__).removesuffix("__init__.py") for module in _PARTS)
_STORED = ("streams", "eventlog", "sessions/_command")
"""Rooms of events and remembered commands. Their number is limited elsewhere, and differs from attack to attack."""
_STORED_FILES = tuple(f"{_FOLDERS[0]}{room}" for room in _STORED)
# A count of refusals is kept for a minute: one for each reason, whatever the number of attackers.
_STORED_NAMES = (
    *(f"{_NAMES[0]}.{room.replace('/', '.')}" for room in _STORED),
    "transport.server._refusals._Count",
)


class Meter(trio.abc.Instrument):
    """A trio instrument that counts the turns of the event loop, and the server's calls in one turn of one task."""

    def __init__(self) -> None:
        self.turns = self.calls = self.most_calls = self._before = 0
        self._waiting: tuple[int, trio.lowlevel.Task] | None = None

    def after_io_wait(self, timeout: float) -> None:
        self.turns += 1
        if self._waiting is not None and self.turns >= self._waiting[0]:
            self.wake()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._before = self.calls

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.most_calls = max(self.most_calls, self.calls - self._before)

    def note(self, frame: FrameType, event: str, arg: Any) -> None:
        """Count a call of the server's code. This is the function of a profiler."""
        if (event == "call" or event == "c_call") and frame.f_code.co_filename.startswith(_FOLDERS):  # noqa: PLR1714 - faster, and called for each call
            self.calls += 1

    async def pass_turns(self, number: int) -> None:
        """Wait until the loop has taken so many turns, or until :meth:`wake`. The wait itself causes no turn."""

        def forget(_: Any) -> trio.lowlevel.Abort:
            self._waiting = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting = (self.turns + number, trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(forget)

    def wake(self) -> None:
        """End the wait of the task in :meth:`pass_turns`."""
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting[1])
            self._waiting = None


@contextmanager
def metered() -> Iterator[Meter]:
    """Count turns and calls inside the block."""
    meter = Meter()
    trio.lowlevel.add_instrument(meter)
    sys.setprofile(meter.note)
    try:
        yield meter
    finally:
        sys.setprofile(None)
        trio.lowlevel.remove_instrument(meter)


@attrs.frozen
class Held:
    """The resources of this process."""

    tasks: int
    files: int
    objects: Counter[str]
    """Number of the server's objects, by class."""
    memory: int
    """Number of bytes that the server's code and the WebSocket library asked for. What it has stored is not counted."""

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        traces = tracemalloc.take_snapshot().traces
        names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
        places = ((each.size, each.traceback[0].filename) for each in traces)
        return cls(
            trio.lowlevel.current_statistics().tasks_living,
            len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names are enough
            Counter(name for name in names if name.startswith(_NAMES) and not name.startswith(_STORED_NAMES)),
            sum(size for size, place in places if place.startswith(_FOLDERS) and not place.startswith(_STORED_FILES)),
        )


class Errors(logging.Handler):
    """The lines of the log that are errors, or have a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.lines.append(record.getMessage())
