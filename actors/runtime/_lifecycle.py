"""Exit reasons, states and stop requests of an actor, as values. Pure.

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
    """The actor ended because its work was done."""


@attrs.frozen
class Shutdown:
    """The actor was asked to stop, and did."""


@attrs.frozen
class Failure:
    """The actor ended with an exception."""

    exception: BaseException = attrs.field(repr=shown)


@attrs.frozen
class Killed:
    """The actor was ended without being asked, or did not stop in time.

    ``exception`` is the exception that the actor raised while it was ended, if any. It is not the reason of the end,
    and two Killed are equal whatever their exceptions are.
    """

    exception: BaseException | None = attrs.field(default=None, eq=False, repr=shown)


KILLED = Killed()

ExitReason: TypeAlias = Normal | Shutdown | Failure | Killed
"""Reason for which an actor ended."""


class State(enum.StrEnum):
    """The stage of its life that an actor is in."""

    STARTING = "starting"
    """Its ``started()`` has not returned yet."""
    RUNNING = "running"
    """It handles messages, or waits for one."""
    STOPPING = "stopping"
    """It refuses new messages and is about to end."""
    RESTARTING = "restarting"
    """It has no incarnation at the moment; messages wait in its mailbox."""
    TERMINATED = "terminated"
    """It has ended for good."""


def is_graceful(reason: ExitReason) -> bool:
    """Return whether the actor ended without a failure or a kill: Normal or Shutdown."""
    return isinstance(reason, (Normal, Shutdown))


@attrs.frozen
class Stop:
    """A request to stop an actor."""

    reason: ExitReason
    own: bool = attrs.field(default=False, kw_only=True)
    """Whether the actor asked for it itself. Then its time begins when the current message has been handled."""
    drain: bool = False
    """Whether the messages in the mailbox are handled first."""
    final: bool = True
    """Whether it is for good. If not, the mailbox stays open, and the supervisor decides about the next incarnation."""
    hold: bool = False
    """Whether the next incarnation waits until the supervisor begins it."""

    def joined(self, later: Stop) -> Stop:
        """Return the stop that is in force when ``later`` is asked for too. A final stop stays final.

        A later stop can only hurry this one. A halt of the actor's group does not end the draining of a final stop:
        the caller of that stop was promised that the messages are handled.
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
"""The stops that are asked for from outside."""

HALT = Stop(Shutdown(), final=False, hold=True)
"""The stop by which a supervisor ends the incarnations of a group before it begins new ones."""
