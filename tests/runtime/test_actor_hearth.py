"""Children live in their parent's incarnation: whatever ends it ends all below it, and none of it is left behind."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, ClassVar

import pytest
import trio
import trio.testing
from _probes import Member, World, child, crash, hang, hang_shielded

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    ActorTerminated,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    ExitReason,
    Failure,
    Killed,
    Restart,
    RestartLimit,
    Shutdown,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


async def spawn_below(member: Member) -> None:
    """Give this member a child, and keep its handle."""
    member.world.refs.append(await member.context.spawn(Member, f"{member.name}-kid", member.world, shutdown=2))


def parent_in(world: World, start: Callable[[Member], Awaitable[object]] = spawn_below) -> ChildSpec:
    world.on_start["parent"] = start
    return world.member("parent", shutdown=3)


async def fail_in_a_task(member: Member) -> None:
    async def fail() -> None:
        raise OSError("task")

    member.nursery.start_soon(fail)


async def stop_itself(member: Member) -> None:
    member.context.stop()


async def kill(ref: ActorRef) -> None:
    ref.kill()


async def leave_the_process(_: Member) -> None:
    raise SystemExit(3)


ENDS: dict[str, Callable[[ActorRef], Awaitable[object]]] = {
    "stop": lambda ref: ref.stop(),
    "brutal stop": lambda ref: ref.stop(timeout=0),
    "drain": lambda ref: ref.stop(drain=True),
    "own": lambda ref: ref.tell(stop_itself),
    "failure": lambda ref: ref.tell(ValueError("handler")),
    "task": lambda ref: ref.tell(fail_in_a_task),
    "kill": kill,
    "exit": lambda ref: ref.tell(leave_the_process),
}


@pytest.mark.parametrize("end", ENDS)
async def test_children_end_before_their_parent_does(end: str, autojump_clock: MockClock) -> None:
    """However an actor ends, no child is alive when its end is known, and the tasks are gone."""
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        world = World()
        before = trio.lowlevel.current_statistics().tasks_living
        spec = parent_in(world)
        ref = await system.spawn(spec.factory, name="parent", shutdown=3)  # type: ignore[arg-type]  # makes a Member
        await ENDS[end](ref)
        await ref.terminated()
        assert [kid.alive for kid in world.refs] == [False]
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("with_child", [True, False])
async def test_a_child_that_is_started_in_stopping_ends_with_its_parent(*, with_child: bool) -> None:
    """What ``stopping()`` starts works until that returns, and is gone when the stop returns."""
    async with open_system() as system:
        world = World()
        alive: list[bool] = []

        async def spawn(member: Member) -> None:
            await spawn_below(member)
            alive.extend(ref.alive for ref in world.refs)

        world.on_stop["parent"] = spawn
        if with_child:
            world.on_start["parent"] = spawn_below
        ref = await system.spawn(Member, "parent", world)
        assert await ref.stop() == Shutdown()
        assert alive == ([False, True] if with_child else [True])
        assert [ref.alive for ref in world.refs] == [False] * len(alive)
        assert system.statistics().actors == 0


async def test_no_child_is_started_by_shielded_work_of_an_actor_that_was_killed() -> None:
    """Once an incarnation is over a spawn below it raises at once."""
    async with open_system() as system:
        world = World()
        errors: list[Exception] = []

        async def spawn_at_the_end(member: Member) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    try:
                        await spawn_below(member)
                    except ActorTerminated as error:
                        errors.append(error)

        ref = await system.spawn(Member, "parent", world)
        await ref.tell(spawn_at_the_end)
        await trio.testing.wait_all_tasks_blocked()
        ref.kill()
        assert await ref.terminated() == Killed()
        assert len(errors) == 1


async def start_slowly(member: Member) -> None:
    await spawn_below(member)
    await trio.sleep(60)


@pytest.mark.parametrize("how", ["stop", "shutdown", "cancel"])
async def test_a_start_that_is_stopped_takes_its_children_along(how: str, autojump_clock: MockClock) -> None:
    """Children of an actor that is stopped while it starts are stopped by their specs, and it ends with them."""
    async with open_system() as system:
        world = World()
        scope = trio.CancelScope()

        async def start() -> None:
            with scope:
                with pytest.raises(ActorTerminated):
                    await system.supervise(SupervisorSpec(children=[parent_in(world, start_slowly)]), "top")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.sleep(1)
            ref = system.find("/top")
            assert ref is not None
            match how:
                case "stop":
                    await ref.stop()
                case "shutdown":
                    await system.shutdown()
                case _:
                    scope.cancel()
        assert (system.statistics().actors, [kid.alive for kid in world.refs]) == (0, [False])
        assert autojump_clock.current_time() < 5


async def test_a_subtree_that_is_halted_while_it_starts_runs_once(autojump_clock: MockClock) -> None:
    """A member that fails again while the subtree beside it starts leaves no second subtree behind."""
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        world = World()
        sub = SupervisorSpec(children=[world.member("worker"), world.member("slow")])
        spec = SupervisorSpec(Strategy.ONE_FOR_ALL, [world.member("a"), ChildSpec("sub", sub)])
        top = await system.supervise(spec, "top")

        async def wait(_: Member) -> None:
            await trio.sleep(10)

        world.on_start["slow"] = wait
        await crash(child(top, "a"))
        await crash(child(top, "a"))
        await trio.sleep(60)
        assert world.starts["worker"] - world.take().count(("stop", "worker")) == 1
        assert system.statistics().actors == 5


class Shielded(Actor):
    """Fails in one place while it shields itself in another."""

    where: ClassVar[str] = ""

    async def receive(self, message: object) -> object:
        if message != "boom":
            return message
        if self.where == "task":
            self.nursery.start_soon(self.hang)
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("handler")
        self.nursery.start_soon(self.fail)
        await self.hang()
        return None

    async def hang(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    async def fail(self) -> None:
        raise ValueError("task")


@pytest.mark.parametrize("where", ["task", "handler"])
async def test_a_failure_has_the_deadlines_of_a_stop(where: str, autojump_clock: MockClock) -> None:
    """What shields itself from a failure is ended after ``shutdown`` and a second, and the supervisor decides then."""
    Shielded.where = where
    async with open_system() as system:
        top = await system.supervise(SupervisorSpec(children=[ChildSpec("a", Shielded, shutdown=4)]))
        begin = autojump_clock.current_time()
        await child(top, "a").tell("boom")
        assert await child(top, "a").ask("up") == "up"
        assert trio.current_time() - begin == pytest.approx(4 + 1)
        assert child(top, "a").statistics().restarts == 1


async def test_a_limit_that_is_exceeded_ends_a_busy_actor_within_its_time(autojump_clock: MockClock) -> None:
    """An actor whose children failed too often does not go on until its handler is done."""
    async with open_system() as system:
        world = World()
        above = await system.supervise(SupervisorSpec())
        ref = await above.start_child(world.member("parent", Restart.TEMPORARY, shutdown=3))

        async def work(member: Member) -> None:
            kid = await member.context.spawn(Member, "kid", world, restart=Restart.PERMANENT)
            for _ in range(4):
                await kid.tell(ValueError("x"))
            await trio.sleep(1000)

        begin = autojump_clock.current_time()
        await ref.tell(work)
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert isinstance(reason.exception, RestartLimit)
        assert trio.current_time() - begin == pytest.approx(3)


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_a_stop_is_not_undone_by_the_restart_of_its_group(
    strategy: Strategy, *, drain: bool, autojump_clock: MockClock
) -> None:
    """A member that is being stopped ends for good when its group is restarted meanwhile; what it drains is drained."""
    async with open_system() as system:
        world = World()
        top = await system.supervise(SupervisorSpec(strategy, [world.member("a"), world.member("b")]))
        b = child(top, "b")

        async def work(_: Member) -> None:
            await trio.sleep(2)

        await b.tell(work)
        await b.tell("last")
        await trio.testing.wait_all_tasks_blocked()
        reasons: list[ExitReason] = []

        async def stop() -> None:
            reasons.append(await b.stop(drain=drain, timeout=60))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            await trio.sleep(1)
            await crash(child(top, "a"))
        assert reasons == [Shutdown()]
        assert not b.alive
        assert ("last" in world.received) == drain
        assert autojump_clock.current_time() == pytest.approx(2)


async def test_an_actor_that_cancels_its_own_nursery_fails_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    """The scope of the nursery is around the whole life: cancelling it is a failure that is logged."""

    async def cancel(member: Member) -> None:
        member.nursery.cancel_scope.cancel()

    async with open_system() as system:
        world = World()
        ref = await system.spawn(Member, "a", world)
        await ref.tell(cancel)
        await ref.tell("next")
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert "cancelled the scope of its own nursery" in str(reason.exception)
        assert "cancelled the scope of its own nursery" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), trio.BrokenResourceError()])
async def test_whatever_an_actor_raises_is_its_own_failure(error: BaseException) -> None:
    """Exceptions that would end a program end the actor that raised them, and nobody else."""

    async def fail(_: Member) -> None:
        raise error

    async with open_system() as system:
        world = World()
        sibling = await system.spawn(Member, "sibling", world)
        ref = await system.spawn(Member, "a", world)
        await ref.tell(fail)
        assert await ref.terminated() == Failure(error)
        assert await sibling.ask("up") == "up"


async def test_a_cancelled_that_belongs_to_nobody_is_a_failure() -> None:
    """An actor that raises a Cancelled of old ends with a failure that says so."""
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise

    async def fail(_: Member) -> None:
        raise kept[0]

    async with open_system() as system:
        ref = await system.spawn(Member, "a", World())
        await ref.tell(fail)
        reason = await ref.terminated()
        assert isinstance(reason, Failure)
        assert "where nothing was cancelled" in str(reason.exception)


# What ends the block


async def test_the_root_gives_up_once_however_many_exceed_its_limit() -> None:
    """Top-level actors that fail together end the block with one RestartLimit."""

    async def run() -> None:
        async with open_system() as system:
            world = World()
            refs = [await system.spawn(Member, name, world, restart=Restart.PERMANENT) for name in "abcdefgh"]
            for ref in refs:
                ref.tell_nowait(ValueError("x"))
            await trio.sleep_forever()

    with pytest.raises(RestartLimit):
        await run()


@pytest.mark.parametrize("kind", ["supervisor", "actor"])
async def test_a_top_level_actor_that_gives_up_ends_the_block(kind: str) -> None:
    """Nothing is left to restart it: the others are stopped, and the block raises its RestartLimit."""
    world = World()

    async def run(system: ActorSystem) -> None:
        await system.spawn(Member, "other", world)
        if kind == "supervisor":
            top: ActorRef = await system.supervise(SupervisorSpec(children=[world.member("a")], max_restarts=0), "top")
            assert isinstance(top, SupervisorRef)
            kid = child(top, "a")
        else:
            top = await system.spawn(Member, "top", world, name="top")
            spawned: list[ActorRef] = []

            async def spawn(member: Member) -> None:
                spawned.append(await member.context.spawn(Member, "a", world, name="a", restart=Restart.PERMANENT))

            await top.ask(spawn)
            (kid,) = spawned
        for _ in range(4):
            kid.tell_nowait(ValueError("x"))
        await trio.sleep_forever()

    with pytest.raises(RestartLimit, match="/top gave up"):
        async with open_system() as system:
            await run(system)
    assert system.statistics().actors == 0
    assert ("stop", "other") in world.journal


async def test_a_block_that_fails_while_its_actors_give_up_loses_neither() -> None:
    """What the block raised and why the actors gave up are raised together."""
    error = OSError("block")

    async def run() -> None:
        async with open_system() as system:
            world = World()
            ref = await system.spawn(Member, "a", world, restart=Restart.PERMANENT)
            world.fail_start("a", 1000)
            await crash_until_cancelled(ref, error)

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(RestartLimit)
    assert caught.group_contains(OSError, match="block")


async def crash_until_cancelled(ref: ActorRef, error: Exception) -> None:
    try:
        await ref.tell(ValueError("x"))
        await trio.sleep_forever()
    finally:
        raise error


async def test_a_deep_tree_is_stopped_like_any_other() -> None:
    """No step of a stop, a kill or a look at the tree goes deeper with the tree."""

    class Deep(Actor):
        def __init__(self, depth: int) -> None:
            self.depth = depth

        async def started(self) -> None:
            if self.depth:
                await self.context.spawn(Deep, self.depth - 1, name="a")

    async with open_system() as system:
        ref = await system.spawn(Deep, 1100, name="a")
        assert len(system.tree().lines()) == 1102
        deepest = system.find("/a" * 1101)
        assert deepest is not None
        assert deepest.path == "/a" * 1101
        await ref.stop()
        assert system.statistics().actors == 0
        ref = await system.spawn(Deep, 1100, name="a")
        ref.kill()
        assert await ref.terminated() == Killed()
        assert system.statistics().actors == 0


async def test_cancelled_together_children_have_the_same_second(autojump_clock: MockClock) -> None:
    """A child that shields itself has its second also when its parent goes at once."""
    begin = autojump_clock.current_time()
    with trio.move_on_after(1):
        async with open_system() as system:
            world = World()
            ref = await system.spawn(Member, "parent", world)
            await ref.ask(spawn_below)
            await world.refs[0].tell(hang_shielded)
            await ref.tell(hang)
            await trio.sleep_forever()
    assert trio.current_time() - begin == pytest.approx(2)


async def test_an_actor_that_is_started_while_everything_is_cancelled_ends_with_it(autojump_clock: MockClock) -> None:
    """By the cleaning up of another one, whichever hears of the cancellation first; shielded work has its second."""
    for _ in range(10):
        begin = autojump_clock.current_time()
        with trio.move_on_after(1):
            async with open_system() as system:
                world = World()
                world.on_start["late"] = hang_shielded

                async def spawn_at_the_end(_: Member, system: ActorSystem = system, world: World = world) -> None:
                    try:
                        await trio.sleep_forever()
                    finally:
                        with trio.CancelScope(shield=True):
                            await system.spawn(Member, "late", world)

                ref = await system.spawn(Member, "a", world)
                await ref.tell(spawn_at_the_end)
                await trio.sleep_forever()
        assert trio.current_time() - begin == pytest.approx(2)
        assert system.statistics().actors == 0


# Ctrl-C


def test_a_real_interrupt_ends_the_block_and_is_no_failure_of_an_actor() -> None:
    """Also when it comes while an actor's own code runs, in a task of a task: it is raised in the block."""
    world = World()
    seen: list[str] = []

    async def interrupt(name: str) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(name)
        signal.raise_signal(signal.SIGINT)
        seen.append(f"{name} goes on")
        await trio.sleep_forever()

    async def in_the_nursery(member: Member) -> None:
        member.nursery.start_soon(interrupt, "task")

    async def in_a_nursery_of_its_own(_: Member) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt, "inner task")

    async def in_hand(_: Member) -> None:
        await interrupt("message")

    async def run(work: Callable[[Member], Awaitable[None]]) -> None:
        async with open_system() as system:
            ref = await system.spawn(Member, "a", world)
            world.refs.append(ref)
            await ref.tell(work)
            await trio.sleep_forever()

    for work in (in_the_nursery, in_a_nursery_of_its_own, in_hand):
        with pytest.raises(BaseExceptionGroup) as caught:
            trio.run(run, work)
        assert caught.group_contains(KeyboardInterrupt)
    assert seen == [f"{name}{then}" for name in ("task", "inner task", "message") for then in ("", " goes on")]


