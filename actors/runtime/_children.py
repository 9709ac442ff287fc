"""The children of one actor: the tasks and scopes around what :class:`~actors.runtime._child_table.ChildTable` decides.

The book-keeping is plain calls: a child's task asks its family what follows its end and acts on the answer itself, so a
child that hangs in a restart never keeps the family from answering. Only restarting a group needs a task of its own; it
lives in the nursery of the children.
"""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING, Protocol

import trio

from actors.errors import ActorTerminated, RestartLimit
from actors.failures import log_failure, shown
from actors.loop.stack import START_FRAMES, require_room
from actors.runtime._child_table import Begin, Child, ChildTable, Exit, Follow, Halt, Wait
from actors.runtime._lifecycle import STOP, ExitReason, Failure, Killed, Shutdown, State
from actors.runtime._restart import Restart
from actors.runtime._spec import ChildSpec, Strategy, SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actors.runtime._cell import Cell
    from actors.runtime._ref import ActorRef
    from actors.runtime._system import ActorSystem

logger = logging.getLogger("actors")


class Owner(Protocol):
    """Whose children they are: an actor's incarnation, or the system."""

    @property
    def cell(self) -> Cell | None:
        """The actor; None at the root."""
        ...

    @property
    def path(self) -> str:
        """Its place in the tree."""
        ...

    @property
    def takes_children(self) -> bool:
        """Whether a child may be started: not once its end has begun."""
        ...

    def room_for_children(self) -> trio.Nursery:
        """Return the nursery in which the tasks of its children live. It ends when the owner does."""
        ...

    def crash(self, failure: Exception) -> None:
        """End it with this failure."""
        ...

    def leave(self, reason: ExitReason) -> None:
        """End it as if it had wished to."""
        ...

    def child_ended(self, path: str, reason: ExitReason) -> None:
        """Take note that the child at that path, which had been up, has ended for good."""
        ...


