"""The restarts of the actors of a random run, and the rules for the limits of restarts.

A supervisor counts a restart at the moment at which it decides about it. A hook of the child tells this moment, if it
is called. Otherwise the moment is only known to lie between the end of one life and the start of the next: then a rule
counts as broken only if it is broken for each moment in between.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import attrs
import trio
from _runtime_records import GROUP_STRATEGIES, ROUNDING, ChildGroup, Counted, Life, Placement, leaf_errors

from actors import EventStream, Failure, RestartLimit, RestartLimitReached
from actors.runtime._lifecycle import is_graceful
from actors.runtime._ref import cell_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from actors import ActorRef, ActorSystem, ExitReason


@attrs.frozen
class GaveUp:
    """The moment at which a supervisor gave up."""

    event: RestartLimitReached
    ref: ActorRef | None
    """Handle of the supervisor; None for the root."""
    after: float
    """Time of the event, in seconds."""
    was_stopping: bool
    """Whether a stop of the supervisor had been asked for before. Its end is then that stop, and no failure."""


class GivingUp(EventStream[RestartLimitReached]):
    """A stream that records each event at the moment at which it is published. No task reads it."""

    def __init__(self, system: ActorSystem) -> None:
        super().__init__(system.events, RestartLimitReached)
        self.system = system
        self.seen: list[GaveUp] = []

    def deliver(self, event: object) -> None:
        assert isinstance(event, RestartLimitReached)
        ref = self.system.find(event.path)
        cell: Any = None if ref is None else cell_of(ref)
        was_stopping = cell is not None and cell.stop_asked is not None
        self.seen.append(GaveUp(event, ref, trio.current_time(), was_stopping))


def most_within(restarts: Sequence[Counted], seconds: float) -> int:
    """Return the highest number of restarts that were certainly counted within some period of this length."""
    return max(
        (
            sum(
                each.number
                for each in restarts
                if first.earliest <= each.earliest and each.latest < first.earliest + seconds - ROUNDING
            )
            for first in restarts
        ),
        default=0,
    )


@attrs.define(eq=False)
class RestartLedger:
    """The restarts of all actors, as they count against the limits."""

    check: Callable[[object, str], None]
    """Function that takes whether a rule holds, and the text of the fault if it does not."""
    own: defaultdict[ActorRef, list[Counted]] = attrs.field(factory=lambda: defaultdict(list))
    """Restarts of each actor with a limit of its own."""
    numbers: defaultdict[ActorRef, int] = attrs.field(factory=lambda: defaultdict(int))
    """Number of restarts of each actor until its last start."""

    def on_restarted(self, life: Life, before: Life, ref: ActorRef) -> None:
        """Record that an actor starts again, after the end of its life ``before``."""
        placement, number = life.placement, ref.statistics().restarts - self.numbers[ref]
        self.numbers[ref] += number
        if placement.group.strategy in GROUP_STRATEGIES:
            return  # most restarts of a member are caused by another
        earliest, latest = before.ended_after, trio.current_time()
        if before.decided_after is not None:
            earliest = before.decided_after
            latest = earliest if number == 1 else latest
        restarts = placement.group.restarts if placement.limit is None else self.own[ref]
        restarts.append(Counted(number, earliest, latest))

    # At the end

    def check_shared(self, group: ChildGroup) -> None:
        """Check that the supervisor did not restart its children more often than the limit that they share allows."""
        if group.is_single:
            number = most_within(group.restarts, group.max_seconds)
            text = f"{group.path} restarted its children more than {group.max_restarts} times: {number}"
            self.check(number <= group.max_restarts, text)

    def check_own(self, ref: ActorRef, placement: Placement) -> None:
        """Check that an actor was not restarted more often than its own limit allows."""
        if placement.limit is not None:
            most, seconds = placement.limit
            number = most_within(self.own[ref], seconds)
            self.check(number <= most, f"{ref.path} was restarted {number} times, more than its own limit {most}")

    def check_gave_up(
        self,
        reached: Iterable[GaveUp],
        lives: Mapping[ActorRef, list[Life]],
        reasons: Mapping[ActorRef, ExitReason],
    ) -> None:
        """Check that each supervisor that gave up had restarted enough before, and ended with a RestartLimit."""
        for moment in reached:
            event = moment.event
            placements = {lived[-1].placement for ref, lived in lives.items() if ref.path == event.child}
            # A child that is a supervisor reports nothing.
            is_right = any(self._may_give_up(each, moment, lives) for each in placements) or not placements
            self.check(is_right, f"{event.path} gave up too soon: {event}")
            has_ended = moment.ref is None or _has_ended(moment.ref, reasons[moment.ref], moment)
            self.check(has_ended, f"{event.path} gave up, and did not end by that: {event}")

    def _may_give_up(self, placement: Placement, moment: GaveUp, lives: Mapping[ActorRef, list[Life]]) -> bool:
        """Return whether a supervisor may have given up because of the child at this position."""
        event, group = moment.event, placement.group
        limit = event.max_restarts, event.max_seconds
        if placement.limit is None:
            is_too_often = limit == (group.max_restarts, group.max_seconds) and group.instances > group.max_restarts
            return is_too_often or not group.is_complete
        if limit != placement.limit:
            return False
        refs = [ref for ref, lived in lives.items() if lived[-1].placement is placement]
        if group.strategy in GROUP_STRATEGIES:
            return max(placement.instances, sum(ref.statistics().restarts + 1 for ref in refs)) > event.max_restarts
        since = moment.after - event.max_seconds - ROUNDING
        number = 0
        for ref in refs:  # all that the child had: one that was started by hand is a new actor
            number += sum(each.number for each in self.own[ref] if each.latest > since)
            number += ref.statistics().restarts - self.numbers[ref]  # the starts after these failed
        return number >= event.max_restarts


def _has_ended(ref: ActorRef, reason: ExitReason, moment: GaveUp) -> bool:
    """Return whether the life of a supervisor that gave up has ended by that, or by something harder."""
    life = ref.statistics().restarts + 1
    if life != moment.event.incarnation:
        return life > moment.event.incarnation
    if not isinstance(reason, Failure):
        return moment.was_stopping or not is_graceful(reason)
    limits = (each for each in leaf_errors(reason.exception) if isinstance(each, RestartLimit))
    return moment.was_stopping or any(each.path == ref.path for each in limits)
