"""The actor of a pool, which has the members as its children, and the handle on it."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, ClassVar, cast

import attrs
import trio

from actors.errors import ActorTerminated
from actors.failures import log_failure, shown
from actors.runtime._cell import Cell
from actors.runtime._children import Children
from actors.runtime._incarnation import life_of
from actors.runtime._instance import Instance
from actors.runtime._lifecycle import DRAIN
from actors.runtime._ref import ActorStatistics, Terminated, cell_of
from actors.runtime._restart import Restart
from actors.runtime._spec import ChildSpec, GroupSpec, Strategy, SupervisorSpec
from actors.runtime._typed import Message_contra, Reply_co
from actors.runtime._watching import Watching
from actors.runtime.pools._mailbox import PoolMailbox
from actors.runtime.pools._members import MembersRef

if TYPE_CHECKING:
    from actors.runtime._body import Parent
    from actors.runtime._incarnation import Incarnation
    from actors.runtime._mailbox import Mailbox
    from actors.runtime.pools._spec import PoolSpec

logger = logging.getLogger("actors")


class PoolCell(Cell):
    """A pool as the runtime sees it: an actor with another kind of mailbox."""

    __slots__ = ()

    mailbox_kind: ClassVar[type[Mailbox]] = PoolMailbox

    def check_not_awaited(self) -> None:
        """Raise RuntimeError if the calling member is being started and the pool waits for that start."""
        if not self.mailbox.is_awaited:  # else the pool waits for no start
            super().check_not_awaited()

    @property
    def routes(self) -> PoolMailbox:
        """Mailbox of the pool, by its own class."""
        return cast("PoolMailbox", self.mailbox)


def new_member(parent: Parent, spec: ChildSpec) -> Cell:
    """Return the internal object of the runtime for a new member of a pool."""
    assert not isinstance(spec.factory, GroupSpec)  # noqa: S101  -- the spec of the pool was checked
    return Cell(parent, spec, spec.factory)


class Members(Children):
    """The members of a pool. If the pool drains its mailbox before it stops, each member drains its own."""

    __slots__ = ()

    async def stop_all(self, *, brutal: bool = False) -> None:
        """Stop all members in parallel. If the pool's stop drains, so do theirs."""
        stop = None if self.cell is None else self.cell.stop_asked
        if stop is None or not stop.drain or brutal:
            await super().stop_all(brutal=brutal)
            return
        self.close()
        cells = self.cells()
        for cell in cells:
            cell.stop_soon(DRAIN, cell.spec.seconds)
        for cell in cells:
            await cell.gone()

    def close(self) -> None:
        """Record that the pool is ending. Messages are routed to no member any more."""
        super().close()
        if isinstance(self.cell, PoolCell):
            self.cell.routes.end()


