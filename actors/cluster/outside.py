"""The removal of a user from a log in Valkey that no server uses, by a program that is no node itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from actors.cluster.interfaces import Incarnation, Token
from actors.errors import LogUnavailable
from actors.valkey.owners import ValkeyOwners

if TYPE_CHECKING:
    from actors.eventlog.base import EventLog
    from actors.eventlog.valkey import ValkeyLog

_NAME = "greenroom-forget"


async def forget_from_outside(log: EventLog, user: str) -> int:
    """Remove everything of a user from an open log in Valkey. Return the number of removed sessions.

    The program owns the user meanwhile: a server that starts just now is refused by the log, and cannot make a session.

    Raises:
        LogUnavailable: The server does not answer, or a server has just claimed the user.
    """
    engine = cast("ValkeyLog", log)
    owners = ValkeyOwners(engine.valkey)
    before = await owners.owner_of(user)
    token = Token(1 if before is None else before.term + 1, Incarnation.new(_NAME, time.time_ns() // 1_000_000))
    if await owners.claim(user, before, token) != token:
        raise LogUnavailable(f"a server has just claimed the user {user!r}: end it, or let it forget the user")
    engine.tokens = {user: str(token)}
    try:
        sessions = await log.forget(user)
    finally:
        engine.tokens = {}
        await owners.release(user, token)
    await log.forget(user)  # the name, which is in the token
    return sessions
