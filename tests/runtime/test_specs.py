"""Specs and arguments: any value is either valid or refused at once, with the name of its field."""

from __future__ import annotations

import contextlib
import decimal
import fractions
import functools
import math
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import attrs
import pytest
import trio
import trio.testing
from _probes import Member, World
from hypothesis import given
from hypothesis import strategies as st

from actors import (
    Actor,
    AskTimeout,
    AutoShutdown,
    Backoff,
    ChildSpec,
    MailboxSpec,
    Overflow,
    Phase,
    Restart,
    SpecError,
    Strategy,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Odd:
    """An object with which nothing can be done."""

    def _refuse(self, *_: object) -> NoReturn:
        raise LookupError("odd")

    __eq__ = __bool__ = __len__ = __iter__ = __lt__ = __gt__ = __float__ = __repr__ = __str__ = __hash__ = _refuse


class Text(str):
    """A text of a class of its own."""

    __slots__ = ()


async def make_later() -> Actor:
    return Actor()


JUNK: list[object] = [
    *(None, True, False, 0, 1, -1, 64, 10**400, -(10**400), 0.0, -0.5, 1.5, 1e308, math.inf, -math.inf, math.nan),
    *(1j, decimal.Decimal(1), fractions.Fraction(1, 2), "", "a", "a/b", "wait", "permanent", "dynamic", "never"),
    *(Text("reject"), b"a", [], [1], {}, set[int](), (), ("a",), object(), Odd(), Odd, int, print, Actor, Actor()),
    *(make_later, functools.partial(make_later), lambda: 5, LookupError("x"), Overflow.REJECT, Restart.TRANSIENT),
    *(Strategy.DYNAMIC, AutoShutdown.ANY, Backoff(0, 1), MailboxSpec(), ChildSpec("a", Actor), Phase("a")),
    *(SupervisorSpec(), [ChildSpec("a", Actor)], (ChildSpec("a", Actor, "transient", significant=True),)),
]
KINDS: list[tuple[type[Any], dict[str, object]]] = [
    (MailboxSpec, {}),
    (ChildSpec, {"id": "a", "factory": Actor}),
    (SupervisorSpec, {}),
    (Backoff, {"minimum": 0, "maximum": 1}),
    (Phase, {"name": "a"}),
]
FIELDS = [(kind, valid, field.name) for kind, valid in KINDS for field in attrs.fields(kind)]


@pytest.mark.parametrize(("kind", "valid", "field"), FIELDS)
def test_a_field_takes_what_is_valid_and_refuses_the_rest_by_name(
    kind: type[Any], valid: dict[str, object], field: str
) -> None:
    """Whatever is given for one field makes a spec or raises SpecError with the name of the field."""
    for junk in JUNK:
        try:
            kind(**valid | {field: junk})
        except SpecError as error:
            # One of two fields that do not go together is named.
            assert field in str(error) or "auto_shutdown" in str(error)  # noqa: PT017  -- the value decides


@given(st.data())
async def test_what_passed_the_checks_can_be_run(data: st.DataObject) -> None:
    """A tree of specs made of any values starts, restarts and stops, or says that a factory makes no actor."""
    mailbox = draw(data, MailboxSpec, {})
    child = draw(data, ChildSpec, {"id": "a", "factory": Actor, "mailbox": mailbox}, keep={"mailbox", "shutdown"})
    spec = draw(data, SupervisorSpec, {"children": [child]}, keep={"children"})
    if spec is None:
        return
    async with open_system() as system:
        try:
            top = await system.supervise(spec)
        except SpecError as error:
            assert "factory" in str(error)  # noqa: PT017  -- the value decides
            return
        ref = top.child(spec.children[0].id)
        if ref is not None:
            ref.kill()
            await trio.testing.wait_all_tasks_blocked()
        await top.stop(timeout=1)


def draw(data: st.DataObject, kind: type[Any], valid: dict[str, object], keep: set[str] | None = None) -> Any:
    """Make a spec with a drawn value for some of its fields; with the valid ones alone if that is refused."""
    names = [field.name for field in attrs.fields(kind) if field.name not in (keep or set())]
    chosen = data.draw(st.dictionaries(st.sampled_from(names), st.integers(0, len(JUNK) - 1), max_size=2))
    drawn = {name: JUNK[number] for name, number in chosen.items()}
    if any(value is None for value in valid.values()):
        return None
    with contextlib.suppress(SpecError):
        return kind(**valid | drawn)
    return kind(**valid)


Call: TypeAlias = "Callable[[Member, Any], Awaitable[object]]"


async def spawn(member: Member, **options: object) -> None:
    ref = await member.context.spawn(Actor, **options)  # type: ignore[arg-type]  # any value is the point
    await ref.stop(timeout=0)


def option(name: str) -> Call:
    """Return a call of ``spawn`` with that option."""

    async def call(member: Member, junk: object) -> None:
        await spawn(member, **{name: junk})

    return call


def plain(call: Callable[[Member, Any], object]) -> Call:
    """Return an async call of a sync function."""

    async def wrapped(member: Member, junk: object) -> None:
        call(member, junk)

    return wrapped


async def read(member: Member, junk: Any) -> None:
    with member.context.system.dead_letters(junk):
        pass


async def supervise(member: Member, junk: Any) -> None:
    supervisor = await member.context.supervise(junk)
    await supervisor.stop(timeout=0)


async def start_child(member: Member, junk: Any) -> None:
    supervisor = await member.context.supervise(SupervisorSpec("dynamic"))
    try:
        await supervisor.start_child(junk)
    finally:
        await supervisor.stop(timeout=0)


async def stop(member: Member, junk: Any) -> None:
    ref = await member.context.spawn(Actor)
    await ref.stop(timeout=junk)


async def ask(member: Member, junk: Any) -> None:
    ref = await member.context.spawn(Member, "b", World())
    with contextlib.suppress(AskTimeout):
        assert await ref.ask("x", timeout=junk) == "x"


async def phases(_: Member, junk: Any) -> None:
    async with open_system(junk):
        pass


CALLS: dict[str, tuple[str, Call]] = {
    "spawn name": ("id", option("name")),
    "spawn restart": ("restart", option("restart")),
    "spawn shutdown": ("shutdown", option("shutdown")),
    "spawn mailbox_size": ("mailbox_size", option("mailbox_size")),
    "spawn overflow": ("overflow", option("overflow")),
    "spawn stash_size": ("stash_size", option("stash_size")),
    "supervise": ("spec", supervise),
    "start_child": ("spec", start_child),
    "stop": ("timeout", stop),
    "ask": ("timeout", ask),
    "open_system": ("phases", phases),
    "dead_letters": ("size", read),
    "watch": ("ref", plain(lambda member, junk: member.context.watch(junk))),
    "unwatch": ("ref", plain(lambda member, junk: member.context.unwatch(junk))),
    "once": ("seconds", plain(lambda member, junk: member.context.timers.once("a", "x", junk))),
    "every": ("seconds", plain(lambda member, junk: member.context.timers.every("a", "x", junk))),
    "timer key": ("key", plain(lambda member, junk: member.context.timers.once(junk, "x", 1000))),
    "find": ("path", plain(lambda member, junk: member.context.system.find(junk))),
    "reply": ("error", plain(lambda member, junk: member.context.defer().fail(junk))),
    "on_shutdown phase": ("phase", plain(lambda member, junk: member.context.system.on_shutdown(junk, hang))),
    "on_shutdown work": ("work", plain(lambda member, junk: member.context.system.on_shutdown("last", junk))),
    "context.stop": ("reason", plain(lambda member, junk: member.context.stop(junk))),
}


async def hang() -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("name", CALLS)
async def test_an_argument_is_refused_by_name(name: str, autojump_clock: trio.testing.MockClock) -> None:
    """Whatever is given for an argument works or raises SpecError with the name of it, and no other error."""
    del autojump_clock
    field, call = CALLS[name]
    async with open_system([Phase("last", 0)]) as system:
        ref = await system.spawn(Member, "a", World())

        async def give(member: Member) -> None:
            for junk in JUNK:
                try:
                    await call(member, junk)
                except SpecError as error:
                    assert field in str(error)  # noqa: PT017  -- whether it raises is the value's affair
            member.context.stop()

        await ref.tell(give)
        assert not hasattr(await ref.terminated(), "exception")


def test_a_spec_that_is_full_from_the_start_is_refused() -> None:
    """More children than ``max_children`` could never start."""
    children = [ChildSpec(name, Actor) for name in "ab"]
    with pytest.raises(SpecError, match="max_children is 1, and children are 2"):
        SupervisorSpec(Strategy.DYNAMIC, children, max_children=1)
    assert SupervisorSpec(Strategy.DYNAMIC, children, max_children=2).max_children == 2


async def test_a_spec_says_at_once_that_its_factory_is_async() -> None:
    """An async function as a factory is refused where it is given, also within a supervisor's spec."""
    with pytest.raises(SpecError, match="factory of a must make an Actor"):
        ChildSpec("a", make_later)  # type: ignore[arg-type]  # that is the fault
