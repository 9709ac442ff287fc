"""Common to the subjects: the amounts, the clocks, and the command line. It loads no library.

``python -m actor_subjects.LIBRARY costs`` prints µs of CPU for each of

- ``tell``: a message put into the mailbox of an actor and handled,
- ``ask``: a message answered, before the next is sent,
- ``turn``: an actor spawned, stopped, and its end known, before the next is spawned,
- ``life``: the same, with one answered message in between;

``... many COUNT`` prints, for one of so many actors, ``spawn``: µs until all of them run; ``stop``: µs until all of
them have ended, told at once; ``bytes`` of memory when it was spawned, and ``used`` when it has answered.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, float]

TELLS, ASKS, TURNS = 50_000, 5_000, 2_000
BATCH = 64
"""Messages that a sender without back-pressure sends before it lets the receiver run: Greenroom's mailbox size."""


class Clock:
    """CPU seconds of all threads of this process since it was made. Other work of the machine is not included."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._began = time.process_time()

    def each(self) -> float:
        """Return the µs of one of ``count`` things."""
        return (time.process_time() - self._began) / self._count * 1e6


class Room:
    """Bytes of memory that this process gained since it was made."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._before = _resident()

    def each(self) -> float:
        """Return the bytes of one of ``count`` things."""
        return (_resident() - self._before) / self._count


def _resident() -> int:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(costs: Callable[[], Figures], many: Callable[[int], Figures]) -> None:
    """Run the measurement that the command line names, and print it as JSON."""
    print(json.dumps(costs() if sys.argv[1] == "costs" else many(int(sys.argv[2]))))
