"""Supervisors (actors that only have children), and the handle by which code works with a supervisor."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Generic, Never

import attrs
import trio

from actors.checks import check_kind
from actors.errors import ActorError, ActorTerminated
from actors.runtime._cell import Cell
from actors.runtime._children import Children, children_of
from actors.runtime._incarnation import life_of
from actors.runtime._instance import Instance
from actors.runtime._lifecycle import State
from actors.runtime._on_demand import OnDemand, OnDemandChildren, OnDemandSpec
from actors.runtime._ref import ActorRef, ActorStatistics
from actors.runtime._spec import ChildSpec, GroupSpec, SupervisorSpec
from actors.runtime._typed import Message_contra, Reply_co
from actors.runtime.pools._pool import Pool, PoolCell, PoolRef
from actors.runtime.pools._router import Router, RouterCell, RouterRef, RouterSpec
from actors.runtime.pools._spec import PoolSpec

if TYPE_CHECKING:
    from actors.runtime._body import Parent
    from actors.runtime._child import Child
    from actors.runtime._restart import Restart
    from actors.runtime._typed import MessageT, ReplyT


class Supervisor(Instance):
    """An actor that only starts, restarts and stops its children. It handles no messages."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec

    async def started(self) -> None:
        """Start the children in the order of the spec. If a child fails to start, the supervisor fails."""
        life = life_of(self)
        life.children = children = Children(life.cell.system, life, self._spec, new_cell, keeps=True)
        await children.start_all()


@attrs.frozen
class ChildInfo:
    """The state of one child of a supervisor."""

    id: str
    """Id of the child in the supervisor, which is also the name of the child."""
    ref: ActorRef | None
    """Handle of the child; None if the child has ended and only its spec is kept."""
    state: str
    """State of the child: starting, running, stopping, restarting or terminated."""
    restart: Restart
    """Restart type of the child."""
    is_supervisor: bool
    """Whether the child is a supervisor or a pool."""


@attrs.frozen
class ChildCounts:
    """The numbers of a supervisor's children, by kind."""

    specs: int
    """Number of all children, including ended children of which only the spec is kept."""
    active: int
    """Number of children that are starting, running or stopping."""
    restarting: int
    """Number of children that have ended and wait for their restart."""
    supervisors: int
    """Number of children that are supervisors or pools, including ended children of which only the spec is kept."""
    workers: int
    """Number of children that are neither, including ended children of which only the spec is kept."""


@attrs.frozen
class SupervisorStatistics(ActorStatistics):
    """The state of one supervisor as an actor, and numbers about its children since its last start."""

    strategy: str
    """Restart strategy: one_for_one, one_for_all, rest_for_one or dynamic. Empty if the supervisor is not up."""
    children_restarted: int
    """Number of times that the supervisor restarted a child. All of these count against the limit of restarts."""
    restarting: int
    """Number of children that have ended and wait for their restart now."""


