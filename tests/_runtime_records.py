"""The records of a random run: its exceptions, messages, children and lives."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio

from actors import (
    ActorRestarted,
    ActorTerminated,
    AskTimeout,
    DeathPact,
    Failure,
    Killed,
    MailboxFull,
    MessageUnhandled,
    ReplyDropped,
    Restart,
    SpecError,
    Strategy,
    Undelivered,
)
from actors.errors import ActorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import ActorRef, ExitReason

GROUP_STRATEGIES = frozenset({Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE})
ROUNDING = 1e-6
"""Seconds by which a sum of times may be wrong, because floats are not exact."""
STOP_SLACK = 3.0
"""Seconds after the timeout of a stop in which the actor must end: one of grace, and one for each new shield."""
REFUSAL_TEXTS = (
    "asks itself",
    "tells itself",
    "has started, which waits for",
    "waits for the end of",
    "waits for its own end",
    "sets no timers",
    "has no nursery",
    "no message in hand",
    "cancelled the scope of its own nursery",
)
"""Texts of RuntimeErrors that the runtime may raise in a random run."""
LAST_PLACE = math.inf
"""Position of a child that is not in the spec of its supervisor: after all children of the spec."""


class RandomError(Exception):
    """The usual exception of random actors."""


class RandomExit(SystemExit):
    """A SystemExit, which random actors raise sometimes."""


def related_errors(error: object) -> Iterator[BaseException]:
    """Return an exception with its causes, its group members, and the exceptions in its exit reason."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if isinstance(each, (Failure, Killed)):
            waiting.append(each.exception)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        if isinstance(each, ActorTerminated):
            waiting.append(each.reason)


def leaf_errors(error: BaseException) -> Iterator[BaseException]:
    """Return the exceptions in a group and in its inner groups. If the exception is no group, return it alone."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaf_errors(each)
    else:
        yield error


def is_expected(error: BaseException) -> bool:
    """Return whether an actor may end with this exception in a random run."""
    if isinstance(error, RuntimeError):
        return any(text in str(error) for text in REFUSAL_TEXTS)
    if isinstance(error, (DeathPact, SpecError)):
        return False
    return isinstance(error, (RandomError, RandomExit, ActorError))


@attrs.define(eq=False)
class Letter:
    """One message, sent by ``tell`` or ``ask``, with its history."""

    number: int
    to: ActorRef
    sender: trio.lowlevel.Task
    is_ask: bool
    sent_after_stop: bool
    """Whether the target actor had been stopped permanently before the message was sent."""
    error: BaseException | None = None
    answer: object = None
    times_begun: int = 0
    stashed: int = 0
    handled: int = 0
    unhandled: int = 0
    stashed_by: tuple[Life, int] | None = None
    """The Life of the actor that stashed the message last, and the number of its unstash calls before that."""
    place: int = 0
    """Position of the message among the stashed ones: the number of events before it was stashed."""
    deferred: bool = False
    forwards: int = 0
    """Number of times that an actor passed the message on to another actor."""
    streamed: bool = False
    """Whether an actor answers in several parts."""
    takes_parts: bool = False
    """Whether the sender takes the answer in parts."""
    by_timer: bool = False
    """Whether a timer of the sender sends the message, if the sender lives so long."""


@attrs.frozen(eq=False)
class Answer:
    """The reply to one message."""

    letter: Letter


@attrs.frozen
class Counted:
    """Restarts that a supervisor counted between the end of one life of an actor and the start of the next."""

    number: int
    """Number of restarts. It is more than one if instances of the actor could not be made."""
    earliest: float
    latest: float
    """Times between which they were counted, in seconds."""


@attrs.define(eq=False)
class ChildGroup:
    """The record of the children of a supervisor's spec, or of one life of an actor (between two restarts)."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 3
    max_seconds: float = 5.0
    is_single: bool = True
    """Whether the supervisor is never restarted. Only then the restart limit can be checked."""
    is_complete: bool = True
    """Whether all children in the group report their starts. Supervisors do not report them."""
    is_spec: bool = False
    """Whether the children are those of a supervisor's spec."""
    path: str = ""
    instances: int = 0
    restarts: list[Counted] = attrs.field(factory=list["Counted"])
    """Restarts of children that share the limit of the group."""
    down: set[Placement] = attrs.field(factory=set["Placement"])
    """Children that ended and may be restarted with their group."""
    first: int = 0
    """Time at which the first child in ``down`` ended, as a number of events."""
    actors: Counter[Placement] = attrs.field(factory=Counter["Placement"])
    """Number of actors that each position of the group had.

    It is more than one after a child was started again by hand.
    """

    @property
    def is_empty(self) -> bool:
        """Whether the group never had a child."""
        return self.is_complete and not self.instances


