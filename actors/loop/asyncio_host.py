"""The asyncio event loop in which trio runs as a guest, and the calls between asyncio code and trio code.

Trio and asyncio take turns in one thread, so no call needs a lock or a queue. Other modules of ``actors`` import this
one only for annotations: a server that is not hosted in asyncio never loads asyncio.
"""

from __future__ import annotations

import asyncio
import logging
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
import trio

from actors.errors import ActorTerminated, ConfigError
from actors.failures import log_failure, log_line, shown, traceback_of, without
from actors.loop.trio_internals import INTERRUPT_HANDLER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("greenroom.hosting")

T = TypeVar("T")

_STOPPED = "the app is not running any more"

# Modules whose signal handlers raise KeyboardInterrupt for a real Ctrl-C.
_INTERRUPT_HANDLERS = (INTERRUPT_HANDLER, "asyncio.runners")


class AsyncioCancelled(Exception):
    """The asyncio task of :meth:`AsyncioHost.await_asyncio` was cancelled by asyncio code, and not by trio.

    For example, a loop that is closed by force cancels all of its tasks.
    """


@attrs.frozen(eq=False)
class TrioCall(Generic[T]):
    """A trio task that asyncio code has started by :meth:`AsyncioHost.soon`."""

    future: asyncio.Future[T]
    """The result of the trio task. Wait for it by ``asyncio.wait([call.future])``, which leaves the task alone.

    It is cancelled if :meth:`cancel` ended the task. It has ``ActorTerminated`` if the app stopped before.
    """
    _scope: trio.CancelScope

    def cancel(self) -> None:
        """Cancel the trio task. The task has ended when :attr:`future` is done."""
        self._scope.cancel()


