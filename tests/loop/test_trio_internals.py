"""Trio's private names that the actors use: they exist, they work as the code needs, and only one file uses them."""

from __future__ import annotations

import contextvars
import re
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from packaging.requirements import Requirement

import actors
from actors.loop import trio_internals as internals


class FailureRecorder:
    """A nursery owner that records the exceptions of the nursery's tasks."""

    def __init__(self) -> None:
        self.noted: list[BaseException] = []

    def note(self, failure: BaseException) -> None:
        self.noted.append(failure)


class Unprintable(Exception):
    """An exception with a text method that raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_installed_trio_was_tested() -> None:
    """The installed version of trio is one of the tested versions, and pyproject.toml allows only tested versions."""
    assert ".".join(trio.__version__.split(".")[:2]) in internals.TESTED
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (text,) = re.findall(r'"(trio>=[^"]*)"', project)
    allowed = Requirement(text).specifier
    last = internals.TESTED[-1].split(".")
    assert all(allowed.contains(f"{minor}.0") for minor in internals.TESTED)
    assert not allowed.contains(f"{last[0]}.{int(last[1]) + 1}.0")


@pytest.mark.parametrize(("version", "known"), [("0.35.0", True), ("0.35.9", True), ("0.36.0", False), ("1.35", False)])
def test_untested_trio_warns(version: str, *, known: bool) -> None:
    """An untested version of trio causes a RuntimeWarning that names this version and the tested ones."""
    if known:
        internals.check_version(version)
        return
    with pytest.warns(RuntimeWarning, match=rf"tested with {internals.TESTED[0]}.*not with {version}"):
        internals.check_version(version)


def test_private_names_exist() -> None:
    """Every private name of trio that ``trio_internals.py`` uses exists in the installed trio."""
    run, util = cast("Any", trio)._core._run, cast("Any", trio)._util  # noqa: SLF001  -- the test is about private names
    for owner, names in (
        (trio.CancelScope(), ("_cancel_status", "_has_been_entered", "_close")),
        (run.CancelStatus, ("children", "_scope", "effective_deadline", "effectively_cancelled", "encloses")),
        (run.Task, ("_activate_cancel_status", "_child_nurseries", "_cancel_status", "_counter", "_ki_protected")),
        (run.Runner, ("instruments", "reschedule", "tasks")),
        (trio.Nursery, ("_create", "_nested_child_finished", "__init_subclass__")),
        (util, ("coroutine_or_error",)),
    ):
        for name in names:
            assert hasattr(owner, name), (owner, name)


def test_private_names_are_used_in_one_file() -> None:
    """Only ``trio_internals.py`` uses private names of trio."""
    package = Path(actors.__file__).parents[1]
    private = re.compile(r"\btrio\._|\._(cancel_status|child_nurseries|nested_child_finished|ki_protected)\b")
    used = [
        str(path)
        for folder in ("actors", "transport")
        for path in (package / folder).rglob("*.py")
        if private.search(path.read_text())
    ]
    assert used == [internals.__file__]


async def test_force_cancels_nested_shields() -> None:
    """``cancel_with_force`` also cancels shielded scopes in nested nurseries and their tasks."""

    async def shielded(depth: int) -> None:
        with trio.CancelScope(shield=True):
            if depth == 0:
                await trio.sleep_forever()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(shielded, depth - 1)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shielded, 3)
            await trio.testing.wait_all_tasks_blocked()
            internals.cancel_with_force(scope)
    assert scope.cancelled_caught


async def run_in_a_task(work: Any) -> None:
    """Run ``work`` in a task of its own. Nurseries can then be opened around the whole task."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)


