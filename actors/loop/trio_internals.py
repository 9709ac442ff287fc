"""Every private name of trio that the packages use. The names were tested with the minor versions in ``TESTED``.

In this order: the version, cancellation, nurseries around code that runs already, channels, protection from Ctrl-C, and
scopes and nurseries that foreign code left open. Trio has no public way to do any of it.

Importing this module changes one thing for the whole process: a task can no longer leave a nursery that another task
opened. Trio itself does not prevent it, and the whole loop then ends with an error. See :func:`_leave`.
``tests/loop/test_trio_internals.py`` fails when one of the names changes.
"""

# ruff: noqa: SLF001 - this file is the one place for trio's private names

from __future__ import annotations

import functools
import math
import warnings
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import trio

from actors.failures import without

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container
    from contextvars import Context

# The version

TESTED = ("0.35",)
"""Minor versions of trio that the tests pass with. ``pyproject.toml`` allows only these versions."""


def check_version(version: str) -> None:
    """Warn if ``version`` is not a tested minor version of trio: perhaps the private names used here have changed."""
    if ".".join(version.split(".")[:2]) not in TESTED:
        warnings.warn(
            f"greenroom uses private names of trio and was tested with {', '.join(TESTED)}, not with {version}: "
            "stopping actors may fail",
            RuntimeWarning,
            stacklevel=2,
        )


check_version(trio.__version__)


# Cancellation


def is_cancelled() -> bool:
    """Return whether the next checkpoint of this task raises Cancelled.

    Trio's public ``current_effective_deadline`` is not used: it calls itself once for each enclosing scope, and so many
    calls could overflow the stack.
    """
    task: Any = trio.lowlevel.current_task()
    return bool(task._cancel_status.effectively_cancelled)


def effective_deadline(task: trio.lowlevel.Task) -> float:
    """Return the time at which a task is cancelled by a deadline; infinite if there is none, or the task has ended."""
    status = cast("Any", task)._cancel_status
    return math.inf if status is None else float(status.effective_deadline())


def cancel_with_force(scope: trio.CancelScope) -> None:
    """Cancel the scope. Remove the shields of all scopes inside it, in every task.

    If the shields stayed, a task in a shielded scope could never be ended. A scope that is shielded after this call
    keeps its shield, so the caller must repeat the call.
    """
    scope.cancel()
    todo: list[Any] = [cast("Any", scope)._cancel_status]
    while todo:
        status = todo.pop()
        if status is not None:
            for inner in status.children:
                inner._scope.shield = False
                todo.append(inner)


# Nurseries around code that runs already


class Owner(Protocol):
    """The object that records the exceptions of the tasks in a nursery."""

    def note(self, failure: BaseException) -> None:
        """Record an exception of a task in the nursery."""
        ...


class _Unsealed:
    """A base class for subclasses of trio's nursery. Without it, trio's ``__init_subclass__`` forbids subclasses."""

    def __init_subclass__(cls) -> None:
        """Do nothing, in place of trio's method that raises."""


class NotingNursery(_Unsealed, trio.Nursery):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]  # it is final to others
    """A nursery that passes the exceptions of its tasks to the owner of the nursery instead of raising them.

    Trio's own nursery formats the exception of a task outside of all tasks. There, an exception whose text raises an
    error would end the whole run. If a task fails before ``task_status.started()``, the call of ``start`` raises the
    task's exception, as in any nursery.
    """

    owner: Owner

    def start_soon(self, async_fn: Callable[..., Awaitable[Any]], *args: object, name: object = None) -> None:
        """Start a task, as trio's nursery does."""
        # Called here, as trio does, so that an argument that is no async function raises at the caller's line.
        coroutine = _coroutine_or_error(async_fn, *args)
        try:
            super().start_soon(_run, self.owner, coroutine, name=async_fn if name is None else name)
        except BaseException:
            coroutine.close()
            raise

    async def start(self, async_fn: Callable[..., Awaitable[Any]], *args: object, name: object = None) -> Any:
        """Start a task and wait until it calls ``task_status.started()``, as trio's nursery does."""
        begin = functools.partial(_begin, self, async_fn)
        return await super().start(begin, *args, name=async_fn if name is None else name)


_coroutine_or_error: Any = cast("Any", trio)._util.coroutine_or_error


async def _run(owner: Owner, coroutine: Awaitable[object]) -> None:
    try:
        await coroutine
    except BaseException as failure:  # noqa: BLE001  -- a Cancelled among them: the task ends here
        owner.note(failure)


async def _begin(
    nursery: NotingNursery,
    async_fn: Callable[..., Awaitable[object]],
    *args: object,
    task_status: trio.TaskStatus[Any],
) -> None:
    try:
        await async_fn(*args, task_status=task_status)
    except BaseException as failure:
        if trio.lowlevel.current_task().parent_nursery is not nursery:
            raise  # it has not called started(): start() raises it
        nursery.owner.note(failure)


