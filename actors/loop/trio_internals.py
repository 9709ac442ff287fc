"""Every private name of trio that this package uses, in one file, for the minor versions that it was tested with.

Trio has no public way to end work that shields itself, to open a nursery around code that runs already, to protect the
tasks of a nursery from Ctrl-C, or to leave what foreign code has left open in a task. To import this changes one thing
for the whole process: a nursery is left by no other task than its own, which ended the loop before. See ``_leave``.
``tests/loop/test_trio_internals.py`` fails when one of the names used here changes.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import trio

from actors.failures import without

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

TESTED = ("0.35",)
"""Minor versions of trio that the tests pass with. ``pyproject.toml`` allows these and no others."""


INTERRUPT_HANDLER = "trio._core._ki"
"""The module of the handler by which trio raises KeyboardInterrupt: tells a real Ctrl-C from one that code raises."""


def check_version(version: str) -> None:
    """Warn when this trio is none of the tested minor versions: its private names may have changed."""
    if ".".join(version.split(".")[:2]) not in TESTED:
        warnings.warn(
            f"greenroom uses private names of trio and was tested with {', '.join(TESTED)}, not with {version}: "
            "stopping actors may fail",
            RuntimeWarning,
            stacklevel=2,
        )


check_version(trio.__version__)


def is_cancelled() -> bool:
    """Whether the next checkpoint of this task raises Cancelled.

    Trio's public way, ``current_effective_deadline``, calls itself once for every scope around: too often when deep.
    """
    return bool(cast("Any", trio.lowlevel.current_task())._cancel_status.effectively_cancelled)  # noqa: SLF001  -- what this file is for


def cancel_with_force(scope: trio.CancelScope) -> None:
    """Cancel the scope and take the shield off every scope inside it, in all its tasks.

    Without this a task that shields itself for ever could never be ended. A scope that is shielded later is not
    reached: call it again.
    """
    scope.cancel()
    todo: list[Any] = [cast("Any", scope)._cancel_status]  # noqa: SLF001  -- what this file is for
    while todo:
        status = todo.pop()
        if status is not None:
            for inner in status.children:
                inner._scope.shield = False  # noqa: SLF001  -- what this file is for
                todo.append(inner)


class Owner(Protocol):
    """Whose nursery it is."""

    def note(self, failure: BaseException) -> None:
        """Note what a task raised."""
        ...


class _Unsealed:
    """Lets trio's nursery have a subclass: trio forbids that in ``__init_subclass__``."""

    def __init_subclass__(cls) -> None:
        """Do nothing."""


class NotingNursery(_Unsealed, trio.Nursery):  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]  # it is final to others
    """A nursery that has its owner note what a task raises.

    Trio formats what a task raised, outside of all tasks: an exception that cannot be shown would end the whole run.
    What a task of ``start`` raises before ``started()`` is raised there, as ever.
    """

    owner: Owner

    def start_soon(self, async_fn: Callable[..., Awaitable[Any]], *args: object, name: object = None) -> None:
        """Start a task, as trio's nursery does."""
        # Called here as trio does, so that what is no async function raises at this line.
        coroutine = cast("Any", trio)._util.coroutine_or_error(async_fn, *args)  # noqa: SLF001  -- what this file is for
        try:
            super().start_soon(_run, self.owner, coroutine, name=async_fn if name is None else name)
        except BaseException:
            coroutine.close()
            raise

    async def start(self, async_fn: Callable[..., Awaitable[Any]], *args: object, name: object = None) -> Any:
        """Start a task and wait until it has said that it started, as trio's nursery does."""
        begin = functools.partial(_begin, self, async_fn)
        return await super().start(begin, *args, name=async_fn if name is None else name)


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
            raise  # not started: it is for who starts it
        nursery.owner.note(failure)


