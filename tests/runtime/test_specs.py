"""Specs and arguments: each value is accepted, or is refused at once by an error that names the field."""

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
    """An object on which every operation fails."""

    def _refuse(self, *_: object) -> NoReturn:
        raise LookupError("odd")

    __eq__ = __bool__ = __len__ = __iter__ = __lt__ = __gt__ = __float__ = __repr__ = __str__ = __hash__ = _refuse


class Text(str):
    """A subclass of str."""

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
def test_bad_field_is_refused_by_name(kind: type[Any], valid: dict[str, object], field: str) -> None:
    """With any value in a field, a spec is made, or SpecError names the field."""
    for junk in JUNK:
        try:
            kind(**valid | {field: junk})
        except SpecError as error:
            # Of two fields that exclude each other, the error names one.
            assert field in str(error) or "auto_shutdown" in str(error)  # noqa: PT017  -- it depends on the value


@given(st.data())
async def test_accepted_specs_can_be_run(data: st.DataObject) -> None:
    """If a tree of specs is accepted, its actors can be started, restarted and stopped.

    The only exception is a factory that does not return an actor: it raises SpecError at the start.
    """
    mailbox = draw_spec(data, MailboxSpec, {})
    child = draw_spec(data, ChildSpec, {"id": "a", "factory": Actor, "mailbox": mailbox}, keep={"mailbox", "shutdown"})
    spec = draw_spec(data, SupervisorSpec, {"children": [child]}, keep={"children"})
    if spec is None:
        return
    async with open_system() as system:
        try:
            top = await system.supervise(spec)
        except SpecError as error:
            assert "factory" in str(error)  # noqa: PT017  -- it depends on the value
            return
        ref = top.child(spec.children[0].id)
        if ref is not None:
            ref.kill()
            await trio.testing.wait_all_tasks_blocked()
        await top.stop(timeout=1)


def draw_spec(data: st.DataObject, kind: type[Any], valid: dict[str, object], keep: set[str] | None = None) -> Any:
    """Return a spec with random values in some fields. If these values are refused, return a spec with valid values."""
    names = [field.name for field in attrs.fields(kind) if field.name not in (keep or set())]
    chosen = data.draw(st.dictionaries(st.sampled_from(names), st.integers(0, len(JUNK) - 1), max_size=2))
    drawn = {name: JUNK[number] for name, number in chosen.items()}
    if any(value is None for value in valid.values()):
        return None
    with contextlib.suppress(SpecError):
        return kind(**valid | drawn)
    return kind(**valid)


Call: TypeAlias = "Callable[[Member, Any], Awaitable[object]]"


async def spawn(member: Member, **options: Any) -> None:
    ref = await member.context.spawn(Actor, **options)
    await ref.stop(timeout=0)


def spawn_with(name: str) -> Call:
    """Return a function that calls ``spawn`` with this option."""

    async def call(member: Member, junk: object) -> None:
        await spawn(member, **{name: junk})

    return call


def as_async(call: Callable[[Member, Any], object]) -> Call:
    """Return an async function that calls a sync function."""

    async def wrapped(member: Member, junk: object) -> None:
        call(member, junk)

    return wrapped


async def read_dead_letters(member: Member, junk: Any) -> None:
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


async def open_with_phases(_: Member, junk: Any) -> None:
    async with open_system(junk):
        pass


CALLS: dict[str, tuple[str, Call]] = {
    "spawn name": ("id", spawn_with("name")),
    "spawn restart": ("restart", spawn_with("restart")),
    "spawn shutdown": ("shutdown", spawn_with("shutdown")),
    "spawn mailbox_size": ("mailbox_size", spawn_with("mailbox_size")),
    "spawn overflow": ("overflow", spawn_with("overflow")),
    "spawn stash_size": ("stash_size", spawn_with("stash_size")),
    "supervise": ("spec", supervise),
    "start_child": ("spec", start_child),
    "stop": ("timeout", stop),
    "ask": ("timeout", ask),
    "open_system": ("phases", open_with_phases),
    "dead_letters": ("size", read_dead_letters),
    "watch": ("ref", as_async(lambda member, junk: member.context.watch(junk))),
    "unwatch": ("ref", as_async(lambda member, junk: member.context.unwatch(junk))),
    "once": ("seconds", as_async(lambda member, junk: member.context.timers.once("a", "x", junk))),
    "every": ("seconds", as_async(lambda member, junk: member.context.timers.every("a", "x", junk))),
    "timer target": ("ref", as_async(lambda member, junk: member.context.timers.once("a", "x", 1000, to=junk))),
    "timer key": ("key", as_async(lambda member, junk: member.context.timers.once(junk, "x", 1000))),
    "find": ("path", as_async(lambda member, junk: member.context.system.find(junk))),
    "reply": ("error", as_async(lambda member, junk: member.context.defer().fail(junk))),
    "on_shutdown phase": ("phase", as_async(lambda member, junk: member.context.system.on_shutdown(junk, hang))),
    "on_shutdown work": ("work", as_async(lambda member, junk: member.context.system.on_shutdown("last", junk))),
    "context.stop": ("reason", as_async(lambda member, junk: member.context.stop(junk))),
}


async def hang() -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("name", CALLS)
async def test_bad_argument_is_refused_by_name(name: str, autojump_clock: trio.testing.MockClock) -> None:
    """With any value for an argument, a call works, or SpecError names the argument."""
    del autojump_clock
    field, call = CALLS[name]
    async with open_system([Phase("last", 0)]) as system:
        ref = await system.spawn(Member, "a", World())

        async def give(member: Member) -> None:
            for junk in JUNK:
                try:
                    await call(member, junk)
                except SpecError as error:
                    assert field in str(error)  # noqa: PT017  -- it depends on the value
            member.context.stop()

        await ref.tell(give)
        assert not hasattr(await ref.terminated(), "exception")


def test_more_children_than_max_children_are_refused() -> None:
    """A spec with more children than ``max_children`` raises SpecError."""
    children = [ChildSpec(name, Actor) for name in "ab"]
    with pytest.raises(SpecError, match="max_children is 1, and children are 2"):
        SupervisorSpec(Strategy.DYNAMIC, children, max_children=1)
    assert SupervisorSpec(Strategy.DYNAMIC, children, max_children=2).max_children == 2


async def test_async_factory_is_refused() -> None:
    """If a factory is an async function, SpecError is raised as soon as the spec is made."""
    with pytest.raises(SpecError, match="factory of a must make an Actor"):
        ChildSpec("a", make_later)  # type: ignore[arg-type]  # the test passes a wrong value
