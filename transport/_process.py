"""Signals and garbage collection: how a server uses the process that it has to itself."""

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
    from collections.abc import AsyncIterator, Callable, Generator

logger = logging.getLogger("greenroom")


async def run_until_signal(on_ready: Callable[[], object], gc_threshold: int) -> None:
    """Call ``on_ready``, tune garbage collection and wait for SIGTERM or SIGINT.

    Args:
        on_ready: Announces that the server is ready. Signals are caught before this call, because the reader of the
            announcement may send a signal at once.
        gc_threshold: As for :func:`tune_garbage_collection`.

    Cancellation:
        Stops catching signals. The garbage collection stays tuned.
    """
    with _caught_signals() as signals:
        on_ready()
        # After the announcement: a collection of all start-up objects would delay it.
        tune_garbage_collection(gc_threshold)
        number = await anext(signals)
        log_line(logger, logging.INFO, "%s: draining", signal.Signals(number).name)


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
def _caught_signals() -> Generator[AsyncIterator[int]]:
    """Catch SIGTERM and SIGINT inside the block, and yield their numbers.

    After the block, these signals end the process as usual.
    """
    global _catching  # noqa: PLW0603 - signals belong to the whole process
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        _catching = True
        try:
            yield signals
        finally:
            _catching = False


_catching = False
"""Whether this process catches signals now."""


def _stop_catching() -> None:
    """Stop catching signals in a forked child, so that SIGTERM ends the child. Pools of worker processes need that.

    A child also inherits the file descriptor by which a signal wakes the event loop. This function removes it from the
    child: *before, a signal to the child woke the event loop of its parent*.
    """
    if _catching:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# Windows has no fork, and no such function.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stop_catching)
