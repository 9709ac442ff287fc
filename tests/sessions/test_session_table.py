"""The table of the sessions in memory: the sessions of one user are found without a look at all others."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from actors import StreamKey
from actors.sessions._session_table import Entry, SessionTable


def entry(user: str, session: str) -> Entry:
    """Return an entry of a session that is being made."""
    nothing: Any = None
    return Entry(StreamKey(user, session), nothing)


def test_sessions_of_a_user() -> None:
    """A user's sessions are counted and returned in the order in which they were added, until they are removed."""
    table = SessionTable()
    first, other, second = entry("ann", "1"), entry("bob", "1"), entry("ann", "2")
    for each in (first, other, second):
        table.add(each)
    assert (table.of("ann"), table.count("ann")) == ([first, second], 2)
    table.remove(first)
    assert (table.of("ann"), table.of("bob"), table.of("eve")) == ([second], [other], [])
    table.remove(second)
    assert (table.of("ann"), table.count("ann"), len(table)) == ([], 0, 1)


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_sessions_leave_in_any_order(order: tuple[int, ...]) -> None:
    """In whichever order sessions are removed, the user's other sessions stay, in their order."""
    table = SessionTable()
    entries = [entry("ann", str(number)) for number in range(3)]
    for each in entries:
        table.add(each)
    for number in order:
        table.remove(entries[number])
        entries[number].key = StreamKey("gone", "")
        assert table.of("ann") == [each for each in entries if each.key.user == "ann"]


def test_other_users_are_not_looked_at() -> None:
    """To find a user's sessions, those of other users are not looked at: nodes do that for each client that comes."""
    table = SessionTable()
    mine, other = entry("ann", "1"), entry("bob", "1")
    table.add(mine)
    table.add(other)
    unreadable: Any = object()
    other.key = unreadable
    assert table.of("ann") == [mine]
    assert table.open_since("ann") == {}


def test_result_is_a_copy() -> None:
    """The sessions of a user can be removed while a caller goes through them."""
    table = SessionTable()
    for number in range(3):
        table.add(entry("ann", str(number)))
    for each in table.of("ann"):
        table.remove(each)
    assert table.count("ann") == 0
