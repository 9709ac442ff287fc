"""The times in the life of a node, all derived from ``lease_seconds``, and the clock that they are measured with. Pure.

::

    0            1/4          1/2          3/4           1            5/4          3/2     leases after the last beat
    beat         beat due     deaf         suspended     buried by others at the earliest  at the latest
"""

from __future__ import annotations

import time

import attrs

LOOKS = 3
"""Minimum number of looks at an unchanged node before it is buried.

*A paused observer that looked once before and once after its pause would have buried all nodes that were paused with
it.*
"""


@attrs.frozen
class NodeTimes:
    """The times in the life of a node, in seconds."""

    lease: float
    """Time without a beat after which another node may bury this one."""

    @property
    def beat(self) -> float:
        """Interval between the beats of a node."""
        return self.lease / 4

    @property
    def sure(self) -> float:
        """Time from the sending of an answered beat for which a node is sure of not being buried.

        The quarter that is left of the lease is for work that cannot stop at once, such as a tool.
        """
        return self.lease * 3 / 4

    @property
    def deaf(self) -> float:
        """Time without any message, even from itself, after which a node takes its channel of the bus for deaf."""
        return self.lease / 2

    @property
    def between_looks(self) -> float:
        """Longest time between two looks of one observation. After a longer one the observation starts anew."""
        return self.beat * 2


def boot_time() -> float:
    """Return the time since the machine was started, in seconds.

    It counts on while the machine sleeps, and is never set. Each node measures only with its own clock.
    """
    # macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC counts while the machine sleeps.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
