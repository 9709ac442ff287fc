"""A log with something of each kind, and everything that a log keeps, to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.eventlog import Retention, StreamKey
from actors.eventlog.base import ConsumerPosition, Revocation
from actors.testing import event_batch

if TYPE_CHECKING:
    from actors.eventlog import EventLog

TS = 1_700_000_000_000
PART, GONE, EMPTY, WHOLE = (StreamKey("ann", name) for name in ("part", "gone", "empty", "whole"))
EVENTS = 10
SOUND = b"[0,[]]"


async def fill(log: EventLog, state: bytes = b"state of ") -> None:
    """Make streams of each kind, revoked tokens, and consumers that have read some of it and have lost events.

    The state of each stream begins with ``state``. With :data:`SOUND` the log passes the check of ``greenroom verify``.
    """
    for key in (PART, GONE, EMPTY, WHOLE):
        own = state if state == SOUND else state + key.session.encode()
        await log.make(key)
        for first in (1, 4) if key != EMPTY else ():
            await log.append([event_batch(key, first, 3 if first == 1 else 7, own, TS + first)])
    await log.mark(GONE, state if state == SOUND else b"closed")
    await log.revoke(Revocation(user="bob", at=1.5, until=9e9), 0)
    await log.revoke(Revocation(token_id="t", at=2.5, until=9e9), 0)
    await log.start_consumer("bills", from_start=True)
    await log.start_consumer("mails", from_start=True)
    lost = StreamKey("ann", "lost")
    await log.make(lost)
    await log.append([event_batch(lost, 1, 2)])
    await log.remove(lost)
    positions = [ConsumerPosition(key, (await log.make(key)).epoch, 6) for key in (PART, WHOLE)]
    await log.acknowledge("bills", positions, 1)
    await log.trim(PART, Retention(events=5), TS)
    await log.trim(GONE, Retention(events=0), TS)


async def contents(log: EventLog, *, epochs: bool = True) -> list[object]:
    """Return everything that a log keeps; without the epochs, if ``epochs`` is False."""
    found: list[object] = []
    for key in await log.streams():
        head = await log.head(key)
        assert head is not None
        summary = (head.epoch if epochs else "", head.oldest, head.latest, head.size, head.oldest_ts, head.state)
        found.append((key, summary, head.touched, list(await log.read(key, head.oldest - 1, 99, 1 << 20))))
    names, keys = await log.consumers(), await log.streams()
    for consumer in names:
        positions = await log.consumer_positions(consumer.name, keys)
        found.append((consumer, [(each.key, each.epoch if epochs else "", each.seq) for each in positions]))
    return [*found, set(await log.revocations())]
