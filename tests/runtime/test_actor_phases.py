"""Phases of the shutdown: all of them run, even if their work fails, exits or hangs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
import trio.testing

from actors import Actor, Phase, PhaseReport, SpecError, open_system


async def test_system_exit_in_phase_work(autojump_clock: trio.testing.MockClock) -> None:
    """If the work of a shutdown phase raises SystemExit, the shutdown is completed first.

    All other work of the phases is done, the actors stop, and the report has the failure. Then the ``open_system``
    block raises SystemExit.
    """
    del autojump_clock
    ran: list[str] = []
    reports: list[PhaseReport] = []

    async def leave() -> None:
        raise SystemExit(3)

    async def group() -> None:
        raise ExceptionGroup("several", [LookupError()])

    async def work() -> None:
        await trio.sleep(1)
        ran.append("done")

    with pytest.raises(SystemExit) as caught:  # noqa: PT012  -- the test is about the whole block
        async with open_system([Phase("a"), Phase("b")]) as system:
            ref = await system.spawn(Actor)
            for phase in "ab":
                system.on_shutdown(phase, work)
                system.on_shutdown(phase, leave)
            system.on_shutdown("a", group)
            reports.extend(await system.shutdown())
    assert caught.value.code == 3
    assert ran == ["done", "done"]
    assert not ref.alive
    assert [len(report.failures) for report in reports] == [2, 1]
    assert not any(report.timed_out for report in reports)


class IndivisibleGroup(BaseExceptionGroup[BaseException]):
    """An exception group that raises when it is split into parts."""

    def derive(self, excs: object, /) -> Any:
        raise SystemExit(f"cannot be divided into {excs}")


@pytest.mark.parametrize("form", ["plain", "group", "whole"])
async def test_cancelled_raised_in_phase_work(autojump_clock: trio.testing.MockClock, form: str) -> None:
    """If the work of a shutdown phase raises Cancelled although nothing was cancelled, only this work fails.

    This holds even if the Cancelled is in a group.
    """
    del autojump_clock
    ran: list[str] = []

    async def kept() -> BaseException:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                forms = {"plain": cancelled, "group": BaseExceptionGroup("g", [cancelled])}
                return forms.get(form) or IndivisibleGroup("w", [cancelled, LookupError()])
        raise AssertionError

    async def fail() -> None:
        raise await kept()

    async def work() -> None:
        await trio.sleep(1)
        ran.append("done")

    async with open_system([Phase("a"), Phase("b")]) as system:
        for phase in "ab":
            system.on_shutdown(phase, work)
        system.on_shutdown("a", fail)
        reports = await system.shutdown()
    assert ran == ["done", "done"]
    assert [(len(report.failures), report.timed_out) for report in reports] == [(1, False), (0, False)]


async def test_phase_work_added_during_the_phase() -> None:
    """Work that is added to a running phase is started at once. Work for a finished phase is refused."""
    ran: list[str] = []

    async with open_system([Phase("a"), Phase("b")]) as system:

        async def late() -> None:
            ran.append("late")

        async def add() -> None:
            system.on_shutdown("a", late)
            system.on_shutdown("b", late)
            system.on_shutdown("b", too_late)

        async def too_late() -> None:
            with pytest.raises(RuntimeError, match="'a' is over"):
                system.on_shutdown("a", late)

        system.on_shutdown("a", add)
        assert [report.failures for report in await system.shutdown()] == [(), ()]
        assert ran == ["late", "late"]
        with pytest.raises(RuntimeError, match="'b' is over"):
            system.on_shutdown("b", late)


async def test_phase_work_added_after_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    """Work that is added to a phase after the phase's time is over is refused."""
    del autojump_clock
    refused: list[str] = []

    async with open_system([Phase("a", 1)]) as system:

        async def add() -> None:
            try:
                await trio.sleep_forever()
            finally:
                with pytest.raises(RuntimeError, match="'a' is over"):
                    system.on_shutdown("a", trio.sleep_forever)
                refused.append("a")

        system.on_shutdown("a", add)
        assert (await system.shutdown())[0].timed_out
        assert refused == ["a"]


@pytest.mark.parametrize("seconds", [10.0, math.inf])
async def test_shielded_phase_work_in_a_cancelled_block(seconds: float, autojump_clock: trio.testing.MockClock) -> None:
    """If the ``open_system`` block is cancelled during a phase, the phase's shielded work ends one second later."""
    del autojump_clock

    async def shield() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    start = trio.current_time()
    with trio.move_on_after(2) as limit:
        async with open_system([Phase("a", seconds)]) as system:
            system.on_shutdown("a", shield)
    assert limit.cancelled_caught
    assert trio.current_time() - start == pytest.approx(3)


async def test_phase_name_is_checked() -> None:
    """A shutdown phase with an empty name is refused."""
    with pytest.raises(SpecError, match="name of a phase"):
        Phase("")
