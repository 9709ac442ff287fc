"""The actor system: the root of the tree of actors, and the nursery in which the tasks of top-level actors run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs
import trio

from actors.checks import check_count
from actors.errors import RestartLimit
from actors.loop.trio_internals import Protection
from actors.runtime._body import limits_in
from actors.runtime._children import Children
from actors.runtime._dead_letters import DeadLetter
from actors.runtime._deadlines import GRACE
from actors.runtime._lifecycle import KILL
from actors.runtime._shutdown import CoordinatedShutdown, Phase, PhaseReport
from actors.runtime._spawning import Spawner
from actors.runtime._spec import SupervisorSpec
from actors.runtime._supervisor import new_cell
from actors.runtime._tree import ActorTree
from actors.runtime.topics._supervision import FailureEscalated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from actors.backoff import Backoff
    from actors.runtime._body import Body
    from actors.runtime._dead_letters import DeadLetters
    from actors.runtime._lifecycle import ExitReason
    from actors.runtime._runtime import Runtime
    from actors.runtime._shutdown import Work


@attrs.frozen
class SystemStatistics:
    """The state of an actor system at one moment."""

    actors: int
    """Number of actors that have not ended, supervisors included."""
    dead_letters: int
    """Number of messages that were not handled, since the system was opened."""
    restarts: int = 0
    """Number of restarts of actors, since the system was opened."""
    crashes: int = 0
    """Number of times that an actor ended with an exception, since the system was opened. Not each was restarted."""


class ActorSystem(ActorTree, Spawner):
    """All actors of one :func:`open_system` block. It has no public constructor."""

    cell = None

    def __init__(self, nursery: trio.Nursery, phases: CoordinatedShutdown, spec: SupervisorSpec) -> None:
        super().__init__()
        self.nursery = nursery
        """Nursery of the runtime itself. Tasks of an actor belong in ``actor.nursery`` instead."""
        self.limit: RestartLimit | None = None
        """RestartLimit with which the system ends; None as long as no RestartLimit has reached the root."""
        self._phases = phases
        self._going_down = self._is_down = False
        self._shutdown = trio.Lock()
        self._root = Children(self, self, spec, new_cell, keeps=False)

    def dead_letters(self, size: int = 256) -> DeadLetters:
        """Return a stream of the messages that are not handled: ``with system.dead_letters() as letters: async for …``.

        The stream holds at most ``size`` messages. It is ``system.events.subscribe(DeadLetter, buffer=size)``.
        """
        check_count(size, 1, "size of a stream of dead letters")
        return self.events.subscribe(DeadLetter, buffer=size)

    def on_shutdown(self, phase: str, work: Work) -> None:
        """Register ``work`` for a phase of the shutdown. If the phase is running, start the work at once.

        Args:
            phase: Name of the phase.
            work: Async function without arguments.

        Raises:
            SpecError: There is no such phase, or ``work`` cannot be called.
            RuntimeError: The phase is over.
        """
        self.home.check()
        self._phases.add(phase, work)

    async def shutdown(self) -> tuple[PhaseReport, ...]:
        """Run the shutdown phases one after the other. Then stop every actor, the last started first.

        A failure in a phase does not prevent the later phases. The shutdown happens once, at the end of the
        :func:`open_system` block at the latest. Later calls wait for it.

        Returns:
            A report of each phase.

        Raises:
            RuntimeError: The caller is the task of an actor, or the work of a phase: the caller would wait for its own
                end. The shutdown has not begun.

        Cancellation:
            The running phase is ended. The next call, or the end of the ``open_system`` block, continues with the next
            phase.
        """
        self._check_not_own_shutdown()
        self._going_down = True
        async with self._shutdown:
            if not self._is_down:
                await self._phases.run(self.enforcer)
                await self.stop_actors()
                self._is_down = True
        return self._phases.reports

    def _check_not_own_shutdown(self) -> None:
        self.home.check()
        task = trio.lowlevel.current_task()
        if self._phases.is_running_in(task):
            raise RuntimeError("the work of a phase waits for the shutdown, which waits for that work")
        for cell in self._root.descendants():
            if cell.task is task:
                raise RuntimeError(f"{cell.path} waits for the shutdown, which waits for its end; use context.stop()")

    def statistics(self) -> SystemStatistics:
        """Return the current statistics of the system."""
        return SystemStatistics(self.living, self.office.count, self.restarts, self.crashes.total)

    # For the runtime itself

    @property
    def _runtime(self) -> Runtime:
        return self

    def _family(self) -> Children:
        return self._root

    async def stop_actors(self) -> None:
        """Stop every actor, the last started first. Afterwards no actor can be started."""
        await self._root.stop_all()

    # As the parent of top-level actors

    takes_children = True
    """Whether an actor can be started. Always True: after the root was stopped, its table of children refuses it."""

    def open_child_nursery(self) -> trio.Nursery:
        """Return the nursery in which the tasks of top-level actors run."""
        return self.nursery

    def leave(self, reason: ExitReason) -> None:
        """Do nothing. Only the end of a significant child could ask the root to end, and the root has no such child."""

    def crash(self, failure: Exception) -> None:
        """Stop every actor, and end the system with ``failure``. If this is called again, the first failure counts."""
        if self.limit is None and isinstance(failure, RestartLimit):
            self.limit = failure
            if self.supervision.exists:
                self.events.deliver(FailureEscalated(self.path, 1, "", failure))
            self.nursery.start_soon(self._give_up, name="giving up")

    def on_child_ended(self, child: Body, reason: ExitReason) -> None:
        """End the system if a top-level actor exceeded its limit of restarts: no supervisor is there to restart it."""
        for each in limits_in(reason):
            if each.path == child.path and each in self.limits:
                self.crash(each)

    async def _give_up(self) -> None:
        await self.stop_actors()
        self.nursery.cancel_scope.cancel()

    async def end_by_force(self) -> None:
        """End every actor after a cancellation from outside. One second later, shielded work is cancelled too."""
        self.nursery.cancel_scope.cancel()
        with trio.move_on_after(GRACE):
            # An actor that cleans up may still start another one, which is cancelled from its first step on.
            while cells := self._root.cells():
                for cell in cells:
                    await cell.gone()
        self._root.close()
        cells = self._root.cells()
        for cell in cells:
            cell.stop_soon(KILL, 0.0)
        for cell in cells:
            await cell.gone()


@contextlib.asynccontextmanager
async def open_system(
    phases: Sequence[Phase] = (), *, max_restarts: int = 3, max_seconds: float = 5.0, backoff: Backoff | None = None
) -> AsyncGenerator[ActorSystem]:
    """Open an actor system. Leaving the ``async with`` block runs the ``phases``, then stops every actor.

    Args:
        phases: The phases of the shutdown.
        max_restarts: Maximum number of restarts of top-level actors within ``max_seconds``. One more ends the system.
        max_seconds: Length of that period, in seconds.
        backoff: Growing delay before each restart of a top-level actor that has no backoff of its own.

    Raises:
        RestartLimit: Top-level actors failed too often, or a top-level actor or supervisor exceeded its own limit.
            Every actor is stopped, then the block is cancelled.
        SpecError: ``phases`` is no list of Phases with different names, or another argument is invalid.
        SystemExit: The work of a phase raised this, or KeyboardInterrupt or a similar exception. The exception is
            raised when the shutdown is complete.

    Cancellation:
        All actors are cancelled at the same time. Shielded work has one second more. If actors raise exceptions
        meanwhile, the block raises them in a group.
    """
    registry = CoordinatedShutdown(phases)
    spec = SupervisorSpec(max_restarts=max_restarts, max_seconds=max_seconds, backoff=backoff)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        system = ActorSystem(nursery, registry, spec)
        protection = Protection()
        trio.lowlevel.add_instrument(protection)
        nursery.start_soon(system.enforcer.run, name="enforcer")
        try:
            try:
                yield system
            except Exception as error:  # noqa: BLE001  -- raised again below, when the actors are gone
                failure = error
            await system.shutdown()
            await system.stop_actors()
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await system.end_by_force()
            if not system.raised:
                raise
            raise BaseExceptionGroup("actors failed when everything was cancelled", [error, *system.raised]) from None
        finally:
            system.enforcer.close()
            system.events.close()
            trio.lowlevel.remove_instrument(protection)
    _raise_failure(system.limit, failure)
    registry.raise_exit()


def _raise_failure(limit: RestartLimit | None, failure: Exception | None) -> None:
    """Raise the RestartLimit of the system, the exception of its block, or both as a group."""
    if limit is not None and failure is not None:
        raise ExceptionGroup("the block failed, and the actors gave up", [failure, limit])
    if limit is not None:
        raise limit
    if failure is not None:
        raise failure
