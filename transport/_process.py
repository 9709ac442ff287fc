"""Signals, reports and garbage collection, for a server that has a whole process to itself."""

from __future__ import annotations

import gc
import logging
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from actors.failures import log_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Sequence

logger = logging.getLogger("greenroom")


class Reporter:
    """Reports of a server process to its operator. This class writes them to the log. A subclass can do something else.

    The methods must not wait.
    """

    def on_ready(self, ws_url: str, page_url: str | None) -> None:
        """Report that the server accepts connections.

        Args:
            ws_url: The address of the WebSocket endpoint.
            page_url: The address of the pages; None if no pages are served.
        """
        log_line(logger, logging.INFO, "serving at %s%s", ws_url, f", pages at {page_url}" if page_url else "")

    def on_drain(self, signal_name: str, runs: Sequence[tuple[str, str]], seconds: float) -> None:
        """Report that the server got a signal and drains: it accepts no new work and waits for its runs.

        Args:
            signal_name: ``SIGTERM`` or ``SIGINT``.
            runs: The agent and the session of each run that has not ended.
            seconds: Maximum time for which the server waits for these runs.
        """
        log_line(logger, logging.INFO, "%s: draining, %d runs go on for %g s at most", signal_name, len(runs), seconds)


async def run_until_signal(
    on_ready: Callable[[], object], gc_threshold: int, on_hangup: Callable[[], object] | None = None
) -> str:
    """Call ``on_ready``, tune garbage collection, wait for SIGTERM or SIGINT, and return the name of the signal.

    Once this function has returned, a second SIGINT or SIGTERM ends the process at once. *Before, a second Ctrl-C was
    raised as KeyboardInterrupt: the server, although it was ending, still waited for runs that shield themselves from
    cancellation.*

    Args:
        on_ready: Announces that the server is ready. Signals are caught before this call, because a program that reads
            the announcement can send a signal at once.
        gc_threshold: As for :func:`tune_garbage_collection`.
        on_hangup: Called for each SIGHUP. If it is None, SIGHUP ends the process, as usual. Otherwise SIGHUP is ignored
            from the end of this function on, so that a server that drains is not killed.

    Cancellation:
        Stops catching signals. The garbage collection stays tuned.
    """
    with _caught_signals(*() if on_hangup is None else (signal.SIGHUP,)) as signals:
        on_ready()
        # After the announcement: a collection of all start-up objects would delay it.
        tune_garbage_collection(gc_threshold)
        while (number := await anext(signals)) == signal.SIGHUP and on_hangup is not None:
            on_hangup()
    # The handler of SIGTERM is the system's by now. That of SIGINT is trio's, which raises KeyboardInterrupt.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if on_hangup is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return signal.Signals(number).name


@contextmanager
def kept_signal_handlers() -> Generator[None]:
    """Restore the handlers of SIGINT and SIGHUP after the ``with`` block, for a program that outlives its server."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tune_garbage_collection(threshold: int) -> None:
    """Exempt the objects made at start-up from garbage collection, and collect less often.

    Collections are the longest pauses of an idle server. A collection starts after ``threshold`` new objects. With a
    threshold of 0, this function changes nothing.
    """
    if threshold:
        gc.collect()
        gc.freeze()
        gc.set_threshold(threshold)


@contextmanager
def _caught_signals(*more: signal.Signals) -> Generator[AsyncIterator[int]]:
    """Catch SIGTERM, SIGINT and ``more`` signals inside the ``with`` block, and yield their numbers.

    After the block, these signals end the process as usual.
    """
    global _catching  # noqa: PLW0603 - signals belong to the whole process
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, *more) as signals:
        _catching = True
        try:
            yield signals
        finally:
            _catching = False


_catching = False
"""Whether this process catches signals now."""


def _stop_catching() -> None:
    """Stop catching signals in a forked child, so that SIGTERM ends the child.

    Pools of worker processes end their children by SIGTERM. A child also inherits the file descriptor by which a signal
    wakes the event loop. This function makes the child forget the descriptor. *Before, a signal to the child woke the
    event loop of its parent.*
    """
    if _catching:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# Windows has no fork, and no such function.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stop_catching)
