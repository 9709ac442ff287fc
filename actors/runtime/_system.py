"""The system: the root of the tree, and the nursery in which the tasks of top-level actors live."""

from __future__ import annotations

import contextlib
import functools
import itertools
import weakref
from typing import TYPE_CHECKING, cast

import attrs
import trio

from actors.checks import check_kind
from actors.errors import RestartLimit
from actors.failures import is_a, members
from actors.loop.trio_internals import Protection
from actors.runtime._children import Children
from actors.runtime._dead_letters import DeadLetterOffice, DeadLetters
from actors.runtime._deadlines import GRACE, DeadlineEnforcer
from actors.runtime._home import Home
from actors.runtime._lifecycle import KILL, Failure
from actors.runtime._restart import Restart
from actors.runtime._shutdown import CoordinatedShutdown, Phase, PhaseReport
from actors.runtime._spec import ChildSpec, MailboxSpec, Overflow, SupervisorSpec, mailbox_spec
from actors.runtime._supervisor import SupervisorRef, body
from actors.runtime._tree import TreeNode, tree_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from actors.runtime._actor import Actor
    from actors.runtime._cell import Cell
    from actors.runtime._incarnation import Incarnation
    from actors.runtime._lifecycle import ExitReason
    from actors.runtime._ref import ActorRef
    from actors.runtime._shutdown import Work


FAIR_SPAWNS = 64
"""A task that only spawns lets others run once in so many actors."""


@attrs.frozen
class SystemStatistics:
    """How a system stands."""

    actors: int
    """Actors that have not ended, supervisors among them."""
    dead_letters: int
    """Messages that nobody handled, since the system was opened."""


