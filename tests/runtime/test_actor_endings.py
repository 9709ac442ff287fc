"""Ends of actors with obstacles: cleanup code that hangs or fails, and cancellation from outside."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from _probes import Probe, hang_shielded

from actors import (
    ExitReason,
    Failure,
    Killed,
    Shutdown,
    Terminated,
    Undelivered,
    open_system,
)


async def test_actor_that_stops_itself_has_its_shutdown_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If an actor calls ``context.stop()``, its ``stopping()`` has the ``shutdown`` time of the actor to finish.

    A shielded ``stopping()`` has one second more.
    """

    class HangsInStopping(Probe):
        async def stopping(self, reason: ExitReason) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    async with open_system() as system:
        ref = await system.spawn(HangsInStopping, shutdown=2)

        async def leave_slowly(probe: Probe) -> None:
            probe.context.stop()
            await trio.sleep(10)

        begin = autojump_clock.current_time()
        await ref.tell(leave_slowly)
        assert await ref.terminated() == Killed()
        assert trio.current_time() - begin == pytest.approx(10 + 2 + 1)


async def test_failing_stopping_runs_once() -> None:
    """If ``stopping()`` raises, it is not called again, and its error is the actor's exit reason."""
    reasons: list[ExitReason] = []
    error = OSError("no")

    class Failing(Probe):
        async def stopping(self, reason: ExitReason) -> None:
            reasons.append(reason)
            raise error

    async with open_system() as system:
        ref = await system.spawn(Failing)
        assert await ref.stop() == Failure(error)
        assert reasons == [Shutdown()]


async def test_error_of_a_killed_actor_is_in_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    """If a killed actor raises an error during its cleanup, the error is logged.

    The error is also in the actor's exit reason, Killed, and in the dead letter of its current message.
    """
    error = OSError("on the way out")

    async def fail_on_cancel(_: Probe) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async with open_system() as system:
        ref = await system.spawn(Probe)
        await ref.tell(fail_on_cancel)
        await trio.testing.wait_all_tasks_blocked()
        with system.dead_letters() as letters:
            ref.kill()
            reason = await ref.terminated()
            assert (await anext(letters)).cause is error
    assert reason == Killed()
    assert isinstance(reason, Killed)
    assert reason.exception is error
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


async def test_error_during_outer_cancellation_is_raised() -> None:
    """If an actor raises an error while the whole ``open_system`` block is cancelled, the block raises this error."""
    error = OSError("on the way out")

    async def fail_on_cancel(_: Probe) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async def start(probe: Probe) -> None:
        probe.nursery.start_soon(fail_on_cancel, probe)

    async def run() -> None:
        with trio.CancelScope() as scope:
            async with open_system() as system:
                await (await system.spawn(Probe)).ask(start)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(OSError, match="on the way out")


async def test_outer_cancellation_ends_shielded_work(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If the ``open_system`` block is cancelled, shielded work of actors is cancelled one second later."""
    begin = autojump_clock.current_time()
    with trio.move_on_after(1):
        async with open_system() as system:
            parent = await system.spawn(Probe)

            async def spawn(probe: Probe) -> None:
                await (await probe.context.spawn(Probe)).tell(hang_shielded)

            await parent.ask(spawn)
            await parent.tell(hang_shielded)
            await trio.sleep_forever()
    assert trio.current_time() - begin == pytest.approx(2)


async def test_bad_timer_message_is_a_dead_letter(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """If an actor returns UNHANDLED for a timer message, or fails on it, the message becomes a dead letter."""
    async with open_system() as system:
        ref = await system.spawn(Probe)
        error = ValueError("bad")

        async def set_timers(probe: Probe) -> None:
            probe.context.timers.once("a", "unknown", 1)
            probe.context.timers.once("b", error, 2)

        with system.dead_letters() as letters:
            await ref.ask(set_timers)
            assert await ref.terminated() == Failure(error)
            seen = [await anext(letters) for _ in range(2)]
        assert [(letter.message, letter.why, letter.cause) for letter in seen] == [
            ("unknown", Undelivered.UNHANDLED, None),
            (error, Undelivered.FAILED, error),
        ]
        assert autojump_clock.autojump_threshold == 0


async def test_watching_an_ended_actor_twice() -> None:
    """If an actor watches an ended actor twice, it gets only one Terminated message."""
    async with open_system() as system:
        journal: list[object] = []
        watcher, target = await system.spawn(Probe, journal), await system.spawn(Probe)
        await target.stop()

        async def watch(probe: Probe) -> None:
            probe.context.watch(target)
            probe.context.watch(target)

        await watcher.ask(watch)
        await watcher.ask("flush")
        assert journal == ["started", Terminated(target, Shutdown()), "flush"]


@pytest.mark.parametrize("seconds", [-1, math.nan, "1", None])
async def test_bad_times_are_refused(seconds: float) -> None:
    """If a time is negative, NaN or no number, the call raises ValueError and sets no timer."""
    async with open_system() as system:
        ref = await system.spawn(Probe)

        async def set_timer(probe: Probe) -> None:
            for set_one in (probe.context.timers.once, probe.context.timers.every):
                with pytest.raises(ValueError, match="seconds"):
                    set_one("key", "message", seconds)
            assert len(probe.context.timers) == 0

        await ref.ask(set_timer)
        if seconds is not None:
            with pytest.raises(ValueError, match="seconds"):
                await ref.stop(timeout=seconds)
        assert await ref.ask("still there") == "still there"