class SupervisorRef(ActorRef[Never, Never]):
    """The handle on a supervisor: the methods of any actor's handle, and methods for its children.

    Every method for children raises ActorTerminated if the supervisor has ended or is not up.
    """

    __slots__ = ()

    def _children(self) -> Children:
        """Return the supervisor's table of children. Raises ActorTerminated if the supervisor is not up."""
        children = children_of(self._cell)
        if children is None:
            raise ActorTerminated(f"{self.path} is {self._cell.state}", self._cell.reason)
        return children

    async def start_child(self, spec: ChildSpec[MessageT, ReplyT]) -> ActorRef[MessageT, ReplyT]:
        """Add a child, and return its handle when its ``started()`` has returned. Concurrent calls are allowed.

        If this call raises or is cancelled, nothing of the child is left.

        Args:
            spec: The spec of the child.

        Raises:
            NameTaken: There is a child of that id.
            MaxChildren: The dynamic supervisor is full.
            SpecError: ``spec`` is no ChildSpec, or a spec of a child that this supervisor cannot have.
            ActorTerminated: The supervisor has ended, is stopping, or ended the child before it was up.
            BaseException: The exception that ``factory`` or ``started()`` raised.
        """
        turn = self._mailbox.home.is_turn_after()
        try:
            check_kind("spec", spec, ChildSpec, "a ChildSpec")
            return await self._children().start(spec)
        except ActorError:
            if turn:
                await trio.lowlevel.checkpoint()
            raise

    async def terminate_child(self, id: str) -> None:  # noqa: A002  -- the field's name
        """Stop a child within its ``shutdown`` time. Return when the child and all actors below it have ended.

        A child that waits for a restart ends at once. The spec is kept for ``restart_child``, except the spec of a
        temporary child, and the specs of a dynamic supervisor.

        Args:
            id: The id of the child.

        Raises:
            ChildNotFound: There is no child of that id.
            RuntimeError: The caller is the task of the child, or of an actor below it.

        Cancellation:
            The stop continues.
        """
        if self._mailbox.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        children = self._children()
        cell = children.find(id)
        if cell is not None:
            cell.check_not_own_end()
        await children.terminate(id)

    async def restart_child(self, id: str) -> ActorRef:  # noqa: A002  -- the field's name
        """Start an ended child again, from its spec. Return a new handle.

        If this call raises or is cancelled, the child is not up, and its spec is kept.

        Args:
            id: The id of the child.

        Raises:
            ChildNotFound: There is no child of that id.
            ChildRunning: The child has not ended.
            BaseException: The exception that ``factory`` or ``started()`` raised.
        """
        turn = self._mailbox.home.is_turn_after()
        try:
            # No checkpoint before this: no other task may delete the child between the call and the claim.
            return await self._children().restart(id)
        except ActorError:
            if turn:
                await trio.lowlevel.checkpoint()
            raise

    def delete_child(self, id: str) -> None:  # noqa: A002  -- the field's name
        """Forget the spec of a child that has ended.

        Raises ChildNotFound, or ChildRunning if the child has not ended.
        """
        self._mailbox.home.check()
        self._children().table.forget(id)

    def child(self, id: str) -> ActorRef | None:  # noqa: A002  -- the field's name
        """Return the handle of a child; None if the child has ended, or if there is no child of that id."""
        cell = self._children().find(id)
        return None if cell is None else cell.ref

    def children(self) -> tuple[ChildInfo, ...]:
        """Return the state of every child, in the order of their start.

        Ended children with a kept spec are included.
        """
        return tuple(_info(child) for child in self._children().entries())

    def statistics(self) -> SupervisorStatistics:
        """Return the current statistics of the supervisor."""
        children = children_of(self._cell)
        return SupervisorStatistics(
            **attrs.asdict(super().statistics(), recurse=False),
            strategy="" if children is None else children.spec.strategy.value,
            children_restarted=0 if children is None else children.restarts,
            restarting=0 if children is None else children.restarting(),
        )

    def counts(self) -> ChildCounts:
        """Return the numbers of children, by kind."""
        entries = self._children().entries()
        states = [child.cell.state for child in entries if child.cell is not None]
        restarting = states.count(State.RESTARTING)
        supervisors = sum(_has_children(child.spec) for child in entries)
        return ChildCounts(len(entries), len(states) - restarting, restarting, supervisors, len(entries) - supervisors)


class OnDemandRef(SupervisorRef, Generic[Message_contra, Reply_co]):
    """The handle on a group that starts on demand: the methods of a supervisor's handle, and :meth:`get_or_spawn`."""

    __slots__ = ()

    async def get_or_spawn(self, id: str) -> ActorRef[Message_contra, Reply_co]:  # noqa: A002  -- the field's name
        """Return the handle of the child with this name. If there is none, start it first.

        Concurrent calls for one name cause one start, and all of them wait for it. If it fails, all of them raise its
        exception, and the next call tries again. The handle of a child that waits for its restart is returned at once:
        messages wait in its mailbox. If the child is stopping, this waits for its end, and starts a new one.

        Args:
            id: Name of the child, which is the argument of the factory.

        Raises:
            MaxChildren: The group has as many children as it may have.
            NameTaken: A call of ``start_child`` is starting a child of that name.
            SpecError: ``id`` cannot be a name.
            ActorTerminated: The group has ended, is stopping, or ended the child before it was up.
            RuntimeError: The caller is the child itself, or a child whose start this start waits for.
            BaseException: The exception that the factory or ``started()`` raised.

        Cancellation:
            The start continues for the other callers. If there are none, it is ended, and nothing of the child is left.
        """
        if self._mailbox.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        children = self._children()
        assert isinstance(children, OnDemandChildren)  # noqa: S101  -- those of its actor
        return await children.get_or_spawn(id)


def _info(child: Child[Cell]) -> ChildInfo:
    cell = child.cell
    state = State.TERMINATED if cell is None else cell.state
    ref, is_supervisor = None if cell is None else cell.ref, _has_children(child.spec)
    return ChildInfo(child.spec.id, ref, state.value, child.spec.restart, is_supervisor)


def _has_children(spec: ChildSpec) -> bool:
    """Return whether a spec is that of a supervisor or a pool."""
    return isinstance(spec.factory, GroupSpec) and spec.factory.has_children


def new_cell(parent: Parent, spec: ChildSpec) -> Cell:
    """Return the internal object of the runtime for a new child of ``parent``, by the kind of its spec."""
    factory = spec.factory
    if not isinstance(factory, GroupSpec):
        return Cell(parent, spec, factory)
    if isinstance(factory, OnDemandSpec):
        return Cell(parent, spec, functools.partial(OnDemand, factory, new_cell), OnDemandRef)
    if isinstance(factory, PoolSpec):
        return PoolCell(parent, spec, functools.partial(Pool, factory), PoolRef)
    if isinstance(factory, RouterSpec):
        return RouterCell(parent, spec, functools.partial(Router, factory), RouterRef)
    assert isinstance(factory, SupervisorSpec)  # noqa: S101  -- there are these four
    return Cell(parent, spec, functools.partial(Supervisor, factory), SupervisorRef)
