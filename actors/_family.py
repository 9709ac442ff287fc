"""The children of one actor, and what follows the end of each.

The book-keeping is plain calls: a child's task asks its family what follows its end and acts on the answer itself, so a
child that hangs in a restart never keeps the family from answering. Only restarting a group needs a task of its own; it
lives in the supervisor's nursery.
"""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from actors._lifecycle import STOP, ExitReason, Failure, Killed, Shutdown, State
from actors._restart import Restart, Window, should_restart
from actors._spec import AutoShutdown, ChildSpec, Strategy, SupervisorSpec
from actors.errors import ActorTerminated, ChildNotFound, ChildRunning, MaxChildren, NameTaken, RestartLimit
from actors.failures import log_failure, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actors._cell import Cell
    from actors._ref import ActorRef
    from actors._system import ActorSystem

logger = logging.getLogger("actors")

GROUPS = frozenset({Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE})


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

    def child_ended(self, reason: ExitReason) -> None:
        """Take note that a child, which had been up, has ended for good."""
        ...


@attrs.define(eq=False)
class Child:
    """One entry: what it is to be, and its body while it has one."""

    spec: ChildSpec
    cell: Cell | None = None
    starting: bool = False
    """Whether somebody is starting it for the first time; a group restart leaves it to them."""
    dismissed: bool = False
    """Whether the supervisor was told to end it: then its end is no sign for an automatic shutdown."""
    attempts: int = 0
    """Restarts since it was last healthy."""
    left_out: bool = False
    """Whether it was terminated while its group was restarted: then that restart does not bring it back."""


