"""A thread that notices when the event loop is blocked, and logs the code that blocks it.

Sync code in an async agent or tool (for example, a blocking call to a model) makes every user of the server wait. Code
that blocks the loop can be found only while it runs, and only from another thread.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from actors import current_run
from actors.failures import log_line, shown
from actors.histogram import Durations

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from actors import RunContext
    from actors.loop.clock import LoopTime

logger = logging.getLogger("greenroom.loop")

TICKS = 4
"""Number of checks within the time limit. With 4, a blocked loop is noticed after at most 1.25 times the limit."""
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the steps of :attr:`Watchdog.lag`, in seconds."""
MAX_FRAMES = 25
"""Maximum number of stack frames in a log message. The innermost frames are logged."""
# How long the end of a server waits for the thread. A thread that writes to a log which blocks is left behind.
_JOIN_SECONDS = 1.0


class Watchdog:
    """A thread that checks several times within ``seconds`` whether the event loop still runs.

    If the loop does not answer for ``seconds``, the thread logs a warning with the stack of the blocked event loop.
    When the loop runs again, a second line says how long the loop was blocked.
    """

    def __init__(self, time: LoopTime, seconds: float) -> None:
        self._time = time
        self._seconds = seconds
        self.lag = Durations(LAG_BOUNDS)
        """The times that the loop took to answer: its lag, as code that waits for its turn sees it."""

    async def run(self) -> None:
        """Watch the event loop until cancelled. A server that is restarted calls this again.

        Cancellation: waits until the thread has ended. The wait is limited, since writing to the log can block the
        thread.
        """
        # Each start has a stop of its own. *A thread that was left behind would live again if a restart cleared it.*
        watch = Watch(self._time, self._seconds, self.lag)
        token, thread_id = trio.lowlevel.current_trio_token(), threading.get_ident()
        thread = threading.Thread(target=watch.repeat, args=(token, thread_id), name="greenroom watchdog", daemon=True)
        with self._time.ticking(self._seconds / TICKS):
            thread.start()
            try:
                await trio.sleep_forever()
            finally:
                watch.stop()
                thread.join(_JOIN_SECONDS)


class Watch:
    """The questions of one thread to the event loop, and their end."""

    def __init__(self, time: LoopTime, seconds: float, lag: Durations | None = None) -> None:
        self._time = time
        self._seconds = seconds
        self._lag = lag
        self._asked_at = 0.0
        self._stop = threading.Event()
        self._answered = threading.Event()

    def stop(self) -> None:
        """End the thread, also while it waits for an answer."""
        self._stop.set()
        self._answered.set()

    def answer(self) -> None:
        """Record that the event loop still runs.

        The event loop itself calls this method when the watchdog's thread asks for an answer.
        """
        stood = self._time.tick()
        if self._lag is not None:
            self._lag.add(perf_counter() - self._asked_at)
        self._answered.set()
        if stood >= self._seconds:
            log_line(
                logger,
                logging.WARNING,
                "the event loop stood still for %.1f s; no client is judged by that time",
                stood,
            )

    def ask(self, call_soon: Callable[[Callable[[], None]], None], look: Callable[[], tuple[str, str]]) -> None:
        """Ask the event loop for an answer, and wait for the answer. Log a warning if the answer takes too long.

        Args:
            call_soon: Schedules a function to be called in the event loop.
            look: Returns the name and the stack of the code that blocks the event loop, as :func:`look_at`.
        """
        self._answered.clear()
        if self._stop.is_set():  # the clear() may have undone the wake-up of stop()
            return
        self._asked_at = perf_counter()
        call_soon(self.answer)
        if self._answered.wait(self._seconds):
            return
        seen, stack = look()
        if not self._answered.is_set():  # else it may show what came after
            message = "the event loop stands still for more than %g s%s"
            log_line(logger, logging.WARNING, message, self._seconds, seen, block=stack)
            self._answered.wait()

    def repeat(self, token: trio.lowlevel.TrioToken, thread_id: int) -> None:
        """Ask the event loop again and again, until :meth:`stop` or the end of the loop. The thread calls this.

        Args:
            token: The event loop.
            thread_id: The number of the thread in which the loop runs.
        """
        while not self._stop.wait(self._seconds / TICKS):
            try:
                self.ask(lambda answer: token.run_sync_soon(answer, idempotent=True), lambda: look_at(thread_id))
            except trio.RunFinishedError:
                return


def look_at(thread_id: int) -> tuple[str, str]:
    """Return the end of a log message with the name of the code that blocks the event loop in this thread.

    The second value is the stack of this code.
    """
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # documented
    if frame is None:
        return "", ""
    try:
        stack = "".join(traceback.format_stack(frame, MAX_FRAMES))
    except BaseException:  # noqa: BLE001 - source lines come from foreign loaders, and the watch must go on
        stack = ""
    return f", and so does every user: {_owner(frame)} runs code that does not await, at", stack


def _owner(frame: FrameType) -> str:
    """Return the name of the agent run, or of the trio task, that executes ``frame``."""
    task = _task(frame)
    if task is None:
        return "something"
    run: RunContext | None = task.context.copy().run(current_run)
    if run is None:
        return f"the task {shown(task.name)}"
    return (
        f"agent {shown(run.agent)} in run {run.run_id} of user {shown(run.user)}, session {run.session} "
        "(a tool that is a plain function gets a thread of its own)"
    )


def _task(frame: FrameType | None) -> trio.lowlevel.Task | None:
    """Return the trio task that is running now, from a local variable of trio's scheduler.

    Return None if there is none.
    """
    while frame is not None:
        task = frame.f_locals.get("task") if frame.f_code.co_name == "unrolled_run" else None
        if isinstance(task, trio.lowlevel.Task):
            return task
        frame = frame.f_back
    return None