# What several calls for one child come to


async def test_who_deletes_a_child_that_is_being_launched_is_refused() -> None:
    """Whichever is first: the child is up and listed, or deleted and not up."""
    async with open_system() as system:
        world = World()
        top = await system.supervise(SupervisorSpec(children=[world.member("a")]))
        for _ in range(200):  # one call in so many lets others run before the start
            await top.terminate_child("a")
            outcomes: list[object] = []

            async def restart(outcomes: list[object] = outcomes) -> None:
                outcomes.append(await top.restart_child("a"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(restart)
                for _ in range(2):
                    await trio.lowlevel.checkpoint()
                with pytest.raises(ChildRunning):
                    top.delete_child("a")
            assert outcomes == [top.child("a")]


async def test_a_child_that_is_terminated_while_it_starts_has_no_entry(autojump_clock: MockClock) -> None:
    """start_child raises, nothing is left of it, and a restart finds nothing: always."""
    assert autojump_clock.autojump_threshold == 0
    for _ in range(20):
        async with open_system() as system:
            world = World()
            world.on_start["a"] = hang
            top = await system.supervise(SupervisorSpec())

            async def start(top: SupervisorRef = top, world: World = world) -> None:
                with pytest.raises(ActorTerminated):
                    await top.start_child(world.member("a"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(start)
                await trio.testing.wait_all_tasks_blocked()
                await top.terminate_child("a")
                with pytest.raises(ChildNotFound):
                    await top.restart_child("a")
            assert (top.children(), system.statistics().actors) == ((), 1)


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_members_that_lose_the_same_thing_are_one_failure(strategy: Strategy) -> None:
    """Five that fail in one turn, in the order that chance gives, use one of the restarts."""
    async with open_system() as system:
        world = World()
        down = trio.Event()

        async def listen(member: Member) -> None:
            async def fail() -> None:
                await down.wait()
                raise OSError(f"{member.name} lost its connection")

            if world.starts[member.name] == 1:
                member.nursery.start_soon(fail)

        for name in "abcde":
            world.on_start[name] = listen
        spec = SupervisorSpec(strategy, [world.member(name) for name in "abcde"], max_restarts=1)
        top = await system.supervise(spec)
        down.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [info.state for info in top.children()] == ["running"] * 5
        assert top.statistics().children_restarted == 1


@pytest.mark.parametrize("turns", range(9))
async def test_a_member_is_halted_again_before_it_has_begun(turns: int) -> None:
    """An earlier member fails in the very turn in which a later one is told to begin."""

    async def fail_later(_: Member) -> None:
        for _turn in range(turns):
            await trio.lowlevel.checkpoint()
        raise ValueError("a little later")

    for _ in range(12):
        async with open_system() as system:
            world = World()
            spec = SupervisorSpec(Strategy.REST_FOR_ONE, [world.member(name) for name in "abc"])
            top = await system.supervise(spec)
            await trio.testing.wait_all_tasks_blocked()
            child(top, "a").tell_nowait(fail_later)
            child(top, "b").tell_nowait(ValueError("first"))
            await trio.testing.wait_all_tasks_blocked()
            assert [info.state for info in top.children()] == ["running"] * 3


async def test_significant_children_that_never_came_up_end_nothing(autojump_clock: MockClock) -> None:
    """A failed start fails its call; one that still starts holds its supervisor up."""
    assert autojump_clock.autojump_threshold == 0
    async with open_system() as system:
        world = World()
        top = await system.supervise(SupervisorSpec(children=[world.member("good")], auto_shutdown="any"))
        world.fail_start("bad", 1)
        with pytest.raises(OSError, match="bad cannot start"):
            await top.start_child(world.member("bad", Restart.TEMPORARY, significant=True))
        await trio.testing.wait_all_tasks_blocked()
        assert top.alive

        async def wait(_: Member) -> None:
            await trio.sleep(1)

        world.on_start.update(brief=stop_itself, slow=wait)
        members = [world.member(name, Restart.TRANSIENT, significant=True) for name in ("brief", "slow")]
        both = await system.supervise(SupervisorSpec(children=members, auto_shutdown="all"))
        await trio.sleep(5)
        assert both.alive
        await child(both, "slow").tell("normal")
        assert await both.terminated() == Shutdown()
