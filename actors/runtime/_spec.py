"""What an actor, a child and a supervisor are to be: checked values. Pure."""

from __future__ import annotations

import enum
import inspect
import math
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from actors.backoff import Backoff
from actors.checks import check_count, check_kind, check_seconds, count, one_of
from actors.errors import SpecError
from actors.failures import shown
from actors.runtime._restart import Restart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.runtime._actor import Actor

RESTARTS = f"one of {', '.join(Restart)}"
DEFAULT_SHUTDOWN = 5.0
"""Seconds that an actor has for stopping before it is cancelled."""


class Overflow(enum.StrEnum):
    """What happens to a message for a mailbox that is full. Whatever is dropped is a dead letter."""

    WAIT = "wait"
    """``tell`` and ``ask`` wait for room."""
    REJECT = "reject"
    """They raise MailboxFull."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message makes room."""
    DROP_NEW = "drop_new"
    """The new message is dropped."""


class Strategy(enum.StrEnum):
    """Who is restarted when a child failed."""

    ONE_FOR_ONE = "one_for_one"
    """The child alone."""
    ONE_FOR_ALL = "one_for_all"
    """All children."""
    REST_FOR_ONE = "rest_for_one"
    """The child and those that were started after it."""
    DYNAMIC = "dynamic"
    """The child alone; children come and go by key, their specs go with them, and they are stopped in parallel."""


class AutoShutdown(enum.StrEnum):
    """When the end of significant children ends their supervisor."""

    NEVER = "never"
    ANY = "any"
    ALL = "all"


K = TypeVar("K", bound=enum.StrEnum)


def _member(kind: type[K], value: object) -> K:
    """Take the value's text for the value; what is neither is left to the validator."""
    if isinstance(value, kind) or not isinstance(value, str):
        return cast("K", value)
    return next((member for member in kind if member.value == str(value)), cast("K", value))


def _strategy(value: Strategy | str) -> Strategy:
    return _member(Strategy, value)


def _restart(value: Restart | str) -> Restart:
    return value if isinstance(value, Restart) else _member(Restart, value)


def _overflow(value: Overflow | str) -> Overflow:
    return _member(Overflow, value)


def _auto_shutdown(value: AutoShutdown | str) -> AutoShutdown:
    return _member(AutoShutdown, value)


def _span(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_seconds(value, field.name)
    if value == 0:
        raise SpecError(f"{field.name} must be more than 0 seconds: within none, nothing would ever be too often")


@attrs.frozen(kw_only=True)
class MailboxSpec:
    """How much an actor's mailbox and stash hold, and what happens to more."""

    size: int = attrs.field(default=64, validator=count(1))
    overflow: Overflow = attrs.field(default=Overflow.WAIT, converter=_overflow, validator=one_of(Overflow))
    stash: int = attrs.field(default=64, validator=count(0))


DEFAULT_MAILBOX = MailboxSpec()


def mailbox_spec(size: int, overflow: Overflow, stash: int) -> MailboxSpec:
    """Make the spec of a mailbox, shared where it is the usual one."""
    usual = DEFAULT_MAILBOX
    if size is usual.size and overflow is usual.overflow and stash is usual.stash:
        return usual
    check_count(size, 1, "mailbox_size")
    check_count(stash, 0, "stash_size")
    return MailboxSpec(size=size, overflow=overflow, stash=stash)


@attrs.frozen
class ChildSpec:
    """One child: what makes it, what follows its end, how it is stopped.

    ``factory`` takes no argument and makes the actor, or is a :class:`SupervisorSpec` for a supervisor below this one.
    ``shutdown`` is how many seconds it has for stopping: 0 is a brutal kill, ``math.inf`` waits as long as it takes;
    None is 5 for an actor and infinite for a supervisor. ``backoff`` goes before that of the supervisor.
    """

    id: str
    factory: Callable[[], Actor] | SupervisorSpec
    restart: Restart = attrs.field(default=Restart.PERMANENT, converter=_restart)
    shutdown: float | None = None
    significant: bool = False
    backoff: Backoff | None = None
    mailbox: MailboxSpec = DEFAULT_MAILBOX

    def __attrs_post_init__(self) -> None:
        """Check it, in one place: an actor is spawned with one of these."""
        _check_identity(self.id, self.factory)
        if not isinstance(self.restart, Restart):  # pyright: ignore[reportUnnecessaryIsInstance]  -- as above
            check_kind("restart", self.restart, Restart, RESTARTS)
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

    @property
    def seconds(self) -> float:
        """How long it has for stopping, with the default filled in."""
        if self.shutdown is not None:
            return self.shutdown
        return math.inf if isinstance(self.factory, SupervisorSpec) else DEFAULT_SHUTDOWN


def _check_identity(name: object, factory: object) -> None:
    # Annotations hold nobody back at run time, and a spec is where a wrong type is still easy to explain.
    if not isinstance(name, str) or not name or "/" in name:
        raise SpecError(f"id must be a text without '/', not {shown(name)}")
    if not callable(factory) and not isinstance(factory, SupervisorSpec):
        raise SpecError(f"factory of {name} must be callable or a SupervisorSpec, not {shown(factory)}")
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
class SupervisorSpec:
    """A supervisor: its strategy, its children in the order of their start, and how much failing it bears.

    More than ``max_restarts`` within ``max_seconds`` end it with all its children, as RestartLimit. ``max_children``
    bounds a dynamic supervisor; children that are restarting count. Raises SpecError for what cannot be run.
    """

    strategy: Strategy = attrs.field(default=Strategy.ONE_FOR_ONE, converter=_strategy, validator=one_of(Strategy))
    children: Sequence[ChildSpec] = attrs.field(default=(), converter=_tuple)
    max_restarts: int = attrs.field(default=3, kw_only=True, validator=count(0))
    max_seconds: float = attrs.field(default=5.0, kw_only=True, validator=_span)
    max_children: int | None = attrs.field(default=None, kw_only=True, validator=count(0, optional=True))
    auto_shutdown: AutoShutdown = attrs.field(
        default=AutoShutdown.NEVER, kw_only=True, converter=_auto_shutdown, validator=one_of(AutoShutdown)
    )
    backoff: Backoff | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Check what concerns more than one field."""
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
        """Raise SpecError for a child that this supervisor cannot have."""
        if child.significant and self.auto_shutdown is AutoShutdown.NEVER:
            raise SpecError(f"significant child {child.id} needs an auto_shutdown of any or all")