def open_inside(
    task: trio.lowlevel.Task, scope: trio.CancelScope, place: int, owner: Owner | None = None
) -> trio.Nursery:
    """Open a nursery directly inside a scope that the task has entered. The task can have entered more scopes since.

    The nursery ends with ``scope``. Before the task leaves ``scope``, the task must leave all scopes and nurseries that
    it entered later, and await :func:`close_nursery`. *Most actors never use their nursery. Opening a nursery is half
    of the cost of a task's start and end, so the nursery is opened late.*

    Args:
        task: The task that entered the scope.
        scope: The scope.
        place: Number of the task's open nurseries that enclose the new one.
        owner: Object that gets the exceptions of the nursery's tasks. The nursery then raises none.
    """
    inside: Any = task
    outside: Any = scope
    status, inside._cancel_status = inside._cancel_status, outside._cancel_status
    kind: Any = trio.Nursery if owner is None else NotingNursery
    try:
        nursery: trio.Nursery = kind._create(task, scope, strict_exception_groups=True)
    finally:
        inside._cancel_status = status
    if owner is not None:
        cast("NotingNursery", nursery).owner = owner
    # A task leaves its nurseries in the opposite order of this list.
    nurseries = inside._child_nurseries
    nurseries.insert(place, nurseries.pop())
    return nursery


def open_around(task: trio.lowlevel.Task) -> trio.Nursery:
    """Open a nursery around all scopes and nurseries that the task has entered. Close it by :func:`close_around`.

    The nursery is cancelled by its own scope, and by the scopes outside of the task. The scopes that the task has
    entered do not cancel the nursery.
    """
    parent: Any = task.parent_nursery
    scope: Any = trio.CancelScope()
    scope._has_been_entered = True
    around = parent._cancel_status
    scope._cancel_status = type(around)(scope=scope, parent=around)
    return open_inside(task, scope, 0)


async def close_nursery(nursery: trio.Nursery) -> None:
    """Wait until all tasks of a nursery from :func:`open_inside` have ended. Raise their exceptions, as a group.

    A cancellation does not end this wait.
    """
    error = await cast("Any", nursery)._nested_child_finished(None)
    if error is not None:
        raise error


async def close_around(nursery: trio.Nursery) -> None:
    """Wait until all tasks of a nursery from :func:`open_around` have ended. Raise their exceptions, as a group.

    The task must have left all scopes and nurseries that it entered. A cancellation does not end this wait.
    """
    opened: Any = nursery
    error = await opened._nested_child_finished(None)
    scope, task = opened.cancel_scope, opened.parent_task
    task._activate_cancel_status(scope._cancel_status)
    error = scope._close(error)
    if error is not None:
        raise error


# Channels


def has_receiver(channel: Any) -> bool:
    """Return whether a task waits in ``receive`` of a memory channel. The public statistics take seven calls for it."""
    return bool(channel._state.receive_tasks)


# Protection from Ctrl-C

INTERRUPT_HANDLER = "trio._core._ki"
"""Name of trio's module with the SIGINT handler. A KeyboardInterrupt from this module is always a real Ctrl-C."""


def start_protected(nursery: Any, async_fn: Callable[[], Awaitable[object]], name: str, context: Context) -> None:
    """Start a task in a nursery, with the given context variables. A real Ctrl-C does not raise in this task.

    Trio then raises KeyboardInterrupt in its main task: in an actor's code, it would look like a failure of the actor.
    While the instrument :class:`Protection` is installed, tasks below this task are protected too. This does the same
    as ``start_soon`` without checks of the arguments, which take nearly half of the time.
    """
    if nursery._closed:
        raise RuntimeError("Nursery is closed to new arrivals")
    runner = _RUN.GLOBAL_RUN_CONTEXT.runner
    # The metaclass of Task refuses all calls but this one.
    task = type.__call__(_RUN.Task, nursery, async_fn(), runner, name, context, ki_protected=True)
    runner.tasks.add(task)
    nursery._children.add(task)
    task._activate_cancel_status(nursery._cancel_status)
    if "task_spawned" in runner.instruments:
        runner.instruments.call("task_spawned", task)
    runner.reschedule(task, None)


_RUN: Any = cast("Any", trio)._core._run


class Protection(trio.abc.Instrument):
    """A trio instrument that protects a new task from Ctrl-C, if the task that opened the nursery is protected."""

    def task_spawned(self, task: Any) -> None:
        """Protect a new task if the task that opened its nursery is protected."""
        nursery = task._parent_nursery
        if nursery is not None and nursery._parent_task._ki_protected:
            task._ki_protected = True


# Scopes and nurseries that foreign code left open

LEFT_OPEN = (
    "a nursery or a cancel scope was left open, by an async generator that was not closed, say: "
    "use it within `async with contextlib.aclosing(…)`"
)

Footing: TypeAlias = tuple[int, int]
"""Position of a task before it calls foreign code: the number of the task, and the number of its open nurseries."""


def place_of(task: Any) -> object:
    """Return an object that marks the task's innermost open cancel scope now, for a later :func:`require_place`."""
    return task._cancel_status


