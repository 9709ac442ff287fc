"""The children of one actor: the tasks and cancel scopes that carry out the decisions of the table of children.

All bookkeeping is done in sync calls: when a child has ended, its own task asks here whether it is restarted, and
carries that out itself. So a child that hangs in a restart never keeps the other children waiting. Only the restart of
a group needs a task of its own, which runs in the nursery of the children.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Protocol

import trio

from actors.errors import ActorTerminated, RestartLimit
from actors.loop.stack import START_FRAMES, require_room
from actors.loop.trio_internals import is_cancelled
from actors.runtime._body import cause_of
from actors.runtime._child import Child, Exit
from actors.runtime._child_table import ChildTable, Follow
from actors.runtime._group_restart import Begin, Halt, Wait
from actors.runtime._lifecycle import STOP, ExitReason, Shutdown, State
from actors.runtime._restart import Restart
from actors.runtime._spec import ChildSpec, Strategy, SupervisorSpec
from actors.runtime.topics._supervision import RestartLimitReached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actors.runtime._body import Body
    from actors.runtime._cell import Cell
    from actors.runtime._ref import ActorRef, Target
    from actors.runtime._runtime import Runtime


class Owner(Protocol):
    """The parent of the children: the system, or the incarnation of an actor (its life between two restarts)."""

    @property
    def cell(self) -> Body | None:
        """The parent actor; None at the root."""
        ...

    @property
    def path(self) -> str:
        """Path of the parent in the tree."""
        ...

    @property
    def takes_children(self) -> bool:
        """Whether a child can be started. False when the end of the owner has begun."""
        ...

    def open_child_nursery(self) -> trio.Nursery:
        """Return the nursery in which the tasks of the children run. The nursery ends when the owner ends."""
        ...

    def crash(self, failure: Exception) -> None:
        """End the owner with the exception ``failure``, because its children failed too often."""
        ...

    def leave(self, reason: ExitReason) -> None:
        """Stop the owner after its current message, as if the owner itself had asked for the stop."""
        ...

    def on_child_ended(self, child: Body, reason: ExitReason) -> None:
        """Receive the notice that the actor of a child has ended permanently. It had been up before."""
        ...


class Children:
    """The children of the system, or of one incarnation of an actor (its life between two restarts)."""

    __slots__ = ("_new_cell", "cell", "group_task", "owner", "system", "table")

    def __init__(
        self,
        system: Runtime,
        owner: Owner,
        spec: SupervisorSpec,
        new_cell: Callable[[Children, ChildSpec], Cell],
        *,
        keeps: bool,
    ) -> None:
        self.system = system
        self.owner = owner
        self.cell: Body | None = owner.cell
        """The parent actor; None at the root."""
        self.table: ChildTable[Cell] = ChildTable(owner.path, spec, keeps=keeps)
        self._new_cell = new_cell
        """Function that makes the actor of a child."""
        self.group_task: GroupTask | None = None
        """Task of the current group restart; None if there is none."""

    # Looking

    @property
    def spec(self) -> SupervisorSpec:
        """Spec of the supervisor of these children: its strategy and its limit of restarts."""
        return self.table.spec

    @property
    def restarts(self) -> int:
        """Number of restarts of children within the restart limit of the parent actor."""
        return self.table.restarts

    def count(self) -> int:
        """Return the number of children that have not ended. Children that wait for a restart are included."""
        return sum(child.cell is not None for child in self.entries())

    def restarting(self) -> int:
        """Return the number of children that have ended and wait for their restart."""
        return sum(cell.state is State.RESTARTING for cell in self.cells())

    def entries(self) -> Sequence[Child[Cell]]:
        """Return the entries of all children, in the order of their start."""
        return self.table.entries()

    def cells(self) -> list[Cell]:
        """Return the actors of all children that have not ended. The child that was started last comes first."""
        return [child.cell for child in reversed(self.entries()) if child.cell is not None]

    def find(self, key: str) -> Cell | None:
        """Return the actor of the child with the id ``key``; None if the child has ended or does not exist."""
        child = self.table.find(key)
        return None if child is None else child.cell

    def descendants(self) -> Iterator[Cell]:
        """Yield the actors of these children and all actors below them, parents first."""
        waiting: list[Children] = [self]
        while waiting:
            for child in waiting.pop().entries():
                cell = child.cell
                if cell is not None:
                    yield cell
                    below = cell.life.children if cell.life is not None else None
                    if isinstance(below, Children):
                        waiting.append(below)

    # Starts and stops

    async def start_all(self) -> None:
        """Start the children of the spec, in order. If a child fails to start, raise its exception."""
        specs = self.spec.children
        self.table.planned = sum(spec.significant for spec in specs)
        for spec in specs:
            self.table.planned -= spec.significant
            await self.start(spec)

    async def start(self, spec: ChildSpec) -> ActorRef[Any, Any]:
        """Add a child and start it. If this raises or is cancelled, the child's entry is removed again."""
        self._check_open()
        return await self.launch(self.table.add(spec))

    async def restart(self, key: str) -> ActorRef[Any, Any]:
        """Start a child that has ended. If this raises or is cancelled, the child is not up, and its entry stays."""
        self._check_open()
        return await self.launch(self.table.claim(key))

    async def launch(self, child: Child[Cell]) -> ActorRef[Any, Any]:
        """Make and start the actor of a child that was claimed (reserved for this call)."""
        try:
            require_room(START_FRAMES)
            if next(self.system.spawn_turns) or is_cancelled():
                await trio.lowlevel.checkpoint()
            self._check_open()
            nursery = self.owner.open_child_nursery()
        except BaseException:
            self.table.release(child)
            raise
        # The checkpoint above may have taken a while: the child may have been terminated meanwhile.
        self.table.check_claim(child)
        cell = child.cell = self._new_cell(self, child.spec)
        ref = cell.ref
        self.table.begun(child)
        if not cell.begin_first(nursery):
            await cell.start()
        return ref

    def _check_open(self) -> None:
        if self.table.closed or not self.owner.takes_children:
            raise ActorTerminated(f"{self.owner.path} is stopping")

    async def terminate(self, key: str) -> None:
        """Stop a child within the time that its spec gives. If this call is cancelled, the stop continues."""
        child = self.table.dismiss(key)
        if child.cell is not None:
            await child.cell.stop(STOP, child.spec.seconds)

    async def stop_all(self, *, brutal: bool = False) -> None:
        """Stop all children, one after the other, in reverse order of their start. With ``brutal``, kill all at once.

        The children of a dynamic supervisor stop in parallel. If this is cancelled, a stop that has begun continues.
        """
        self.close()
        cells = self.cells()
        if not (brutal or self.spec.strategy is Strategy.DYNAMIC):
            for cell in cells:
                await cell.stop(STOP, cell.spec.seconds)
            return
        # All children are asked to stop first, then all are waited for: so they stop in parallel.
        for cell in cells:
            cell.stop_soon(STOP, 0.0 if brutal else cell.spec.seconds)
        for cell in cells:
            await cell.gone()

    def close(self) -> None:
        """Record that the parent is ending: no child can be started or restarted from now on."""
        self.table.close()
        if self.group_task is not None:
            self.group_task.cancel()

    def reopen(self) -> None:
        """Allow new children again, after all children have been stopped. The restarts so far keep their count."""
        self.table.closed = False

    def condemn(self) -> None:
        """Record that the runtime ends all actors below the owner by force now, so that no child is restarted."""
        self.close()
        for cell in self.descendants():
            cell.on_condemned()

    # Notifications of the children

    def on_up(self, cell: Body) -> None:
        """Record that a child is up, after its first start or a restart: its ``started()`` has returned."""
        child = self._child(cell)
        if child is not None:
            self.table.came_up(child)

    def on_exit(self, cell: Body, reason: ExitReason, seconds: float) -> float | None:
        """Record that a child has ended. ``seconds`` is the time for which the child was up.

        Return the delay of the child's restart, in seconds. Return None if the child is not restarted. Return
        ``math.inf`` if the restart of its group starts the child again.
        """
        child = self._child(cell)
        if child is None:
            return None
        end = Exit(
            reason,
            was_up=cell.was_up,
            is_first=cell.restarts == 0,
            is_halted=cell.stop_asked is not None and cell.stop_asked.hold,
            seconds=seconds,
        )
        follow = self.table.exited(child, end, trio.current_time(), _draw())
        self.follow(follow, child, cause_of(reason))
        return follow.delay

    def on_ended(self, cell: Body, reason: ExitReason) -> None:
        """Record that a child has ended permanently: it is not restarted."""
        child = self._child(cell)
        if child is None:
            return
        was_up = cell.was_up or cell.restarts > 0
        if self.table.ended(child, reason, was_up=was_up, stopped=cell.ends_for_good):
            self.owner.leave(Shutdown())
        if was_up:
            self.owner.on_child_ended(cell, reason)

    def _child(self, cell: Body) -> Child[Cell] | None:
        """Return the entry of an actor; None if that entry was dropped, or now belongs to another actor."""
        child = self.table.find(cell.spec.id)
        return child if child is not None and child.cell is cell else None

    def follow(self, follow: Follow, child: Child[Cell], cause: BaseException | None) -> None:
        """Carry out the decision of the table: end the supervisor, restart the group, or do nothing."""
        if follow.gave_up:
            restarts, seconds = child.spec.limit_in(self.spec)
            limit = RestartLimit(
                f"{self.owner.path} gave up: {self.path_of(child)} ended once more after "
                f"{restarts} restarts within {seconds} s",
                self.owner.path,
            )
            limit.__cause__ = cause
            self.system.limits.add(limit)  # so that the root knows this RestartLimit as one of its system
            if self.system.supervision.exists:
                life = 1 if self.cell is None else self.cell.restarts + 1
                reached = RestartLimitReached(self.owner.path, life, self.path_of(child), restarts, seconds)
                self.system.events.deliver(reached)
            self.owner.crash(limit)
        if self.group_task is not None and self.table.interrupts(child):
            self.group_task.interrupt()
        if self.table.restarts_group and self.group_task is None:
            self.group_task = task = GroupTask(self)
            self.owner.open_child_nursery().start_soon(task.run, name=f"restarting with {child.spec.id}")

    def path_of(self, child: Child[Cell]) -> str:
        """Return the path of a child in the tree."""
        return f"{self.owner.path.rstrip('/')}/{child.spec.id}"


