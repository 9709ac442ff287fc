"""The actor system: the root of the tree of actors, and the nursery in which the tasks of top-level actors run."""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import TYPE_CHECKING, Any, TypeVarTuple, cast

import attrs
import trio

from actors.checks import check_count, check_kind
from actors.errors import RestartLimit, SpecError
from actors.loop.trio_internals import Protection
from actors.runtime._body import limits_in
from actors.runtime._children import Children
from actors.runtime._dead_letters import DeadLetter
from actors.runtime._deadlines import GRACE
from actors.runtime._lifecycle import KILL
from actors.runtime._restart import Restart
from actors.runtime._shutdown import CoordinatedShutdown, Phase, PhaseReport
from actors.runtime._spec import ChildSpec, GroupSpec, MailboxSpec, Overflow, SupervisorSpec, mailbox_spec
from actors.runtime._supervisor import SupervisorRef, new_cell
from actors.runtime._tree import ActorTree
from actors.runtime.topics._supervision import FailureEscalated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from actors.runtime._crashes import Crash
    from actors.runtime._dead_letters import DeadLetters
    from actors.runtime._incarnation import Incarnation
    from actors.runtime._instance import Instance
    from actors.runtime._lifecycle import ExitReason
    from actors.runtime._ref import ActorRef
    from actors.runtime._shutdown import Work
    from actors.runtime._typed import MessageT, ReplyT


Args = TypeVarTuple("Args")


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


