"""Samples of a server: once a second, as long as an operator looks."""

from __future__ import annotations

import time
from collections import deque
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from transport._running import Server

SAMPLE_SECONDS = 1.0
"""Time between two samples, in seconds."""
LOOK_SECONDS = 10.0
"""Time after the last look at which the samples stop, in seconds."""
KEPT_SAMPLES = 120
"""Number of samples that are kept."""
WINDOW_SECONDS = 60.0
"""Time over which waits and lags are summed up, in seconds."""


@attrs.frozen
class Sample:
    """The numbers of a server at one moment."""

    at: float
    """Time of the sample, in seconds since 1970."""
    when: float
    """The same time on trio's clock, which never goes back."""
    events: int
    """Number of events that were committed since the start."""
    waits: tuple[int, ...]
    """The committer's histogram of waits since the start."""
    lag: float
    """The time in seconds that code which is ready to run has to wait, at this moment."""


@attrs.frozen
class Wait:
    """The times from the first emit of a batch to its commit, in seconds. Each is the upper end of a step."""

    p50: float
    p99: float
    max: float
    count: int
    """Number of batches."""


class Sampler:
    """The samples of one server.

    Args:
        server: The running server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._until = 0.0
        self._runs = False
        self.samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        """The samples, oldest first. Empty if no operator has looked for some time."""

    def look(self) -> None:
        """Take samples for the next :data:`LOOK_SECONDS`. Never waits."""
        self._until = trio.current_time() + LOOK_SECONDS
        if not self._runs:
            self.samples.clear()  # those of an earlier look are not next to the coming ones
            self.samples.append(self._sample(0.0))
            self._server.host.nursery.start_soon(self._run)
            self._runs = True

    def rates(self) -> list[tuple[float, float, float]]:
        """Return the time, the events per second and the lag of each sample but the first."""
        samples = tuple(self.samples)
        return [
            (new.at, (new.events - old.events) / max(new.when - old.when, 0.001), new.lag)
            for old, new in pairwise(samples)
        ]

    def wait(self, step: float) -> Wait | None:
        """Return the waits of the commits in the window. Return None if no commit had to wait.

        ``step`` is the width of a step of the committer's histogram, in seconds.
        """
        samples = self._window()
        if not samples:
            return None
        counts = [new - old for old, new in zip(samples[0].waits, samples[-1].waits, strict=True)]
        total = sum(counts)
        if not total:
            return None
        newest = max(number for number, count in enumerate(counts) if count)
        return Wait(_quantile(counts, 0.5, step), _quantile(counts, 0.99, step), (newest + 1) * step, total)

    def most_lag(self) -> float:
        """Return the largest lag in the window."""
        return max((sample.lag for sample in self._window()), default=0.0)

    def _window(self) -> list[Sample]:
        since = trio.current_time() - WINDOW_SECONDS
        return [sample for sample in self.samples if sample.when >= since]

    async def _run(self) -> None:
        try:
            while (due := trio.current_time() + SAMPLE_SECONDS) < self._until + SAMPLE_SECONDS:
                await trio.sleep_until(due)
                late = max(0.0, trio.current_time() - due)
                self.samples.append(self._sample(max(late, await _turn())))
        finally:
            self._runs = False

    def _sample(self, lag: float) -> Sample:
        counters = self._server.sessions.survey.counters()
        return Sample(time.time(), trio.current_time(), counters.events, counters.committer.waits, lag)


async def _turn() -> float:
    """Return the time that one turn of the event loop takes, in seconds: that of all tasks that are ready."""
    before = perf_counter()
    await trio.lowlevel.checkpoint()
    return perf_counter() - before


def _quantile(counts: list[int], share: float, step: float) -> float:
    """Return the upper end of the step below which ``share`` of all counted values are."""
    left = share * sum(counts)
    for number, count in enumerate(counts, 1):
        left -= count
        if left <= 0:
            return number * step
    return len(counts) * step
