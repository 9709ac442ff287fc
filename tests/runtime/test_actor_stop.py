"""Stopping and killing one actor: exit reasons, deadlines, cancellations."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from _probes import Probe, hang, hang_shielded, stop_itself

from actors import (
    Actor,
    ActorSystem,
    ActorTerminated,
    Backoff,
    ChildSpec,
    ExitReason,
    Failure,
    Killed,
    Normal,
    Restart,
    Shutdown,
    SupervisorSpec,
    open_system,
)


@pytest.mark.parametrize(
    ("act", "reason"),
    [(stop_itself, Normal()), (RuntimeError, Failure)],
)
async def test_exit_reason(act: object, reason: object) -> None:
    """``terminated`` returns Normal() for an actor that stopped itself, and Failure(error) for an actor that raised."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        error = RuntimeError("x")
        await ref.tell(error if act is RuntimeError else act)
        got = await ref.terminated()
        assert got == (Failure(error) if reason is Failure else reason)
        assert not ref.alive


async def test_stopped_actor_leaves_nothing() -> None:
    """A stopped actor ends with Shutdown() and leaves no task, timer or entry.

    A second ``stop`` returns the same reason.
    """
    async with open_system() as system:
        before = trio.lowlevel.current_statistics().tasks_living
        journal: list[object] = []
        ref = await system.spawn(Probe, journal)

        async def busy(probe: Probe) -> None:
            probe.nursery.start_soon(trio.sleep_forever)
            probe.context.timers.every("tick", "tick", 1)

        await ref.ask(busy)
        assert await ref.stop() == Shutdown()
        assert journal == ["started", Shutdown()]
        assert system.statistics().actors == 0
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert await ref.stop() == Shutdown()


async def test_stop_cancels_after_its_timeout(autojump_clock: trio.testing.MockClock) -> None:
    """If an actor still handles a message when the ``timeout`` of its stop is over, this work is cancelled."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        await ref.tell(hang)
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        assert await ref.stop(timeout=2) == Killed()
        assert trio.current_time() - begin == 2
        assert autojump_clock.autojump_threshold == 0


async def test_shielded_work_is_cancelled_a_second_later(autojump_clock: trio.testing.MockClock) -> None:
    """If an actor's work is shielded, it is cancelled one second after the ``timeout`` of the stop."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        await ref.tell(hang_shielded)
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        assert await ref.stop(timeout=2) == Killed()
        assert trio.current_time() - begin == 3
        assert autojump_clock.autojump_threshold == 0


async def test_stop_goes_on_after_its_caller_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """If the caller of ``stop`` is cancelled, the actor is still stopped, with the same deadlines."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        await ref.tell(hang_shielded)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.5):
            await ref.stop(timeout=2)
        begin = trio.current_time()
        assert await ref.terminated() == Killed()
        assert trio.current_time() - begin == 2.5
        assert autojump_clock.autojump_threshold == 0


async def test_kill_ends_shielded_work_at_once() -> None:
    """``kill`` ends an actor's shielded work at once, and the actor's ``stopping()`` is not called."""
    async with open_system() as system:
        journal: list[object] = []
        ref = await system.spawn(Probe, journal)
        await ref.tell(hang_shielded)
        await trio.testing.wait_all_tasks_blocked()
        ref.kill()
        assert await ref.terminated() == Killed()
        assert journal == ["started"]


async def test_outer_cancellation_is_no_failure() -> None:
    """If the whole ``open_system`` block is cancelled, each actor ends with Killed() and is not restarted."""
    reasons: list[ExitReason] = []

    async def observe(system: ActorSystem, done: trio.Event) -> None:
        ref = await system.spawn(Probe, restart=Restart.PERMANENT)
        try:
            done.set()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                reasons.append(await ref.terminated())

    with trio.CancelScope() as scope:
        async with open_system() as system, trio.open_nursery() as nursery:
            done = trio.Event()
            nursery.start_soon(observe, system, done)
            await done.wait()
            scope.cancel()
    assert reasons == [Killed()]
    assert scope.cancelled_caught


async def test_shortest_stop_deadline_holds(autojump_clock: trio.testing.MockClock) -> None:
    """If an actor is stopped several times at once, the earliest of the deadlines applies."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Probe)
        await ref.tell(hang_shielded)
        await trio.testing.wait_all_tasks_blocked()
        begin = autojump_clock.current_time()

        async def stop(seconds: float) -> None:
            assert await ref.stop(timeout=seconds) == Killed()
            assert trio.current_time() - begin == pytest.approx(3)

        for seconds in (10, 2, 20):
            nursery.start_soon(stop, seconds)


