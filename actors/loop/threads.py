"""Checks of the thread that calls a session, calls from other threads into the event loop, and the handling of Ctrl-C.

Sessions are plain objects that belong to one loop. A call from another thread or loop would change them, and trio's own
structures, in the middle of other work. Such a call is refused before it changes anything.
"""

from __future__ import annotations

import math
import signal
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

import outcome
import trio

from actors.loop.trio_internals import INTERRUPT_HANDLER

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")


def wrong_place(name: str) -> RuntimeError:
    """Return the error for a call of ``name`` from a thread or event loop to which the session does not belong."""
    return RuntimeError(
        f"{name} was called outside of the trio loop that runs the session, and did nothing. In a thread that trio "
        "started (a sync tool's is one), await it with trio.from_thread.run(…); from any other thread or loop, hand it "
        "over with trio.from_thread.run(…, trio_token=token), where token is trio.lowlevel.current_trio_token() of the "
        "session's loop. For an asyncio agent, hand it over with asyncio.run_coroutine_threadsafe(…, loop)"
    )


def require_task(thread: int, name: str) -> None:
    """Raise RuntimeError unless the caller is a trio task in the thread with the number ``thread``."""
    if get_ident() != thread or not trio.lowlevel.in_trio_task():
        raise wrong_place(name)


def hop(name: str, function: Callable[..., T], *args: object) -> T:
    """Call ``function`` in the event loop that started this thread. Return its result, or raise its exception.

    The thread blocks until ``function`` has returned. Raises RuntimeError in a thread that no loop started, and in the
    thread in which a loop runs.
    """
    if trio.lowlevel.in_trio_run():
        raise wrong_place(name)
    try:
        result = trio.from_thread.run_sync(_captured, lambda: function(*args))
    except RuntimeError as error:  # trio did not start this thread, or its loop has ended
        raise wrong_place(name) from error
    return result.unwrap()


def _captured(function: Callable[[], T]) -> outcome.Outcome[T]:
    """Call a function, and return its result or its exception as an Outcome.

    With an Outcome, the caller can tell an exception of the function from an exception of trio.
    """
    return outcome.capture(function)


@contextmanager
def interrupts_deferred() -> Generator[None]:
    """Delay Ctrl-C inside the ``with`` block: KeyboardInterrupt is raised only at a checkpoint of trio's main task.

    Without this block, trio raises KeyboardInterrupt in the code that runs at the moment of the Ctrl-C. If an agent's
    code runs at that moment, the agent's run ends and the process continues. The block changes nothing if trio does not
    handle the signal, or if the loop is not in the process's main thread: such a loop never gets a Ctrl-C. After the
    block the signal is handled as before.
    """
    inner = _trios_handler()
    if inner is None:
        yield
        return
    token = trio.lowlevel.current_trio_token()

    def handler(number: int, frame: Any) -> None:  # a frame, None while no Python code runs
        del frame
        try:
            token.run_sync_soon(_nothing, idempotent=True)
        except trio.RunFinishedError:  # the loop has ended without leaving the block
            signal.signal(number, signal.default_int_handler)
            raise KeyboardInterrupt from None
        # Trio looks in the frame whether its code is protected. Without a frame it assumes that it is.
        inner(number, None)

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, inner)


async def defer_interrupts() -> None:
    """Delay Ctrl-C until this task is cancelled; see :func:`interrupts_deferred`."""
    with interrupts_deferred():
        await trio.sleep(math.inf)


def _trios_handler() -> Callable[[int, Any], object] | None:
    """Return the signal handler by which trio raises KeyboardInterrupt. None if trio does not handle Ctrl-C."""
    handler = signal.getsignal(signal.SIGINT)
    return handler if callable(handler) and handler.__module__ == INTERRUPT_HANDLER else None


def _nothing() -> None:
    """Do nothing. The loop wakes when this function is scheduled.

    If the loop has ended, the attempt to schedule this function raises an error.
    """