def open_inside(
    task: trio.lowlevel.Task, scope: trio.CancelScope, place: int, owner: Owner | None = None
) -> trio.Nursery:
    """Open a nursery in a scope that the task entered before, and may have entered others in since.

    As if it had been opened right there: it ends with that scope, and :func:`close_nursery` is to be awaited first, in
    the task, when all that was entered since has been left. ``place`` counts the nurseries of the task around this one.
    A nursery that most actors never use is half of what a task costs to begin and to end.

    With an ``owner`` what its tasks raise is noted by that, and never raised by the nursery.
    """
    inside: Any = task
    outside: Any = scope
    status, inside._cancel_status = inside._cancel_status, outside._cancel_status  # noqa: SLF001  -- what this file is for
    kind: Any = trio.Nursery if owner is None else NotingNursery
    try:
        nursery: trio.Nursery = kind._create(task, scope, strict_exception_groups=True)  # noqa: SLF001  -- as above
    finally:
        inside._cancel_status = status  # noqa: SLF001  -- what this file is for
    if owner is not None:
        cast("NotingNursery", nursery).owner = owner
    # The nurseries of a task are left in the opposite order of this list.
    nurseries = inside._child_nurseries  # noqa: SLF001  -- what this file is for
    nurseries.insert(place, nurseries.pop())
    return nursery


def open_around(task: trio.lowlevel.Task) -> trio.Nursery:
    """Open a nursery around all that the task does, whatever it has entered so far; end it by :func:`close_around`.

    It is cancelled by what is around the task, and by its own scope; not by the scopes that the task is in.
    """
    parent: Any = task.parent_nursery
    scope: Any = trio.CancelScope()
    scope._has_been_entered = True  # noqa: SLF001  -- what this file is for
    around = parent._cancel_status  # noqa: SLF001  -- what this file is for
    scope._cancel_status = type(around)(scope=scope, parent=around)  # noqa: SLF001  -- what this file is for
    return open_inside(task, scope, 0)


async def close_nursery(nursery: trio.Nursery) -> None:
    """Wait until all its tasks have ended; raise what they raised, as a group. A cancellation changes nothing."""
    error = await cast("Any", nursery)._nested_child_finished(None)  # noqa: SLF001  -- what this file is for
    if error is not None:
        raise error


async def close_around(nursery: trio.Nursery) -> None:
    """Wait until all tasks of a nursery from :func:`open_around` have ended. The task has left what it entered since.

    Raises what they raised, as a group. A cancellation does not cut this short.
    """
    opened: Any = nursery
    error = await opened._nested_child_finished(None)  # noqa: SLF001  -- what this file is for
    scope, task = opened.cancel_scope, opened.parent_task
    task._activate_cancel_status(scope._cancel_status)  # noqa: SLF001  -- what this file is for
    error = scope._close(error)  # noqa: SLF001  -- what this file is for
    if error is not None:
        raise error


def protect_from_interrupts(task: trio.lowlevel.Task) -> None:
    """Keep a real Ctrl-C out of this task, and out of those that are started below it while :class:`Protection` is on.

    Trio delivers it to its main task then. Raised in an actor's code it would be taken for a failure of that actor.
    """
    cast("Any", task)._ki_protected = True  # noqa: SLF001  -- what this file is for


