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

from actors._lifecycle import ExitReason, Failure, Shutdown, State, Stop
from actors._restart import Restart, Window, should_restart
from actors._spec import AutoShutdown, ChildSpec, Strategy, SupervisorSpec
from actors.errors import ActorTerminated, ChildNotFound, ChildRunning, MaxChildren, NameTaken, RestartLimit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors._cell import Cell
    from actors._incarnation import Incarnation
    from actors._ref import ActorRef
    from actors._system import ActorSystem

logger = logging.getLogger("actors")

GROUPS = frozenset({Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE})


class Owner(Protocol):
    """Whose children they are: an actor's cell, or the system."""

    @property
    def path(self) -> str:
        """Its place in the tree."""
        ...

    @property
    def life(self) -> Incarnation | None:
        """The nursery for the family's task is in here; None at the root."""
        ...

    def crash(self, failure: Exception) -> None:
        """End it with this failure."""
        ...

    def leave(self, reason: ExitReason) -> None:
        """End it as if it had wished to."""
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


class Family:
    """The children of one actor, in the order of their start.

    A family that ``keeps`` remembers the specs of children that ended; in one that does not, as in every dynamic
    supervisor, an entry goes with its child.
    """

    __slots__ = (
        "_again",
        "_children",
        "_closing",
        "_keeps",
        "_regroup",
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
        self._again: Child | None = None

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
            raise ChildNotFound(f"{self.owner.path} has no child {key!r}") from None

    def cell(self, key: str) -> Cell | None:
        """Find a child that has a body."""
        child = self._children.get(key)
        return None if child is None else child.cell

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

    async def launch(self, child: Child) -> ActorRef:
        """Give an entry a body and start it. Raises ChildRunning when it has one."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._is_ending():
            raise ActorTerminated(f"{self.owner.path} is stopping")
        if child.cell is not None:
            raise ChildRunning(f"{child.cell.path} is {child.cell.state}")
        cell = child.cell = self.system.body(self, child.spec)
        child.dismissed = False
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
        if child.cell is not None:
            await child.cell.stop(Stop(Shutdown()), child.spec.seconds)

    async def stop_all(self, *, brutal: bool = False) -> None:
        """End all children: in reverse order, a dynamic supervisor's in parallel. ``brutal`` kills them.

        Cancelled: those that were told to stop still do.
        """
        self._closing = True
        if self._regroup is not None:
            self._regroup.cancel()
        cells = [child.cell for child in reversed(self._children.values()) if child.cell is not None]
        if not (brutal or self.spec.strategy is Strategy.DYNAMIC):
            for cell in cells:
                await cell.stop(Stop(Shutdown()), cell.spec.seconds)
            return
        for cell in cells:
            cell.stop_soon(Stop(Shutdown()), 0.0 if brutal else cell.spec.seconds)
        for cell in cells:
            await cell.enforce()

    def _is_ending(self) -> bool:
        life = self.owner.life
        return self._closing or (life is not None and life.over)

    # What follows the end of a child

    def exited(self, cell: Cell, reason: ExitReason) -> float | None:
        """Decide what follows the end of an incarnation: the seconds until the next one, None for none.

        Infinite: the family says itself when it begins.
        """
        was_up = cell.life is not None and cell.life.up_since < math.inf
        if not (was_up or cell.restarts):
            return None  # Its first start failed: that is for who started it.
        if isinstance(reason, Failure):
            logger.error("%s failed: %r", cell.path, reason.exception, exc_info=reason.exception)
        held = cell.stop_asked is not None and cell.stop_asked.hold
        if held or (self._regroup is not None and not was_up):
            return math.inf
        if self._is_ending() or not should_restart(cell.spec.restart, reason):
            return None
        return self._restart(cell, reason)

    def _restart(self, cell: Cell, reason: ExitReason) -> float | None:
        if not self._grant(cell.path, reason.exception if isinstance(reason, Failure) else None):
            return None
        if self.spec.strategy not in GROUPS:
            return self._delay(cell)
        child = self._children[cell.spec.id]
        life = self.owner.life
        if self._regroup is None and life is not None and life.nursery is not None:
            self._regroup = trio.CancelScope()
            life.nursery.start_soon(
                self._restart_group, child, self._delay(cell), name=f"restarting with {child.spec.id}"
            )
        else:
            self._go_back_to(child)
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

    def _delay(self, cell: Cell) -> float:
        backoff = cell.spec.backoff or self.spec.backoff
        if backoff is None:
            return 0.0
        up_since = cell.life.up_since if cell.life is not None else math.inf
        if trio.current_time() - up_since >= backoff.healthy_after:
            cell.attempts = 0
        cell.attempts += 1
        return backoff.delay(cell.attempts - 1, random.random())  # noqa: S311  -- spreads restarts, guards nothing

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

    def _another_holds_it_up(self) -> bool:
        others = any(child.spec.significant and child.cell is not None for child in self._children.values())
        return self.spec.auto_shutdown is AutoShutdown.ALL and others

    # Restarting a group

    def _go_back_to(self, child: Child) -> None:
        """Begin the group restart that is under way again at this child, or at an earlier one that asked for it."""
        waiting = self._waiting()
        order = list(self._children.values())
        if waiting is None or order.index(child) < order.index(waiting):
            self._again = child

    def _waiting(self) -> Child | None:
        """Find the child that failed while its group was restarted, unless it was deleted since."""
        again = self._again
        return again if again is not None and self._children.get(again.spec.id) is again else None

    async def _restart_group(self, first: Child, delay: float) -> None:
        """Halt the group from its last child to its first, then start it in order, until all of it is up."""
        scope = self._regroup
        assert scope is not None  # noqa: S101  -- set by who started this task
        with scope:
            failed: Child | None = first
            while failed is not None:
                self._again = None
                group = self._group(failed)
                await self._halt(group)
                await trio.sleep(delay)
                failed = await self._start(group)
        self._regroup = None

    def _group(self, first: Child) -> list[Child]:
        children = list(self._children.values())
        if self.spec.strategy is Strategy.REST_FOR_ONE:
            children = children[children.index(first) :]
        return [child for child in children if not child.starting]

    async def _halt(self, group: list[Child]) -> None:
        for child in reversed(group):
            if child.cell is not None and child.spec.restart is Restart.TEMPORARY:
                child.dismissed = True
                await child.cell.stop(Stop(Shutdown()), child.spec.seconds)
            elif child.cell is not None:
                await child.cell.halt(child.spec.seconds)

    async def _start(self, group: list[Child]) -> Child | None:
        """Start the group in order. The child with which to do it again, None when all are up."""
        for child in group:
            if self._children.get(child.spec.id) is not child:
                continue
            try:
                if child.cell is not None:
                    await child.cell.begin_again()
                else:
                    await self.launch(child)
            except Exception as failure:  # noqa: BLE001  -- whatever a child's start raises is a failed restart
                if child.dismissed or self._children.get(child.spec.id) is not child:
                    continue
                self._go_back_to(child)
                if not self._grant(f"{self.owner.path}/{child.spec.id}", failure):
                    await trio.sleep_forever()
            if self._waiting() is not None:
                break
        return self._waiting()
