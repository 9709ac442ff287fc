"""The events of one session as they come: a request waits for the next one (long polling)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from transport.inspector._answers import Refused
from transport.inspector._lines import LINE_BYTES, LINES, decode

if TYPE_CHECKING:
    from collections.abc import Generator

    from actors import SessionExtent, Sessions, StreamKey
    from transport.inspector._inspected import Inspected
    from transport.inspector._query import Query

MAX_WAIT_SECONDS = 25.0
"""Maximum time for which a request waits for an event, in seconds. Proxies cut a response that takes a minute."""
MAX_WATCHERS = 20
"""Maximum number of requests that wait at the same time. A further one is refused."""
LOOK_AGAIN_SECONDS = 0.25
"""Time between two looks at a session in memory, in seconds. A look costs microseconds, and nothing for each event."""
READ_AGAIN_SECONDS = 1.0
"""Time between two looks in the log, in seconds, for a session that is not in this process's memory."""
MAX_ANSWER_BYTES = 1024 * 1024
"""Size of the events after which an answer is complete, in bytes."""

PLAIN = ("agent", "tool", "name", "status", "duration_ms")
"""The fields of an event's data that are no content of a user: they are in every answer."""


async def events(inspected: Inspected, query: Query, *, content: bool) -> dict[str, object]:
    """Return the next events of a session, as soon as there are any. Without ``after``, the newest ones.

    Args:
        inspected: The server.
        query: The parameters of the request.
        content: Whether the whole data of the events is wanted.
    """
    sessions, key, limit = inspected.server.sessions, query.key(), query.limit()
    extent = await sessions.survey.extent(key)
    if extent is None:
        raise Refused(404, "not_found", "there is no such session")
    after = query.whole("after", 0, 2**53)
    if after is None:
        after = max(extent.oldest - 1, extent.latest - limit, 0)
    elif after >= extent.latest:
        with _waiting(inspected):
            extent = await _newer(sessions, key, extent, after, query.number("wait", 0, MAX_WAIT_SECONDS))
    epoch, found = await _read(sessions, key, after, limit)
    position = found[-1]["seq"] if found else after
    rows = found if content else [_without_content(event) for event in found]
    return {"epoch": epoch or extent.epoch, "events": rows, "seq": position, "latest": max(extent.latest, position)}


async def _newer(
    sessions: Sessions, key: StreamKey, extent: SessionExtent, after: int, seconds: float
) -> SessionExtent:
    """Wait for an event behind ``after``, or another epoch. Return the extent, also if the time is over."""
    with trio.move_on_after(seconds):
        while True:
            await trio.sleep(LOOK_AGAIN_SECONDS if extent.live else READ_AGAIN_SECONDS)
            newest = await sessions.survey.extent(key)
            if newest is None:
                break
            is_new = newest.epoch != extent.epoch or newest.latest > after
            extent = newest
            if is_new:
                break
    return extent


async def _read(sessions: Sessions, key: StreamKey, after: int, limit: int) -> tuple[str, list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    epoch, size = "", 0
    while len(found) < limit and size < MAX_ANSWER_BYTES:
        page_epoch, lines = await sessions.survey.lines(key, after, min(LINES, limit - len(found)), LINE_BYTES)
        if not lines or epoch not in {"", page_epoch}:
            break
        epoch = page_epoch
        found += decode(lines)
        size += sum(map(len, lines))
        after = found[-1]["seq"]
        await trio.lowlevel.checkpoint()
    return epoch, found


@contextmanager
def _waiting(inspected: Inspected) -> Generator[None]:
    """Count a request that waits, inside the block. Raise ``Refused`` if there are too many."""
    if inspected.watchers >= MAX_WATCHERS:
        raise Refused(503, "busy", f"{MAX_WATCHERS} requests wait for events already", Retry_After="5")
    inspected.watchers += 1
    try:
        yield
    finally:
        inspected.watchers -= 1


def _without_content(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without the words of users and agents: texts, arguments, results, messages."""
    data: dict[str, Any] = event.get("data") or {}
    kept = {name: data[name] for name in PLAIN if isinstance(data.get(name), (str, int, float))}
    error: object = data.get("error")
    if isinstance(error, dict):
        kept["error"] = {"code": error.get("code")}  # pyright: ignore[reportUnknownMemberType]  # JSON
    return {**event, "data": kept}
