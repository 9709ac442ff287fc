"""Typing of a client that polls, over plain HTTP: it is shown under an id that outlasts the client's polls."""

from __future__ import annotations

import pytest
from adapters.places import PLACES, Place, served

in_each_place = pytest.mark.parametrize("name", PLACES)


def typing(place: Place, query: str, *, active: bool = True, user: str = "ann") -> int:
    """Say whether the user types. Return the HTTP status."""
    status, _ = place.json("POST", f"/commands?session=s1&{query}", {"type": "typing", "active": active}, user=user)
    return status


@in_each_place
def test_typing_without_a_stream(name: str) -> None:
    """``typist`` is shown to the user's other tabs and in later welcomes. A renewal changes nothing."""
    with served(name, typing_seconds=600) as place, place.stream() as stream:
        connection = stream.next("welcome").data["connection"]
        # Another user has another session of this name.
        assert typing(place, "typist=h1", user="bob") == 204
        assert [typing(place, "typist=h1") for _ in range(2)] == [204, 204]
        assert place.poll("&after=latest")[1][0]["typing"] == [{"by": "user", "id": "h1"}]
        assert typing(place, "typist=h1", active=False) == 204
        # An open stream ends by itself, and its typing with it.
        assert typing(place, f"typist=h2&connection={connection}") == 204
        shown = [stream.next("signal").data["data"] for _ in range(3)]
    states = [("h1", True), ("h1", False), (connection, True)]
    assert shown == [{"by": "user", "id": id_, "active": active} for id_, active in states]


def test_typing_that_is_not_renewed() -> None:
    """*The page was left.* The typing ends after ``typing_seconds``, though the client says nothing.

    An id has 1 to 128 characters. Without one, and without an open stream, nobody can be shown.
    """
    with served("native", typing_seconds=0.05) as place, place.stream() as stream:
        ids = [f"typist={'x' * 128}", "typist=", f"typist={'x' * 129}", "connection=unknown", ""]
        assert [typing(place, query) for query in ids] == [204, 400, 400, 409, 409]
        assert [stream.next("signal").data["data"]["active"] for _ in range(2)] == [True, False]
