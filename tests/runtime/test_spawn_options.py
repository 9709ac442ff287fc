"""The options of ``spawn``, ``open_system`` and ``ChildSpec.of``: limits of restarts, a backoff, arguments by name."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _probes import Member, World, crash

from actors import (
    Actor,
    ActorTerminated,
    Backoff,
    ChildSpec,
    Failure,
    PoolRef,
    Restart,
    RestartLimit,
    RestartLimitReached,
    SpecError,
    SupervisorSpec,
    open_system,
    pool,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from actors import ActorRef, ActorSystem


class Greeter(Actor[str, str]):
    """An actor whose factory has arguments that are called like options of a spawn."""

    def __init__(self, greeting: str, *, name: str = "you", restart: str = "") -> None:
        self.greeting, self.name, self.restart = greeting, name, restart

    async def receive(self, message: str) -> str:
        return f"{self.greeting} {self.name} {self.restart}{message}"


async def spawn_crashing(system: ActorSystem, name: str = "a", **options: Any) -> ActorRef:
    """Spawn a permanent actor."""
    return await system.spawn(Member, name, World(), name=name, restart=Restart.PERMANENT, **options)


# The limit of one actor


async def test_own_limit_is_more_than_the_shared_one() -> None:
    """An actor with a limit of its own is restarted as often as that allows."""
    async with open_system() as system:
        ref = await spawn_crashing(system, max_restarts=10)
        for _ in range(10):
            await crash(ref)
        assert ref.statistics().restarts == 10


async def test_own_limit_ends_the_parent() -> None:
    """One restart more than the actor's own limit ends its parent, as with the shared limit: here the system."""
    text = r"/ gave up: /a ended once more after 1 restarts within 7 s"
    with pytest.raises(RestartLimit, match=text) as caught:  # noqa: PT012  -- the end of the block raises
        async with open_system() as system:
            with system.events.subscribe(RestartLimitReached) as events:
                ref = await spawn_crashing(system, max_restarts=1, max_seconds=7)
                await crash(ref)
                await ref.tell(ValueError("x"))
                event = await anext(events)
                assert (event.path, event.child, event.max_restarts, event.max_seconds) == ("/", "/a", 1, 7)
                await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, ValueError)


async def test_own_limit_of_a_child_ends_its_parent_actor() -> None:
    """An actor whose child exceeds its own limit fails with RestartLimit, and its supervisor decides about it."""
    async with open_system() as system:
        world = World()
        children: list[ActorRef] = []

        async def spawn_child(member: Member) -> None:
            child = await member.context.spawn(
                Member, "c", world, name="c", restart=Restart.PERMANENT, max_restarts=0, max_seconds=1
            )
            children.append(child)

        world.on_start["p"] = spawn_child
        parent = await system.spawn(Member, "p", world, name="p", restart=Restart.PERMANENT)
        await crash(children[0])
        assert parent.statistics().restarts == 1
        assert isinstance(world.reasons[-1], Failure)
        assert isinstance(world.reasons[-1].exception, RestartLimit)
        assert [ref.alive for ref in children] == [False, True]


async def test_own_limit_leaves_the_shared_one_alone() -> None:
    """The restarts of an actor with a limit of its own do not count against the limit that the others share."""
    async with open_system() as system:
        apart = await spawn_crashing(system, "apart", max_restarts=9)
        shared = await spawn_crashing(system, "shared")
        for _ in range(3):
            await crash(apart)
            await crash(shared)
        await crash(apart)
        assert (apart.statistics().restarts, shared.statistics().restarts) == (4, 3)


@pytest.mark.parametrize(("pause", "restarts"), [(1.9, 1), (2.0, 2)])
async def test_own_period(pause: float, restarts: int, autojump_clock: MockClock) -> None:
    """The actor's own limit is counted in its own period, with the default of 3 restarts if none is given."""
    assert autojump_clock.autojump_threshold == 0
    ended = False
    try:
        async with open_system() as system:
            ref = await spawn_crashing(system, max_restarts=1, max_seconds=2.0)
            await ref.tell(ValueError("first"))
            await trio.sleep(pause)
            await ref.tell(ValueError("second"))
            await trio.sleep(0.01)
            assert ref.statistics().restarts == 2
    except RestartLimit:
        ended = True
    assert ended == (restarts == 1)