class Pool(Instance):
    """The actor of a pool. It starts and replaces the members, and handles no messages."""

    def __init__(self, spec: PoolSpec) -> None:
        self._spec = spec
        self._numbers = itertools.count(1)
        self._grows = self._shrinks = False
        """Whether the tasks run that start one more member, and stop idle members."""

    @property
    def _life(self) -> Incarnation:
        return life_of(self)

    @property
    def _mailbox(self) -> PoolMailbox:
        return cast("PoolMailbox", self._life.cell.mailbox)

    async def started(self) -> None:
        """Start the members. If one fails to start, the pool fails."""
        life, spec = self._life, self._spec
        limits = SupervisorSpec(
            Strategy.DYNAMIC, max_restarts=spec.max_restarts, max_seconds=spec.max_seconds, backoff=spec.backoff
        )
        life.children = Members(life.cell.system, life, limits, new_member, keeps=False)
        life.watching = Watching(life)
        members = [await self._start() for _ in range(spec.size)]
        self._mailbox.begin(spec, [cell for cell in members if cell.reason is None])
        if spec.max_size > spec.size:
            life.open_nursery()
            self._mailbox.on_pressure = self._on_pressure

    async def _start(self) -> Cell:
        """Start one more member, and return it. Its end is reported to the pool."""
        life = self._life
        children = cast("Members", life.children)
        mailbox = life.cell.spec.mailbox
        name = str(next(self._numbers))
        spec = ChildSpec(name, self._spec.factory, Restart.PERMANENT, self._spec.shutdown, mailbox=mailbox)
        cell = cast("Cell", cell_of(await children.start(spec)))
        if life.watching is not None:
            life.watching.add(cell)
        return cell

    async def receive(self, message: object) -> object:
        """Replace a member that has ended permanently. No other message comes here: the mailbox routes them."""
        if isinstance(message, Terminated):
            mailbox, spec = self._mailbox, self._spec
            mailbox.remove(cast("Cell", cell_of(message.ref)))  # it is none if it ended while the pool started
            if not self._life.takes_children:
                return None
            if spec.size < spec.max_size:
                mailbox.on_pressure = self._on_pressure
            if len(mailbox.cells) < spec.size:
                mailbox.add(await self._start())
        return None

    # The size

    def _on_pressure(self) -> None:
        """Begin to start one more member. The mailbox calls this when many messages wait at one member."""
        life = self._life
        if not (self._grows or life.over or life.nursery is None) and self._mailbox.is_crowded:
            self._grows = True
            life.nursery.start_soon(self._grow, name="growing")

    async def _grow(self) -> None:
        """Start one more member. If it fails to start, log that: the pool keeps its size."""
        life, path, spec = self._life, self._life.path, self._spec
        try:
            cell = await self._start()
        except trio.Cancelled:
            raise
        except BaseException as failure:  # noqa: BLE001  -- whatever a member raises; it is logged
            if not isinstance(failure, ActorTerminated):
                log_failure(logger, "%s did not grow: %s", path, shown(failure), error=failure)
            await trio.sleep(spec.shrink_after)
        else:
            if life.takes_children and cell.reason is None:
                self._mailbox.add(cell)
        self._grows = False
        if life.nursery is not None and not self._shrinks and len(self._mailbox.cells) > spec.size:
            self._shrinks = True
            life.nursery.start_soon(self._shrink, name="shrinking")
        if len(self._mailbox.cells) >= spec.max_size:
            self._mailbox.on_pressure = None

    async def _shrink(self) -> None:
        """Stop one idle member after each ``shrink_after`` seconds, until the pool has its smallest size."""
        life, mailbox = self._life, self._mailbox
        while len(mailbox.cells) > self._spec.size:
            await trio.sleep(self._spec.shrink_after)
            cell = mailbox.idle()
            if cell is not None and len(mailbox.cells) > self._spec.size and life.takes_children:
                mailbox.remove(cell)
                if life.watching is not None:
                    life.watching.remove(cell)
                cell.stop_soon(DRAIN, cell.spec.seconds)
                mailbox.on_pressure = self._on_pressure
        self._shrinks = False


@attrs.frozen
class PoolStatistics(ActorStatistics):
    """The state of one pool as an actor. The statistics of its mailbox are those of all members together."""

    members: int
    """Number of members that get messages now."""
    min_size: int
    """Number of members at the start, and at least."""
    max_size: int
    """Maximum number of members."""
    members_restarted: int
    """Number of restarts of members since the last start of the pool."""


class PoolRef(MembersRef[Message_contra, Reply_co]):
    """The handle on a pool: the methods of any actor's handle, and methods for its members."""

    __slots__ = ()

    def statistics(self) -> PoolStatistics:
        """Return the current statistics of the pool."""
        spec = cast("PoolSpec", self._cell.spec.factory)
        life = self._cell.life
        children = None if life is None else life.children
        return PoolStatistics(
            **attrs.asdict(super().statistics(), recurse=False),
            members=len(self._routes.cells),
            min_size=spec.size,
            max_size=spec.max_size,
            members_restarted=children.restarts if isinstance(children, Members) else 0,
        )
