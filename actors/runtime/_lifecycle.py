"""How an actor lives and ends, as values: exit reasons and states. Pure.

::

    starting ──▶ running ──▶ stopping ──▶ terminated
       │  ▲        │                          ▲
       │  └────────┼── restarting ◀───────────┤ (its supervisor decides)
       └───────────┴──────────────────────────┘
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from actors.failures import shown


@attrs.frozen
class Normal:
    """The actor ended because it was done."""


@attrs.frozen
class Shutdown:
    """The actor was asked to stop and did."""


@attrs.frozen
class Failure:
    """The actor ended with an exception."""

    exception: BaseException = attrs.field(repr=shown)


@attrs.frozen
class Killed:
    """The actor was ended without being asked, or did not stop in time.

    ``exception`` is what it raised on its way out, if anything: not why it ended, and no part of the comparison.
    """

    exception: BaseException | None = attrs.field(default=None, eq=False, repr=shown)


KILLED = Killed()

ExitReason: TypeAlias = Normal | Shutdown | Failure | Killed
"""Why an actor ended, as a value."""


class State(enum.StrEnum):
    """Where an actor is in its life."""

    STARTING = "starting"
    """Its ``started()`` has not returned yet."""
    RUNNING = "running"
    """It handles messages, or waits for one."""
    STOPPING = "stopping"
    """It refuses new messages and is on its way out."""
    RESTARTING = "restarting"
    """It has no incarnation at the moment; messages wait in its mailbox."""
    TERMINATED = "terminated"
    """It is gone for good."""


def is_graceful(reason: ExitReason) -> bool:
    """Whether the actor left on its own terms: Normal or Shutdown."""
    return isinstance(reason, (Normal, Shutdown))


@attrs.frozen
class Stop:
    """A stop that was asked for."""

    reason: ExitReason
    own: bool = attrs.field(default=False, kw_only=True)
    """Whether it was the actor's own wish; then its time begins when the message in hand is done."""
    drain: bool = False
    """Whether what is in the mailbox is handled first."""
    final: bool = True
    """Whether it is for good; else the mailbox stays open, and the supervisor decides what follows."""
    hold: bool = False
    """Whether the supervisor will say itself when the next incarnation begins."""

    def joined(self, later: Stop) -> Stop:
        """Return what holds when ``later`` comes on top. It can only hurry this one: a final stop stays final.

        A halt of its group lets a final stop drain on: what was promised to who asked for it stays promised.
        """
        final = self.final or later.final
        return Stop(
            later.reason if later.final and not self.final else self.reason,
            own=self.own and later.own,
            drain=self.drain and (later.drain or not later.final),
            final=final,
            hold=(self.hold or later.hold) and not final,
        )


STOP, DRAIN, KILL = Stop(Shutdown()), Stop(Shutdown(), drain=True), Stop(KILLED)
"""What is asked for from outside."""

HALT = Stop(Shutdown(), final=False, hold=True)
"""How a supervisor ends the incarnations of a group before it starts them again."""
