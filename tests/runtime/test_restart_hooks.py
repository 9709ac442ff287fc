"""The hooks of a restart: ``before_restart`` on the old instance, ``after_restart`` on the new one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from _probes import World, child, crash, hang, hang_shielded

from actors import (
    Actor,
    ActorTerminated,
    Backoff,
    ExitReason,
    Failure,
    Normal,
    Restart,
    RestartLimit,
    Shutdown,
    Strategy,
    SupervisorSpec,
    open_system,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from actors import ActorRef, ActorSystem


class Hooked(Actor):
    """An actor that records the calls of its methods, with the number of its instance."""

    instances = 0

    def __init__(self, journal: list[tuple[str, int, object]], before: Any = None, after: Any = None) -> None:
        self.journal, self.before, self.after = journal, before, after
        self.number = 1 + max((number for _, number, _ in journal), default=0)
        self.note("made")

    def note(self, what: str, value: object = None) -> None:
        self.journal.append((what, self.number, value))

    async def started(self) -> None:
        self.note("started")

    async def receive(self, message: object) -> object:
        if isinstance(message, Exception):
            raise message
        if message == "normal":
            self.context.stop()
        elif callable(message):
            await message(self)
        self.note("message", message)
        return message

    async def stopping(self, reason: ExitReason) -> None:
        self.note("stopping", reason)

    async def before_restart(self, reason: ExitReason) -> None:
        self.note("before", reason)
        if self.before is not None:
            await self.before(self)
        self.note("before ends")

    async def after_restart(self, reason: ExitReason) -> None:
        self.note("after", reason)
        if self.after is not None:
            await self.after(self)
        self.note("after ends")


async def spawn(
    system: ActorSystem, journal: list[Any], before: Any = None, after: Any = None, **options: Any
) -> ActorRef:
    """Spawn a permanent actor with hooks."""
    options.setdefault("restart", Restart.PERMANENT)
    return await system.spawn(Hooked, journal, before, after, name="a", **options)


async def raise_error(_: object) -> None:
    raise OSError("hook")


def names(journal: list[tuple[str, int, object]]) -> list[tuple[str, int]]:
    """Return the calls with the numbers of their instances."""
    return [(what, number) for what, number, _ in journal]


async def test_order_of_the_hooks() -> None:
    """The old instance: stopping, before_restart. The new one: made, started, after_restart, the next message."""
    journal: list[Any] = []
    async with open_system() as system:
        ref = await spawn(system, journal)
        failure = await crash(ref)
        await ref.ask("next")
    assert names(journal) == [
        ("made", 1),
        ("started", 1),
        ("stopping", 1),
        ("before", 1),
        ("before ends", 1),
        ("made", 2),
        ("started", 2),
        ("after", 2),
        ("after ends", 2),
        ("message", 2),
        ("stopping", 2),
    ]
    assert [value for what, _, value in journal if what in {"before", "after"}] == [Failure(failure)] * 2


async def test_hooks_run_at_a_restart_only() -> None:
    """A first start, a temporary actor that fails and a stop call no hook."""
    journal: list[Any] = []
    async with open_system() as system:
        ref = await spawn(system, journal, restart=Restart.TEMPORARY)
        await crash(ref)
        ref = await spawn(system, journal)
        await ref.stop()
    assert {what for what, _ in names(journal)} == {"made", "started", "stopping"}


async def test_hook_after_a_normal_end() -> None:
    """A permanent actor that has ended normally is restarted, and both hooks get that reason."""
    journal: list[Any] = []
    async with open_system() as system:
        ref = await spawn(system, journal)
        await ref.tell("normal")
        await ref.ask("next")
    assert [value for what, _, value in journal if what in {"before", "after"}] == [Normal(), Normal()]


async def test_no_hook_of_a_killed_actor() -> None:
    """``before_restart`` is not run for a killed actor, as ``stopping`` is not; the new instance has its hook."""
    journal: list[Any] = []
    async with open_system() as system:
        ref = await spawn(system, journal)
        ref.kill()
        await ref.ask("next")
    assert [what for what, _ in names(journal)] == [
        "made",
        "started",
        "made",
        "started",
        "after",
        "after ends",
        "message",
        "stopping",
    ]


async def test_no_hook_after_a_failed_start() -> None:
    """An instance that never came up has no ``before_restart``; ``after_restart`` gets the reason of the last end."""
    journal: list[Any] = []
    error = OSError("once")

    async def fail_once(actor: Hooked) -> None:
        if actor.number == 2:
            raise error

    async with open_system() as system:
        ref = await spawn(system, journal, None, fail_once)
        failure = await crash(ref)
        await ref.ask("next")
        assert ref.statistics().restarts == 2
    hooks = [(what, number, value) for what, number, value in journal if what in {"before", "after", "stopping"}]
    assert hooks == [
        ("stopping", 1, Failure(failure)),
        ("before", 1, Failure(failure)),
        ("after", 2, Failure(failure)),
        ("after", 3, Failure(error)),
        ("stopping", 3, Shutdown()),
    ]


async def test_messages_during_the_hooks() -> None:
    """The message that failed is a dead letter before the hook; others wait; the handle stays the same."""
    journal: list[Any] = []
    refs: list[object] = []

    async def look(actor: Hooked) -> None:
        refs.append(actor.ref)
        actor.note("letters", actor_system.statistics().dead_letters)
        await trio.testing.wait_all_tasks_blocked()

    async with open_system() as actor_system:
        ref = await spawn(actor_system, journal, look, look)
        await ref.tell(ValueError("x"))
        assert await ref.ask("next") == "next"
        assert refs == [ref, ref]
    assert [value for what, _, value in journal if what == "letters"] == [1, 1]


async def test_failed_hook_is_logged_and_the_restart_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of ``before_restart`` is logged, joins the reason, and does not prevent the restart."""
    journal: list[Any] = []
    async with open_system() as system:
        ref = await spawn(system, journal, raise_error)
        with caplog.at_level(logging.ERROR, "actors"):
            await crash(ref)
        assert await ref.ask("next") == "next"
        assert (ref.statistics().restarts, system.statistics().crashes) == (1, 1)
    assert "before_restart() of /a failed: OSError('hook')" in caplog.text
    (reason,) = (value for what, _, value in journal if what == "after")
    assert isinstance(reason, Failure)
    assert isinstance(reason.exception, BaseExceptionGroup)
    assert [type(each) for each in reason.exception.exceptions] == [ValueError, OSError]


