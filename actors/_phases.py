"""Coordinated shutdown: named phases, one after the other, each with a time limit.

After Pekko's ``CoordinatedShutdown``.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

from actors._cancelling import GRACE, cancel_with_force
from actors._spec import check_seconds
from actors.errors import SpecError
from actors.failures import log_failure, shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

logger = logging.getLogger("actors")

Work: TypeAlias = "Callable[[], Awaitable[object]]"
"""What is to be done in a phase."""


@attrs.frozen
class Phase:
    """A phase of the shutdown: what is registered for it runs at once, for at most ``seconds``."""

    name: str
    seconds: float = attrs.field(default=5.0)

    def __attrs_post_init__(self) -> None:
        """Raise SpecError for what is no time."""
        check_seconds(self.seconds, f"seconds of the phase {self.name!r}")


@attrs.frozen
class PhaseReport:
    """What became of a phase."""

    name: str
    """The phase."""
    failures: tuple[Exception, ...]
    """What its work raised; the phases after it ran all the same."""
    timed_out: bool
    """Whether its time was up, or the shutdown was cancelled in it; what still ran was cancelled.

    When its time is up, what shields itself has a second more.
    """


class Phases:
    """The phases of one system and what is registered for each."""

    __slots__ = ("_phases", "_work", "reports")

    def __init__(self, phases: Sequence[Phase]) -> None:
        self._phases = tuple(phases)
        self.reports: tuple[PhaseReport, ...] = ()
        """What became of the phases that are over."""
        self._work: dict[str, list[Work]] = {phase.name: [] for phase in phases}
        if len(self._work) != len(self._phases):
            raise SpecError(f"phases has a name twice: {[phase.name for phase in phases]}")

    def add(self, phase: str, work: Work) -> None:
        """Register work; raises SpecError for a phase that does not exist."""
        if phase not in self._work:
            raise SpecError(f"there is no phase {shown(phase)}: the phases are {list(self._work)}")
        self._work[phase].append(work)

    async def run(self) -> None:
        """Run all phases in order. Cancelled: the phase that runs is over; the next call goes on after it."""
        for phase in self._phases[len(self.reports) :]:
            failures: list[Exception] = []
            timed_out = True
            try:
                timed_out = await self._run_one(phase, failures)
            finally:
                self.reports += (PhaseReport(phase.name, tuple(failures), timed_out),)

    async def _run_one(self, phase: Phase, failures: list[Exception]) -> bool:
        async with trio.open_nursery() as guard:
            with trio.move_on_after(phase.seconds) as scope:
                if phase.seconds < math.inf:
                    guard.start_soon(_force, scope, phase.seconds + GRACE)
                async with trio.open_nursery() as nursery:
                    for work in self._work[phase.name]:
                        nursery.start_soon(_guarded, phase, work, failures, name=f"shutdown {phase.name}")
            guard.cancel_scope.cancel()
        if scope.cancelled_caught:
            logger.error("shutdown phase %s was not done within %g s", phase.name, phase.seconds)
        return scope.cancelled_caught


async def _force(scope: trio.CancelScope, seconds: float) -> None:
    """End what shields itself from the time limit, as often as it takes."""
    while True:
        await trio.sleep(seconds)
        cancel_with_force(scope)
        seconds = GRACE


async def _guarded(phase: Phase, work: Work, failures: list[Exception]) -> None:
    try:
        await work()
    except Exception as failure:  # noqa: BLE001 - logged with its traceback
        log_failure(logger, "shutdown phase %s", phase.name, error=failure)
        failures.append(failure)