class AsyncioHost:
    """The asyncio loop that hosts trio, and the calls between both: the seam for agents and wires on asyncio.

    Asyncio code calls :meth:`soon` and :meth:`run`, trio code calls :meth:`await_asyncio`.

    Args:
        loop: The running asyncio loop. Trio runs in its thread.
        nursery: The nursery of the trio tasks that :meth:`soon` and :meth:`run` start.
        abandon_seconds: How long a cancelled asyncio task may take to end, until it is left behind.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, nursery: trio.Nursery, abandon_seconds: float) -> None:
        self.loop = loop
        """The asyncio loop."""
        self.thread = get_ident()
        """The number of the thread in which both the loop and trio run."""
        self._nursery = nursery
        self._abandon_seconds = abandon_seconds
        self._left_behind: set[asyncio.Task[Any]] = set()

    def require_asyncio(self) -> None:
        """Raise ConfigError unless the caller is asyncio code in the loop that hosts trio."""
        if get_ident() != self.thread or asyncio._get_running_loop() is not self.loop:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # documented; None outside of loops
            raise ConfigError(
                "this is another event loop or thread than the one in which the app is hosted: call it from a task of "
                "that loop, or hand it over by asyncio.run_coroutine_threadsafe(…, loop)"
            )
        if trio.lowlevel.in_trio_task():
            raise ConfigError("this is a trio task, and asyncio code is expected: use app.sessions, which is for trio")

    def soon(self, function: Callable[..., Awaitable[T]], *arguments: object) -> TrioCall[T]:
        """Start a trio task from asyncio code. The task gets a copy of the caller's context variables.

        If the function raises SystemExit or KeyboardInterrupt, the future gets a RuntimeError instead, so that neither
        loop ends.

        Raises:
            ConfigError: The caller is not in the loop that hosts trio, or the app has stopped.
        """
        self.require_asyncio()
        scope = trio.CancelScope()
        call = TrioCall[T](self.loop.create_future(), scope)
        if not trio.lowlevel.in_trio_run():
            raise ConfigError(_STOPPED)
        try:
            self._nursery.start_soon(_finish, call.future, scope, function, arguments, name=function)
        except RuntimeError as error:  # trio ends, and the nursery is closed
            raise ConfigError(_STOPPED) from error
        return call

    async def run(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Await a trio function from asyncio code. Errors as in :meth:`soon`, and those of the function.

        Cancellation: the trio task is cancelled, and has ended when this raises. An error of its clean-up is raised in
        place of the cancellation.
        """
        call = self.soon(function, *arguments)
        try:
            return await asyncio.shield(call.future)
        except asyncio.CancelledError:
            if call.future.done():
                raise
            call.cancel()
            await uninterrupted(call.future)
            error = None if call.future.cancelled() else call.future.exception()
            if error is not None and not isinstance(error, ActorTerminated):
                raise error from None
            raise

    async def await_asyncio(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Await an asyncio function from a trio task. The function runs in an asyncio task of its own.

        The task gets a copy of the caller's context variables. A SystemExit or KeyboardInterrupt that the function's
        own code raises becomes a RuntimeError, so that neither loop ends.

        Raises:
            AsyncioCancelled: Asyncio code cancelled the task.

        Cancellation: the asyncio task is cancelled, and has ended when this raises. If the task ends with a result all
        the same, that is returned. A task that has not ended ``abandon_seconds`` after its cancellation is logged and
        left behind.
        """
        task = self.loop.create_task(without_exits(function, arguments))
        done = trio.Event()
        task.add_done_callback(lambda _: done.set())
        try:
            await done.wait()
        except trio.Cancelled:
            task.cancel()
            with trio.move_on_after(self._abandon_seconds, shield=True):
                await done.wait()
            if not task.done():
                self._leave_behind(task, function)
                raise
            if task.cancelled():
                raise
        if task.cancelled():
            raise AsyncioCancelled(f"the asyncio task of {shown(function)} was cancelled by asyncio code")
        return task.result()

    def _leave_behind(self, task: asyncio.Task[Any], function: object) -> None:
        log_line(
            logger,
            logging.ERROR,
            "%s has not ended %g s after its cancellation, and is left behind: asyncio code must not catch "
            "CancelledError without raising it again",
            function,
            self._abandon_seconds,
        )
        self._left_behind.add(task)  # asyncio itself holds tasks only weakly
        task.add_done_callback(self._ended_late)

    def _ended_late(self, task: asyncio.Task[Any]) -> None:
        self._left_behind.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_failure(logger, "an asyncio task that was left behind failed", error=error)


async def uninterrupted(future: asyncio.Future[Any]) -> None:
    """Wait in asyncio until the future is done, however often the calling task is cancelled. Never raises its error.

    A cancellation that arrives meanwhile is raised at the end.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


# Protected from Ctrl-C: an exception of this kind inside is then always one that the function itself raised.
@trio.lowlevel.enable_ki_protection
async def _finish(
    future: asyncio.Future[T],
    scope: trio.CancelScope,
    function: Callable[..., Awaitable[T]],
    arguments: tuple[object, ...],
) -> None:
    """Await a trio function, and set the future of the call. Never raises."""
    try:
        with scope:
            result = await function(*arguments)
            if not future.done():
                future.set_result(result)
        if not future.done():
            future.cancel()
    except BaseException as error:  # noqa: BLE001 - its caller gets it
        rest = without(error, trio.Cancelled)
        if rest is None:
            rest = ActorTerminated("the app stopped, perhaps before the call was done")
        if not future.done():
            future.set_exception(rest if isinstance(rest, Exception) else _exit_error(rest))


async def without_exits(function: Callable[..., Awaitable[T]], arguments: tuple[object, ...]) -> T:
    """Await an asyncio function. If it raises SystemExit or KeyboardInterrupt, raise RuntimeError instead.

    Asyncio lets such an exception of a task end the whole loop. A real Ctrl-C is raised unchanged.
    """
    try:
        return await function(*arguments)
    except (SystemExit, KeyboardInterrupt) as error:
        if _is_real_interrupt(error):
            raise
        raise _exit_error(error) from error


def _exit_error(error: BaseException) -> RuntimeError:
    return RuntimeError(f"{shown(error)} was raised: only the server ends the process")


def _is_real_interrupt(error: BaseException) -> bool:
    """Return whether the exception is from a real Ctrl-C: raised by a signal handler, and not by other code."""
    traceback = traceback_of(error)
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_globals.get("__name__") in _INTERRUPT_HANDLERS
