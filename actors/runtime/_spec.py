"""The specs of a mailbox, a child and a supervisor, as checked values. Pure."""

from __future__ import annotations

import enum
import functools
import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypedDict, TypeVar, TypeVarTuple, Unpack, cast, overload

import attrs

from actors.backoff import Backoff
from actors.checks import check_count, check_kind, check_seconds, count, one_of
from actors.errors import SpecError
from actors.failures import shown
from actors.runtime._restart import Restart
from actors.runtime._typed import Defaults, Message_contra, Reply_co

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.runtime._instance import Instance
    from actors.runtime._typed import MessageT, ReplyT

RESTARTS = f"one of {', '.join(Restart)}"
DEFAULT_SHUTDOWN = 5.0
"""Seconds from the request to stop an actor until its code is cancelled, if its spec does not say otherwise."""
DEFAULT_MAX_RESTARTS, DEFAULT_MAX_SECONDS = 3, 5.0
"""Maximum number of restarts of one supervisor's children, and the period in seconds in which they count."""


class Overflow(enum.StrEnum):
    """The policy for a message that is sent to a full mailbox. A dropped message becomes a dead letter."""

    WAIT = "wait"
    """``tell`` and ``ask`` wait for room."""
    REJECT = "reject"
    """``tell`` and ``ask`` raise MailboxFull."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message is dropped to make room."""
    DROP_NEW = "drop_new"
    """The new message is dropped."""


class Strategy(enum.StrEnum):
    """The rule that tells which children are restarted when a child fails."""

    ONE_FOR_ONE = "one_for_one"
    """Only the child that failed is restarted."""
    ONE_FOR_ALL = "one_for_all"
    """If one child fails, all children are restarted."""
    REST_FOR_ONE = "rest_for_one"
    """The child that failed, and the children that were started after it, are restarted."""
    DYNAMIC = "dynamic"
    """Only the child that failed is restarted. Children are added and removed by id, and stop in parallel.

    The specs of children that have ended are not kept.
    """


class AutoShutdown(enum.StrEnum):
    """The rule that decides when ended children end their supervisor. Only children with ``significant`` count."""

    NEVER = "never"
    """The supervisor never ends because children have ended."""
    ANY = "any"
    """The supervisor ends when the first child with ``significant`` in its spec has ended."""
    ALL = "all"
    """The supervisor ends when the last child with ``significant`` in its spec has ended."""


K = TypeVar("K", bound=enum.StrEnum)
Args = TypeVarTuple("Args")


def member_of(kind: type[K], value: object) -> K:
    """Return the enum member that a text names. Return any other value as it is: the validator refuses it."""
    if isinstance(value, kind) or not isinstance(value, str):
        return cast("K", value)
    return next((member for member in kind if member.value == str(value)), cast("K", value))


def _strategy(value: Strategy | str) -> Strategy:
    return member_of(Strategy, value)


def _restart(value: Restart | str) -> Restart:
    if isinstance(value, Restart):
        return value
    named = member_of(Restart, value)
    check_kind("restart", named, Restart, RESTARTS)
    return named


def _overflow(value: Overflow | str) -> Overflow:
    return member_of(Overflow, value)


def _auto_shutdown(value: AutoShutdown | str) -> AutoShutdown:
    return member_of(AutoShutdown, value)


def _check_period(value: object, name: str) -> None:
    check_seconds(value, name)
    if value == 0:
        raise SpecError(f"{name} must be more than 0 seconds: within none, nothing would ever be too often")


def _positive_seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
    _check_period(value, field.name)


@attrs.frozen(kw_only=True)
class MailboxSpec:
    """The limits of an actor's mailbox and stash."""

    size: int = attrs.field(default=64, validator=count(1))
    """Maximum number of messages in the mailbox."""
    overflow: Overflow = attrs.field(default=Overflow.WAIT, converter=_overflow, validator=one_of(Overflow))
    """Policy for a message that is sent to a full mailbox."""
    stash: int = attrs.field(default=64, validator=count(0))
    """Maximum number of stashed messages."""