@pytest.mark.parametrize(("options", "limit"), [({"max_restarts": 2}, (2, 5.0)), ({"max_seconds": 9.0}, (3, 9.0))])
def test_default_of_the_other_half(options: dict[str, Any], limit: tuple[int, float]) -> None:
    """If only one half of the limit is given, the other one has the default of supervisors."""
    shared = SupervisorSpec(max_restarts=7, max_seconds=70)
    assert ChildSpec("a", Actor, **options).limit_in(shared) == limit
    assert ChildSpec("a", Actor).limit_in(shared) == (7, 70)


async def test_backoff_of_a_spawn(autojump_clock: MockClock) -> None:
    """A spawned actor waits for its backoff before each restart."""
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        ref = await spawn_crashing(system, backoff=Backoff(10, 40))
        for seconds in (10, 20):
            begin = trio.current_time()
            await ref.tell(ValueError("x"))
            assert await ref.ask("back") == "back"
            assert trio.current_time() - begin == seconds


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_restarts": -1, "restart": Restart.PERMANENT}, "max_restarts must be a whole number"),
        ({"max_restarts": True, "restart": Restart.PERMANENT}, "max_restarts must be a whole number"),
        ({"max_seconds": 0, "restart": Restart.PERMANENT}, "max_seconds must be more than 0"),
        ({"max_seconds": "5", "restart": Restart.PERMANENT}, "max_seconds must be a number of seconds"),
        ({"backoff": 3, "restart": Restart.PERMANENT}, "backoff must be a Backoff"),
        ({"max_restarts": 3}, "max_restarts of a is for a child that is restarted"),
        ({"max_seconds": 3}, "a temporary one never is"),
        ({"backoff": Backoff(1, 2)}, "backoff is for an actor that is restarted"),
        ({"kwargs": 3}, "kwargs must be a mapping"),
    ],
)
async def test_wrong_options_start_nothing(options: dict[str, Any], text: str) -> None:
    """A wrong option raises SpecError before the factory is called."""

    def never() -> Actor:
        pytest.fail("the factory was called")

    async with open_system() as system:
        with pytest.raises(SpecError, match=text):
            await system.spawn(never, name="a", **options)
        assert system.statistics().actors == 0


# The limit of the top level


async def test_limit_of_the_system() -> None:
    """``open_system`` takes the limit of its top-level actors."""
    async with open_system(max_restarts=5) as system:
        ref = await spawn_crashing(system)
        for _ in range(5):
            await crash(ref)
        assert ref.statistics().restarts == 5
    with pytest.raises(RestartLimit, match="after 0 restarts within 2 s"):  # noqa: PT012  -- the end of the block raises
        async with open_system(max_restarts=0, max_seconds=2) as system:
            await (await spawn_crashing(system)).tell(ValueError("x"))
            await trio.sleep_forever()


async def test_backoff_of_the_system(autojump_clock: MockClock) -> None:
    """The backoff of the system is that of each top-level actor without one."""
    assert autojump_clock.autojump_threshold == 0
    async with open_system(backoff=Backoff(30, 30)) as system:
        for options, seconds in (({}, 30), ({"backoff": Backoff(2, 2)}, 2)):
            ref = await spawn_crashing(system, f"a{seconds}", **options)
            begin = trio.current_time()
            await ref.tell(ValueError("x"))
            await ref.ask("back")
            assert trio.current_time() - begin == seconds


@pytest.mark.parametrize("options", [{"max_restarts": -1}, {"max_seconds": 0}, {"backoff": 1.0}])
async def test_wrong_limit_of_the_system(options: dict[str, Any]) -> None:
    """A wrong limit raises SpecError, and no task of the system is started."""
    before = trio.lowlevel.current_statistics().tasks_living
    with pytest.raises(SpecError, match=next(iter(options))):
        async with open_system(**options):
            pytest.fail("the block was entered")
    assert trio.lowlevel.current_statistics().tasks_living == before


# The arguments of a factory


