"""Coordinated shutdown: named phases that run one after the other, each with a time limit.

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
"""Work of a phase: an async function without arguments."""


@attrs.frozen
class Phase:
    """A phase of the shutdown. The work registered for it runs concurrently, for at most ``seconds``."""

    name: str
    seconds: float = attrs.field(default=5.0)

    def __attrs_post_init__(self) -> None:
        """Raise SpecError unless the phase's name is a text and its time is a number of seconds."""
        if not isinstance(self.name, str) or not self.name:  # pyright: ignore[reportUnnecessaryIsInstance]  -- annotations are not enforced
            raise SpecError(f"name of a phase must be a text, not {shown(self.name)}")
        check_seconds(self.seconds, f"seconds of the phase {self.name!r}")


@attrs.frozen
class PhaseReport:
    """The result of one phase of the shutdown."""

    name: str
    """Name of the shutdown phase."""
    failures: tuple[BaseException, ...]
    """Exceptions of the work in this phase. A failure does not prevent the later phases."""
    timed_out: bool
    """Whether the phase did not finish: its time was up, or the shutdown was cancelled during the phase.

    Work that still runs at that moment is cancelled. When the time is up, shielded work has one second more.
    """


class RunningPhase:
    """A phase of the shutdown while it runs: its work and its failures."""

    __slots__ = ("_name", "_scope", "failures", "nursery", "phase", "timed_out")

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.failures: list[BaseException] = []
        self.timed_out = True  # stays so if the phase is cancelled from outside
        self.nursery: trio.Nursery | None = None
        """Nursery in which the work of the phase runs; None while no work can be added."""
        self._name = f"shutdown {phase.name}"
        self._scope = trio.CancelScope()

    async def run(self, works: Sequence[Work], enforcer: DeadlineEnforcer) -> None:
        """Run all work of the phase concurrently, within the time of the phase. More work can be added meanwhile."""
        self._scope.deadline = trio.current_time() + self.phase.seconds
        try:
            with self._scope:
                # The inner nursery ends when all work is done. The outer one has the task that awaits a cancellation.
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
        """Wait until the phase is cancelled, by its time limit or from outside.

        Then ask ``enforcer`` to cancel the shielded work one second later.
        """
        try:
            await trio.sleep_forever()
        finally:
            enforcer.at(self, trio.current_time() + GRACE)

    def force(self) -> None:
        """Cancel all work of the phase, shielded or not."""
        cancel_with_force(self._scope)

    def start(self, work: Work) -> None:
        """Start more work in the running phase. Raises RuntimeError if the phase is over."""
        if self.nursery is None or self._scope.cancel_called:
            raise RuntimeError(f"the phase {self.phase.name!r} is over: {shown(work)} would not run")
        self.nursery.start_soon(self._guard, work, name=self._name)

    async def _guard(self, work: Work) -> None:
        try:
            await work()
        except BaseException as raised:  # noqa: BLE001  -- an exit of one work is not to end the others
            # A Cancelled ends here too: the nursery knows by itself that the phase was cancelled.
            failure = own_failure(f"work of the phase {self.phase.name!r}", raised)
            if failure is not None:
                self._note(failure)

    def _note(self, failure: BaseException) -> None:
        log_failure(logger, "shutdown phase %s", self.phase.name, error=failure)
        self.failures.append(failure)


class CoordinatedShutdown:
    """The phases of one system's shutdown, and the work that is registered for each phase."""

    __slots__ = ("_phases", "_running", "_work", "reports")

    def __init__(self, phases: Sequence[Phase]) -> None:
        if not isinstance(phases, (list, tuple)):
            raise SpecError(f"phases must be a list or tuple of Phases, not {shown(phases)}")
        self._phases: tuple[Phase, ...] = tuple(phases)
        for phase in self._phases:
            check_kind("phases", phase, Phase, "Phases")
        self.reports: tuple[PhaseReport, ...] = ()
        """Results of the phases that are over."""
        self._work: dict[str, list[Work]] = {phase.name: [] for phase in self._phases}
        if len(self._work) != len(self._phases):
            raise SpecError(f"phases has a name twice: {[phase.name for phase in self._phases]}")
        self._running: RunningPhase | None = None

    def add(self, name: str, work: Work) -> None:
        """Register work for the phase ``name``. If this phase is running, start the work at once.

        Raises SpecError if there is no such phase or ``work`` cannot be called, RuntimeError if the phase is over.
        """
        if not isinstance(name, str) or name not in self._work:  # pyright: ignore[reportUnnecessaryIsInstance]  -- annotations are not enforced
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
        """Return whether ``task`` is work of the running phase, or was started in a nursery that this work opened."""
        own = None if self._running is None else self._running.nursery
        nursery = None if own is None else task.parent_nursery
        while nursery is not None and nursery is not own:
            nursery = nursery.parent_task.parent_nursery
        return nursery is not None

    async def run(self, enforcer: DeadlineEnforcer) -> None:
        """Run all phases in order.

        If this call is cancelled, the running phase ends. The next call continues with the next phase.
        """
        for phase in self._phases[len(self.reports) :]:
            self._running = running = RunningPhase(phase)
            try:
                await running.run(self._work[phase.name], enforcer)
            finally:
                self._running = None
                self.reports += (PhaseReport(phase.name, tuple(running.failures), running.timed_out),)

    def raise_exit(self) -> None:
        """Raise the first failure in the shutdown phases that is not an ``Exception``, such as SystemExit.

        Do nothing if there is no such failure.
        """
        for report in self.reports:
            for failure in report.failures:
                if not isinstance(failure, Exception):
                    raise failure