class ActorSystem(ActorTree):
    """All actors of one :func:`open_system` block. It has no public constructor."""

    cell = None

    def __init__(self, nursery: trio.Nursery, phases: CoordinatedShutdown) -> None:
        super().__init__()
        self.nursery = nursery
        """Nursery of the runtime itself. Tasks of an actor belong in ``actor.nursery`` instead."""
        self.limit: RestartLimit | None = None
        """RestartLimit with which the system ends; None as long as no RestartLimit has reached the root."""
        self._numbers = itertools.count(1)
        self._phases = phases
        self._going_down = self._is_down = False
        self._shutdown = trio.Lock()
        self._root = Children(self, self, SupervisorSpec(), new_cell, keeps=False)

    async def spawn(  # noqa: PLR0913  -- one keyword per documented option
        self,
        factory: Callable[[*Args], Instance[MessageT, ReplyT]],
        *args: *Args,
        name: str | None = None,
        restart: Restart = Restart.TEMPORARY,
        shutdown: float | None = None,
        mailbox_size: int = 64,
        overflow: Overflow = Overflow.WAIT,
        stash_size: int = 64,
    ) -> ActorRef[MessageT, ReplyT]:
        """Start an actor at the top of the tree, and return its handle when its ``started()`` has returned.

        If this call raises or is cancelled, nothing of the actor is left. If top-level actors need more than 3 restarts
        within 5 s, the system ends with RestartLimit.

        Args:
            factory: Class or function that makes the actor. It is called again for each restart.
            args: Arguments of the factory.
            name: Unique name at the top of the tree. The default is the name of the factory and a number.
            restart: Rule by which the actor is restarted after it has ended.
            shutdown: Maximum time of a stop, in seconds. The default is 5. 0 kills the actor at once.
            mailbox_size: Maximum number of messages in the actor's mailbox.
            overflow: Policy for a message that is sent to a full mailbox.
            stash_size: Maximum number of stashed messages.

        Raises:
            NameTaken: A top-level actor has that name.
            SpecError: An argument is invalid.
            BaseException: The exception that ``factory`` or ``started()`` raised.
        """
        if self.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        mailbox = mailbox_spec(mailbox_size, overflow, stash_size)
        return await self._root.start(self.child_spec(factory, args, name, restart, shutdown, mailbox))

    async def supervise(
        self, spec: SupervisorSpec, name: str | None = None, *, restart: Restart = Restart.TEMPORARY
    ) -> SupervisorRef:
        """Start a supervisor at the top of the tree, and return its handle when all its children have started.

        If this call raises or is cancelled, the children that were started are stopped, and nothing is left. If the
        supervisor exceeds its limit of restarts later, ``restart`` decides whether the supervisor is restarted. Without
        a restart, the :func:`open_system` block raises the RestartLimit.

        Args:
            spec: The spec of the supervisor.
            name: Unique name at the top of the tree. The default contains a number.
            restart: Rule by which the supervisor is restarted after it has ended.

        Raises:
            NameTaken: A top-level actor has that name.
            SpecError: ``spec`` is no SupervisorSpec.
            BaseException: The exception that a child's ``started()`` raised.
        """
        if self.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        return await self.supervise_below(None, spec, name, restart)

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

    def on_crash(self, listener: Callable[[Crash], None]) -> None:
        """Call ``listener`` with each exception that ends an actor, restarted or not. It must neither wait nor raise.

        There is one listener: a later call replaces it.
        """
        self.crashes.listener = listener

    # For the runtime itself

    def child_spec(  # noqa: PLR0913, PLR0917  -- what spawn takes
        self,
        factory: Callable[..., Instance],
        args: tuple[object, ...],
        name: str | None,
        restart: Restart,
        shutdown: float | None,
        mailbox: MailboxSpec,
    ) -> ChildSpec:
        """Return the spec of an actor that is started by ``spawn``, from the arguments of that call."""
        if args and isinstance(factory, GroupSpec):
            raise SpecError("a pool takes no arguments: they belong to the factory of its members")
        make = functools.partial(factory, *args) if args else factory
        return ChildSpec(self._name(factory) if name is None else name, make, restart, shutdown, mailbox=mailbox)

    def _name(self, factory: object) -> str:
        given = getattr(factory, "__name__", None)
        kind = given if isinstance(given, str) and given else type(factory).__name__.removesuffix("Spec")
        # A lambda is called "<lambda>", and "/" separates the names in a path.
        kind = kind.strip("<>").lower().replace("/", "-")
        return f"{kind}-{next(self._numbers)}"

    async def start_below(self, life: Incarnation | None, spec: ChildSpec) -> ActorRef[Any, Any]:
        """Start a child of the actor with the incarnation ``life``. If ``life`` is None, start a top-level actor."""
        if life is None:
            return await self._root.start(spec)
        children = life.children
        if not isinstance(children, Children):  # its first child
            life.open_child_nursery()
            life.children = children = Children(self, life, SupervisorSpec(), new_cell, keeps=False)
        return await children.start(spec)

    async def supervise_below(
        self, life: Incarnation | None, spec: SupervisorSpec, name: str | None, restart: Restart
    ) -> SupervisorRef:
        """Start a supervisor below the actor with the incarnation (current life) ``life``.

        If ``life`` is None, start the supervisor at the top of the tree.
        """
        check_kind("spec", spec, SupervisorSpec, "a SupervisorSpec")
        child = ChildSpec(f"supervisor-{next(self._numbers)}" if name is None else name, spec, restart)
        return cast("SupervisorRef", await self.start_below(life, child))

    async def stop_actors(self) -> None:
        """Stop every actor, the last started first. Afterwards no actor can be started."""
        await self._root.stop_all()

    # As the parent of top-level actors

    @property
    def takes_children(self) -> bool:
        """Whether an actor can be started.

        Always True: after the root was stopped, its table of children refuses a start.
        """
        return True

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

    def on_child_ended(self, path: str, reason: ExitReason) -> None:
        """End the system if a top-level actor exceeded its limit of restarts: no supervisor is there to restart it."""
        limit = next((each for each in limits_in(reason) if each.path == path and each in self.limits), None)
        if limit is not None:
            self.crash(limit)

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
async def open_system(phases: Sequence[Phase] = ()) -> AsyncGenerator[ActorSystem]:
    """Open an actor system. Leaving the ``async with`` block runs the ``phases``, then stops every actor.

    Args:
        phases: The phases of the shutdown.

    Raises:
        RestartLimit: Top-level actors failed too often, or a top-level actor or supervisor exceeded its own limit.
            Every actor is stopped, then the block is cancelled.
        SpecError: ``phases`` is no list of Phases with different names.
        SystemExit: The work of a phase raised this, or KeyboardInterrupt or a similar exception. The exception is
            raised when the shutdown is complete.

    Cancellation:
        All actors are cancelled at the same time. Shielded work has one second more. If actors raise exceptions
        meanwhile, the block raises them in a group.
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
            system.events.close()
            trio.lowlevel.remove_instrument(protection)
    if system.limit is not None and failure is not None:
        raise ExceptionGroup("the block failed, and the actors gave up", [failure, system.limit])
    if system.limit is not None:
        raise system.limit
    if failure is not None:
        raise failure
    registry.raise_exit()
