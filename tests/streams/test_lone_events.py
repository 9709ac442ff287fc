"""A lone event is committed and delivered within its emit. The code that this calls can emit, fail or recurse."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing
from sessions.borders import FAILURES, Tab
from streams.lone import PACE, Stage, calm, emit, quiet, set_pace

from actors.streams import _stream
from actors.streams._observed import EventChoice

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Run, Sessions

__all__ = ["quiet"]

WHOSE = ContextVar("WHOSE", default="nobody")


@attrs.define(eq=False)
class Nested:
    """A function that emits ``nested 0`` to ``nested 2`` into a session at its first three calls."""

    stage: Stage
    into: str
    done: int = 0

    def __call__(self, *_: object) -> None:
        if self.done < 3 and "s1" in self.stage.runs:
            self.done += 1
            emit(self.stage.runs[self.into], f"nested {self.done - 1} ")


async def test_lone_event_is_delivered_within_its_emit() -> None:
    """After a quiet time an event is committed, and the listeners are notified, before the emit returns."""
    stage = Stage()
    await stage.play(40)
    assert stage.within == [True] * 40
    assert stage.texts("s1") == [str(number) for number in range(40)]


@pytest.mark.parametrize(("seconds", "within"), [(0.0039, False), (0.0051, True)])
async def test_quick_events_are_committed_together(
    monkeypatch: pytest.MonkeyPatch, seconds: float, *, within: bool
) -> None:
    """An event that comes sooner than ``QUIET_SECONDS`` (4 ms) after another is left to the committer's task."""
    set_pace(monkeypatch, seconds)
    stage = Stage()
    await stage.play(12)
    assert stage.within == [within] * 12
    assert stage.texts("s1") == [str(number) for number in range(12)]


async def test_first_event_after_a_wait_is_left_to_the_committer(monkeypatch: pytest.MonkeyPatch) -> None:
    """If several events come at once after each quiet time, they are committed together, the first of them too."""
    stage = Stage()

    async def talking(run: Run, count: int) -> None:
        stream = run._stream  # noqa: SLF001 - only it tells
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
            monkeypatch.setattr(_stream, "time", itertools.repeat(stream.ts / 1000 + PACE).__next__)
            emit(run, "a ")
            emit(run, "b ")
            stage.within.append(stream.committed_seq == stream.seq)

    monkeypatch.setattr(Stage, "talking", staticmethod(talking))
    await stage.play(0)
    assert (stage.within, stage.texts("s1")) == ([False] * 5, ["a", "b"] * 5)


@pytest.mark.parametrize("into", ["s1", "s2"])
@pytest.mark.parametrize("place", ["a listener", "a callback after commits", "an observer"])
async def test_emit_within_a_delivery(place: str, into: str) -> None:
    """If code that an emit has called emits too, its event is delivered later: in order, and once.

    This holds for an event of the same session, and of another session. The outer event is delivered within its emit.
    """
    stage = Stage()
    nested = Nested(stage, into)
    kept: list[object] = []
    with ExitStack() as stack:

        def install(sessions: Sessions) -> None:
            match place:
                case "a listener":
                    stage.tabs["s1"].when_events = nested
                case "a callback after commits":
                    stack.enter_context(sessions.calling_after_commits(nested))
                case _:
                    kept.append(sessions.observers.open(EventChoice(()), nested))

        await stage.play(6, install)
    numbers = [str(number) for number in range(6)]
    texts = stage.texts("s1")
    assert (stage.within, nested.done) == ([True] * 6, 3)
    assert [text for text in texts if text in numbers] == numbers
    inner = [text for text in (texts if into == "s1" else stage.texts("s2")) if text not in numbers]
    assert inner == ["nested 0", "nested 1", "nested 2"]


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_failing_listener_costs_itself_only(failure: Callable[..., None]) -> None:
    """If a listener raises within an emit, it is detached. The emit raises nothing, and others get all events."""
    stage, bad, after = Stage(), Tab(), Tab()
    stage.more = [bad, after]
    bad.when_events = lambda: failure() if stage.emits else None
    await stage.play(6)
    assert (stage.within, stage.failure) == ([True] * 6, None)
    assert (len(bad.lines), bad.endings) == (2, ["crashed"])
    assert after.lines == stage.tabs["s1"].lines
    assert len(after.lines) == 6 + 3


async def test_failing_callback_and_observer_cost_themselves_only() -> None:
    """If a callback after commits or an observer raises within an emit, the emit raises nothing."""
    stage, kept, calls = Stage(), list[object](), list[str]()

    def fail(kind: str) -> None:
        if stage.emits:
            calls.append(kind)
            FAILURES[kind]()

    with ExitStack() as stack:

        def install(sessions: Sessions) -> None:
            kept.append(sessions.observers.open(EventChoice(()), lambda: fail("an exit")))
            stack.enter_context(sessions.calling_after_commits(lambda: fail("recursion")))

        await stage.play(6, install)
    assert (stage.within, stage.failure) == ([True] * 6, None)
    assert calls == ["an exit", "recursion"] + ["an exit"] * 5  # a callback that failed is not called again


async def test_listener_has_no_context_of_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The context variables of an agent are not visible to the listeners that its emit notifies."""
    stage, seen = Stage(), list[str]()
    stage.tabs["s1"].when_events = lambda: seen.append(WHOSE.get())
    talking = stage.talking

    async def in_context(run: Run, count: int) -> str:
        WHOSE.set("alice")
        return await talking(run, count)

    monkeypatch.setattr(Stage, "talking", staticmethod(in_context))
    in_context.__name__ = "talking"
    await stage.play(3)
    assert stage.within == [True] * 3
    assert set(seen) == {"nobody"}


async def test_emit_deep_in_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is emitted deep in the stack is delivered later, since listeners need room on the stack."""
    stage, depths = Stage(), (10, 400, 10)

    def nest(levels: int, run: Run) -> None:
        if levels:
            nest(levels - 1, run)
        else:
            emit(run, "deep ")

    async def talking(run: Run, count: int) -> None:
        await calm(run)
        for depth in depths:
            await trio.testing.wait_all_tasks_blocked()
            nest(depth, run)
            stage.within.append(stage.texts("s1")[-1:] == ["deep"])
            await trio.testing.wait_all_tasks_blocked()
            assert stage.texts("s1").pop() == "deep"
            await run.output("next ")

    monkeypatch.setattr(Stage, "talking", staticmethod(talking))
    await stage.play(0)
    assert stage.within == [True, False, True]
    assert stage.texts("s1") == ["deep", "next"] * 3