async def test_arguments_by_name() -> None:
    """Arguments by name go to the factory, even if they are called like options of the spawn."""
    async with open_system() as system:
        ref = await system.spawn(Greeter, "hello", kwargs={"name": "Ann", "restart": "!"}, name="greeter")
        assert ref.name == "greeter"
        assert await ref.ask("?") == "hello Ann !?"
        with pytest.raises(TypeError, match="unexpected keyword argument 'nam'"):
            await system.spawn(Greeter, "hello", kwargs={"nam": "Ann"})
        with pytest.raises(SpecError, match="a pool or group takes no arguments"):
            await system.spawn(pool(Actor, 1), kwargs={"size": 3})
        assert system.statistics().actors == 1


async def test_arguments_by_name_at_each_restart() -> None:
    """A restart calls the factory with the same arguments; a later change of the mapping has no effect."""
    arguments = {"name": "a", "world": World()}
    async with open_system() as system:
        ref = await system.spawn(Member, kwargs=arguments, restart=Restart.PERMANENT)
        arguments.clear()
        await crash(ref)
        assert await ref.ask("hello") == "hello"


async def test_name_of_a_partial() -> None:
    """An actor that is made by a ``functools.partial`` is called like its class."""
    async with open_system() as system:
        ref = await system.spawn(functools.partial(functools.partial(Greeter, "hi"), name="Ann"))
        assert ref.name == "greeter-1"


async def test_pool_ref_of_a_spawn() -> None:
    """The handle of a spawned pool is a PoolRef, for type checkers too."""
    async with open_system() as system:
        ref = await system.spawn(pool(functools.partial(Greeter, "hi"), 2))
        assert isinstance(ref, PoolRef)
        assert len(ref.members()) == 2


# A spec in one line


async def test_spec_of_a_class() -> None:
    """``ChildSpec.of`` takes the arguments of the class, and the fields of the spec by name."""
    first = ChildSpec.of(Greeter, "hello", kwargs={"name": "Ann"}, restart="transient", shutdown=2)
    second = ChildSpec.of(Greeter, "hello", id="second")
    assert (first.id, first.restart, first.shutdown) == ("greeter", Restart.TRANSIENT, 2)
    assert (second.id, second.restart) == ("second", Restart.PERMANENT)
    assert ChildSpec.of(pool(Actor, 2), id="workers").seconds == float("inf")
    assert ChildSpec.of(Actor) == ChildSpec("actor", Actor)
    async with open_system() as system:
        top = await system.supervise(SupervisorSpec("one_for_one", [first, second]), "top")
        ref = top.child("greeter")
        assert ref is not None
        assert await ref.ask("!") == "hello Ann !"


@pytest.mark.parametrize(
    ("arguments", "kwargs", "text"),
    [((), {"name": "Ann"}, "missing"), (("hi", "there"), None, "too many"), (("hi",), {"nam": 1}, "nam")],
)
def test_spec_with_wrong_arguments(arguments: tuple[Any, ...], kwargs: Any, text: str) -> None:
    """Arguments that the factory does not take raise SpecError where the spec is made, not at the start."""
    with pytest.raises(SpecError, match=f"factory greeter does not take these arguments: .*{text}"):
        ChildSpec.of(Greeter, *arguments, kwargs=kwargs)


def test_spec_of_an_unknown_field() -> None:
    """A keyword that is no field is an error: it is no argument of the factory."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'name'"):
        ChildSpec.of(Greeter, "hello", name="Ann")  # type: ignore[call-overload]  # that is the point


async def test_own_limit_in_a_group() -> None:
    """In a group, a failure counts against the limit of the child that failed first."""
    world = World()
    apart = world.member("a", max_restarts=5)
    spec = SupervisorSpec("one_for_all", [apart, world.member("b")], max_restarts=1)
    async with open_system() as system:
        above = await system.supervise(SupervisorSpec(), "above")
        top = await above.start_child(ChildSpec("top", spec, Restart.TEMPORARY))
        for _ in range(4):
            ref = system.find("/above/top/a")
            assert ref is not None
            await crash(ref)
        assert world.starts == {"a": 5, "b": 5}
        for alive in (True, False):
            ref = system.find("/above/top/b")
            assert ref is not None
            await crash(ref)
            assert top.alive == alive
        with pytest.raises(ActorTerminated):
            await top.ask("x")
