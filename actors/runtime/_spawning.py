"""The two calls that start a child, of the system or of an actor: ``spawn`` and ``supervise``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, TypeVarTuple, Unpack, cast, overload

import trio

from actors.checks import check_kind
from actors.errors import SpecError
from actors.runtime._restart import Restart
from actors.runtime._spec import ChildSpec, Overflow, SupervisorSpec, mailbox_spec, name_of, with_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.backoff import Backoff
    from actors.runtime._children import Children
    from actors.runtime._instance import Instance
    from actors.runtime._on_demand import OnDemandSpec
    from actors.runtime._ref import ActorRef
    from actors.runtime._runtime import Runtime
    from actors.runtime._supervisor import OnDemandRef, SupervisorRef
    from actors.runtime._typed import ChildMessageT, ChildReplyT
    from actors.runtime.pools._pool import PoolRef
    from actors.runtime.pools._router import RouterRef, RouterSpec
    from actors.runtime.pools._spec import PoolSpec

Args = TypeVarTuple("Args")


class SpawnOptions(TypedDict, total=False):
    """The options of :meth:`Spawner.spawn`, for type checkers."""

    name: str | None
    restart: Restart
    max_restarts: int | None
    max_seconds: float | None
    backoff: Backoff | None
    shutdown: float | None
    mailbox_size: int
    overflow: Overflow
    stash_size: int


class Spawner:
    """The base class of the system and of an actor's context: the methods that start a child."""

    __slots__ = ()

    @property
    def _runtime(self) -> Runtime:
        """The services of the system."""
        raise NotImplementedError

    def _family(self) -> Children:
        """Return the children among which a new one is started. Raises ActorTerminated if no child can be started."""
        raise NotImplementedError

    @overload
    async def spawn(
        self, factory: PoolSpec[ChildMessageT, ChildReplyT], **options: Unpack[SpawnOptions]
    ) -> PoolRef[ChildMessageT, ChildReplyT]: ...

    @overload
    async def spawn(
        self, factory: RouterSpec[ChildMessageT, ChildReplyT], **options: Unpack[SpawnOptions]
    ) -> RouterRef[ChildMessageT, ChildReplyT]: ...

    @overload
    async def spawn(
        self, factory: OnDemandSpec[ChildMessageT, ChildReplyT], **options: Unpack[SpawnOptions]
    ) -> OnDemandRef[ChildMessageT, ChildReplyT]: ...

    @overload
    async def spawn(
        self,
        factory: Callable[[*Args], Instance[ChildMessageT, ChildReplyT]],
        *args: *Args,
        **options: Unpack[SpawnOptions],
    ) -> ActorRef[ChildMessageT, ChildReplyT]: ...

    @overload
    async def spawn(
        self,
        factory: Callable[..., Instance[ChildMessageT, ChildReplyT]],
        *args: object,
        kwargs: Mapping[str, object],
        **options: Unpack[SpawnOptions],
    ) -> ActorRef[ChildMessageT, ChildReplyT]: ...

    async def spawn(  # noqa: PLR0913  -- one keyword per documented option
        self,
        factory: Any,
        *args: object,
        kwargs: Mapping[str, object] | None = None,
        name: str | None = None,
        restart: Restart = Restart.TEMPORARY,
        max_restarts: int | None = None,
        max_seconds: float | None = None,
        backoff: Backoff | None = None,
        shutdown: float | None = None,
        mailbox_size: int = 64,
        overflow: Overflow = Overflow.WAIT,
        stash_size: int = 64,
    ) -> ActorRef[Any, Any]:
        """Start an actor below the system or below this actor. Return its handle when ``started()`` has returned.

        If this call raises or is cancelled, nothing of the actor is left. If the children of one parent need more
        restarts than its limit allows (3 within 5 s), the parent ends with RestartLimit: at the top that is the system.

        Args:
            factory: Class or function that makes the actor, a pool, or a group on demand. A restart calls it again.
            args: Arguments of the factory.
            kwargs: Arguments of the factory by name. Type checkers compare those of a ``functools.partial`` only.
            name: Unique name among the children of one parent. The default is the name of the factory and a number.
            restart: Rule by which the actor is restarted after it has ended.
            max_restarts, max_seconds: Limit of this actor alone: its restarts do not count against the shared limit.
            backoff: Growing delay before each restart.
            shutdown: Maximum time of a stop, in seconds. The default is 5. 0 kills the actor at once.
            mailbox_size, overflow, stash_size: Limits of its mailbox and stash, and the policy for a full mailbox.

        Raises:
            NameTaken: The parent has a child of that name.
            SpecError: An argument is invalid.
            ActorTerminated: The parent is stopping.
            BaseException: The exception that ``factory`` or ``started()`` raised.
        """
        runtime = self._runtime
        if runtime.home.is_turn_after():  # a task that only spawns must let other tasks run from time to time
            await trio.lowlevel.checkpoint()
        mailbox = mailbox_spec(mailbox_size, overflow, stash_size)
        make = factory if not args and kwargs is None else with_arguments(factory, args, kwargs)
        key = f"{name_of(factory)}-{next(runtime.numbers)}" if name is None else name
        spec = ChildSpec(key, make, restart, shutdown, False, backoff, mailbox, max_restarts, max_seconds)  # noqa: FBT003  -- in the order of the fields, which is faster
        if backoff is not None and spec.restart is Restart.TEMPORARY:
            raise SpecError("backoff is for an actor that is restarted, and a temporary one never is: give a restart")
        return await self._family().start(spec)

    async def supervise(
        self, spec: SupervisorSpec, name: str | None = None, *, restart: Restart = Restart.TEMPORARY
    ) -> SupervisorRef:
        """Start a supervisor, and return its handle when all its children have started.

        If this call raises or is cancelled, the children that were started are stopped, and nothing is left. If the
        supervisor exceeds its limit of restarts later, ``restart`` decides whether the supervisor is restarted. Without
        a restart, a supervisor at the top of the tree makes the :func:`open_system` block raise the RestartLimit.

        Args:
            spec: The spec of the supervisor.
            name: Unique name among the children of one parent. The default contains a number.
            restart: Rule by which the supervisor is restarted after it has ended.

        Raises:
            NameTaken: The parent has a child of that name.
            SpecError: ``spec`` is no SupervisorSpec.
            ActorTerminated: The parent is stopping.
            BaseException: The exception that a child's ``started()`` raised.
        """
        runtime = self._runtime
        if runtime.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        check_kind("spec", spec, SupervisorSpec, "a SupervisorSpec")
        key = f"supervisor-{next(runtime.numbers)}" if name is None else name
        ref: Any = await self._family().start(ChildSpec(key, spec, restart))
        return cast("SupervisorRef", ref)
