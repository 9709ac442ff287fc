"""What an actor, a child and a supervisor are to be: checked values. Pure."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from actors._restart import Backoff, Restart
from actors.errors import SpecError
from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors._actor import Actor

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


def _one_of(kind: type[enum.StrEnum]) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind):
            raise SpecError(f"{field.name} must be one of {', '.join(kind)}, not {shown(value)}")

    return check


K = TypeVar("K", bound=enum.StrEnum)


def _member(kind: type[K], value: K | str) -> K:
    """Take the value's text for the value; what is neither is left to the validator."""
    if isinstance(value, kind):
        return value
    return kind(value) if value in tuple(kind) else cast("K", value)


def _strategy(value: Strategy | str) -> Strategy:
    return _member(Strategy, value)


def _restart(value: Restart | str) -> Restart:
    return value if isinstance(value, Restart) else _member(Restart, value)


def _overflow(value: Overflow | str) -> Overflow:
    return _member(Overflow, value)


def _auto_shutdown(value: AutoShutdown | str) -> AutoShutdown:
    return _member(AutoShutdown, value)


def check_seconds(value: object, name: str = "the time") -> None:
    """Raise SpecError for what is no time to wait: 0 seconds or more, ``math.inf`` for no limit."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or value < 0:
        raise SpecError(f"{name} must be a number of seconds, 0 or more, not {shown(value)}")


def _span(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_seconds(value, field.name)
    if value == 0:
        raise SpecError(f"{field.name} must be more than 0 seconds: within none, nothing would ever be too often")


def _count(least: int) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SpecError(f"{field.name} must be a whole number, {least} or more, not {shown(value)}")

    return check


def _check_kind(name: str, value: object, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise SpecError(f"{name} must be {what}, not {shown(value)}")


@attrs.frozen(kw_only=True)
class MailboxSpec:
    """How much an actor's mailbox and stash hold, and what happens to more."""

    size: int = attrs.field(default=64, validator=_count(1))
    overflow: Overflow = attrs.field(default=Overflow.WAIT, converter=_overflow, validator=_one_of(Overflow))
    stash: int = attrs.field(default=64, validator=_count(0))


DEFAULT_MAILBOX = MailboxSpec()


def mailbox_spec(size: int, overflow: Overflow, stash: int) -> MailboxSpec:
    """Make the spec of a mailbox, shared where it is the usual one."""
    usual = DEFAULT_MAILBOX
    if size == usual.size and overflow is usual.overflow and stash == usual.stash:
        return usual
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
            _check_kind("restart", self.restart, Restart, RESTARTS)
        if self.significant is not False:
            _check_kind("significant", self.significant, bool, "True or False")
        if self.mailbox is not DEFAULT_MAILBOX:
            _check_kind("mailbox", self.mailbox, MailboxSpec, "a MailboxSpec")
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


def _check_backoff(backoff: Backoff | None) -> None:
    if backoff is None:
        return
    _check_kind("backoff", backoff, Backoff, "a Backoff")
    for name, value in (("minimum", backoff.minimum), ("maximum", backoff.maximum)):
        check_seconds(value, f"{name} of a backoff")
    if not 0 <= backoff.minimum <= backoff.maximum < math.inf:
        raise SpecError(f"backoff must have 0 <= minimum <= maximum, not {shown(backoff)}")
    if not 0 <= backoff.random_factor <= 1:
        raise SpecError(f"random_factor of a backoff must be from 0 to 1, not {shown(backoff.random_factor)}")


def _tuple(children: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    for child in children:
        _check_kind("children", child, ChildSpec, "ChildSpecs")
    return tuple(children)


@attrs.frozen
class SupervisorSpec:
    """A supervisor: its strategy, its children in the order of their start, and how much failing it bears.

    More than ``max_restarts`` within ``max_seconds`` end it with all its children, as RestartLimit. ``max_children``
    bounds a dynamic supervisor; children that are restarting count. Raises SpecError for what cannot be run.
    """

    strategy: Strategy = attrs.field(default=Strategy.ONE_FOR_ONE, converter=_strategy, validator=_one_of(Strategy))
    children: Sequence[ChildSpec] = attrs.field(default=(), converter=_tuple)
    max_restarts: int = attrs.field(default=3, kw_only=True, validator=_count(0))
    max_seconds: float = attrs.field(default=5.0, kw_only=True, validator=_span)
    max_children: int | None = attrs.field(default=None, kw_only=True, validator=_count(0))
    auto_shutdown: AutoShutdown = attrs.field(
        default=AutoShutdown.NEVER, kw_only=True, converter=_auto_shutdown, validator=_one_of(AutoShutdown)
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
        _check_backoff(self.backoff)

    def check_child(self, child: ChildSpec) -> None:
        """Raise SpecError for a child that this supervisor cannot have."""
        if child.significant and self.auto_shutdown is AutoShutdown.NEVER:
            raise SpecError(f"significant child {child.id} needs an auto_shutdown of any or all")