class ActorSystem:
    """All actors of one :func:`open_system`; has no public constructor."""

    path = "/"
    cell = None

    def __init__(self, nursery: trio.Nursery, phases: CoordinatedShutdown) -> None:
        self.nursery = nursery
        """The runtime's own; an actor's tasks belong into ``actor.nursery``."""
        self.limit: RestartLimit | None = None
        """Why it gave up, if it did."""
        self.limits: weakref.WeakSet[RestartLimit] = weakref.WeakSet()
        """Raised by supervisors of this system. One of another system is a failure like others, whatever its path."""
        self.raised: list[BaseException] = []
        """What actors raised when everything was cancelled: nobody else will hear of it."""
        self.office = DeadLetterOffice()
        self.home = Home()
        self.token = trio.lowlevel.current_trio_token()
        """For what happens outside the tasks of trio, such as an object that Python frees."""
        self.enforcer = DeadlineEnforcer()
        """Ends what does not end in time."""
        self.living = 0
        self._spawned = 0
        self.body = body
        """Makes the cells of children."""
        self._numbers = itertools.count(1)
        self._phases = phases
        self._going_down = self._is_down = False
        self._shutdown = trio.Lock()
        self._root = Children(self, self, SupervisorSpec(), keeps=False)

    async def spawn(  # noqa: PLR0913  -- one keyword per documented option
        self,
        factory: Callable[..., Actor],
        *args: object,
        name: str | None = None,
        restart: Restart = Restart.TEMPORARY,
        shutdown: float | None = None,
        mailbox_size: int = 64,
        overflow: Overflow = Overflow.WAIT,
        stash_size: int = 64,
    ) -> ActorRef:
        """Start an actor at the top of the tree; return when its ``started()`` has.

        ``factory(*args)`` makes each of its incarnations. ``shutdown`` is how many seconds it has for stopping
        (default 5; 0 is a brutal kill). More than 3 restarts of top-level actors within 5 s end the system with
        RestartLimit.

        Raises what ``factory`` or ``started()`` raised, NameTaken, SpecError. When it raises, or is cancelled, nothing
        of the actor is left.
        """
        if self.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        mailbox = mailbox_spec(mailbox_size, overflow, stash_size)
        return await self._root.start(self.child_spec(factory, args, name, restart, shutdown, mailbox))

    async def supervise(
        self, spec: SupervisorSpec, name: str | None = None, *, restart: Restart = Restart.TEMPORARY
    ) -> SupervisorRef:
        """Start a supervisor at the top of the tree; return when all its children have started.

        When it exceeds its restart intensity and ``restart`` does not bring it back, the :func:`open_system` block
        raises that RestartLimit.

        Raises what a child's ``started()`` raised. When it raises, or is cancelled, the children before it are stopped,
        and nothing is left.
        """
        if self.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        return await self.supervise_below(None, spec, name, restart)

    def dead_letters(self, size: int = 256) -> DeadLetters:
        """Subscribe to the messages that nobody handles: ``with system.dead_letters() as letters: async for …``."""
        return DeadLetters(self.office, size)

    def find(self, path: str) -> ActorRef | None:
        """Find the living actor at that path, such as ``/sessions/alice``; None when there is none."""
        check_kind("path", path, str, "a text")
        family: Children | None = self._root
        cell: Cell | None = None
        for name in path.strip("/").split("/"):
            cell = family.cell(name) if family is not None else None
            family = cell.family if cell is not None else None
        return cell.ref if cell is not None else None

    def tree(self) -> TreeNode:
        """Take a picture of the whole supervision tree."""
        return tree_of(self.path, "stopping" if self._going_down else "running", self._root)

    def on_shutdown(self, phase: str, work: Work) -> None:
        """Have ``await work()`` done in that phase of the shutdown, at once in the phase that runs.

        Raises SpecError for an unknown phase, RuntimeError for one that is over.
        """
        self.home.check()
        self._phases.add(phase, work)

    async def shutdown(self) -> tuple[PhaseReport, ...]:
        """Run the phases, one after the other, whatever fails in them; then stop every actor, the youngest first.

        Happens once, at the end of the :func:`open_system` block at the latest; later calls wait for it and return the
        same. Cancelled: the phase that runs is over; the rest is up to the next call, or the end of the block.

        Raises RuntimeError, and does nothing, in the task of an actor and in the work of a phase: either would wait for
        its own end.
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
        """How it stands now."""
        return SystemStatistics(self.living, self.office.count)

    # For the runtime itself

    def has_had_its_turn(self) -> bool:
        """Whether who spawns is to let others run first: once in FAIR_SPAWNS, so that many spawns hold up nobody."""
        self._spawned += 1
        return self._spawned % FAIR_SPAWNS == 0

    def child_spec(  # noqa: PLR0913, PLR0917  -- what spawn takes
        self,
        factory: Callable[..., Actor],
        args: tuple[object, ...],
        name: str | None,
        restart: Restart,
        shutdown: float | None,
        mailbox: MailboxSpec,
    ) -> ChildSpec:
        """Make the spec of an actor that was spawned rather than specified."""
        make = functools.partial(factory, *args) if args else factory
        return ChildSpec(self._name(factory) if name is None else name, make, restart, shutdown, mailbox=mailbox)

    def _name(self, factory: object) -> str:
        given = getattr(factory, "__name__", None)
        kind = given if isinstance(given, str) and given else type(factory).__name__
        kind = kind.strip("<>").lower().replace("/", "-")
        return f"{kind}-{next(self._numbers)}"

    async def start_below(self, life: Incarnation | None, spec: ChildSpec) -> ActorRef:
        """Start a child of that incarnation, of the root where there is none."""
        if life is None:
            return await self._root.start(spec)
        if life.family is None:
            life.room_for_children()
            life.family = Children(self, life, SupervisorSpec(), keeps=False)
        return await life.family.start(spec)

    async def supervise_below(
        self, life: Incarnation | None, spec: SupervisorSpec, name: str | None, restart: Restart
    ) -> SupervisorRef:
        """Start a supervisor below that actor, below the root where there is none."""
        check_kind("spec", spec, SupervisorSpec, "a SupervisorSpec")
        child = ChildSpec(f"supervisor-{next(self._numbers)}" if name is None else name, spec, restart)
        return cast("SupervisorRef", await self.start_below(life, child))

    async def stop_actors(self) -> None:
        """Stop every actor, the youngest first; none can be started any more."""
        await self._root.stop_all()

    # As top-level actors see it

    @property
    def takes_children(self) -> bool:
        """Whether an actor may be started: always, until the root is stopped."""
        return True

    def room_for_children(self) -> trio.Nursery:
        """Return the nursery in which the tasks of top-level actors live."""
        return self.nursery

    def leave(self, reason: ExitReason) -> None:
        """Do nothing: no child of the root is significant."""

    def crash(self, failure: Exception) -> None:
        """End the system with this failure, when every actor has stopped: the root gave up. The first one counts."""
        if self.limit is None and isinstance(failure, RestartLimit):
            self.limit = failure
            self.nursery.start_soon(self._give_up, name="giving up")

    def child_ended(self, path: str, reason: ExitReason) -> None:
        """End the system when a top-level actor has exceeded its restart intensity: nothing is left to restart it."""
        limit = next((each for each in limits_in(reason) if each.path == path and each in self.limits), None)
        if limit is not None:
            self.crash(limit)

    async def _give_up(self) -> None:
        await self.stop_actors()
        self.nursery.cancel_scope.cancel()

    async def end_by_force(self) -> None:
        """End every actor after a cancellation from outside: what shields itself is forced after GRACE."""
        self.nursery.cancel_scope.cancel()
        with trio.move_on_after(GRACE):
            # What is cleaning up may still start an actor: it is cancelled from its first step on.
            while cells := self._root.cells():
                for cell in cells:
                    await cell.gone()
        self._root.close()
        cells = self._root.cells()
        for cell in cells:
            cell.stop_soon(KILL, 0.0)
        for cell in cells:
            await cell.gone()


def limits_in(reason: ExitReason) -> Iterator[RestartLimit]:
    """Return each RestartLimit that an actor ended for: its own, and those it was told of; it may have failed twice."""
    error = reason.exception if isinstance(reason, Failure) else None
    held = () if error is None else members(error) or (error,)
    return (cast("RestartLimit", each) for each in held if is_a(each, RestartLimit))


@contextlib.asynccontextmanager
async def open_system(phases: Sequence[Phase] = ()) -> AsyncGenerator[ActorSystem]:
    """Open an actor system. Leaving the block shuts it down: the ``phases`` in their order, then every actor stops.

    Raises RestartLimit when top-level actors failed too often, and when a top-level actor or supervisor exceeded its
    own limit and ended with that: every actor is stopped, then the block is cancelled. When the block is cancelled from
    outside all actors are, at once and together; what shields itself from that has a second. What actors raise then is
    raised by the block, in a group. A SystemExit or KeyboardInterrupt that the work of a phase raised is raised at the
    end, when all else is done.
    """
    registry = CoordinatedShutdown(phases)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        system = ActorSystem(nursery, registry)
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
            system.office.close()
            trio.lowlevel.remove_instrument(protection)
    if system.limit is not None and failure is not None:
        raise ExceptionGroup("the block failed, and the actors gave up", [failure, system.limit])
    if system.limit is not None:
        raise system.limit
    if failure is not None:
        raise failure
    registry.raise_exit()
