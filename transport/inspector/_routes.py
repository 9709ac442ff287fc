"""The routes of the inspector below ``api/``: functions in trio, by method and path."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

import attrs

from transport.inspector import _audit, _connections, _live, _overview, _runs, _sessions, _tree, _waterfall
from transport.inspector._answers import Refused
from transport.inspector._inspected import version
from transport.inspector._workers import workers_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from transport.inspector._access import Operator
    from transport.inspector._inspected import Inspected
    from transport.inspector._query import Query


@attrs.frozen
class Asked:
    """One request of an operator."""

    operator: Operator
    query: Query
    inspected: Inspected
    can_log_out: bool


Handler: TypeAlias = "Callable[[Asked], Awaitable[dict[str, object]]]"


async def _me(asked: Asked) -> dict[str, object]:
    settings = asked.inspected.server.endpoint.settings
    return {
        "who": asked.operator.name,
        "by": asked.operator.by,
        "can_log_out": asked.can_log_out,
        "content": settings.inspect_content,
        "node": asked.inspected.node,
        "version": version(),
    }


async def _show_overview(asked: Asked) -> dict[str, object]:
    found = asked.inspected
    numbers = await _overview.overview(found.server, found.sampler, found.totals)
    operator = {"name": asked.operator.name, "by": asked.operator.by}
    workers = workers_of(found.server.endpoint.settings, found.worker)
    return {"node": found.node, "version": version(), "operator": operator, "workers": workers, **numbers}


async def _list_runs(asked: Asked) -> dict[str, object]:
    found = asked.inspected
    return await _runs.runs(found.server.sessions, asked.query, found.scan, found.user_pages)


async def _list_sessions(asked: Asked) -> dict[str, object]:
    return await _sessions.sessions_in_memory(asked.inspected.server.sessions, asked.query)


async def _show_session(asked: Asked) -> dict[str, object]:
    return await _waterfall.waterfall(asked.inspected.server.sessions, asked.query)


async def _show_events(asked: Asked) -> dict[str, object]:
    query, content = asked.query, asked.query.flag("content")
    if content:
        key = query.key()
        allowed = asked.inspected.server.endpoint.settings.inspect_content
        subject = f"user {key.user} session {key.session}"
        _audit.note_action(asked.operator, "read content of", subject, "done" if allowed else "refused")
        if not allowed:
            raise Refused(403, "forbidden", "the content of events is not shown here: set inspect_content")
    return await _live.events(asked.inspected, query, content=content)


async def _list_failures(asked: Asked) -> dict[str, object]:
    recent = asked.inspected.server.sessions.failures
    return {"failures": recent.newest(asked.query.limit()), "total": recent.total}


async def _list_connections(asked: Asked) -> dict[str, object]:
    return await _connections.connections(asked.inspected.server.endpoint, asked.query)


async def _show_tree(asked: Asked) -> dict[str, object]:
    return await _tree.tree(asked.inspected.server.system, asked.query)


async def _cancel_run(asked: Asked) -> dict[str, object]:
    key, run = asked.query.key(), asked.query.text("run")
    subject, result = f"run {run} of user {key.user} session {key.session}", "failed"
    try:
        cancelled = await _runs.cancel(asked.inspected.server.sessions, asked.query)
        result = "done" if cancelled else "not found"
    finally:
        asked.inspected.forget_runs()
        _audit.note_action(asked.operator, "cancel", subject, result)
    return {"cancelled": cancelled}


async def _close_connection(asked: Asked) -> dict[str, object]:
    connection = asked.query.text("connection")
    closed = _connections.close(asked.inspected.server.endpoint, asked.query)
    _audit.note_action(asked.operator, "close", f"connection {connection}", "done" if closed else "not found")
    return {"closed": closed}


async def _forget(asked: Asked) -> dict[str, object]:
    user, thorough = asked.query.text("user"), asked.query.boolean("thorough", default=True)
    result = "failed"
    try:
        forgotten = await asked.inspected.server.sessions.removal.forget(user, thorough=thorough)
        result = f"done: {forgotten.sessions} sessions, {forgotten.connections} connections"
    finally:
        _audit.note_action(asked.operator, "forget", f"user {user}", result)
    return attrs.asdict(forgotten)


SHOWS: dict[str, Handler] = {
    "me": _me,
    "overview": _show_overview,
    "runs": _list_runs,
    "sessions": _list_sessions,
    "session": _show_session,
    "session/events": _show_events,
    "failures": _list_failures,
    "connections": _list_connections,
    "tree": _show_tree,
}
"""The routes that show something (GET)."""
ACTIONS: dict[str, Handler] = {
    "runs/cancel": _cancel_run,
    "connections/close": _close_connection,
    "forget": _forget,
}
"""The routes that do something (POST). Each logs to the audit log."""


async def answer(handler: Handler, asked: Asked) -> dict[str, object]:
    """Return the answer of a route, with the time. Runs in trio."""
    return {"at": time.time(), **await handler(asked)}
