"""The open runs of a server: the list, and the cancellation of one."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from actors import CommandRefused, RunState, SessionClosed
from transport.inspector._answers import Refused
from transport.inspector._paging import Paging, steps_of_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors import OpenItem, RunStatistics, Sessions
    from transport.inspector._paging import Page, Place
    from transport.inspector._query import Query
    from transport.inspector._scan import SharedScan
    from transport.inspector._sparing import Meter, Recent


async def runs(
    sessions: Sessions, query: Query, scan: SharedScan, recent: Recent[Page[RunStatistics]]
) -> dict[str, object]:
    """Return a page of the open runs. The oldest come first, or the newest.

    With very many sessions, a page is shown again for some seconds. The ages in it are always those of now.
    """
    question, user = repr(sorted(query.given.items())), query.text("user", "") or None
    if user is None:
        page = await scan.page(question, partial(_Listing, query))
    else:

        async def find(meter: Meter) -> Page[RunStatistics]:
            listing = _Listing(query)
            for step in steps_of_groups(sessions.survey.runs(user)):
                listing.add(step)
                await meter.checkpoint()
            return listing.page()

        page = await recent.get(question, find)
    now = time.time()
    return {"runs": [_row(run, now) for run in page.entries], "next": page.next, "total": page.total}


class _Listing:
    """A page of the list of runs while its entries are found. All runs must be added at nearly the same time."""

    def __init__(self, query: Query) -> None:
        sign = 1.0 if query.choice("sort", "oldest", "newest") == "oldest" else -1.0

        def place(run: RunStatistics) -> Place:
            return sign * run.since, float(run.depth), run.run  # of runs of one millisecond, parents come first

        self._wanted = _Filter(query, time.time())
        self._paging = Paging(place, (float, float, str), query.cursor(), query.limit())

    def add(self, runs: Sequence[RunStatistics]) -> None:
        """Take those of the runs that the filters let through."""
        self._paging.add(filter(self._wanted, runs))

    def page(self) -> Page[RunStatistics]:
        """Return the page, once all open runs were added."""
        return self._paging.page()


class _Filter:
    """The filters of the list of runs, as a function that takes a run."""

    def __init__(self, query: Query, now: float) -> None:
        self._agent, self._session = query.text("agent", ""), query.text("session", "")
        self._state = query.choice("state", "", *(state.value for state in RunState))
        self._until = now - query.number("older_than", 0)
        self._by_age = bool(query.given.get("older_than"))

    def __call__(self, run: RunStatistics) -> bool:
        """Return whether a run is in the list."""
        return (
            self._agent in {"", run.agent}
            and self._session in {"", run.session}
            and self._state in {"", run.state}
            and (not self._by_age or run.since <= self._until)
        )


async def cancel(sessions: Sessions, query: Query) -> bool:
    """Ask a run to stop, or take it out of the queue. Return False if it is unknown or has ended.

    In a cluster the router sends this to the node that has the run.
    """
    key, run = query.key(), query.text("run")
    # A command makes its session if there is none: a typing error would make one.
    if await sessions.survey.extent(key) is None:
        return False
    try:
        handle = await sessions.get(*key)
        return await handle.cancel(run)
    except SessionClosed:
        return False
    except CommandRefused as refused:
        raise Refused(503, refused.code, refused.message) from refused


def _row(run: RunStatistics, now: float) -> dict[str, object]:
    return {
        "run": run.run,
        "agent": run.agent,
        "user": run.user,
        "session": run.session,
        "parent": run.parent,
        "root": run.root,
        "depth": run.depth,
        "started_at": run.since,
        "age": max(0.0, now - run.since),
        "state": run.state,
        "open_tool": _item(run.tool, now),
        "open_tools": run.open_tools,
        "question": _item(run.question, now),
        "subruns": run.subruns,
    }


def _item(item: OpenItem | None, now: float) -> dict[str, object] | None:
    if item is None:
        return None
    name = {"name": item.name} if item.name else {}
    return {**name, "call_id": item.call_id, "since": item.since, "age": max(0.0, now - item.since)}