@attrs.frozen(eq=False)
class Placement:
    """The position of one child in its group."""

    group: ChildGroup
    restart: Restart
    place: float = LAST_PLACE
    limit: tuple[int, float] | None = None
    """The child's own limit of restarts: their number, and its period in seconds. None: it shares that of its group."""
    made: list[None] = attrs.field(factory=list[None])
    """An entry for each instance of the child."""

    @property
    def instances(self) -> int:
        """Number of instances of the child that were made."""
        return len(self.made)


@attrs.define(eq=False)
class Life:
    """One incarnation of an actor (its life between two restarts), as the methods of the actor see it."""

    placement: Placement
    group: ChildGroup = attrs.field(factory=ChildGroup)
    """Record of the actor's own children."""
    ref: ActorRef | None = None
    is_closing: bool = False
    """Whether ``before_restart()`` was called."""
    decided_after: float | None = None
    """Time of the decision to restart the actor, in seconds; None if it is not known."""
    up_at: int = 0
    """Time at which the actor came up, as a number of events; 0 if it never came up."""
    ended_at: int = 0
    """Time at which the actor's nursery was closed, as a number of events."""
    ended_after: float = -math.inf
    """Time at which the actor's nursery was closed, in seconds."""
    stopped_itself: bool = False
    """Whether the actor called ``context.stop()``."""
    stopping_returned: bool = False
    """Whether the actor's ``stopping()`` returned."""
    failed: bool = False
    cancelled_itself: bool = False
    """Whether the actor cancelled its own nursery. That is a failure, unless the actor ended before it noticed."""
    was_killed: bool = False
    unstashed: int = 0
    """Number of the actor's unstash calls."""
    stop_reason: ExitReason | None = None
    is_busy: bool = False
    watching: set[ActorRef] = attrs.field(factory=set["ActorRef"])


def is_consistent_tell(letter: Letter, dead: list[Undelivered]) -> bool:
    """Return whether an accepted tell came to one end (handled or a dead letter), and a refused tell to none."""
    if letter.error is not None:
        return not letter.times_begun and not dead
    ends = letter.handled + len(dead)
    return ends == 1 or (letter.by_timer and not ends and not letter.times_begun)


def is_consistent_ask(letter: Letter, dead: list[Undelivered]) -> bool:
    """Return whether the history of an ask agrees with the answer or the error that its sender got."""
    if letter.error is None:
        answer = letter.answer
        was_cut_off = letter.streamed and dead in ([], [Undelivered.FAILED])  # after the part that is the answer
        is_complete = letter.handled == 1 and not dead
        return isinstance(answer, Answer) and answer.letter is letter and (is_complete or was_cut_off)
    lost = [] if letter.deferred else [Undelivered.FAILED]
    was_in_hand = letter.times_begun > letter.stashed + letter.forwards
    match letter.error:
        case MessageUnhandled():
            is_right = dead == [Undelivered.UNHANDLED]
        case MailboxFull():
            is_right = not was_in_hand and dead in ([], [Undelivered.OVERFLOW])
        case ActorRestarted():
            is_right = was_in_hand and dead == lost
        case ActorTerminated() if was_in_hand:
            is_right = dead == lost
        case ActorTerminated():
            is_right = dead == [Undelivered.TERMINATED] or not (dead or letter.stashed or letter.forwards)
        case ReplyDropped():
            is_right = (letter.deferred or letter.streamed) and not dead
        case AskTimeout() | trio.Cancelled():
            # A sender that takes parts need not be waiting for one when the actor ends.
            is_right = dead in ([], [Undelivered.FAILED]) or (letter.takes_parts and dead == [Undelivered.TERMINATED])
        case _:
            is_right = not letter.times_begun and not dead
    return is_right
