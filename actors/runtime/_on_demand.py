"""A group of actors that are started when they are first asked for by name: its spec, its actor and its starts.

After OTP's ``simple_one_for_one`` (one spec for all children) with a registry, and the virtual actors of Orleans.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Generic

import attrs
import trio

from actors.errors import ActorTerminated, NameTaken, SpecError
from actors.failures import shown
from actors.runtime._children import Children
from actors.runtime._incarnation import life_of
from actors.runtime._instance import Instance
from actors.runtime._lifecycle import State
from actors.runtime._restart import Restart
from actors.runtime._spec import (
    DEFAULT_MAX_RESTARTS,
    DEFAULT_MAX_SECONDS,
    ChildSpec,
    GroupSpec,
    Strategy,
    SupervisorSpec,
)
from actors.runtime._typed import Defaults, Message_contra, Reply_co

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.backoff import Backoff
    from actors.runtime._cell import Cell
    from actors.runtime._ref import ActorRef
    from actors.runtime._typed import MessageT, ReplyT

    NewCell = Callable[[Children, ChildSpec], Cell]


@attrs.frozen
class OnDemandSpec(GroupSpec, Defaults, Generic[Message_contra, Reply_co]):
    """The spec of a group of actors that start on demand. :func:`on_demand` makes it, and checks it."""

    factory: Callable[[str], Instance[Message_contra, Reply_co]]
    """Function that makes the actor of a name."""
    restart: Restart
    """Rule by which a child is restarted after it has ended."""
    shutdown: float | None
    """Seconds from a stop to the cancellation of a child. The default (None) is 5."""
    group: SupervisorSpec
    """Spec of the supervisor: the limit of restarts, the backoff, and the maximum number of children."""

    def child(self, name: str) -> ChildSpec[Message_contra, Reply_co]:
        """Return the spec of the child with this name. Raises SpecError if it cannot be a name."""
        return ChildSpec(name, functools.partial(self.factory, name), self.restart, self.shutdown)


def on_demand(  # noqa: PLR0913  -- one keyword per documented option
    factory: Callable[[str], Instance[MessageT, ReplyT]],
    *,
    restart: Restart | str = Restart.TRANSIENT,
    shutdown: float | None = None,
    max_children: int | None = None,
    max_restarts: int = DEFAULT_MAX_RESTARTS,
    max_seconds: float = DEFAULT_MAX_SECONDS,
    backoff: Backoff | None = None,
) -> OnDemandSpec[MessageT, ReplyT]:
    """Return the spec of a group that starts an actor when it is first asked for by name.

    ``rooms = await system.spawn(on_demand(Room), name="rooms")`` starts the group, and
    ``await rooms.get_or_spawn("lobby")`` returns the handle of its child ``lobby``, which ``Room("lobby")`` makes at
    the first call. The options of the spawn (``mailbox_size``, ``overflow``, ``stash_size``) are those of each child's
    mailbox, and ``restart`` there is the rule for the group as a whole.

    Args:
        factory: Class or function that makes the actor of a name. It is called again for each restart.
        restart: Rule by which a child is restarted. A ``transient`` one that has stopped itself starts with the next
            call.
        shutdown: Maximum time of a child's stop, in seconds. The default is 5.
        max_children: Maximum number of children at once.
        max_restarts: Maximum number of restarts of children within ``max_seconds``. One more ends the group.
        max_seconds: Length of that period, in seconds.
        backoff: Growing delay before each restart of a child.

    Raises:
        SpecError: An argument is invalid.
    """
    if not callable(factory) or isinstance(factory, GroupSpec):
        raise SpecError(f"factory of a group on demand must be callable with a name, not {shown(factory)}")
    probe = ChildSpec("name", factory, restart, shutdown)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  -- only its checks are of use
    group = SupervisorSpec(
        Strategy.DYNAMIC,
        max_restarts=max_restarts,
        max_seconds=max_seconds,
        max_children=max_children,
        backoff=backoff,
    )
    return OnDemandSpec(factory, probe.restart, shutdown, group)


@attrs.define(eq=False)
class Start:
    """The start of one child, for which at least one caller waits."""

    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    callers: set[trio.lowlevel.Task] = attrs.Factory(set["trio.lowlevel.Task"])
    """Tasks that wait for this start."""
    over: trio.Event = attrs.Factory(trio.Event)
    ref: ActorRef[Any, Any] | None = None
    error: BaseException | None = None
    """Error of the start: each waiting caller raises it."""


class OnDemandChildren(Children):
    """The children of a group that start on demand, and their starts."""

    __slots__ = ("_spec", "_starts")

    def __init__(self, life: Any, spec: OnDemandSpec[Any, Any], new_cell: NewCell) -> None:
        super().__init__(life.cell.system, life, spec.group, new_cell, keeps=False)
        self._spec = spec
        self._starts: dict[str, Start] = {}

    async def get_or_spawn(self, key: str) -> ActorRef[Any, Any]:
        """Return the handle of a child. Start the child if there is none, or wait for its start by another caller."""
        while True:
            start, cell = self._starts.get(key), self.find(key)
            if start is None and cell is not None:
                if cell.state is State.STARTING and not cell.restarts:
                    raise NameTaken(f"{cell.path} is being started by start_child")
                if not cell.ends_for_good:
                    return cell.ref
                cell.check_not_own_end()
                await cell.gone()
                continue
            if start is not None and start.scope.cancel_called:  # its last caller has given up: nothing is left soon
                await start.over.wait()
                continue
            if start is None:
                start = self._begin(key)
            self._check_not_awaited(start, key)
            return await self._wait(start)

    def _begin(self, key: str) -> Start:
        """Start the task that starts a child."""
        self._check_open()
        spec = self._spec.child(key)
        spec = attrs.evolve(spec, mailbox=self.cell.spec.mailbox) if self.cell is not None else spec
        nursery = life_nursery(self.owner)
        if nursery is None:
            raise ActorTerminated(f"{self.owner.path} is stopping")
        start = self._starts[key] = Start()
        try:
            nursery.start_soon(self._run, spec, start, name=f"starting {key}")
        except BaseException:
            del self._starts[key]
            raise
        return start

    async def _run(self, spec: ChildSpec[Any, Any], start: Start) -> None:
        """Start the child. Each error of the start goes to the callers, and to none else."""
        try:
            with start.scope:
                start.ref = await self.start(spec)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  -- whatever a child raises; the callers raise it
            start.error = error
        finally:
            del self._starts[spec.id]
            start.over.set()

    async def _wait(self, start: Start) -> ActorRef[Any, Any]:
        """Wait for a start. If the last caller is cancelled, end the start, and wait until nothing of it is left."""
        task = trio.lowlevel.current_task()
        start.callers.add(task)
        try:
            await start.over.wait()
        finally:
            start.callers.discard(task)
            if not start.callers and not start.over.is_set():
                start.scope.cancel()
                with trio.CancelScope(shield=True):
                    await start.over.wait()
        if start.error is not None:
            raise start.error
        if start.ref is None:
            raise ActorTerminated(f"{self.owner.path} ended before the start")
        return start.ref

    def _check_not_awaited(self, start: Start, key: str) -> None:
        """Raise RuntimeError if the caller is a child that starts, and this start waits for it, perhaps over others."""
        task, path = trio.lowlevel.current_task(), f"{self.owner.path}/{key}"
        waiting: Start | None = start
        names = {id(each): name for name, each in self._starts.items()}
        while waiting is not None:
            cell = self.find(names[id(waiting)])
            if cell is None or cell.task is None:
                return
            if cell.task is task:
                raise RuntimeError(f"{cell.path} waits until {path} has started, which waits for {cell.path}")
            cell.check_not_awaited()
            waiting = next((each for each in self._starts.values() if cell.task in each.callers), None)


def life_nursery(owner: Any) -> trio.Nursery | None:
    """Return the nursery of the group's own tasks; None if the group is ending."""
    nursery: trio.Nursery | None = None if owner.over else owner.open_nursery()
    return nursery


class OnDemand(Instance):
    """The actor of a group that starts on demand. It has only children, and handles no messages."""

    def __init__(self, spec: OnDemandSpec[Any, Any], new_cell: NewCell) -> None:
        self._spec, self._new_cell = spec, new_cell

    async def started(self) -> None:
        """Make the table of children. None is started."""
        life = life_of(self)
        life.open_nursery()
        life.children = OnDemandChildren(life, self._spec, self._new_cell)