class Family:
    """The children of one actor, in the order of their start.

    A family that ``keeps`` remembers the specs of children that ended; in one that does not, as in every dynamic
    supervisor, an entry goes with its child.
    """

    __slots__ = (
        "_again",
        "_children",
        "_closing",
        "_down",
        "_keeps",
        "_not_before",
        "_regroup",
        "_starting",
        "_step",
        "_window",
        "owner",
        "restarts",
        "spec",
        "system",
    )

    def __init__(self, system: ActorSystem, owner: Owner, spec: SupervisorSpec, *, keeps: bool) -> None:
        self.system = system
        self.owner = owner
        self.spec = spec
        self.restarts = 0
        """Restarts that were granted."""
        self._children: dict[str, Child] = {}
        self._window = Window(spec.max_restarts, spec.max_seconds)
        self._closing = False
        self._keeps = keeps and spec.strategy is not Strategy.DYNAMIC
        self._regroup: trio.CancelScope | None = None
        """Around the restart of a group, while there is one."""
        self._step: trio.CancelScope | None = None
        """Around what it waits for and need not: the backoff, or the start of a child that is to be halted again."""
        self._again: Child | None = None
        """The first child that failed since; with it the restart of the group begins again."""
        self._down: list[Child] = []
        """The group while it is halted: what fails there is no failure of its own."""
        self._starting: Child | None = None
        """The child of the group that starts now."""
        self._not_before = -math.inf
        """When the backoff is over."""

    # Looking

    def count(self) -> int:
        """Count the children that have a body, those that are being restarted among them."""
        return sum(child.cell is not None for child in self._children.values())

    def restarting(self) -> int:
        """Count the children between two incarnations."""
        cells = (child.cell for child in self._children.values())
        return sum(cell is not None and cell.state is State.RESTARTING for cell in cells)

    def entries(self) -> Sequence[Child]:
        """List all entries, in the order of their start."""
        return tuple(self._children.values())

    def entry(self, key: str) -> Child:
        """Find the entry of that id; raises ChildNotFound."""
        try:
            return self._children[key]
        except KeyError:
            raise ChildNotFound(f"{self.owner.path} has no child {shown(key)}") from None

    def cell(self, key: str) -> Cell | None:
        """Find a child that has a body."""
        child = self._children.get(key)
        return None if child is None else child.cell

    def descendants(self) -> Iterator[Cell]:
        """Go through all that have a body, in this family and those below it, parents first."""
        families: list[Family] = [self]
        while families:
            for child in families.pop().entries():
                if child.cell is not None:
                    yield child.cell
                    if child.cell.family is not None:
                        families.append(child.cell.family)

    def forget(self, key: str) -> None:
        """Drop the entry of a child that has ended."""
        del self._children[key]

    # Starting and stopping

    async def start(self, spec: ChildSpec) -> ActorRef:
        """Add a child and start it. When it raises, or is cancelled, no entry stays behind."""
        self._check(spec)
        child = self._children[spec.id] = Child(spec)
        try:
            return await self.launch(child)
        except BaseException:
            if self._children.get(spec.id) is child:
                del self._children[spec.id]
            raise

    def _check(self, spec: ChildSpec) -> None:
        self.spec.check_child(spec)
        if spec.id in self._children:
            raise NameTaken(f"{self.owner.path} has a child {spec.id!r} already")
        if self.spec.max_children is not None and len(self._children) >= self.spec.max_children:
            raise MaxChildren(f"{self.owner.path} has {self.spec.max_children} children, and may not have more")

    def came_up(self, cell: Cell) -> None:
        """Note that a significant child has come up."""

    async def launch(self, child: Child) -> ActorRef:
        """Give an entry a body and start it. Raises ChildRunning when it has one."""
        if self.system.has_had_its_turn():
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_ending():
            raise ActorTerminated(f"{self.owner.path} is stopping")
        if child.cell is not None:
            raise ChildRunning(f"{child.cell.path} is {child.cell.state}")
        nursery = self.owner.room_for_children()
        cell = child.cell = self.system.body(self, child.spec)
        child.dismissed = child.left_out = False
        if not cell.begin_first(nursery):
            child.starting = True
            try:
                await cell.start()
            finally:
                child.starting = False
        return cell.ref

    async def terminate(self, key: str) -> None:
        """End a child as its spec says; the entry stays if the family keeps it. Cancelled: the stop goes on."""
        child = self.entry(key)
        child.dismissed = True
        child.left_out = self._regroup is not None
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

    def cells(self) -> list[Cell]:
        """List the children that have a body, the last one first."""
        return [child.cell for child in reversed(self._children.values()) if child.cell is not None]

    def close(self) -> None:
        """Take no more children; none is restarted any more."""
        self._closing = True
        if self._regroup is not None:
            self._regroup.cancel()

    def condemn(self) -> None:
        """Note that all below is ended by force now: none of it comes back."""
        self._closing = True
        for cell in self.descendants():
            cell.is_condemned()

    def _is_ending(self) -> bool:
        return self._closing or not self.owner.takes_children

    # What follows the end of a child

    def exited(self, cell: Cell, reason: ExitReason) -> float | None:
        """Decide what follows the end of an incarnation: the seconds until the next one, None for none.

        Infinite: the family says itself when it begins.
        """
        was_up = cell.was_up
        if not (was_up or cell.restarts):
            return None  # Its first start failed: that is for who started it.
        held = cell.stop_asked is not None and cell.stop_asked.hold
        if held or (self._regroup is not None and not was_up):
            return math.inf
        if self._is_ending() or not should_restart(cell.spec.restart, reason):
            return None
        child = self._children[cell.spec.id]
        if any(child is member for member in self._down):
            return math.inf
        return self._restart(child, cell, reason)

    def _restart(self, child: Child, cell: Cell, reason: ExitReason) -> float | None:
        if not self._grant(cell.path, reason.exception if isinstance(reason, (Failure, Killed)) else None):
            return None
        delay = self._delay(child, cell.life.up_since if cell.life is not None else math.inf)
        if self.spec.strategy not in GROUPS:
            return delay
        self._go_back_to(child, delay)
        if self._regroup is None:
            self._regroup = trio.CancelScope()
            nursery = self.owner.room_for_children()
            nursery.start_soon(self._restart_group, name=f"restarting with {child.spec.id}")
        return math.inf

    def _grant(self, path: str, cause: BaseException | None) -> bool:
        """Count a restart; when it is one too many the supervisor ends."""
        if self._window.record(trio.current_time()):
            self.restarts += 1
            return True
        limit = RestartLimit(
            f"{self.owner.path} gave up: {path} ended once more after {self.spec.max_restarts} restarts "
            f"within {self.spec.max_seconds} s"
        )
        limit.__cause__ = cause
        self.owner.crash(limit)
        return False

    def _delay(self, child: Child, up_since: float) -> float:
        backoff = child.spec.backoff or self.spec.backoff
        if backoff is None:
            return 0.0
        if trio.current_time() - up_since >= backoff.healthy_after:
            child.attempts = 0
        child.attempts += 1
        return backoff.delay(child.attempts - 1, random.random())  # noqa: S311  -- spreads restarts, guards nothing

    def ended(self, cell: Cell, reason: ExitReason) -> None:
        """Note that a child is gone for good."""
        child = self._children.get(cell.spec.id)
        if child is None or child.cell is not cell:
            return
        child.cell = None
        if not self._keeps or child.spec.restart is Restart.TEMPORARY:
            del self._children[cell.spec.id]
        by_itself = not (child.dismissed or self._closing) and not should_restart(child.spec.restart, reason)
        if child.spec.significant and by_itself and not self._another_holds_it_up():
            self.owner.leave(Shutdown())
        if cell.was_up or cell.restarts:
            self.owner.child_ended(reason)

    def _another_holds_it_up(self) -> bool:
        others = any(child.spec.significant and child.cell is not None for child in self._children.values())
        return self.spec.auto_shutdown is AutoShutdown.ALL and others

    # Restarting a group

    def _go_back_to(self, child: Child, delay: float) -> None:
        """Have the group restarted from this child on, or from an earlier one that failed too.

        What a restart that is under way waits for is cut short when that goes down again anyway: the start of a later
        child may be waiting for the very one that failed.
        """
        waiting = self._waiting()
        if waiting is None or self._is_before(child, waiting):
            self._again = child
        self._not_before = max(self._not_before, trio.current_time() + delay)
        if self._step is not None and (self._starting is None or self._is_before(child, self._starting)):
            self._step.cancel()

    def _waiting(self) -> Child | None:
        """Find the child that failed while its group was restarted, unless it was deleted since."""
        again = self._again
        return again if again is not None and self._children.get(again.spec.id) is again else None

    def _is_before(self, one: Child, other: Child) -> bool:
        return next(child is one for child in self._children.values() if child is one or child is other)

    async def _restart_group(self) -> None:
        """Halt the group from its last child to its first, then start it in order, until all of it is up."""
        scope = self._regroup
        assert scope is not None  # noqa: S101  -- set by who started this task
        with scope:
            while (first := self._waiting()) is not None:
                self._again = None
                self._down = group = self._group(first)
                await self._halt(group)
                with trio.CancelScope() as self._step:
                    await trio.sleep_until(self._not_before)
                self._step, self._down = None, []
                waiting = self._waiting()
                if waiting is None:
                    await self._start(group)
                elif self._is_before(first, waiting):
                    self._again = first
        self._regroup, self._down, self._not_before = None, [], -math.inf
        for child in self._children.values():
            child.left_out = False

    def _group(self, first: Child) -> list[Child]:
        children = list(self._children.values())
        if self.spec.strategy is Strategy.REST_FOR_ONE:
            children = children[children.index(first) :]
        return [child for child in children if not _is_left_to_its_starter(child)]

    async def _halt(self, group: list[Child]) -> None:
        for child in reversed(group):
            if child.cell is not None and child.spec.restart is Restart.TEMPORARY:
                child.dismissed = True
                await child.cell.stop(STOP, child.spec.seconds)
            elif child.cell is not None:
                await child.cell.halt(child.spec.seconds)

    async def _start(self, group: list[Child]) -> None:
        """Start the group in order, up to a child before which another has failed: with that one it is done again."""
        for child in group:
            if self._children.get(child.spec.id) is not child or (child.left_out and child.cell is None):
                continue
            waiting = self._waiting()
            if waiting is not None and self._is_before(waiting, child):
                return
            self._starting = child
            with trio.CancelScope() as self._step:
                await self._start_member(child)
            self._step = self._starting = None

    async def _start_member(self, child: Child) -> None:
        try:
            if child.cell is not None:
                await child.cell.begin_again()
            else:
                await self.launch(child)
        except Exception as failure:  # noqa: BLE001 - logged with its traceback
            path = f"{self.owner.path}/{child.spec.id}"
            log_failure(logger, "%s failed: %s", path, shown(failure), error=failure)
            if child.dismissed or self._children.get(child.spec.id) is not child:
                return
            if not self._grant(path, failure):
                await trio.sleep_forever()
            self._go_back_to(child, self._delay(child, math.inf))


def _is_left_to_its_starter(child: Child) -> bool:
    """Whether its first start is not over. One that failed as soon as it was up is not: its starter has yet to hear."""
    cell = child.cell
    was_up = cell is not None and (cell.restarts > 0 or cell.was_up)
    return child.starting and not was_up
