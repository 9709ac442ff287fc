"""The revocations of a server: which tokens they cover, and for how long they are remembered."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from actors import CommandRefused, MemoryLog, Revocation
from actors.errors import LogError, LogUnavailable
from actors.eventlog.base import EventLog
from actors.sessions._revocations import Revocations
from actors.testing import FaultyLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW, MEMORY = 1_000.0, 100.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Told:
    """A callback that keeps the revocations. It closes one connection for each."""

    def __init__(self) -> None:
        self.revocations: list[Revocation] = []

    def __call__(self, revocation: Revocation) -> int:
        self.revocations.append(revocation)
        return 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def log() -> AsyncIterator[FaultyLog]:
    async with FaultyLog(MemoryLog()) as log:
        yield log


@pytest.fixture
def kept(log: FaultyLog, clock: Clock) -> Revocations:
    return Revocations(log, 3, MEMORY, clock)


@pytest.mark.parametrize(
    ("issued", "covered"), [(None, True), (0, True), (NOW - 1, True), (NOW, True), (NOW + 0.001, False)]
)
async def test_revoked_user(kept: Revocations, issued: float | None, covered: bool) -> None:
    """A revocation of a user covers the tokens that were issued until that moment, or at an unknown time."""
    await kept.revoke("ann", None, None)
    for token_id in (None, "t1", "ann"):
        assert kept.covers("ann", token_id, issued) == covered
        assert not kept.covers("bob", token_id, issued)


async def test_revoked_token(kept: Revocations) -> None:
    """A revocation of a token covers this token alone, whenever it was issued."""
    await kept.revoke(None, "t1", None)
    for issued in (None, 0, NOW + 1):
        assert kept.covers("ann", "t1", issued)
        assert not any(kept.covers(user, other, issued) for user in ("ann", "t1") for other in (None, "t2", "ann"))


@pytest.mark.parametrize(("until", "end"), [(None, NOW + MEMORY), (NOW + 7, NOW + 7), (2**40, 2**40)])
async def test_revocation_ends(
    kept: Revocations, log: FaultyLog, clock: Clock, until: float | None, end: float
) -> None:
    """A revocation covers tokens until the given time, and is forgotten then.

    By default that is after ``revocation_memory_seconds``.
    """
    await kept.revoke("ann", None, until)
    assert list(await log.revocations()) == [Revocation(user="ann", at=NOW, until=end)]
    clock.now = end - 0.25
    assert kept.covers("ann", None, None)
    clock.now = end
    assert not kept.covers("ann", None, None)
    again = Revocations(log, 3, MEMORY, clock)
    await again.load()
    assert len(again) == 0
    await kept.revoke("bob", None, end + 1000)
    assert len(await log.revocations()) == 1


async def test_second_revocation_of_a_user(kept: Revocations, log: FaultyLog, clock: Clock) -> None:
    """Of two revocations of one user, the later time counts, and the later end."""
    await kept.revoke("ann", None, NOW + 50)
    clock.now = NOW + 1
    await kept.revoke("ann", None, NOW + 9)
    assert list(await log.revocations()) == [Revocation(user="ann", at=NOW + 1, until=NOW + 50)]
    clock.now = NOW + 49
    assert kept.covers("ann", None, NOW + 1)
    assert not kept.covers("ann", None, NOW + 2)


async def test_revocation_of_the_past(kept: Revocations, log: FaultyLog) -> None:
    """A revocation with an end that has passed is not remembered, but connections are told about it."""
    told = Told()
    with kept.notifying(told):
        assert await kept.revoke("ann", None, 0) == 1
    assert [each.user for each in told.revocations] == ["ann"]
    assert (len(kept), list(await log.revocations())) == (0, [])
    assert await kept.revoke("ann", None, None) == 0  # the callback is no longer called


async def test_number_of_revocations_is_limited(kept: Revocations, log: FaultyLog, clock: Clock) -> None:
    """At ``max_revocations`` a further user or token is refused, but connections are told about it.

    A known one is accepted, and old revocations make room.
    """
    for number in range(3):
        await kept.revoke(f"user-{number}", None, NOW + 10 + number)
    told = Told()
    with kept.notifying(told):
        with pytest.raises(CommandRefused, match="max_revocations") as caught:
            await kept.revoke("one too many", None, None)
    assert (caught.value.code, len(told.revocations), len(await log.revocations())) == ("overloaded", 1, 3)
    assert not kept.covers("one too many", None, None)
    await kept.revoke("user-2", None, NOW + 20)
    clock.now = NOW + 10
    await kept.revoke("one too many", None, NOW + 20)
    assert kept.covers("one too many", None, None)
    assert len(kept) == 3


async def test_old_revocations_leave_memory(log: FaultyLog, clock: Clock) -> None:
    """Revocations that have ended take no memory for long, also below the limit of their number."""
    kept = Revocations(log, 100_000, MEMORY, clock)
    for number in range(2_000):
        clock.now = NOW + number
        await kept.revoke(None, f"t{number}", clock.now + 10)
        assert len(kept) <= 100


WRONG: list[tuple[Any, Any, Any]] = [
    (None, None, None),
    ("ann", "t1", None),
    ("", None, None),
    (None, "", None),
    (7, None, None),
    ("\ud800", None, None),
    (None, "\ud800", None),
    *(("ann", None, until) for until in ("7", True, float("nan"), 10**400)),
]


@pytest.mark.parametrize(("user", "token_id", "until"), WRONG, ids=repr)
async def test_wrong_revocation_is_refused(kept: Revocations, user: Any, token_id: Any, until: Any) -> None:
    """A revocation of nothing, of two things, or with a wrong value raises ValueError and has no effect."""
    with pytest.raises(ValueError, match=r"user|token_id|until|surrogates"):
        await kept.revoke(user, token_id, until)
    assert len(kept) == 0


async def test_failed_log_does_not_lift_a_revocation(kept: Revocations, log: FaultyLog) -> None:
    """If the log cannot store a revocation, the caller gets the error. The revocation counts nevertheless."""
    log.fail("revoke")
    with pytest.raises(LogUnavailable):
        await kept.revoke("ann", None, None)
    assert kept.covers("ann", None, None)
    await kept.load()
    assert kept.covers("ann", None, None)


class OldLog(MemoryLog):
    """A log of an application that was written before logs kept revocations."""

    revoke = EventLog.revoke
    revocations = EventLog.revocations


async def test_log_without_revocations(clock: Clock) -> None:
    """With a log that keeps no revocations, ``revoke`` raises LogError. The revocation counts in this process."""
    async with OldLog() as log:
        kept = Revocations(log, 3, MEMORY, clock)
        await kept.load()
        with pytest.raises(LogError, match="OldLog keeps no revocations"):
            await kept.revoke("ann", None, None)
        assert kept.covers("ann", None, None)


@pytest.mark.parametrize("fields", [{}, {"user": "a", "token_id": "b"}, {"user": "\ud800"}, {"token_id": "\ud800"}])
def test_revocation_has_one_subject(fields: dict[str, str]) -> None:
    """A Revocation has either a user or a token id, and UTF-8 can encode it."""
    with pytest.raises(ValueError, match=r"either|surrogates"):
        Revocation(at=1, until=2, **fields)


def test_joined_revocations() -> None:
    """A joined revocation has the later of each of the times, in any order."""
    each = [Revocation(user="a", at=at, until=until) for at, until in ((1, 9), (2, 5))]
    for one, other in itertools.permutations(each):
        assert one.joined(other) == Revocation(user="a", at=2, until=9)
    assert each[0].joined(None) == each[0]
