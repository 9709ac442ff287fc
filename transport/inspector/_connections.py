"""The connections to the endpoint: the list, and the close of one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from transport.inspector._paging import page_of, steps

if TYPE_CHECKING:
    from transport.inspector._paging import Place
    from transport.inspector._query import Query
    from transport.server._connection_statistics import ConnectionStatistics
    from transport.server.endpoint import Endpoint


async def connections(endpoint: Endpoint, query: Query) -> dict[str, object]:
    """Return a page of the connections: first those with the most lag, or the most waiting bytes, or the oldest."""
    now = time.time()
    user, sort = query.text("user", ""), query.choice("sort", "lag", "waiting", "age")

    def place(each: ConnectionStatistics) -> Place:
        if sort == "age":
            return each.since, 0.0, each.connection
        if sort == "waiting":
            return -float(each.waiting_bytes), -each.blocked_seconds, each.connection
        return -float(each.lag_events), -float(each.waiting_bytes), each.connection

    # Filtered within each step: a step looks at no more connections if the filter keeps none.
    found = (tuple(each for each in step if user in {"", each.user}) for step in steps(endpoint.connections()))
    page = await page_of(found, place, (float, float, str), query.cursor(), query.limit())
    rows = [{**attrs.asdict(each), "age": max(0.0, now - each.since)} for each in page.entries]
    return {"connections": rows, "next": page.next, "total": page.total}


def close(endpoint: Endpoint, query: Query) -> bool:
    """Close a connection. Return False if there is none with this id, or if it is closing already."""
    return endpoint.close_connection(query.text("connection"))