class GroupTask:
    """The work of the task that restarts one group of children, step by step."""

    __slots__ = ("_children", "_scope", "_step")

    def __init__(self, children: Children) -> None:
        self._children = children
        self._scope = trio.CancelScope()
        self._step: trio.CancelScope | None = None
        """Cancel scope of a step that :meth:`interrupt` can cancel: the backoff (a wait), or the start of a member."""

    async def run(self) -> None:
        """Take the steps of the restart until the whole group is up."""
        table = self._children.table
        with self._scope:
            while (step := table.next_step(trio.current_time())) is not None:
                await self._take(step)
        self._children.group_task = None

    def cancel(self) -> None:
        """Cancel the restart of the group."""
        self._scope.cancel()

    def interrupt(self) -> None:
        """Cancel the current step of the restart, if this step is the backoff (a wait) or the start of a member."""
        if self._step is not None:
            self._step.cancel()

    async def _take(self, step: Halt[Cell] | Wait | Begin[Cell]) -> None:
        if isinstance(step, Halt):
            await self._halt(step.child)
            return
        with trio.CancelScope() as self._step:
            if isinstance(step, Wait):
                await trio.sleep_until(step.until)
            else:
                await self._begin(step.child)
        self._step = None

    async def _halt(self, child: Child[Cell]) -> None:
        """Stop a member of the group before its restart. A temporary member is stopped permanently."""
        cell = child.cell
        if cell is None:
            return
        if child.spec.restart is Restart.TEMPORARY:
            child.dismissed = True
            await cell.stop(STOP, child.spec.seconds)
        else:
            await cell.halt(child.spec.seconds)
            self._children.table.halted(child)

    async def _begin(self, child: Child[Cell]) -> None:
        """Start a member of the group again. If the start fails, log the exception, and restart the group once more."""
        children, cell = self._children, child.cell
        try:
            if cell is None:
                await children.launch(child)
            else:
                children.table.begun(child)
                await cell.begin_again()
        except trio.Cancelled:
            raise
        except BaseException as failure:  # noqa: BLE001  -- whatever a member raises, a SystemExit too; it is logged
            stopped = cell is not None and cell.ends_for_good
            if not (stopped and isinstance(failure, ActorTerminated)):  # which means only that the member was stopped
                children.system.crashes.note(children.path_of(child), 1 if cell is None else cell.restarts, failure)
            follow = children.table.start_failed(child, trio.current_time(), _draw(), stopped=stopped)
            children.follow(follow, child, failure)


def children_of(cell: Target) -> Children | None:
    """Return the children of an actor; None if the actor has started no child since its last start, or is not up."""
    children = None if cell.life is None else cell.life.children
    return children if isinstance(children, Children) else None


def _draw() -> float:
    """Return a random number in [0, 1), for the random part of a delay."""
    return random.random()  # noqa: S311  -- spreads restarts, guards nothing