def require_place(task: Any, place: object) -> None:
    """Raise RuntimeError if the task has left a scope open since :func:`place_of` returned ``place``."""
    if task._cancel_status is not place:
        raise RuntimeError(LEFT_OPEN)


def go_back(task: Any, place: Any) -> None:
    """Leave the scopes that the task has entered since :func:`place_of` returned ``place``, innermost first."""
    while task._cancel_status is not place and place.encloses(task._cancel_status):
        task._cancel_status._scope._close(None)


def footing(nurseries: int | None = None) -> Footing:
    """Return the Footing of the current task: the task's number, and the number of its open nurseries.

    ``nurseries`` is the number of the task's open nurseries. If ``nurseries`` is None, this function counts them.
    """
    task: Any = trio.lowlevel.current_task()
    opened = len(task._child_nurseries) if nurseries is None else nurseries
    return task._counter, opened


def has_left_open(scope: Any, before: Footing) -> bool:
    """Return whether a task has left a scope or nursery open inside ``scope``.

    ``before`` is the Footing of the task when it entered ``scope``: the task's number, and the number of nurseries that
    it had open. Return False if another task makes the call, and outside of trio.
    """
    try:
        task: Any = trio.lowlevel.current_task()
    except RuntimeError:
        return False
    number, nurseries = before
    status = scope._cancel_status
    inside = task._cancel_status is not status or len(task._child_nurseries) > nurseries
    return inside and task._counter == number


def leave_scopes(scope: trio.CancelScope, before: Footing, scopes: Container[object]) -> None:
    """Leave the open scopes inside ``scope``, innermost first. Stop at the first scope that is not in ``scopes``.

    ``before`` is the Footing of a task: its number, and how many nurseries it had open. In another task, do nothing.
    """
    while has_left_open(scope, before):
        innermost: Any = cast("Any", trio.lowlevel.current_task())._cancel_status._scope
        if innermost not in scopes:
            break
        innermost._close(None)


async def leave_open_ones(scope: trio.CancelScope, before: Footing, error: BaseException | None) -> BaseException:
    """Leave all scopes and nurseries that the current task entered inside ``scope``, innermost first, as ``with`` does.

    The tasks of these nurseries are cancelled, and this waits for their end. A cancellation does not end this wait.

    Args:
        scope: The scope.
        before: The Footing of the task when it entered the scope: its number, and how many nurseries it had open.
        error: The exception with which the current task leaves, if there is one.

    Returns:
        The exception to raise: ``error`` without cancellations, and the exceptions of the cancelled tasks. If there are
        none, a RuntimeError.
    """
    task: Any = trio.lowlevel.current_task()
    status = cast("Any", scope)._cancel_status
    raised: list[BaseException] = []
    while True:
        left: list[Any] = task._child_nurseries[before[1] :]
        inner: Any = task._cancel_status
        is_inside = status is not None and inner is not status and status.encloses(inner)
        if is_inside and all(nursery.cancel_scope is not inner._scope for nursery in left):
            error = inner._scope._close(error)
        elif left:
            left[-1].cancel_scope.cancel()
            failure = await left[-1]._nested_child_finished(None)
            raised += _failures(failure)
            # If the scope was closed already, this returns an error with that message.
            error = left[-1].cancel_scope._close(error)
        else:
            break
    if status is not None:
        # If another task has left the scope, this task is out of all scopes around it. Put it back into ``scope``.
        task._activate_cancel_status(status)
    if error is not None and not (status is not None and status.effectively_cancelled):
        error = next(iter(_failures(error)), None)  # the cancelled code was inside, and is over
    if error is None:
        error = RuntimeError(LEFT_OPEN)
    return BaseExceptionGroup("left open, and failed", [error, *raised]) if raised else error


def _failures(error: BaseException | None) -> tuple[BaseException, ...]:
    """Return a tuple with the exception, without any Cancelled in it. The tuple is empty if nothing remains."""
    rest = None if error is None else without(error, trio.Cancelled)
    return () if rest is None else (rest,)


def _leave(nursery: trio.Nursery, error: BaseException | None) -> Awaitable[BaseException | None]:
    """Leave a nursery. Raise RuntimeError in any task but the nursery's own, and while a nursery inside it is open.

    When a generator is dropped, trio closes the generator in a separate task. If that task left the nursery, trio would
    wake the nursery's own task, although this task waits for another thing or has ended. Then the whole loop would end
    with TrioInternalError.
    """
    opened: Any = nursery
    entered_by: Any = opened._parent_task
    if trio.lowlevel.current_task() is entered_by and entered_by._child_nurseries[-1:] == [nursery]:
        return cast("Awaitable[BaseException | None]", _LEAVE(nursery, error))
    return _refuse(nursery)


async def _refuse(nursery: trio.Nursery) -> BaseException | None:
    nursery.cancel_scope.cancel()  # so that its tasks end, and then the task that has it open
    raise RuntimeError(f"a nursery was left out of order, or by another task than {nursery.parent_task!r}: {LEFT_OPEN}")


_LEAVE: Any = cast("Any", trio.Nursery)._nested_child_finished
cast("Any", trio.Nursery)._nested_child_finished = _leave
