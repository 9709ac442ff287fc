"""Where calls into sessions may come from: the thread of the loop that runs them, and threads that this loop started.

Sessions are plain objects that one loop owns. A call from anywhere else would change them in the middle of other work,
and trio's own structures with them; it is refused before anything has changed.
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


def wrong_place(what: str) -> RuntimeError:
    """Make the error of a call from a thread or loop that does not own the session."""
    return RuntimeError(
        f"{what} was called outside of the trio loop that runs the session, and did nothing. In a thread that trio "
        "started (a sync tool's is one), await it with trio.from_thread.run(…); from any other thread or loop, hand it "
        "over with trio.from_thread.run(…, trio_token=token), where token is trio.lowlevel.current_trio_token() of the "
        "session's loop"
    )


def require_task(thread: int, what: str) -> None:
    """Raise RuntimeError unless a trio task of the loop in ``thread`` calls this."""
    if get_ident() != thread or not trio.lowlevel.in_trio_task():
        raise wrong_place(what)


def hop(what: str, function: Callable[..., T], *args: object) -> T:
    """Call ``function`` in the loop that started this thread, and return what it returned or raise what it raised.

    Blocks the thread until then. Raises RuntimeError in any other thread, and in a loop that runs in this one.
    """
    if trio.lowlevel.in_trio_run():
        raise wrong_place(what)
    try:
        result = trio.from_thread.run_sync(_captured, lambda: function(*args))
    except RuntimeError as error:  # no thread of trio's, or its loop has ended
        raise wrong_place(what) from error
    return result.unwrap()


def _captured(function: Callable[[], T]) -> outcome.Outcome[T]:
    """Keep what it raises apart from what trio raises."""
    return outcome.capture(function)


@contextmanager
def interrupts_deferred() -> Generator[None]:
    """Have a Ctrl-C raise KeyboardInterrupt in trio's main task alone, at its next checkpoint, inside the block.

    Without this trio raises it in any code that happens to run, an agent's too, which would end that agent's run in
    place of the process. Nothing changes in a loop outside of the process's main thread, where none is ever raised, and
    where somebody else handles the signal. After the block the signal is handled as before.
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
        except trio.RunFinishedError:  # the loop has ended, and left this behind
            signal.signal(number, signal.default_int_handler)
            raise KeyboardInterrupt from None
        # Trio asks the frame whether its code is protected; of no frame it takes that for granted.
        inner(number, None)

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, inner)


async def defer_interrupts() -> None:
    """Defer interrupts until cancelled; see :func:`interrupts_deferred`."""
    with interrupts_deferred():
        await trio.sleep(math.inf)


def _trios_handler() -> Callable[[int, Any], object] | None:
    """Return the handler by which trio raises KeyboardInterrupt; None where it has none."""
    handler = signal.getsignal(signal.SIGINT)
    return handler if callable(handler) and handler.__module__ == INTERRUPT_HANDLER else None


def _nothing() -> None:
    """Find out whether the loop still runs."""
