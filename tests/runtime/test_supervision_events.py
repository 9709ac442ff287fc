"""The events by which a system tells of starts, failures, restarts and ends."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _probes import Member, World, crash, hang

from actors import (
    Actor,
    ChildFailed,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    ChildStopped,
    FailureEscalated,
    Killed,
    Normal,
    Restart,
    RestartLimit,
    RestartLimitReached,
    Shutdown,
    SupervisionEvent,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import EventStream


def taken(stream: EventStream[SupervisionEvent]) -> list[tuple[Any, ...]]:
    """Remove the waiting events, and return them as short tuples."""
    short: list[tuple[Any, ...]] = []
    while stream.events:
        event = stream.events.popleft()
        rest = {name: getattr(event, name, None) for name in ("exception", "reason", "to", "child")}
        short.append(
            (type(event), event.path, event.incarnation, *(each for each in rest.values() if each is not None))
        )
    return short


async def test_life_of_an_actor() -> None:
    """The start, each failure and restart, and the end of an actor are events, with the number of its life."""
    world = World()
    async with open_system() as system:
        with system.events.subscribe(SupervisionEvent) as stream:
            ref = await system.spawn(Member, "a", world, name="a", restart=Restart.PERMANENT)
            error = ValueError("x")
            await ref.tell(error)
            await trio.testing.wait_all_tasks_blocked()
            await ref.tell("normal")
            await trio.testing.wait_all_tasks_blocked()
            ref.kill()
            await trio.testing.wait_all_tasks_blocked()
            await ref.stop()
            assert taken(stream) == [
                (ChildStarted, "/a", 1),
                (ChildFailed, "/a", 1, error),
                (ChildRestarted, "/a", 2),
                (ChildRestarted, "/a", 3),
                (ChildFailed, "/a", 3),
                (ChildRestarted, "/a", 4),
                (ChildStopped, "/a", 4, Shutdown()),
            ]


async def test_start_that_fails() -> None:
    """A failed start is an event, also if the factory failed. The end of an actor that was never up is none."""
    world, error = World(), OSError("no")
    world.fail_start("a", 1, error)

    def fail() -> Actor:
        raise error

    async with open_system() as system:
        with system.events.subscribe(SupervisionEvent) as stream:
            with pytest.raises(OSError, match="no"):
                await system.spawn(Member, "a", world, name="a")
            with pytest.raises(OSError, match="no"):
                await system.spawn(fail, name="b")
            assert taken(stream) == [(ChildFailed, "/a", 1, error), (ChildFailed, "/b", 1, error)]


async def test_normal_end_and_brutal_stop() -> None:
    """An actor that ends by itself, or whose time to stop is over, has stopped, and has not failed."""
    world = World()
    async with open_system() as system:
        with system.events.subscribe(ChildFailed) as failures, system.events.subscribe(ChildStopped) as stops:
            ref = await system.spawn(Member, "a", world, name="a")
            await ref.tell("normal")
            await ref.terminated()
            ref = await system.spawn(Member, "b", world, name="b")
            ref.tell_nowait(hang)
            await trio.testing.wait_all_tasks_blocked()
            await ref.stop(timeout=0)
            assert [(each.path, each.reason) for each in stops.events] == [("/a", Normal()), ("/b", Killed())]
            assert not failures.events


async def test_limit_and_escalation() -> None:
    """A supervisor that gives up tells of its limit. Its failure goes up to the next supervisor, then to the system."""
    world = World()
    inner = SupervisorSpec(children=[world.member("w")], max_restarts=0)
    outer = SupervisorSpec(children=[ChildSpec("inner", inner)], max_restarts=0)
    with pytest.raises(RestartLimit):  # noqa: PT012  -- the block raises it at its end
        async with open_system() as system:
            stream = system.events.subscribe(SupervisionEvent).__enter__()
            await system.supervise(outer, "outer")
            ref = system.find("/outer/inner/w")
            assert ref is not None
            await crash(ref)
            await trio.sleep_forever()
    got = [each[:3] for each in taken(stream) if each[0] in {RestartLimitReached, FailureEscalated}]
    assert got == [
        (RestartLimitReached, "/outer/inner", 1),
        (FailureEscalated, "/outer/inner", 1),
        (RestartLimitReached, "/outer", 1),
        (FailureEscalated, "/outer", 1),
        (FailureEscalated, "/", 1),
    ]


async def test_actor_supervises_by_events() -> None:
    """An actor can follow the failures below it: their path, exception and life."""
    seen: list[tuple[str, int, str]] = []

    class Auditor(Actor):
        async def started(self) -> None:
            self.context.subscribe(ChildFailed)

        async def receive(self, message: object) -> object:
            if isinstance(message, ChildFailed):
                seen.append((message.path, message.incarnation, str(message.exception)))
            return None

    async with open_system() as system:
        await system.spawn(Auditor)
        top = await system.supervise(SupervisorSpec(children=[World().member("w")]), "top")
        ref = top.child("w")
        assert ref is not None
        for text in ("one", "two"):
            await ref.tell(ValueError(text))
            await trio.testing.wait_all_tasks_blocked()
        assert seen == [("/top/w", 1, "one"), ("/top/w", 2, "two")]


@pytest.fixture
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("_without_collector")
async def test_exception_of_an_event_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception of an event, and the instance that raised it, are freed when the event has been read."""
    monkeypatch.setattr(logging.getLogger("actors"), "disabled", True)  # pytest keeps what is logged
    instances: list[weakref.ref[Any]] = []
    errors: list[weakref.ref[Any]] = []

    class Boom(Exception):
        pass

    class Bad(Actor):
        async def receive(self, message: object) -> object:
            instances.append(weakref.ref(self))
            raise Boom

    class Auditor(Actor):
        async def started(self) -> None:
            self.context.subscribe(ChildFailed)

        async def receive(self, message: object) -> object:
            assert isinstance(message, ChildFailed)
            errors.append(weakref.ref(message.exception))
            return None

    async with open_system() as system:
        await system.spawn(Auditor)
        with system.events.subscribe(ChildFailed) as stream:
            ref = await system.spawn(Bad, restart=Restart.PERMANENT)
            await ref.tell(1)
            await trio.testing.wait_all_tasks_blocked()
            assert [each() for each in instances] == [None]
            assert [each() is None for each in errors] == [False]  # it waits in the stream
            stream.events.clear()
            assert [each() for each in errors] == [None]