class Protection(trio.abc.Instrument):
    """Hands the protection of a task on to the tasks in its nurseries."""

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Protect a task whose nursery belongs to a protected one."""
        nursery = task.parent_nursery
        if nursery is not None and cast("Any", nursery.parent_task)._ki_protected:  # noqa: SLF001  -- what this file is for
            protect_from_interrupts(task)


# What foreign code leaves behind in a task

LEFT_OPEN = (
    "a nursery or a cancel scope was left open, by an async generator that was not closed, say: "
    "use it within `async with contextlib.aclosing(…)`"
)

Footing: TypeAlias = tuple[int, int]
"""Where a task stands before it calls foreign code: its number, and how many nurseries it has open."""


def place_of(task: trio.lowlevel.Task) -> object:
    """Return what a task is in, by identity: the same again once all that was entered since has been left."""
    return cast("Any", task)._cancel_status  # noqa: SLF001  -- what this file is for


def require_place(task: Any, place: object) -> None:
    """Raise RuntimeError when the task has not left what it entered since :func:`place_of` was ``place``."""
    if task._cancel_status is not place:  # noqa: SLF001  -- what this file is for
        raise RuntimeError(LEFT_OPEN)


def footing(nurseries: int | None = None) -> Footing:
    """Return where the current task stands: with all the nurseries that it has open, or with that many."""
    task: Any = trio.lowlevel.current_task()
    opened = len(task._child_nurseries) if nurseries is None else nurseries  # noqa: SLF001  -- what this file is for
    return task._counter, opened  # noqa: SLF001  -- as above


def has_left_open(scope: trio.CancelScope, before: Footing) -> bool:
    """Return whether the task of that footing is in something that it entered inside ``scope``, and has not left.

    False in any other task, which has nothing to leave there, and outside of trio.
    """
    try:
        task: Any = trio.lowlevel.current_task()
    except RuntimeError:
        return False
    number, nurseries = before
    status = cast("Any", scope)._cancel_status  # noqa: SLF001  -- what this file is for
    inside = task._cancel_status is not status or len(task._child_nurseries) > nurseries  # noqa: SLF001  -- as above
    return inside and task._counter == number  # noqa: SLF001  -- as above


def leave_scopes(scope: trio.CancelScope, before: Footing, scopes: Container[trio.CancelScope]) -> None:
    """Leave the innermost open scopes of the task of that footing, inside ``scope``, as far as ``scopes`` has them.

    Nothing happens in any other task.
    """
    while has_left_open(scope, before):
        innermost: Any = cast("Any", trio.lowlevel.current_task())._cancel_status._scope  # noqa: SLF001  -- what this file is for
        if innermost not in scopes:
            break
        innermost._close(None)  # noqa: SLF001  -- as above


async def leave_open_ones(scope: trio.CancelScope, before: Footing, error: BaseException | None) -> BaseException:
    """Leave all that the current task entered inside ``scope``, as its ``with`` blocks would have, innermost first.

    The tasks of the nurseries among it are cancelled and waited for; a cancellation changes nothing. Returns what is to
    be raised: ``error``, on its way out of all of it, and what those tasks raised; RuntimeError when neither is left.
    """
    task: Any = trio.lowlevel.current_task()
    status = cast("Any", scope)._cancel_status  # noqa: SLF001  -- what this file is for
    raised: list[BaseException] = []
    while True:
        left: list[Any] = task._child_nurseries[before[1] :]  # noqa: SLF001  -- as above
        inner: Any = task._cancel_status  # noqa: SLF001  -- as above
        is_inside = status is not None and inner is not status and status.encloses(inner)
        if is_inside and all(nursery.cancel_scope is not inner._scope for nursery in left):  # noqa: SLF001  -- as above
            error = inner._scope._close(error)  # noqa: SLF001  -- as above
        elif left:
            left[-1].cancel_scope.cancel()
            failure = await left[-1]._nested_child_finished(None)  # noqa: SLF001  -- as above
            raised += _failures(failure)
            # Where the scope was closed already this returns an error that says so.
            error = left[-1].cancel_scope._close(error)  # noqa: SLF001  -- as above
        else:
            break
    if status is not None:
        # A scope that another task has left takes this one out of all that is around: it would never find back.
        task._activate_cancel_status(status)  # noqa: SLF001  -- as above
    if error is not None and not (status is not None and status.effectively_cancelled):
        error = next(iter(_failures(error)), None)  # what was cancelled is inside, and is over
    if error is None:
        error = RuntimeError(LEFT_OPEN)
    return BaseExceptionGroup("left open, and failed", [error, *raised]) if raised else error


def _failures(error: BaseException | None) -> tuple[BaseException, ...]:
    """Return what was raised in what was left open, without the cancellations by which that was ended."""
    rest = None if error is None else without(error, trio.Cancelled)
    return () if rest is None else (rest,)


def _leave(nursery: trio.Nursery, error: BaseException | None) -> Awaitable[BaseException | None]:
    """Leave a nursery, in the task that entered it and as the last that it entered; anything else is refused.

    Trio closes a generator that was dropped in a task of its own. To leave a nursery there would wake the task that
    entered it, wherever that waits or even if it is over, which ends the whole loop with TrioInternalError.
    """
    opened: Any = nursery
    entered_by: Any = opened._parent_task  # noqa: SLF001  -- what this file is for
    if trio.lowlevel.current_task() is entered_by and entered_by._child_nurseries[-1:] == [nursery]:  # noqa: SLF001  -- as above
        return cast("Awaitable[BaseException | None]", _LEAVE(nursery, error))
    return _refuse(nursery)


async def _refuse(nursery: trio.Nursery) -> BaseException | None:
    nursery.cancel_scope.cancel()  # all in it is to end, and with that the task that has it open
    raise RuntimeError(f"a nursery was left out of order, or by another task than {nursery.parent_task!r}: {LEFT_OPEN}")


_LEAVE: Any = cast("Any", trio.Nursery)._nested_child_finished  # noqa: SLF001  -- what this file is for
cast("Any", trio.Nursery)._nested_child_finished = _leave  # noqa: SLF001  -- as above
