"""The past events of a session, for adapters that search or reduce them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from actors.spi import Attachment

_PAGE_EVENTS = 1_000
_PAGE_BYTES = 1024 * 1024


async def past_lines(attachment: Attachment) -> AsyncGenerator[Sequence[bytes]]:
    """Yield the events up to the newest one at the attach, some at a time, as the log stores them."""
    after = attachment.oldest - 1
    while after < attachment.latest:
        lines, _ = await attachment.history(after, _PAGE_EVENTS, _PAGE_BYTES)
        if not lines:
            return
        yield lines
        after = seq_of(lines[-1])


def seq_of(line: bytes) -> int:
    """Return the number of an event."""
    event: dict[str, Any] = orjson.loads(line)
    return int(event["seq"])