class Children:
    """The children of one incarnation, or of the system. What is decided about them is decided by ``children``."""

    __slots__ = ("_regroup", "_step", "children", "owner", "system")

    def __init__(self, system: ActorSystem, owner: Owner, spec: SupervisorSpec, *, keeps: bool) -> None:
        self.system = system
        self.owner = owner
        self.children = ChildTable(owner.path, spec, keeps=keeps)
        self._regroup: trio.CancelScope | None = None
        """Around the task that restarts a group, while there is one."""
        self._step: trio.CancelScope | None = None
        """Around what that task waits for and need not: the backoff, or a start that is to be halted again."""

    # Looking

    @property
    def spec(self) -> SupervisorSpec:
        """The strategy, and how much failing it bears."""
        return self.children.spec

    @property
    def restarts(self) -> int:
        """Restarts that were granted."""
        return self.children.restarts

    def count(self) -> int:
        """Count the children that have a body, those that are being restarted among them."""
        return sum(child.cell is not None for child in self.entries())

    def restarting(self) -> int:
        """Count the children between two incarnations."""
        return sum(cell.state is State.RESTARTING for cell in self.cells())

    def entries(self) -> Sequence[Child]:
        """List all entries, in the order of their start."""
        return self.children.entries()

    def cells(self) -> list[Cell]:
        """List the children that have a body, the last one first."""
        return [child.cell for child in reversed(self.entries()) if child.cell is not None]

    def cell(self, key: str) -> Cell | None:
        """Find a child that has a body."""
        child = self.children.find(key)
        return None if child is None else child.cell

    def descendants(self) -> Iterator[Cell]:
        """Go through all that have a body, in this family and those below it, parents first."""
        families: list[Children] = [self]
        while families:
            for child in families.pop().entries():
                if child.cell is not None:
                    yield child.cell
                    if child.cell.family is not None:
                        families.append(child.cell.family)

    # Starting and stopping

    async def start_all(self) -> None:
        """Start the children of the spec, in order. Raises what the first that fails raised."""
        specs = self.spec.children
        self.children.planned = sum(spec.significant for spec in specs)
        for spec in specs:
            self.children.planned -= spec.significant
            await self.start(spec)

    async def start(self, spec: ChildSpec) -> ActorRef:
        """Add a child and start it. When it raises, or is cancelled, no entry stays behind."""
        self._check_open()
        return await self._launch(self.children.add(spec))

    async def restart(self, key: str) -> ActorRef:
        """Start a child that is down. When it raises, or is cancelled, the child is down again, and its entry stays."""
        self._check_open()
        return await self._launch(self.children.claim(key))

    async def _launch(self, child: Child) -> ActorRef:
        """Give an entry that was claimed a body, and start that."""
        try:
            require_room(START_FRAMES)
            if self.system.has_had_its_turn():
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.checkpoint_if_cancelled()
            self._check_open()
            nursery = self.owner.room_for_children()
        except BaseException:
            self.children.release(child)
            raise
        self.children.check_claim(child)
        cell = child.cell = self.system.body(self, child.spec)
        ref = cell.ref
        self.children.begun(child)
        if not cell.begin_first(nursery):
            await cell.start()
        return ref

    def _check_open(self) -> None:
        if self.children.closed or not self.owner.takes_children:
            raise ActorTerminated(f"{self.owner.path} is stopping")

    async def terminate(self, key: str) -> None:
        """End a child as its spec says; the entry stays if the family keeps it. Cancelled: the stop goes on."""
        child = self.children.dismiss(key)
        if child.cell is not None:
            await child.cell.stop(STOP, child.spec.seconds)

    async def stop_all(self, *, brutal: bool = False) -> None:
        """End all children: in reverse order, a dynamic supervisor's in parallel. ``brutal`` kills them.

        Cancelled: those that were told to stop still do.
        """
        self.close()
        cells = self.cells()
        if not (brutal or self.spec.strategy is Strategy.DYNAMIC):
            for cell in cells:
                await cell.stop(STOP, cell.spec.seconds)
            return
        for cell in cells:
            cell.stop_soon(STOP, 0.0 if brutal else cell.spec.seconds)
        for cell in cells:
            await cell.gone()

    def close(self) -> None:
        """Take no more children; none is restarted any more."""
        self.children.close()
        if self._regroup is not None:
            self._regroup.cancel()

    def condemn(self) -> None:
        """Note that all below is ended by force now: none of it comes back."""
        self.close()
        for cell in self.descendants():
            cell.is_condemned()

    # What the cells of the children tell

    def came_up(self, cell: Cell) -> None:
        """Note that an incarnation of a child has come up."""
        child = self._child(cell)
        if child is not None:
            self.children.came_up(child)

    def exited(self, cell: Cell, reason: ExitReason) -> float | None:
        """Decide what follows the end of an incarnation: the seconds until the next one, None for none.

        Infinite: the family says itself when it begins.
        """
        child = self._child(cell)
        if child is None:
            return None
        now = trio.current_time()
        up_since = cell.life.up_since if cell.life is not None else math.inf
        how = Exit(
            reason,
            was_up=cell.was_up,
            is_first=cell.restarts == 0,
            is_halted=cell.stop_asked is not None and cell.stop_asked.hold,
            seconds=max(0.0, now - up_since),
        )
        follow = self.children.exited(child, how, now, _draw())
        self._follow(follow, child, reason.exception if isinstance(reason, (Failure, Killed)) else None)
        return follow.delay

    def ended(self, cell: Cell, reason: ExitReason) -> None:
        """Note that a child is gone for good."""
        child = self._child(cell)
        if child is None:
            return
        was_up = cell.was_up or cell.restarts > 0
        if self.children.ended(child, reason, was_up=was_up, stopped=cell.ends_for_good):
            self.owner.leave(Shutdown())
        if was_up:
            self.owner.child_ended(cell.path, reason)

    def _child(self, cell: Cell) -> Child | None:
        child = self.children.find(cell.spec.id)
        return child if child is not None and child.cell is cell else None

    def _follow(self, follow: Follow, child: Child, cause: BaseException | None) -> None:
        """Do what was decided: end the supervisor, or have the group restarted."""
        if follow.gave_up:
            limit = RestartLimit(
                f"{self.owner.path} gave up: {self.owner.path.rstrip('/')}/{child.spec.id} ended once more after "
                f"{self.spec.max_restarts} restarts within {self.spec.max_seconds} s",
                self.owner.path,
            )
            limit.__cause__ = cause
            self.system.limits.add(limit)
            self.owner.crash(limit)
        if self._step is not None and self.children.interrupts(child):
            self._step.cancel()
        if self.children.restarts_group and self._regroup is None:
            self._regroup = trio.CancelScope()
            self.owner.room_for_children().start_soon(self._restart_group, name=f"restarting with {child.spec.id}")

    # Restarting a group

    async def _restart_group(self) -> None:
        """Take the steps of the restart until the whole group is up."""
        scope = self._regroup
        assert scope is not None  # noqa: S101  -- set by who started this task
        with scope:
            while (step := self.children.next_step(trio.current_time())) is not None:
                await self._take(step)
        self._regroup = None

    async def _take(self, step: Halt | Wait | Begin) -> None:
        if isinstance(step, Halt):
            await self._halt(step.child)
            return
        with trio.CancelScope() as self._step:
            if isinstance(step, Wait):
                await trio.sleep_until(step.until)
            else:
                await self._begin(step.child)
        self._step = None

    async def _halt(self, child: Child) -> None:
        cell = child.cell
        if cell is None:
            return
        if child.spec.restart is Restart.TEMPORARY:
            child.dismissed = True
            await cell.stop(STOP, child.spec.seconds)
        else:
            await cell.halt(child.spec.seconds)
            self.children.halted(child)

    async def _begin(self, child: Child) -> None:
        cell = child.cell
        try:
            if cell is None:
                await self._launch(child)
            else:
                self.children.begun(child)
                await cell.begin_again()
        except trio.Cancelled:
            raise
        except BaseException as failure:  # noqa: BLE001  -- whatever a member raises, a SystemExit too; it is logged
            stopped = cell is not None and cell.ends_for_good
            if not (stopped and isinstance(failure, ActorTerminated)):  # which says no more than that it was stopped
                path = f"{self.owner.path.rstrip('/')}/{child.spec.id}"
                log_failure(logger, "%s failed: %s", path, shown(failure), error=failure)
            self._follow(
                self.children.start_failed(child, trio.current_time(), _draw(), stopped=stopped), child, failure
            )


def _draw() -> float:
    return random.random()  # noqa: S311  -- spreads restarts, guards nothing
