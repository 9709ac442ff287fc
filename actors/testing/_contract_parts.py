"""The checks of an event log that concern one user or revocations. They are a part of :class:`EventLogContract`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.errors import LogError, LogUnavailable
from actors.eventlog.base import Retention, Revocation, StreamKey, UserUsage
from actors.testing._tools import KEY, OTHER, TS, event_batch, filled, refused, same

if TYPE_CHECKING:
    from actors.eventlog.base import EventLog


class UserContract:
    """The tests of the methods that concern one user. These tests are a part of :class:`EventLogContract`."""

    async def test_usage(self, log: EventLog) -> None:
        """Check that ``usage`` counts the streams of one user, and the bytes of their kept lines and states."""
        await log.make(OTHER)
        await log.append([event_batch(OTHER, 1, 2, b"not counted")])
        size = sum(map(len, await filled(log))) + len(b"open")
        same(await log.usage(KEY.user), UserUsage(1, size))
        kept = await log.trim(KEY, Retention(events=8), TS)  # it drops a part of a batch
        await log.make(second := StreamKey(KEY.user, "s2"))
        await log.mark(second, b"closed")
        same(await log.usage(KEY.user), UserUsage(2, kept.size + len(b"open" + b"closed")))
        await log.remove(KEY)
        same(await log.usage(KEY.user), UserUsage(1, len(b"closed")))

    async def test_user_streams(self, log: EventLog) -> None:
        """Check that ``user_streams`` returns the streams of one user in the order of their names, in pages."""
        names = ["", "a", "a b", "b", "\u00e9", "\U0001f600"]
        for key in (OTHER, *(StreamKey("u", name) for name in reversed(names))):
            await log.make(key)
        keys = [StreamKey("u", name) for name in names]
        same(list(await log.user_streams("u", "", 9)), keys[1:])
        same(list(await log.user_streams("u", "a", 2)), keys[2:4])
        same(list(await log.user_streams("u", names[-1], 2)), [])
        same(list(await log.user_streams("nobody", "", 2)), [])

    async def test_oldest_streams(self, log: EventLog) -> None:
        """Check that ``oldest_streams`` returns only streams with events, sorted by their oldest events."""
        keys = [StreamKey("u", name) for name in ("empty", "b", "a", "c")]
        for key, ts in zip([*keys, OTHER], (0, 5, 5, 1, 0), strict=True):
            await log.make(key)
            await log.append([event_batch(key, 1, 10, ts=TS + ts)] if ts or key == OTHER else [])
        same(list(await log.oldest_streams("u", 9)), [keys[3], keys[2], keys[1]])
        await log.trim(keys[3], Retention(events=1), TS)
        same(list(await log.oldest_streams("u", 2)), [keys[2], keys[1]])


class RevocationContract:
    """The tests of revocations. These tests are a part of :class:`EventLogContract`."""

    async def test_revocations(self, log: EventLog) -> None:
        """Check that the log keeps revocations when it is opened again, if its ``outlives_process`` is True.

        Of two revocations of one user or token, the later of each of the times counts. A user and a token can have the
        same name. A log that keeps no revocations refuses each of them with ``LogError``.
        """
        names = {name: i / 8 for i, name in enumerate(("a\0b", "o'k", "日本", "\U0001f600"), 1)}
        users = [Revocation(user=name, at=TS + i, until=TS + 9) for name, i in names.items()]
        tokens = [Revocation(token_id=name, at=TS, until=TS + 10 + i) for name, i in names.items()]
        try:
            for each in [*users, *tokens]:
                await log.revoke(each, TS)
        except LogError:
            same(list(await log.revocations()), [])
            return
        await _check_revocations(log, [*users, *tokens])
        for at, until in ((TS + 5, TS + 99), (TS + 4, TS + 8)):
            await log.revoke(attrs.evolve(users[0], at=at, until=until), TS)
        await _check_revocations(log, [attrs.evolve(users[0], at=TS + 5, until=TS + 99), *users[1:], *tokens])
        await log.close()
        await refused(log.revocations(), LogUnavailable)
        await refused(log.revoke(users[0], TS), LogUnavailable)
        await log.open()
        kept = len(names) * 2 if log.outlives_process else 0
        same(len(await log.revocations()), kept)

    async def test_old_revocations_are_forgotten(self, log: EventLog) -> None:
        """Check that ``revoke`` forgets the revocations with an ``until`` of ``now`` or earlier, and no others."""
        each = [Revocation(token_id=str(i), at=TS, until=TS + i) for i in range(3)]
        try:
            for one in each:
                await log.revoke(one, TS - 1)
        except LogError:
            return
        await log.revoke(new := Revocation(user="u", at=TS + 1, until=TS + 2), TS + 1)
        await _check_revocations(log, [each[2], new])


async def _check_revocations(log: EventLog, expected: list[Revocation]) -> None:
    found = await log.revocations()
    same(len(found), len(expected))
    same(set(found), set(expected))
