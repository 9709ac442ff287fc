"""The rules that choose a member, on mailboxes without actors: what they keep from one message to the next."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from actors.runtime._home import Home
from actors.runtime._mailbox import Mailbox, loads_of
from actors.runtime._spec import MailboxSpec, Overflow
from actors.runtime.pools import _routing
from actors.runtime.pools._routing import SLOTS, ConsistentHash, LeastWaiting, Random


class Owner:
    """An owner that keeps no dead letters."""

    path = "/owner"

    def discard(self, item: object, why: object) -> None:
        """Ignore a dropped item."""


def mailboxes(count: int, home: Home | None = None, size: int = 100) -> list[Mailbox]:
    """Return the mailboxes of busy actors."""
    home = home or Home()
    return [Mailbox(Owner(), MailboxSpec(size=size, overflow=Overflow.DROP_OLDEST), home) for _ in range(count)]


def by_key(members: list[Mailbox], numbers: list[int] | None = None) -> ConsistentHash:
    """Return the rule by key, for members with the numbers from 1 on."""
    return ConsistentHash(dict(zip(numbers or itertools.count(1), members, strict=False)), None)


def load(mailbox: Mailbox) -> int:
    """Return the load of a mailbox."""
    return loads_of([mailbox])[0]


def lowest(rule: LeastWaiting, members: list[Mailbox]) -> Mailbox:
    """Let the rule choose a member, check that none has a lower load, and put a message into it."""
    chosen = rule.pick("x")
    assert load(chosen) == min(map(load, members))
    assert chosen.offer("x")
    return chosen


def become_idle(mailbox: Mailbox) -> None:
    """Let the actor of an empty mailbox wait for a message."""
    task: Any = SimpleNamespace()
    waits: Any = mailbox.wait(task)
    waits.close()
    task.custom_sleep_data = None  # so that it is not woken: there is no such task


def test_loads_that_change_in_any_order() -> None:
    """By load, the member with the fewest messages is chosen, after any messages, ends of messages and waits."""
    moves = random.Random(7)
    for count in (1, 2, 5):
        members = mailboxes(count)
        rule = LeastWaiting(dict(enumerate(members)))
        for _ in range(1_500):
            other = moves.choice(members)
            match moves.randrange(12):
                case 0:
                    other.offer("straight to the member")
                case 1 | 2 if other.items:
                    other.take()
                case 3 if not other.items:
                    become_idle(other)
                case 4:
                    other.empty()
                case 5:
                    other.put_back(["x"] * moves.randrange(3))
                case _:
                    lowest(rule, members)


@pytest.mark.parametrize("count", [2, 7])
def test_members_with_equal_loads_take_turns(count: int) -> None:
    """By load, busy members with equally many messages are chosen in turn, one look for the burst."""
    members = mailboxes(count)
    rule = LeastWaiting(dict(enumerate(members)))
    chosen = [lowest(rule, members) for _ in range(10 * count)]
    assert chosen == members * 10


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of members at each look."""
    looks: list[int] = []

    def looked(members: list[Mailbox]) -> list[int]:
        looks.append(len(members))
        return loads_of(members)

    monkeypatch.setattr(_routing, "loads_of", looked)
    return looks


def test_burst_needs_one_look(looks: list[int]) -> None:
    """By load, all members are looked at once for a burst, and again when a load has become less."""
    members = mailboxes(4)
    rule = LeastWaiting(dict(enumerate(members)))
    for _ in range(40):
        lowest(rule, members)
    assert looks == [4]
    members[2].take()
    assert lowest(rule, members) is members[2]
    assert looks == [4, 4]


def test_burst_over_unequal_loads_needs_one_look(looks: list[int]) -> None:
    """By load, one look is enough for a burst that fills up members with unequal loads.

    *Each message had a look at all members until their loads were equal again.*
    """
    members = mailboxes(5)
    for number, member in enumerate(members):
        member.put_back(["x"] * 3 * number)
    rule = LeastWaiting(dict(enumerate(members)))
    for _ in range(3 * (4 + 3 + 2 + 1) + 10):
        lowest(rule, members)
    assert looks == [5]
    assert {load(member) for member in members} == {15}


def test_idle_members_take_turns_after_unequal_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """By load, a message to idle members goes to each in turn, although their loads were unequal before."""
    members = mailboxes(3)
    for member in members[1:]:
        member.put_back(["x"] * 5)
    rule = LeastWaiting(dict(enumerate(members)))
    assert lowest(rule, members) is members[0]
    task: Any = SimpleNamespace()
    for member in members:
        member.empty()
        waits: Any = member.wait(task)
        waits.close()
    monkeypatch.setattr(Mailbox, "is_awaited", True)
    chosen = [rule.pick("x") for _ in range(6)]  # none is put in: each message is handled before the next one
    assert Counter(map(members.index, chosen)) == {0: 2, 1: 2, 2: 2}


def test_overflow_and_two_pools() -> None:
    """By load, a pool sees what became less although another pool has looked at the members meanwhile."""
    members = mailboxes(3)
    first, second = (LeastWaiting(dict(enumerate(members))) for _ in range(2))
    for _ in range(9):
        lowest(first, members)
    members[1].take()
    members[1].take()
    lowest(second, members)
    assert lowest(first, members) is members[1]


def test_members_of_two_systems() -> None:
    """By load, each message needs a look if the members of a router belong to two systems."""
    members = [*mailboxes(2), *mailboxes(2)]
    rule = LeastWaiting(dict(enumerate(members)))
    for _ in range(8):
        lowest(rule, members)
    members[3].take()
    assert lowest(rule, members) is members[3]


def test_random_choice_is_even() -> None:
    """At random, each of three members gets about a third of the messages."""
    members = mailboxes(3)
    rule = Random(dict(enumerate(members)))
    counts = Counter(rule.pick("x") for _ in range(3_000))
    assert len(counts) == 3
    assert min(counts.values()) >= 800


def test_key_table_belongs_to_its_members() -> None:
    """By key, a member that joins takes keys from all, and one that leaves gives up its keys only. Others stay."""
    members = mailboxes(5)
    four, five = by_key(members[:4]), by_key(members)
    before = [four.pick(key) for key in range(1_000)]
    after = [five.pick(key) for key in range(1_000)]
    moved = [new for old, new in zip(before, after, strict=True) if old is not new]
    assert set(moved) == {members[4]}
    assert 50 <= len(moved) <= 400
    again = by_key(members[:4])
    assert [again.pick(key) for key in range(1_000)] == before


def test_bound_of_the_key_table() -> None:
    """By key, keys share a member from ``SLOTS`` numbers on, and one less is another slot. The table does not grow."""
    members = mailboxes(64)
    rule = by_key(members)
    owners = [rule.pick(key) for key in range(SLOTS)]
    assert [rule.pick(key + SLOTS) for key in range(SLOTS)] == owners
    assert any(rule.pick(key + SLOTS - 1) is not owners[key] for key in range(1, 64))
    counts = Counter(owners)
    assert len(counts) == 64
    assert max(counts.values()) <= 3 * SLOTS / 64