@pytest.mark.parametrize(("hook", "seconds"), [(hang, 2), (hang_shielded, 3)])
async def test_hook_that_hangs(
    hook: Any, seconds: float, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """A hook is cancelled when the time of a stop is over, shielded code one second later. Then the restart goes on."""
    assert autojump_clock.autojump_threshold == 0
    journal: list[Any] = []
    async with open_system() as system:
        ref = await spawn(system, journal, hook, shutdown=2)
        begin = trio.current_time()
        await ref.tell(ValueError("x"))
        assert await ref.ask("next") == "next"
        assert trio.current_time() - begin == seconds
    assert "it did not end in the time of a stop" in caplog.text


async def test_hook_shares_the_time_of_stopping(autojump_clock: MockClock) -> None:
    """``before_restart`` has the part of the ``shutdown`` time that ``stopping`` left."""
    assert autojump_clock.autojump_threshold == 0

    class Slow(Hooked):
        async def stopping(self, reason: ExitReason) -> None:
            await trio.sleep(3)
            await super().stopping(reason)

    async with open_system() as system:
        ref = await system.spawn(Slow, [], hang, restart=Restart.PERMANENT, shutdown=5)
        begin = trio.current_time()
        await ref.tell(ValueError("x"))
        await ref.ask("next")
        assert trio.current_time() - begin == 5


@pytest.mark.parametrize(("hook", "seconds"), [(hang, 0), (hang_shielded, 1)])
async def test_stop_during_a_hook(
    hook: Any, seconds: float, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """A stop cancels ``before_restart`` at once, shielded code a second later; that is no failure of the hook."""
    assert autojump_clock.autojump_threshold == 0
    journal: list[Any] = []
    async with open_system() as system:
        ref = await spawn(system, journal, hook, shutdown=60)
        await crash(ref)
        assert ref.statistics().state == "restarting"
        begin = trio.current_time()
        assert await ref.stop() == Shutdown()
        assert trio.current_time() - begin == seconds
    assert names(journal)[-1] == ("before", 1)
    assert "before_restart() of" not in caplog.text


async def test_everything_is_cancelled_during_a_hook() -> None:
    """A cancellation of the system ends a hook, and nothing is left."""
    journal: list[Any] = []
    with trio.CancelScope() as scope:
        async with open_system() as system:
            await crash(await spawn(system, journal, hang))
            scope.cancel()
    assert system.statistics().actors == 0
    assert names(journal)[-1] == ("before", 1)


async def test_backoff_runs_during_the_hook(autojump_clock: MockClock) -> None:
    """The restart comes when both the hook and the backoff are over."""
    assert autojump_clock.autojump_threshold == 0

    async def sleep(_: object) -> None:
        await trio.sleep(3)

    for minimum, seconds in ((1, 3), (4, 4)):
        async with open_system() as system:
            ref = await spawn(system, [], sleep, backoff=Backoff(minimum, minimum))
            begin = trio.current_time()
            await ref.tell(ValueError("x"))
            await ref.ask("next")
            assert trio.current_time() - begin == seconds


async def test_old_instance_starts_nothing() -> None:
    """In ``before_restart`` the context and the nursery of the old instance start nothing."""
    errors: list[BaseException] = []

    async def use_context(actor: Hooked) -> None:
        for use in (
            lambda: actor.context.spawn(Actor),
            lambda: trio.to_thread.run_sync(lambda: None) if actor.nursery else None,
            lambda: actor.context.watch(actor.ref),
            lambda: actor.context.timers.once("t", "t", 1),
            lambda: actor.context.subscribe(object),
        ):
            try:
                done = use()
                if done is not None:
                    await done
            except (RuntimeError, ActorTerminated) as error:
                errors.append(error)
        actor.context.stop()

    async with open_system() as system:
        ref = await spawn(system, [], use_context)
        await crash(ref)
        assert await ref.ask("next") == "next"
        assert ref.statistics().subscriptions == ref.statistics().timers == ref.statistics().watchers == 0
    assert len(errors) == 5


async def test_nursery_that_a_hook_leaves_open(caplog: pytest.LogCaptureFixture) -> None:
    """A nursery that ``before_restart`` leaves open is closed, and is a failure of the hook."""

    async def leave_open(_: object) -> None:
        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(trio.sleep_forever)

    async with open_system() as system:
        ref = await spawn(system, [], leave_open)
        await crash(ref)
        assert await ref.ask("next") == "next"
    assert "was left open" in caplog.text


async def test_failed_hook_of_the_new_instance_counts() -> None:
    """If ``after_restart`` raises, the start has failed, and counts against the limit."""
    journal: list[Any] = []
    with pytest.raises(RestartLimit):  # noqa: PT012  -- the end of the block raises
        async with open_system() as system:
            ref = await spawn(system, journal, None, raise_error, max_restarts=2)
            await ref.tell(ValueError("x"))
            await trio.sleep_forever()
    assert [number for what, number in names(journal) if what == "after"] == [2, 3]
    assert [number for what, number in names(journal) if what == "stopping"] == [1]


@pytest.mark.parametrize(("hook", "seconds"), [(hang, 0), (hang_shielded, 1)])
async def test_stop_during_the_hook_of_the_new_instance(hook: Any, seconds: float, autojump_clock: MockClock) -> None:
    """``after_restart`` has no deadline, and a stop without time cancels it at once, shielded code a second later."""
    assert autojump_clock.autojump_threshold == 0
    journal: list[Any] = []
    async with open_system() as system:
        ref = await spawn(system, journal, None, hook)
        await crash(ref)
        await trio.sleep(100)
        assert ref.statistics().state == "starting"
        begin = trio.current_time()
        await ref.stop(timeout=0)
        assert trio.current_time() - begin <= seconds
    assert names(journal)[-1] == ("after", 2)


@pytest.mark.parametrize("failing", ["a", "b"])
async def test_hooks_in_a_group(failing: str, autojump_clock: MockClock) -> None:
    """Each member of a group has its hooks. A member is started again after its own hook, and in order."""
    assert autojump_clock.autojump_threshold == 0
    events: list[tuple[str, str]] = []

    class Member(Actor):
        def __init__(self, name: str) -> None:
            self.name = name

        async def receive(self, message: object) -> object:
            assert isinstance(message, Exception)
            raise message

        async def before_restart(self, reason: ExitReason) -> None:
            await trio.sleep(3)
            events.append(("before", self.name))
            assert isinstance(reason, Failure if self.name == failing else Shutdown)

        async def after_restart(self, reason: ExitReason) -> None:
            assert isinstance(reason, Failure if self.name == failing else Shutdown)
            events.append(("after", self.name))

    world = World()
    world.kind = lambda name, _: Member(name)  # type: ignore[assignment]  # as a class would be called
    async with open_system() as system:
        spec = SupervisorSpec(Strategy.ONE_FOR_ALL, [world.member(name) for name in "ab"])
        supervisor = await system.supervise(spec)
        await child(supervisor, failing).tell(ValueError("x"))
        await trio.sleep(20)
        assert [event for event in events if event[0] == "after"] == [("after", "a"), ("after", "b")]
        for name in "ab":
            assert events.index(("before", name)) < events.index(("after", name))
        assert supervisor.counts().active == 2


async def test_terminated_member_during_its_hook() -> None:
    """A child that is terminated while its hook runs ends at once, and stays down."""
    world = World()
    world.kind = lambda name, _: Hooked([], hang)  # type: ignore[assignment]  # as above
    async with open_system() as system:
        supervisor = await system.supervise(SupervisorSpec("one_for_all", [world.member(name) for name in "ab"]))
        ref = child(supervisor, "b")
        await crash(ref)
        await supervisor.terminate_child("b")
        assert not ref.alive
        assert supervisor.child("b") is None


async def test_actor_without_hooks_has_no_cost() -> None:
    """The default hooks are marked: the runtime opens no scope for them."""
    assert Actor.before_restart.__dict__["does_nothing"]
    assert Actor.after_restart.__dict__["does_nothing"]
