"""The events by which a system tells of the starts, failures, restarts and ends of its actors. Pure.

Published without a topic, like every event. None is made if there is no subscriber for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.failures import shown

if TYPE_CHECKING:
    from actors.runtime._lifecycle import ExitReason


@attrs.frozen
class SupervisionEvent:
    """The base class of all events about actors and their supervisors. Subscribe to it to receive all of them."""

    path: str
    """Path of the actor in the tree."""
    incarnation: int
    """Number of the actor's life: 1 from its first start on, and 1 more after each restart."""


@attrs.frozen
class ChildStarted(SupervisionEvent):
    """An actor was spawned, and its ``started()`` has returned."""


@attrs.frozen
class ChildRestarted(SupervisionEvent):
    """An actor was restarted, and ``started()`` of its new incarnation has returned."""


@attrs.frozen
class ChildFailed(SupervisionEvent):
    """An incarnation of an actor has ended with an exception, perhaps before it was up, or was killed.

    A ChildRestarted or ChildStopped follows, unless the first start of the actor failed.
    """

    exception: BaseException | None = attrs.field(repr=shown)
    """The exception; None if the actor was killed."""
    reference: str = ""
    """The number by which the log names this failure. Empty if it is not logged: a kill, or a start that raised."""


@attrs.frozen
class ChildStopped(SupervisionEvent):
    """An actor that had been up has ended permanently: it is not restarted."""

    reason: ExitReason
    """Exit reason of the actor."""


@attrs.frozen
class RestartLimitReached(SupervisionEvent):
    """A supervisor gives up: one more restart would exceed its limit. It ends with all its children."""

    child: str
    """Path of the child that failed once more."""
    max_restarts: int
    """Maximum number of restarts of the children within ``max_seconds``."""
    max_seconds: float
    """Length of the period in seconds."""


@attrs.frozen
class FailureEscalated(SupervisionEvent):
    """A supervisor that gave up has ended, so that the next supervisor above decides."""

    to: str
    """Path of the actor that decides now: ``/`` is the system. Empty if the system itself ends."""
    exception: BaseException = attrs.field(repr=shown)
    """The RestartLimit with which the supervisor ended."""