async def test_stopping_actor_refuses_messages() -> None:
    """After an actor has called ``context.stop()``, it refuses new messages and ends with Normal()."""
    async with open_system() as system:
        ref = await system.spawn(Probe)

        async def stop_and_wait(probe: Probe) -> None:
            probe.context.stop()
            with pytest.raises(ActorTerminated, match="stopping"):
                ref.tell_nowait("later")

        await ref.ask(stop_and_wait)
        assert await ref.terminated() == Normal()


async def test_actor_may_stop_itself_in_started() -> None:
    """An actor that stops itself in ``started()`` still runs ``stopping()`` and ends with Normal()."""
    async with open_system() as system:
        journal: list[object] = []

        async def stop(probe: Probe) -> None:
            probe.context.stop()
            await trio.lowlevel.checkpoint()

        ref = await system.spawn(Probe, journal, stop)
        assert await ref.terminated() == Normal()
        assert journal == ["started", Normal()]


class ShieldedStart(Actor):
    """An actor with a start that a stop does not cancel, and a ``stopping()`` that takes time."""

    def __init__(self, seconds: float, journal: list[tuple[str, float]]) -> None:
        self.seconds, self.journal = seconds, journal

    async def started(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.5)
        self.journal.append(("started", trio.current_time()))

    async def stopping(self, reason: ExitReason) -> None:
        assert reason == Shutdown()
        self.journal.append(("stopping", trio.current_time()))
        await trio.sleep(self.seconds)
        self.journal.append(("stopped", trio.current_time()))


@pytest.mark.parametrize(("seconds", "end", "ended"), [(2, 2.5, Shutdown()), (9, 3, Killed())])
async def test_start_that_ends_after_a_stop(
    seconds: float, end: float, ended: ExitReason, autojump_clock: trio.testing.MockClock
) -> None:
    """If ``started()`` shields itself from a stop and returns, ``stopping()`` has the rest of the time of the stop.

    *It was cut off at its first checkpoint, and the actor ended as if it had cancelled its own nursery.*
    """
    assert autojump_clock.autojump_threshold == 0
    journal: list[tuple[str, float]] = []
    async with open_system() as system, trio.open_nursery() as nursery:

        async def spawn() -> None:
            with pytest.raises(ActorTerminated):
                await system.spawn(ShieldedStart, seconds, journal, name="a")

        nursery.start_soon(spawn)
        await trio.testing.wait_all_tasks_blocked()
        ref = system.find("/a")
        assert ref is not None
        assert await ref.stop(timeout=3) == ended
        assert trio.current_time() == end
        assert system.statistics().actors == 0
    assert journal == [("started", 0.5), ("stopping", 0.5), ("stopped", 2.5)][: 3 if seconds == 2 else 2]


async def test_outer_cancellation_before_a_restart() -> None:
    """If the ``open_system`` block is cancelled while an actor waits for its restart, the actor ends with Killed()."""
    with trio.CancelScope() as scope:
        async with open_system() as system:
            spec = SupervisorSpec(children=[ChildSpec("a", Probe)], backoff=Backoff(1000, 1000))
            supervisor = await system.supervise(spec)
            ref = supervisor.child("a")
            assert ref is not None
            await ref.tell(ValueError("crash"))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert ref is not None
    assert await ref.terminated() == Killed()


async def test_deadline_of_an_abandoned_stop_holds(autojump_clock: trio.testing.MockClock) -> None:
    """If a call of ``stop`` is cancelled, the deadline of this stop still applies: a later stop cannot extend it."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Probe)
        await ref.tell(hang_shielded)
        await trio.testing.wait_all_tasks_blocked()
        begin = autojump_clock.current_time()

        async def stop_and_leave() -> None:
            with trio.move_on_after(1):
                await ref.stop(timeout=2)

        nursery.start_soon(stop_and_leave)
        await trio.testing.wait_all_tasks_blocked()
        await ref.stop(timeout=20)
        assert trio.current_time() - begin == pytest.approx(3)
