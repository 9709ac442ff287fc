"""What tests of a log in Valkey share: an open log on a server of its own, the claim of a user, and all lines."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import _valkey
import trio

from actors.eventlog import ValkeyOptions
from actors.eventlog.base import StreamKey
from actors.eventlog.valkey import ValkeyLog
from actors.valkey.address import parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 60
"""The limit of each wait in seconds."""
KEY, OTHER = StreamKey("u", "s"), StreamKey("v", "s")


@asynccontextmanager
async def served_log() -> AsyncIterator[tuple[_valkey.Server, ValkeyLog]]:
    """Run a server of its own that loses nothing when it is killed, and open a log in it."""
    with _valkey.Server(append=True) as server, trio.fail_after(LIMIT):
        async with ValkeyLog(parse_address(server.url), ValkeyOptions(timeout_seconds=LIMIT)) as log:
            log.hold_seconds = LIMIT
            yield server, log


async def claim(log: ValkeyLog, user: str, token: str, expected: str = "") -> None:
    """Store a token of a user, as its new owner does."""
    answer = await log.valkey.aside("gr1_claim", [log.valkey.keys.token(user)], expected, token)
    assert answer[0] == 1


async def lines_of(log: ValkeyLog, key: StreamKey = KEY) -> list[bytes]:
    """Return all events of a stream."""
    return list(await log.read(key, 0, 99, 1 << 20))
