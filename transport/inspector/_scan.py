"""The shared scan of the open runs of a server: one walk over all of them finds the counts and the pages of the list.

A result that took much CPU time is shown again for a while, see :mod:`transport.inspector._sparing`. The next walk then
also finds anew each page that an operator has asked for lately. *The overview and the list of runs walked over 10,000
runs one after the other: an operator who watched them took 7 % of a busy server's CPU time.*
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs
import trio

from transport.inspector._paging import steps_of_groups
from transport.inspector._sparing import MOST, OLDEST_SECONDS, Meter, shown_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from actors import RunStatistics, Sessions
    from transport.inspector._paging import Page

COUNTS_SECONDS = 0.9
"""Time for which the counts are used again at least, in seconds, also if they were cheap."""


class Listing(Protocol):
    """A page of a list of runs while its entries are found."""

    def add(self, runs: Sequence[RunStatistics]) -> None:
        """Take some of the open runs."""
        ...

    def page(self) -> Page[RunStatistics]:
        """Return the page, once all open runs were added."""
        ...


MakeListing: TypeAlias = "Callable[[], Listing]"
"""Returns a new listing. It may raise ``Refused`` at the first call, but not later."""


@attrs.frozen
class OpenRuns:
    """The open runs of a server at one moment."""

    counts: Mapping[tuple[str, str], int] = attrs.field(factory=Counter[tuple[str, str]])
    """Number of runs of each agent in each state."""
    longest: RunStatistics | None = None
    """The run with the tool call that is open for longest, of the newest calls of all runs. None if none is open."""


@attrs.define(eq=False)
class _Shown:
    """A page of the list that is shown, and the function that can find it anew."""

    page: Page[RunStatistics]
    make: MakeListing
    asked_at: float
    """Time at which the page was asked for last, in seconds on trio's clock."""


class SharedScan:
    """The counts and the pages of the open runs of one server.

    All results are kept for the same time, which depends on the CPU time of all of them together.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._open = OpenRuns()
        self._shown: dict[str, _Shown] = {}
        """The pages by their questions, in the order in which operators have asked for them last."""
        self._scanned_at = -math.inf
        self._seconds = 0.0
        """CPU time of the last walk for the counts, and of all results found since then."""
        self._changes = 0
        self._scanning = trio.Lock()

    async def open_runs(self) -> OpenRuns:
        """Return the counts. They are up to a second old, with very many open runs up to ten seconds."""
        async with self._scanning:
            if not self._is_new(COUNTS_SECONDS):
                await self._scan_all({})
            return self._open

    async def page(self, question: str, make: MakeListing) -> Page[RunStatistics]:
        """Return the page that ``make`` finds. A page with the same ``question`` is shown again if it is new enough.

        Raises:
            Refused: ``make`` has refused the question.
        """
        async with self._scanning:
            if not self._is_new(0.0):
                await self._scan_all({question: make})
            elif question not in self._shown:
                await self._scan_for(question, make)
            shown = self._shown[question] = self._shown.pop(question)
            shown.asked_at = trio.current_time()
            return shown.page

    def charge(self, seconds: float) -> None:
        """Add the CPU time of a result that a caller finds anew with each new :class:`OpenRuns`."""
        self._seconds += seconds

    def forget(self) -> None:
        """Show no result again: an operator has changed something. This holds for a scan in progress, too."""
        self._changes += 1
        self._scanned_at = -math.inf

    def _is_new(self, least: float) -> bool:
        return trio.current_time() < self._scanned_at + max(least, shown_for(self._seconds))

    async def _scan_all(self, asked: dict[str, MakeListing]) -> None:
        """Find the counts, the page that is asked for, and the pages that would else be the next to be asked for."""
        now, changes, meter = trio.current_time(), self._changes, Meter()
        makers = asked
        if shown_for(self._seconds):  # else each page is found when it is asked for
            lately = {key: each.make for key, each in self._shown.items() if each.asked_at > now - OLDEST_SECONDS}
            makers = lately | asked
        listings = {question: make() for question, make in makers.items()}
        counts: Counter[tuple[str, str]] = Counter()
        longest, since = None, math.inf
        for step in steps_of_groups(self._sessions.survey.runs()):
            counts.update([(run.agent, run.state.value) for run in step])
            for run in step:
                if run.tool is not None and run.tool.since < since:
                    longest, since = run, run.tool.since
            await _add(listings, step, meter)
        asked_at = {question: each.asked_at for question, each in self._shown.items()}
        self._open, self._shown = OpenRuns(counts, longest), {}
        for question, listing in listings.items():
            self._show(question, _Shown(listing.page(), makers[question], asked_at.get(question, now)))
        self._seconds = meter.seconds
        self._scanned_at = trio.current_time() if self._changes == changes else -math.inf

    async def _scan_for(self, question: str, make: MakeListing) -> None:
        """Find one more page, which is shown until all are found anew."""
        listings, meter = {question: make()}, Meter()
        for step in steps_of_groups(self._sessions.survey.runs()):
            await _add(listings, step, meter)
        self._show(question, _Shown(listings[question].page(), make, trio.current_time()))
        self.charge(meter.seconds)

    def _show(self, question: str, shown: _Shown) -> None:
        self._shown.pop(question, None)
        while len(self._shown) >= MOST:
            del self._shown[next(iter(self._shown))]
        self._shown[question] = shown


async def _add(listings: Mapping[str, Listing], runs: Sequence[RunStatistics], meter: Meter) -> None:
    """Add some runs to all listings, with a checkpoint after each of them; without listings with one."""
    for listing in listings.values():
        listing.add(runs)
        await meter.checkpoint()
    if not listings:
        await meter.checkpoint()
