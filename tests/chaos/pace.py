"""The pace of the machine during a chaos test: the time in which the process of the test could not act."""

from __future__ import annotations

import attrs
import trio

TICK = 0.05
"""Seconds between two looks at the clock."""


@attrs.define(eq=False)
class Lateness:
    """The time by which the loop of this process was late, while :meth:`watch` runs.

    All clients, and the links between nodes and Valkey, are tasks of this loop. While it is late, no client sends or
    reads, and no byte passes a link. *On two cores that other programs used as well, the last client worked again
    15.1 s after the last harm, and nothing showed whether a node or the machine had taken that time.*
    """

    seconds: float = 0.0
    """The sum, in seconds."""

    async def watch(self) -> None:
        """Add up lateness until cancelled."""
        while True:
            due = trio.current_time() + TICK
            with trio.move_on_at(due):
                await trio.sleep_forever()
            self.seconds += trio.current_time() - due
