"""The thread and the trio run that a system belongs to.

A call from another thread or trio run is refused. A task that calls the runtime in a loop must let other tasks run from
time to time.
"""

from __future__ import annotations

import itertools
from threading import get_ident

import trio

FAIR_CALLS = 64
"""Number of calls of the runtime after which a task that never has to wait lets other tasks run once."""


class Home:
    """The thread and the trio run of one system, with a counter of calls.

    The counter makes a busy task let other tasks run from time to time.
    """

    __slots__ = ("mark", "thread", "turns")

    def __init__(self) -> None:
        self.thread = get_ident()
        # One count for all tasks is enough: a task that passes no checkpoint is the only one that counts meanwhile.
        # ``next`` of an iterator in C is the cheapest way to count, and every tell counts.
        self.turns = itertools.cycle([*[False] * (FAIR_CALLS - 1), True])
        """Iterator of flags: ``next`` counts a call, and returns whether other tasks must run before the call."""
        self.mark: object | None = None
        """A new object, set by a pool that has compared mailboxes. None after any actor's load has become less."""

    def marked(self) -> object:
        """Return the mark. Set a new one if there is none."""
        if self.mark is None:
            self.mark = object()
        return self.mark

    def check(self) -> None:
        """Raise RuntimeError outside the trio run of the system, and after that run has ended.

        Every method that changes something calls this first.
        """
        if get_ident() != self.thread or not trio.lowlevel.in_trio_run():
            raise self.elsewhere()

    def is_turn_after(self) -> bool:
        """Count a call of an async function. Return whether the caller must let other tasks run first.

        Raises RuntimeError in another thread. Outside of trio, the async function fails by itself when it begins to
        wait.
        """
        if get_ident() != self.thread:
            raise self.elsewhere()
        return next(self.turns)

    @staticmethod
    def elsewhere() -> RuntimeError:
        """Return the error for a call from another thread or trio run."""
        return RuntimeError(
            "actors are used in the trio run of their system; in a thread, call by trio.from_thread.run or run_sync"
        )
