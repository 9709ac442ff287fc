"""Supervisors: actors that have nothing but children, and the handle to work with those."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import attrs
import trio

from actors.checks import check_kind
from actors.errors import ActorError, ActorTerminated
from actors.runtime._actor import Actor
from actors.runtime._cell import Cell
from actors.runtime._children import Children
from actors.runtime._instance import life_of
from actors.runtime._lifecycle import State
from actors.runtime._ref import ActorRef, ActorStatistics, check_not_own_end
from actors.runtime._spec import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from actors.runtime._child_table import Child
    from actors.runtime._restart import Restart


class Supervisor(Actor):
    """An actor that has nothing but children."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec

    async def started(self) -> None:
        """Start the children, in order; the first that fails fails the supervisor."""
        life = life_of(self)
        life.family = family = Children(life.cell.system, life, self._spec, keeps=True)
        await family.start_all()


@attrs.frozen
class ChildInfo:
    """One child of a supervisor."""

    id: str
    """Its key in the supervisor, and its name."""
    ref: ActorRef | None
    """The handle, None when the child has ended and only its spec is kept."""
    state: str
    """starting, running, stopping, restarting or terminated."""
    restart: Restart
    """Its restart type."""
    is_supervisor: bool
    """Whether it is a supervisor itself."""


@attrs.frozen
class ChildCounts:
    """How many children a supervisor has."""

    specs: int
    """Entries, with those that are not running."""
    active: int
    """Children that run, start or stop."""
    restarting: int
    """Children between two incarnations."""
    supervisors: int
    """Entries that are supervisors."""
    workers: int
    """Entries that are not."""


@attrs.frozen
class SupervisorStatistics(ActorStatistics):
    """How one supervisor stands: what every actor has, and its children. Those count for this incarnation of it."""

    strategy: str
    """one_for_one, one_for_all, rest_for_one or dynamic; empty when it is not up."""
    children_restarted: int
    """Restarts that it granted, each counted against its intensity."""
    restarting: int
    """Children between two incarnations now."""


class SupervisorRef(ActorRef):
    """The handle on a supervisor: an actor like others, and what can be done with its children.

    Every method raises ActorTerminated when the supervisor has ended or is not up.
    """

    __slots__ = ()

    def _family(self) -> Children:
        if self._cell.family is None:
            raise ActorTerminated(f"{self.path} is {self._cell.state}", self._cell.reason)
        return self._cell.family

    async def start_child(self, spec: ChildSpec) -> ActorRef:
        """Add a child, and return when its ``started()`` has. Children may be started concurrently.

        Raises what ``started()`` raised, NameTaken, MaxChildren, SpecError. When it raises, or is cancelled, no entry
        stays.
        """
        turn = self._mailbox.home.is_turn_after()
        try:
            check_kind("spec", spec, ChildSpec, "a ChildSpec")
            return await self._family().start(spec)
        except ActorError:
            if turn:
                await trio.lowlevel.checkpoint()
            raise

    async def terminate_child(self, id: str) -> None:  # noqa: A002  -- the field's name
        """End a child as its ``shutdown`` says; return when nothing of it is left. One that is restarting ends at once.

        The spec is kept for ``restart_child``, except a temporary child's and those of a dynamic supervisor.
        Raises ChildNotFound, and RuntimeError when the task of the child itself calls it, or that of an actor below it.
        Cancelled: the stop goes on.
        """
        if self._mailbox.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        family = self._family()
        cell = family.cell(id)
        if cell is not None:
            check_not_own_end(cell)
        await family.terminate(id)

    async def restart_child(self, id: str) -> ActorRef:  # noqa: A002  -- the field's name
        """Start a child that has ended again, from its spec; a new handle.

        Raises ChildNotFound, ChildRunning, what ``started()`` raised. When it raises, or is cancelled, the child is not
        up, and its spec is kept.
        """
        turn = self._mailbox.home.is_turn_after()
        try:
            # At once: nobody deletes a child between this call and its start.
            return await self._family().restart(id)
        except ActorError:
            if turn:
                await trio.lowlevel.checkpoint()
            raise

    def delete_child(self, id: str) -> None:  # noqa: A002  -- the field's name
        """Forget the spec of a child that has ended. Raises ChildNotFound, ChildRunning."""
        self._mailbox.home.check()
        self._family().children.forget(id)

    def child(self, id: str) -> ActorRef | None:  # noqa: A002  -- the field's name
        """Find the handle of a child; None when it has ended, or there is none of that id."""
        cell = self._family().cell(id)
        return None if cell is None else cell.ref

    def children(self) -> tuple[ChildInfo, ...]:
        """List all entries, in the order of their start."""
        return tuple(_info(child) for child in self._family().entries())

    def statistics(self) -> SupervisorStatistics:
        """How it stands now."""
        family = self._cell.family
        return SupervisorStatistics(
            **attrs.asdict(super().statistics(), recurse=False),
            strategy="" if family is None else family.spec.strategy.value,
            children_restarted=0 if family is None else family.restarts,
            restarting=0 if family is None else family.restarting(),
        )

    def counts(self) -> ChildCounts:
        """How many children there are, by kind."""
        entries = self._family().entries()
        states = [child.cell.state for child in entries if child.cell is not None]
        restarting = states.count(State.RESTARTING)
        supervisors = sum(isinstance(child.spec.factory, SupervisorSpec) for child in entries)
        return ChildCounts(len(entries), len(states) - restarting, restarting, supervisors, len(entries) - supervisors)


def _info(child: Child) -> ChildInfo:
    cell = child.cell
    state = State.TERMINATED if cell is None else cell.state
    is_supervisor = isinstance(child.spec.factory, SupervisorSpec)
    return ChildInfo(child.spec.id, None if cell is None else cell.ref, state.value, child.spec.restart, is_supervisor)


def body(family: Children, spec: ChildSpec) -> Cell:
    """Make the cell of a child: of an actor, or of a supervisor."""
    if isinstance(spec.factory, SupervisorSpec):
        return Cell(family, spec, functools.partial(Supervisor, spec.factory), SupervisorRef)
    return Cell(family, spec, spec.factory)
