"""The sessions in memory, as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.inspector._paging import page_of, steps

if TYPE_CHECKING:
    from actors import Sessions, SessionStatistics, StreamKey
    from transport.inspector._paging import Place
    from transport.inspector._query import Query


async def sessions_in_memory(sessions: Sessions, query: Query) -> dict[str, object]:
    """Return a page of the sessions in memory, sorted by user and name."""

    def place(key: StreamKey) -> Place:
        return key.user, key.session

    found = steps(sessions.survey.keys(query.text("user", "") or None))
    page = await page_of(found, place, (str, str), query.cursor(), query.limit())
    # Only of those in the page: the statistics of a session take longer than its key.
    known = (sessions.statistics_of(key) for key in page.entries)
    rows = [_row(each) for each in known if each is not None]
    return {"sessions": rows, "next": page.next, "total": page.total}


def _row(session: SessionStatistics) -> dict[str, object]:
    journal = session.journal
    return {
        "user": session.user,
        "session": session.session,
        "runs": session.runs,
        "agents": session.agents,
        "queued": session.queued,
        "connections": journal.cursors,
        "leases": session.leases,
        "seq": journal.seq,
        "committed": journal.committed,
        "oldest": journal.oldest,
        "events_in_memory": journal.in_memory,
        "bytes_in_memory": journal.bytes_in_memory,
        "faults": _faults(session),
    }


def _faults(session: SessionStatistics) -> list[str]:
    audit = session.audit
    faults = [f"run {run} is overdue" for run in audit.overdue]
    faults += [f"{item} is open, and no code closes it" for item in audit.unowned]
    return faults + ([f"{audit.missing} events are missing"] if audit.missing else [])
