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
    """The exit reason of an actor that ended because its work was done."""


@attrs.frozen
class Shutdown:
    """The exit reason of an actor that was asked to stop, and stopped in time."""


@attrs.frozen
class Failure:
    """The exit reason of an actor that ended with an exception."""

    exception: BaseException = attrs.field(repr=shown)


@attrs.frozen
class Killed:
    """The exit reason of an actor that was ended by force: it was killed, or did not stop in time.

    ``exception`` is the exception that the actor raised while it was ended, if any. This exception is not the reason of
    the end: two Killed objects are equal even if their exceptions differ.
    """

    exception: BaseException | None = attrs.field(default=None, eq=False, repr=shown)


KILLED = Killed()

ExitReason: TypeAlias = Normal | Shutdown | Failure | Killed
"""Reason for which an actor ended."""


class State(enum.StrEnum):
    """The state of an actor, between its first start and its permanent end."""

    STARTING = "starting"
    """The actor's ``started()`` has not returned yet."""
    RUNNING = "running"
    """The actor handles messages, or waits for a message."""
    STOPPING = "stopping"
    """The actor refuses new messages and is ending."""
    RESTARTING = "restarting"
    """The actor has ended and waits for its restart. Messages wait in its mailbox."""
    TERMINATED = "terminated"
    """The actor has ended permanently: it is not restarted."""


def is_graceful(reason: ExitReason) -> bool:
    """Return whether ``reason`` is Normal or Shutdown: the actor ended without a failure or a kill."""
    return isinstance(reason, (Normal, Shutdown))


@attrs.frozen
class Stop:
    """A request to stop an actor."""

    reason: ExitReason
    own: bool = attrs.field(default=False, kw_only=True)
    """Whether the actor asked for its own stop. If so, the time limit begins after the current message."""
    drain: bool = False
    """Whether the actor handles the messages that are in its mailbox before it stops."""
    final: bool = True
    """Whether the actor must not be restarted.

    If this is False, the mailbox stays open, and the supervisor decides whether the actor is restarted.
    """
    hold: bool = False
    """Whether the actor must wait, after this stop, until its supervisor starts it again."""

    def joined(self, later: Stop) -> Stop:
        """Return the stop that applies when ``later`` is requested after this stop. A final stop stays final.

        A later stop can make this stop faster, not slower. A halt (the stop before the restart of a group) does not end
        the draining of a final stop: the caller of the final stop was promised that the waiting messages are handled.
        """
        final = self.final or later.final
        # Draining ends only if a final stop without draining comes.
        return Stop(
            later.reason if later.final and not self.final else self.reason,
            own=self.own and later.own,
            drain=self.drain and (later.drain or not later.final),
            final=final,
            hold=(self.hold or later.hold) and not final,
        )


STOP, DRAIN, KILL = Stop(Shutdown()), Stop(Shutdown(), drain=True), Stop(KILLED)
"""The stops that other code requests: after the current message, after all waiting messages, or by force."""

HALT = Stop(Shutdown(), final=False, hold=True)
"""The stop of each member of a group before the supervisor restarts the group."""
