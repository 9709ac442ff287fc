"""Coordinated shutdown: named phases, one after the other, each with a time limit.

After Pekko's ``CoordinatedShutdown``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

from actors.checks import check_kind, check_seconds
from actors.errors import SpecError
from actors.failures import log_failure, log_line, shown
from actors.loop.trio_internals import cancel_with_force
from actors.runtime._deadlines import GRACE, own_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from actors.runtime._deadlines import DeadlineEnforcer

logger = logging.getLogger("actors")

Work: TypeAlias = "Callable[[], Awaitable[object]]"
"""What is to be done in a phase."""


@attrs.frozen
class Phase:
    """A phase of the shutdown: what is registered for it runs at once, for at most ``seconds``."""

    name: str
    seconds: float = attrs.field(default=5.0)

    def __attrs_post_init__(self) -> None:
        """Raise SpecError for what is no name, and for what is no time."""
        if not isinstance(self.name, str) or not self.name:  # pyright: ignore[reportUnnecessaryIsInstance]  -- annotations bind nobody
            raise SpecError(f"name of a phase must be a text, not {shown(self.name)}")
        check_seconds(self.seconds, f"seconds of the phase {self.name!r}")


@attrs.frozen
class PhaseReport:
    """What became of a phase."""

    name: str
    """The phase."""
    failures: tuple[BaseException, ...]
    """What its work raised; the phases after it ran all the same."""
    timed_out: bool
    """Whether its time was up, or the shutdown was cancelled in it; what still ran was cancelled.

    When its time is up, what shields itself has a second more.
    """


class Running:
    """The phase that runs: its work, and what came of it."""

    __slots__ = ("_name", "_scope", "failures", "nursery", "phase", "timed_out")

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.failures: list[BaseException] = []
        self.timed_out = True
        self.nursery: trio.Nursery | None = None
        """Where its work is, while more can be added."""
        self._name = f"shutdown {phase.name}"
        self._scope = trio.CancelScope()

    async def run(self, works: Sequence[Work], enforcer: DeadlineEnforcer) -> None:
        """Do all work at once, and what is added meanwhile, within the time of the phase."""
        self._scope.deadline = trio.current_time() + self.phase.seconds
        try:
            with self._scope:
                async with trio.open_nursery() as around:
                    around.start_soon(self._announce_end, enforcer)
                    async with trio.open_nursery() as self.nursery:
                        for work in works:
                            self.nursery.start_soon(self._guard, work, name=self._name)
                    around.cancel_scope.cancel()
        finally:
            self.nursery = None
            enforcer.withdraw(self)
        self.timed_out = self._scope.cancelled_caught
        if self.timed_out:
            log_line(
                logger, logging.ERROR, "shutdown phase %s was not done within %g s", self.phase.name, self.phase.seconds
            )

    async def _announce_end(self, enforcer: DeadlineEnforcer) -> None:
        """Have what shields itself ended a second after the phase was cancelled: by its time, or from outside."""
        try:
            await trio.sleep_forever()
        finally:
            enforcer.at(self, trio.current_time() + GRACE)

    def force(self) -> None:
        """Cancel all work, shielded or not."""
        cancel_with_force(self._scope)

    def start(self, work: Work) -> None:
        """Do more work. Raises RuntimeError when the phase takes no more."""
        if self.nursery is None or self._scope.cancel_called:
            raise RuntimeError(f"the phase {self.phase.name!r} is over: {shown(work)} would not run")
        self.nursery.start_soon(self._guard, work, name=self._name)

    async def _guard(self, work: Work) -> None:
        try:
            await work()
        except BaseException as raised:  # noqa: BLE001  -- one work that exits is not to end the others
            # A Cancelled too ends here: that the phase was cancelled, its nursery knows by itself.
            failure = own_failure(f"work of the phase {self.phase.name!r}", raised)
            if failure is not None:
                self._note(failure)

    def _note(self, failure: BaseException) -> None:
        log_failure(logger, "shutdown phase %s", self.phase.name, error=failure)
        self.failures.append(failure)


class CoordinatedShutdown:
    """The phases of one system and what is registered for each."""

    __slots__ = ("_phases", "_running", "_work", "reports")

    def __init__(self, phases: Sequence[Phase]) -> None:
        if not isinstance(phases, (list, tuple)):
            raise SpecError(f"phases must be a list or tuple of Phases, not {shown(phases)}")
        self._phases: tuple[Phase, ...] = tuple(phases)
        for phase in self._phases:
            check_kind("phases", phase, Phase, "Phases")
        self.reports: tuple[PhaseReport, ...] = ()
        """What became of the phases that are over."""
        self._work: dict[str, list[Work]] = {phase.name: [] for phase in self._phases}
        if len(self._work) != len(self._phases):
            raise SpecError(f"phases has a name twice: {[phase.name for phase in self._phases]}")
        self._running: Running | None = None

    def add(self, name: str, work: Work) -> None:
        """Register work, or start it when its phase runs.

        Raises SpecError for a phase that does not exist and for what cannot be called, RuntimeError for a phase that is
        over.
        """
        if not isinstance(name, str) or name not in self._work:  # pyright: ignore[reportUnnecessaryIsInstance]  -- annotations bind nobody
            raise SpecError(f"there is no phase {shown(name)}: the phases are {list(self._work)}")
        if not callable(work):
            raise SpecError(f"work for the phase {name!r} must be an async function, not {shown(work)}")
        if self._running is not None and self._running.phase.name == name:
            self._running.start(work)
        elif any(report.name == name for report in self.reports):
            raise RuntimeError(f"the phase {name!r} is over: {shown(work)} would not run")
        else:
            self._work[name].append(work)

    def is_running_in(self, task: trio.lowlevel.Task) -> bool:
        """Whether the task is work of the phase that runs, or was started by it in a nursery of its own."""
        own = None if self._running is None else self._running.nursery
        nursery = None if own is None else task.parent_nursery
        while nursery is not None and nursery is not own:
            nursery = nursery.parent_task.parent_nursery
        return nursery is not None

    async def run(self, enforcer: DeadlineEnforcer) -> None:
        """Run all phases in order. Cancelled: the phase that runs is over; the next call goes on after it."""
        for phase in self._phases[len(self.reports) :]:
            self._running = running = Running(phase)
            try:
                await running.run(self._work[phase.name], enforcer)
            finally:
                self._running = None
                self.reports += (PhaseReport(phase.name, tuple(running.failures), running.timed_out),)

    def raise_exit(self) -> None:
        """Raise the first SystemExit, KeyboardInterrupt and the like that work raised."""
        for report in self.reports:
            for failure in report.failures:
                if not isinstance(failure, Exception):
                    raise failure