DEFAULT_MAILBOX = MailboxSpec()


def mailbox_spec(size: int, overflow: Overflow, stash: int) -> MailboxSpec:
    """Return the spec of a mailbox with these limits. All mailboxes with the default limits share one spec."""
    default = DEFAULT_MAILBOX
    # Compared by ``is``: a value that only equals a default, such as 64.0, must be checked.
    if size is default.size and overflow is default.overflow and stash is default.stash:
        return default
    check_count(size, 1, "mailbox_size")
    check_count(stash, 0, "stash_size")
    return MailboxSpec(size=size, overflow=overflow, stash=stash)


class GroupSpec:
    """The base class of the specs of actors without messages of their own: supervisors, pools, routers, groups."""

    __slots__ = ()

    has_children: ClassVar[bool] = True
    """Whether such an actor has children. A router has none."""


class ChildOptions(TypedDict, total=False):
    """The options of :meth:`ChildSpec.of`, for type checkers."""

    id: str
    restart: Restart | str
    shutdown: float | None
    significant: bool
    backoff: Backoff | None
    mailbox: MailboxSpec
    max_restarts: int | None
    max_seconds: float | None


def name_of(factory: object) -> str:
    """Return a name for an actor that this factory makes: the name of the class or function, in small letters."""
    given = getattr(factory, "__name__", None)
    if given is None and isinstance(factory, functools.partial):
        return name_of(factory.func)
    kind = given if isinstance(given, str) and given else type(factory).__name__.removesuffix("Spec")
    # A lambda is called "<lambda>", and "/" separates the names in a path.
    return kind.lower() if kind.isidentifier() else kind.strip("<>").lower().replace("/", "-")


def with_arguments(factory: Any, args: tuple[object, ...], kwargs: Mapping[str, object] | None) -> Callable[[], Any]:
    """Return a factory without arguments, which calls ``factory`` with these. Raises SpecError for a pool."""
    if isinstance(factory, GroupSpec):
        raise SpecError("a pool or group takes no arguments: they belong to the factory of its members")
    if kwargs is None:
        return functools.partial(factory, *args)
    check_kind("kwargs", kwargs, Mapping, "a mapping of names to arguments")
    return functools.partial(factory, *args, **kwargs)


