"""The states that a client shows, before and after its session has moved."""

from __future__ import annotations

import orjson
import pytest

from actors.cluster._shown import ShownStates
from actors.sessions._messages import Queued

QUEUED = [Queued("k1", "helper", 1), Queued("k2", "writer", 2)]
TYPING = [("user", "c-1"), ("agent", "r-1")]


def signals(old: ShownStates, new: ShownStates) -> list[tuple[str, object]]:
    """Return the signals of a move, decoded."""
    return [(name, orjson.loads(data)) for name, data in old.signals_to(new)]


def test_signals_of_a_move() -> None:
    """A client is told the states that have ended, then those that have begun. The others are not told again."""
    assert signals(ShownStates(TYPING, QUEUED), ShownStates([TYPING[0], ("user", "c-2")], QUEUED[1:])) == [
        ("typing", {"by": "agent", "id": "r-1", "active": False}),
        ("queued", {"command_id": "k1", "agent": "helper", "waiting": False}),
        ("typing", {"by": "user", "id": "c-2", "active": True}),
    ]


def test_signals_change_the_states() -> None:
    """States that began or ended by signals count as those of a welcome."""
    shown = ShownStates(TYPING[:1], QUEUED[:1])
    for name, value in [
        ("typing", {"by": "user", "id": "c-1", "active": False}),
        ("typing", {"by": "agent", "id": "r-1", "active": True}),
        ("queued", {"command_id": "k1", "agent": "helper", "waiting": False}),
        ("queued", {"command_id": "k2", "agent": "writer", "waiting": True}),
    ]:
        shown.note(name, orjson.dumps(value))
    assert signals(shown, ShownStates(TYPING[1:], QUEUED[1:])) == []


@pytest.mark.parametrize("name", ["typing", "queued", "progress"])
@pytest.mark.parametrize("value", [None, [1], {"by": 7, "id": "x", "active": True}, {"command_id": "k1"}], ids=repr)
def test_other_signals_are_ignored(name: str, value: object) -> None:
    """A signal of an agent that only has the name of a state's signal changes nothing."""
    shown = ShownStates([], [])
    shown.note(name, orjson.dumps(value))
    assert signals(shown, ShownStates([], [])) == []