async def test_nursery_around_a_task_outlives_its_scopes() -> None:
    """``open_around`` opens a nursery outside of the scopes of a running task: it stays open when these scopes end.

    A nursery that the task opens inside a scope ends with that scope.
    """
    ended: list[str] = []

    async def sleep(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async def work() -> None:
        task = trio.lowlevel.current_task()
        with trio.CancelScope() as scope:
            async with trio.open_nursery():
                around = internals.open_around(task)
                inside = internals.open_inside(task, scope, 1, FailureRecorder())
                around.start_soon(sleep, "around")
                inside.start_soon(sleep, "inside")
                await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await internals.close_nursery(inside)
        assert ended == ["inside"]
        around.cancel_scope.cancel()
        await internals.close_around(around)
        assert ended == ["inside", "around"]
        assert not internals.is_cancelled()
        with pytest.raises(RuntimeError, match="closed"):
            around.start_soon(sleep, "late")

    await run_in_a_task(work)


async def test_nursery_around_a_task_is_cancelled_with_it() -> None:
    """If a scope outside of a whole task is cancelled, a nursery that ``open_around`` made for it is cancelled too."""

    async def work() -> None:
        around = internals.open_around(trio.lowlevel.current_task())
        around.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            assert internals.is_cancelled()
            await internals.close_around(around)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_task_failure_is_recorded() -> None:
    """An exception of a task is given to the owner of the nursery, not to trio, even if its text cannot be read."""
    owner, error = FailureRecorder(), Unprintable()

    async def fail() -> None:
        raise error

    async def start(*, task_status: trio.TaskStatus[str]) -> None:
        task_status.started("value")
        await fail()

    async def work() -> None:
        with trio.CancelScope() as scope:
            nursery = internals.open_inside(trio.lowlevel.current_task(), scope, 0, owner)
            nursery.start_soon(fail)
            assert await nursery.start(start) == "value"
            await internals.close_nursery(nursery)

    await run_in_a_task(work)
    assert owner.noted == [error, error]


async def test_failed_start_raises_in_the_starter() -> None:
    """If a task fails before it calls ``started``, the call of ``start`` raises its error.

    A sync function raises TypeError.
    """
    owner = FailureRecorder()

    async def fail(*, task_status: trio.TaskStatus[None]) -> None:
        del task_status
        raise OSError("no start")

    async def work() -> None:
        with trio.CancelScope() as scope:
            nursery = internals.open_inside(trio.lowlevel.current_task(), scope, 0, owner)
            with pytest.raises(OSError, match="no start"):
                await nursery.start(fail)
            with pytest.raises(TypeError, match="expected an async function"):
                nursery.start_soon(cast("Any", len), ())
            await internals.close_nursery(nursery)

    await run_in_a_task(work)
    assert owner.noted == []


async def test_interrupt_protection_is_inherited() -> None:
    """If a task is protected from KeyboardInterrupt, so are the tasks in its nurseries. Other tasks are not."""
    seen: dict[str, bool] = {}

    async def look(name: str) -> None:
        seen[name] = trio.lowlevel.currently_ki_protected()

    async def protected() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, "child")
            nursery.start_soon(run_in_a_task, lambda: look("grandchild"))
        await look("itself")

    protection = internals.Protection()
    trio.lowlevel.add_instrument(protection)
    try:
        async with trio.open_nursery() as nursery:
            internals.start_protected(nursery, protected, "protected", contextvars.copy_context())
            nursery.start_soon(look, "beside")
    finally:
        trio.lowlevel.remove_instrument(protection)
    assert seen == {"child": True, "grandchild": True, "itself": True, "beside": False}


async def test_protected_task_is_like_any_other(nursery: trio.Nursery) -> None:
    """``start_protected`` starts a task with its name, context and nursery. A closed nursery refuses it."""
    number = contextvars.ContextVar("number", default=0)
    seen: list[object] = []
    context = contextvars.copy_context()
    context.run(number.set, 7)

    async def work() -> None:
        task = trio.lowlevel.current_task()
        seen.extend([task.name, task.context is context, task.parent_nursery is nursery, number.get()])
        await trio.sleep_forever()

    internals.start_protected(nursery, work, "worker", context)
    await trio.testing.wait_all_tasks_blocked()
    assert seen == ["worker", True, True, 7]
    assert [task.name for task in nursery.child_tasks] == ["worker"]
    async with trio.open_nursery() as other:
        pass
    with pytest.raises(RuntimeError, match="closed to new arrivals"):
        internals.start_protected(other, work, "late", context)
    nursery.cancel_scope.cancel()


async def test_receiver_of_a_channel(nursery: trio.Nursery) -> None:
    """``has_receiver`` tells whether a task waits for the next value of a memory channel."""
    sender, receiver = trio.open_memory_channel[int](1)
    assert not internals.has_receiver(receiver)
    nursery.start_soon(receiver.receive)
    await trio.testing.wait_all_tasks_blocked()
    assert internals.has_receiver(receiver)
    sender.send_nowait(1)
    assert not internals.has_receiver(receiver)