def _check_arguments(factory: Any, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
    """Raise SpecError if a factory does not take these arguments."""
    try:
        inspect.signature(factory).bind(*args, **kwargs)
    except TypeError as error:
        raise SpecError(f"factory {name_of(factory)} does not take these arguments: {error}") from None
    except ValueError:  # a factory in C, which does not say what it takes
        return


@attrs.frozen(weakref_slot=False)
class ChildSpec(Defaults, Generic[Message_contra, Reply_co]):
    """The spec of one child: its factory, restart type, time to stop and more.

    Raises SpecError if a value is invalid.
    """

    id: str
    """Name of the child, unique in its supervisor."""
    factory: Callable[[], Instance[Message_contra, Reply_co]] | GroupSpec
    """Function without arguments that makes the actor.

    For a child that is a supervisor, a pool or a router: its SupervisorSpec, PoolSpec or RouterSpec.
    """
    restart: Restart = attrs.field(default=Restart.PERMANENT, converter=_restart)
    """Rule by which the child is restarted after it has ended."""
    shutdown: float | None = None
    """Seconds from a stop to the cancellation of the child. 0 kills the child at once, and ``math.inf`` sets no limit.

    The default (None) is 5 for an actor, and no limit for a supervisor or a pool.
    """
    significant: bool = False
    """Whether the end of the child can end the supervisor: see :class:`AutoShutdown`."""
    backoff: Backoff | None = None
    """Growing delay before each restart of the child. None: the backoff of the supervisor applies."""
    mailbox: MailboxSpec = DEFAULT_MAILBOX
    """Limits of the child's mailbox."""
    max_restarts: int | None = None
    """Maximum number of restarts of this child within ``max_seconds``. One more ends the supervisor with RestartLimit.

    None for both: the child shares the limit of the supervisor. If one of the two is given, the restarts of this child
    are counted apart, and the default of the other is 3 restarts, or 5 seconds.
    """
    max_seconds: float | None = None
    """Length of the period in which at most ``max_restarts`` restarts are allowed, in seconds."""

    def __attrs_post_init__(self) -> None:
        """Check all fields that do not have their default value.

        Defaults are skipped to save time, because a spec is made for every spawned actor.
        """
        _check_identity(self.id, self.factory)
        if self.significant is not False:
            check_kind("significant", self.significant, bool, "True or False")
        if self.mailbox is not DEFAULT_MAILBOX:
            check_kind("mailbox", self.mailbox, MailboxSpec, "a MailboxSpec")
        if self.shutdown is not None:
            check_seconds(self.shutdown, "shutdown")
        if self.significant and self.restart is Restart.PERMANENT:
            raise SpecError(f"significant child {self.id} must be transient or temporary: a permanent one never ends")
        if self.backoff is not None:
            _check_backoff(self.backoff)
        if self.max_restarts is not None or self.max_seconds is not None:
            self._check_own_limit()

    def _check_own_limit(self) -> None:
        if self.max_restarts is not None:
            check_count(self.max_restarts, 0, "max_restarts")
        if self.max_seconds is not None:
            _check_period(self.max_seconds, "max_seconds")
        if self.restart is Restart.TEMPORARY:
            raise SpecError(f"max_restarts of {self.id} is for a child that is restarted, and a temporary one never is")

    @overload
    @classmethod
    def of(
        cls, factory: Callable[[*Args], Instance[MessageT, ReplyT]], *args: *Args, **options: Unpack[ChildOptions]
    ) -> ChildSpec[MessageT, ReplyT]: ...

    @overload
    @classmethod
    def of(
        cls,
        factory: Callable[..., Instance[MessageT, ReplyT]],
        *args: object,
        kwargs: Mapping[str, object],
        **options: Unpack[ChildOptions],
    ) -> ChildSpec[MessageT, ReplyT]: ...

    @overload
    @classmethod
    def of(cls, factory: GroupSpec, **options: Unpack[ChildOptions]) -> ChildSpec: ...

    @classmethod
    def of(
        cls,
        factory: Callable[..., Instance[Any, Any]] | GroupSpec,
        *args: object,
        id: str | None = None,  # noqa: A002  -- the field's name
        kwargs: Mapping[str, object] | None = None,
        **options: Any,
    ) -> ChildSpec[Any, Any]:
        """Return the spec of a child, from a factory and its arguments: ``ChildSpec.of(Worker, 1, id="w")``.

        Args:
            factory: Class or function that makes the actor.
            args: Arguments of the factory.
            id: Name of the child. The default is the name of the factory in small letters.
            kwargs: Arguments of the factory by name. Type checkers compare those of a ``functools.partial`` only.
            options: The other fields of the spec.

        Raises:
            SpecError: A value is invalid, or the factory does not take these arguments.
        """
        key = name_of(factory) if id is None else id
        if not args and kwargs is None:
            return cls(key, factory, **options)
        make = with_arguments(factory, args, kwargs)
        _check_arguments(factory, args, kwargs or {})
        return cls(key, make, **options)

    def limit_in(self, spec: SupervisorSpec) -> tuple[int, float]:
        """Return the limit that the restarts of this child count against: its number of restarts, and its seconds."""
        if self.max_restarts is None and self.max_seconds is None:
            return spec.max_restarts, spec.max_seconds
        restarts = DEFAULT_MAX_RESTARTS if self.max_restarts is None else self.max_restarts
        return restarts, DEFAULT_MAX_SECONDS if self.max_seconds is None else self.max_seconds

    @property
    def has_own_limit(self) -> bool:
        """Whether the restarts of this child are counted apart from those of the other children."""
        return self.max_restarts is not None or self.max_seconds is not None

    @property
    def seconds(self) -> float:
        """Seconds from a stop to the cancellation of the child: ``shutdown``, or a default if ``shutdown`` is None."""
        if self.shutdown is not None:
            return self.shutdown
        return math.inf if isinstance(self.factory, GroupSpec) else DEFAULT_SHUTDOWN


def _check_identity(name: object, factory: object) -> None:
    # Annotations are not enforced at run time, and here a wrong type is still easy to explain.
    if not isinstance(name, str) or not name or "/" in name:
        raise SpecError(f"id must be a text without '/', not {shown(name)}")
    if not callable(factory) and not isinstance(factory, GroupSpec):
        raise SpecError(
            f"factory of {name} must be callable, a SupervisorSpec, a PoolSpec or an OnDemandSpec, not {shown(factory)}"
        )
    if not isinstance(factory, type) and inspect.iscoroutinefunction(factory):
        raise SpecError(f"factory of {name} must make an Actor and return it: it may not be async")


def _check_backoff(backoff: Backoff | None) -> None:
    if backoff is not None:
        check_kind("backoff", backoff, Backoff, "a Backoff")


def _tuple(children: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    if not isinstance(children, (list, tuple)):  # pyright: ignore[reportUnnecessaryIsInstance]  -- as above
        raise SpecError(f"children must be a list or tuple of ChildSpecs, not {shown(children)}")
    for child in children:
        check_kind("children", child, ChildSpec, "ChildSpecs")
    return tuple(children)


@attrs.frozen
class SupervisorSpec(GroupSpec):
    """The spec of a supervisor: its strategy, children and limit of restarts.

    Raises SpecError if a value is invalid.
    """

    strategy: Strategy = attrs.field(default=Strategy.ONE_FOR_ONE, converter=_strategy, validator=one_of(Strategy))
    """Rule that tells which children are restarted when a child fails."""
    children: Sequence[ChildSpec] = attrs.field(default=(), converter=_tuple)
    """Specs of the children, in the order of their start."""
    max_restarts: int = attrs.field(default=DEFAULT_MAX_RESTARTS, kw_only=True, validator=count(0))
    """Maximum number of restarts within ``max_seconds``.

    One more restart within that time ends the supervisor and its children with RestartLimit.
    """
    max_seconds: float = attrs.field(default=DEFAULT_MAX_SECONDS, kw_only=True, validator=_positive_seconds)
    """Length of the period in which at most ``max_restarts`` restarts are allowed, in seconds."""
    max_children: int | None = attrs.field(default=None, kw_only=True, validator=count(0, optional=True))
    """Maximum number of children of a dynamic supervisor. None stands for no limit.

    Children that wait for a restart count too.
    """
    auto_shutdown: AutoShutdown = attrs.field(
        default=AutoShutdown.NEVER, kw_only=True, converter=_auto_shutdown, validator=one_of(AutoShutdown)
    )
    """Rule by which the supervisor ends after its significant children have ended."""
    backoff: Backoff | None = attrs.field(default=None, kw_only=True)
    """Growing delay before each restart of a child. None: a child is restarted at once."""

    def __attrs_post_init__(self) -> None:
        """Raise SpecError if fields contradict each other, such as two children of the same id."""
        seen: set[str] = set()
        for child in self.children:
            if child.id in seen:
                raise SpecError(f"children has two of the id {child.id!r}")
            seen.add(child.id)
            self.check_child(child)
        if self.max_children is not None and self.strategy is not Strategy.DYNAMIC:
            raise SpecError(f"max_children is for dynamic supervisors, not {self.strategy}")
        if self.max_children is not None and len(self.children) > self.max_children:
            raise SpecError(f"max_children is {self.max_children}, and children are {len(self.children)}")
        _check_backoff(self.backoff)

    def check_child(self, child: ChildSpec) -> None:
        """Raise SpecError if this supervisor cannot have a child with the spec ``child``."""
        if child.significant and self.auto_shutdown is AutoShutdown.NEVER:
            raise SpecError(f"significant child {child.id} needs an auto_shutdown of any or all")
