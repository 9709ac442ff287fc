"""Classes of actors: any attribute names and any kind of class work, such as attrs. Only an Actor is accepted."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn, cast

import attrs
import pytest
import trio
import trio.testing

from actors import Actor, ActorRef, ChildSpec, Failure, Restart, SpecError, Strategy, SupervisorSpec, open_system

if TYPE_CHECKING:
    from collections.abc import Callable


class WithRuntimeNames(Actor):
    """An actor with the attribute names that a runtime is likely to use itself."""

    def __init__(self) -> None:
        self._life = self._cell = self.life = self.cell = self.actor = self.mailbox = 3

    async def bind(self, port: int) -> None: ...
    async def run(self) -> None: ...
    async def stop(self) -> None: ...
    async def receive(self, message: object) -> object:
        return self.ref


class Guarded(Actor):
    """An actor that refuses to set any attribute, and returns a value for every unknown attribute."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TypeError(name)

    def __getattr__(self, name: str) -> object:
        return f"something for {name}"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError

    def __bool__(self) -> NoReturn:
        raise TypeError

    __hash__ = None  # type: ignore[assignment]  # as of a class with __eq__ alone

    async def receive(self, message: object) -> object:
        return self.ref


class Slotted(Actor):
    """A class of actors with slots."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 1

    async def receive(self, message: object) -> object:
        return self.ref


@attrs.define
class Defined(Actor):
    """A class of actors made by attrs, with slots."""

    number: int = 1

    async def receive(self, message: object) -> object:
        return self.ref


@attrs.frozen
class Frozen(Defined):
    """A class of actors made by attrs, with frozen instances."""


@attrs.define(slots=False, order=True)
class Ordered(Actor):
    """A class of actors made by attrs, without slots and with ordering."""

    number: int = 1

    async def receive(self, message: object) -> object:
        return self.ref


@dataclasses.dataclass(frozen=True)
class Data(Actor):
    """A class of actors that is a frozen dataclass."""

    number: int = 1

    async def receive(self, message: object) -> object:
        return self.ref


@dataclasses.dataclass(slots=True)
class SlottedData(Actor):
    """A class of actors that is a dataclass with slots."""

    number: int = 1

    async def receive(self, message: object) -> object:
        return self.ref


KINDS: list[type[Actor]] = [WithRuntimeNames, Guarded, Slotted, Defined, Frozen, Ordered, Data, SlottedData]


@pytest.mark.parametrize("kind", KINDS)
async def test_any_actor_class_works(kind: type[Actor]) -> None:
    """An actor can start, answer, restart and stop with any kind of class.

    The class may be an attrs class or a dataclass, may have slots, or may have attributes with names that the runtime
    uses.
    """
    async with open_system() as system:
        ref = await system.spawn(kind, restart=Restart.PERMANENT)
        assert await ref.ask("hello") is ref
        ref.kill()
        assert await ref.ask("hello") is ref
        assert ref.statistics().restarts == 1
        await ref.stop()


class Raising(Actor):
    """An actor that raises SystemExit when the attribute ``name`` is read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "__dict__").get("name"):
            raise SystemExit(f"has no {name}")
        return super().__getattribute__(name)


@pytest.mark.parametrize("name", ["started", "receive", "stopping"])
async def test_attribute_that_raises(name: str) -> None:
    """If reading a method such as ``receive`` from an actor's instance raises, only that actor fails."""
    async with open_system() as system:
        neighbour = await system.spawn(Actor)
        if name == "started":
            with pytest.raises(SystemExit):
                await system.spawn(Raising, name, name="raising")
        else:
            ref = await system.spawn(Raising, name, name="raising")
            await (ref.tell("anything") if name == "receive" else ref.stop())
            assert isinstance(await ref.terminated(), Failure)
        assert system.find("/raising") is None
        assert system.statistics().actors == 1
        assert neighbour.alive


@pytest.mark.parametrize("name", ["ref", "nursery", "context"])
async def test_attributes_before_start(name: str) -> None:
    """Reading an actor's ``ref``, ``nursery`` or ``context`` before ``started()`` raises RuntimeError with a reason."""
    with pytest.raises(RuntimeError, match="from started"):
        getattr(Actor(), name)


async def make_later() -> Actor:
    return Actor()


FACTORIES: list[Callable[[], object]] = [lambda: 5, lambda: None, make_later, lambda: Actor, object]


@pytest.mark.parametrize("factory", FACTORIES)
async def test_factory_must_return_an_actor(factory: Callable[[], object]) -> None:
    """If a factory does not return an Actor, ``spawn`` raises SpecError and leaves no entry."""
    async with open_system() as system:
        with pytest.raises(SpecError, match="a must make an Actor"):
            await system.spawn(cast("Callable[[], Actor]", factory), name="a")
        assert system.statistics().actors == 0


async def test_instance_of_a_living_actor_is_refused() -> None:
    """A factory may return the same instance a second time only after the actor with this instance has ended."""
    shared = Actor()
    async with open_system() as system:
        ref = await system.spawn(lambda: shared, name="a", restart=Restart.PERMANENT)
        with pytest.raises(SpecError, match="factory of /b made an actor that lives already, as /a"):
            await system.spawn(lambda: shared, name="b")
        assert shared.ref is ref
        ref.kill()
        await ref.tell("a message")
        await ref.stop()
        other: ActorRef = await system.spawn(lambda: shared, name="b")
        assert shared.ref is other


async def kept_cancelled() -> trio.Cancelled:
    """Return a Cancelled exception from a cancel scope that has ended."""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            return cancelled
    raise AssertionError


async def test_factory_that_raises_cancelled() -> None:
    """If a factory raises Cancelled although nothing was cancelled, ``spawn`` raises RuntimeError instead."""
    cancelled = await kept_cancelled()

    def make() -> Actor:
        raise cancelled

    async with open_system() as system:
        with pytest.raises(RuntimeError, match="factory of /a raised Cancelled") as caught:
            await system.spawn(make, name="a")
        assert caught.value.__cause__ is cancelled
        assert system.statistics().actors == 0


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_group_with_a_factory_that_raises_cancelled(
    autojump_clock: trio.testing.MockClock, strategy: Strategy
) -> None:
    """If a factory raises Cancelled during a group restart, the group is restarted again, and then succeeds."""
    del autojump_clock
    cancelled = await kept_cancelled()
    made = 0

    def make() -> Actor:
        nonlocal made
        made += 1
        if made == 2:
            raise cancelled
        return Stoppable()

    children = [ChildSpec("a", Actor), ChildSpec("b", make, Restart.TRANSIENT), ChildSpec("c", Actor)]
    async with open_system() as system:
        supervisor = await system.supervise(SupervisorSpec(strategy, children))
        ended, failing = supervisor.child("b"), supervisor.child("a")
        assert ended is not None
        assert failing is not None
        await ended.tell("stop")
        await ended.terminated()
        failing.kill()
        await trio.sleep(1)
        assert [child.state for child in supervisor.children()] == ["running"] * 3


class Stoppable(Actor):
    """An actor that stops at its first message."""

    async def receive(self, message: object) -> None:
        del message
        self.context.stop()
