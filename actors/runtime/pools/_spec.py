"""The spec of a pool, as a checked value. Pure."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any, Generic

import attrs

from actors.backoff import Backoff
from actors.checks import check_count, check_kind, check_seconds, count, one_of
from actors.errors import SpecError
from actors.failures import shown
from actors.runtime._spec import GroupSpec, member_of
from actors.runtime._typed import Defaults, Message_contra, Reply_co

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from actors.runtime._instance import Instance
    from actors.runtime._typed import MessageT, ReplyT


class Routing(enum.StrEnum):
    """The rule by which a pool or a router chooses the member that gets a message."""

    ROUND_ROBIN = "round_robin"
    """Each member in turn. A full member is passed over if another one has room."""
    LEAST_WAITING = "least_waiting"
    """The member with the fewest messages. A message that is being handled counts, too."""
    RANDOM = "random"
    """A random member. A full member is passed over if another one has room."""
    CONSISTENT_HASH = "consistent_hash"
    """The member that the key of the message belongs to: messages with equal keys go to the same member.

    If the number of members changes by one of n, about one key in n changes its member.
    """


def routing_of(value: Routing | str) -> Routing:
    """Return the rule that a text names. Return any other value as it is: the validator refuses it."""
    return member_of(Routing, value)


def check_key(key: object, routing: Routing) -> None:
    """Raise SpecError if ``key`` is no function, or is given for a rule that does not look at keys."""
    if key is not None and not callable(key):
        raise SpecError(f"key must be callable, not {shown(key)}")
    if key is not None and routing is not Routing.CONSISTENT_HASH:
        raise SpecError(f"key is for the routing {Routing.CONSISTENT_HASH}, not {routing}")


@attrs.frozen
class PoolSpec(GroupSpec, Defaults, Generic[Message_contra, Reply_co]):
    """The spec of a pool. :func:`pool` makes it, and checks it.

    It can be spawned wherever an actor can: by ``spawn``, and as the factory of a ChildSpec.
    """

    factory: Callable[[], Instance[Message_contra, Reply_co]]
    """Function without arguments that makes one member."""
    size: int = attrs.field(validator=count(1))
    """Number of members at the start, and at least."""
    max_size: int = attrs.field(kw_only=True, validator=count(1))
    """Maximum number of members."""
    routing: Routing = attrs.field(kw_only=True, converter=routing_of, validator=one_of(Routing))
    """Rule by which the member for a message is chosen."""
    key: Callable[[Any], Hashable] | None = attrs.field(kw_only=True)
    """Function that returns the key of a message, for ``consistent_hash``. None: the message is its own key."""
    grow_at: int = attrs.field(kw_only=True, validator=count(1))
    """Number of messages that wait for each member, on average, from which one more member is started."""
    shrink_after: float = attrs.field(kw_only=True)
    """Seconds after which one idle member is stopped, as long as there are more than ``size``."""
    shutdown: float | None = attrs.field(kw_only=True)
    """Seconds from a stop to the cancellation of a member. The default (None) is 5."""
    max_restarts: int = attrs.field(kw_only=True, validator=count(0))
    """Maximum number of restarts of members within ``max_seconds``. One more ends the pool with RestartLimit."""
    max_seconds: float = attrs.field(kw_only=True)
    """Length of the period in which at most ``max_restarts`` restarts are allowed, in seconds."""
    backoff: Backoff | None = attrs.field(kw_only=True)
    """Growing delay before each restart of a member. None: a member is restarted at once."""

    if TYPE_CHECKING:  # for type checkers, a pool is spawned like an actor of its members' type

        def __call__(self) -> Instance[Message_contra, Reply_co]: ...

    def __attrs_post_init__(self) -> None:
        """Raise SpecError if a value is invalid, or fields contradict each other."""
        if not callable(self.factory) or isinstance(self.factory, GroupSpec):
            raise SpecError(f"factory of a pool must be callable, not {shown(self.factory)}")
        if self.max_size < self.size:
            raise SpecError(f"max_size of a pool must be at least its size {self.size}, not {self.max_size}")
        check_key(self.key, self.routing)
        check_seconds(self.shrink_after, "shrink_after")
        if self.shrink_after in {0, math.inf}:
            raise SpecError("shrink_after must be more than 0 seconds, and not infinite")
        if self.shutdown is not None:
            check_seconds(self.shutdown, "shutdown")
        check_seconds(self.max_seconds, "max_seconds")
        if self.max_seconds == 0:
            raise SpecError("max_seconds must be more than 0 seconds")
        if self.backoff is not None:
            check_kind("backoff", self.backoff, Backoff, "a Backoff")


def pool(  # noqa: PLR0913  -- one keyword per documented option
    factory: Callable[[], Instance[MessageT, ReplyT]],
    size: int,
    *,
    max_size: int | None = None,
    routing: Routing | str = Routing.ROUND_ROBIN,
    key: Callable[[Any], Hashable] | None = None,
    grow_at: int = 8,
    shrink_after: float = 30.0,
    shutdown: float | None = None,
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    backoff: Backoff | None = None,
) -> PoolSpec[MessageT, ReplyT]:
    """Return the spec of a pool: ``size`` equal actors behind one handle, a PoolRef.

    ``await system.spawn(pool(Worker, 4), name="workers")`` starts it. A message to the pool goes to one of its members.
    The members are its children: a member that fails is restarted, and its mailbox stays. The options of the spawn
    (``mailbox_size``, ``overflow``, ``stash_size``) are those of each member's mailbox, and ``restart`` is the rule for
    the pool as a whole.

    ``max_size`` is ``size`` by default: the pool neither grows nor shrinks. The other arguments are the fields of
    :class:`PoolSpec`. Raises SpecError if one is invalid.
    """
    check_count(size, 1, "size of a pool")
    return PoolSpec(
        factory,
        size,
        max_size=size if max_size is None else max_size,
        routing=routing,
        key=key,
        grow_at=grow_at,
        shrink_after=shrink_after,
        shutdown=shutdown,
        max_restarts=max_restarts,
        max_seconds=max_seconds,
        backoff=backoff,
    )
