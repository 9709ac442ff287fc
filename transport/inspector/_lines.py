"""The events of one session, read in small steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from actors import StreamKey, Survey

LINES, LINE_BYTES = 64, 128 * 1024
"""Maximum number and size in bytes of the events that are read and decoded between two checkpoints.

An event that is larger is read alone.
"""


async def decoded(survey: Survey, key: StreamKey, after: int, until: int) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the events with a seq above ``after``, up to ``until``, in lists. A list of a new epoch ends them."""
    epoch: str | None = None
    while after < until:
        found, lines = await survey.lines(key, after, min(LINES, until - after), LINE_BYTES)
        if not lines or epoch not in {None, found}:
            return
        epoch = found
        events = decode(lines)
        after = events[-1]["seq"]
        yield events
        await trio.lowlevel.checkpoint()


def decode(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return events as they are on the wire, decoded, each with the size of its line in bytes."""
    return [{**orjson.loads(line), "size": len(line)} for line in lines]
