"""The ends of AG-UI streams that the server decides, as bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors import Position
from transport.adapters.agui import ThreadEncoder
from transport.adapters.agui._formats import ThreadFormat
from transport.adapters.answers import Refused

WELCOME: dict[str, Any] = {"epoch": "e", "oldest": 5, "latest": 9}


def format_of(cursor: Position | None = None) -> ThreadFormat:
    return ThreadFormat(ThreadEncoder("t"), cursor, live=True)


def error_in(data: bytes) -> tuple[str, str]:
    """Return the code and the message of a stream that ends with RUN_ERROR."""
    event = json.loads(data.split(b"data: ")[1])
    assert event["type"] == "RUN_ERROR"
    return event["code"], event["message"]


def test_goodbye_of_a_server_that_comes_back() -> None:
    """A client that is to come back is told when, and no end of the run: the run goes on."""
    assert format_of().goodbye(1001, "the server\nstops", 200) == b": the server stops\nretry: 200\n\n"


@pytest.mark.parametrize(("code", "name"), [(4506, "session_closed"), (4501, "refused"), (4505, "rate_limited")])
def test_goodbye_for_good(code: int, name: str) -> None:
    """A client that is not to come back gets RUN_ERROR."""
    assert error_in(format_of().goodbye(code, "why", None)) == (name, "why")


@pytest.mark.parametrize(
    ("cursor", "code"),
    [(Position("other", 6), "epoch_changed"), (Position("e", 10), "ahead"), (Position("e", 3), "trimmed")],
)
def test_positions_that_are_lost(cursor: Position, code: str) -> None:
    """A stream that cannot go on where its client stopped is over at once."""
    format_ = format_of(cursor)
    assert error_in(format_.welcome(WELCOME))[0] == code
    assert format_.over


@pytest.mark.parametrize("seq", [4, 9])
def test_positions_that_are_kept(seq: int) -> None:
    """A position is kept from the event before the oldest one to the newest one."""
    format_ = format_of(Position("e", seq))
    assert format_.welcome(WELCOME).startswith(b":")
    assert not format_.over


@pytest.mark.parametrize(("code", "status"), [(4501, 401), (4502, 403), (4005, 200), (4500, 200)])
def test_refusals(code: int, status: int) -> None:
    """A client without access gets HTTP's own status. Another refusal is a stream of one RUN_ERROR."""
    answer = format_of().refusal(Refused(code, "why"))
    assert answer.status == status
    if status == 200:
        assert error_in(answer.body) == ("overloaded" if code == 4005 else "bad_input", "why")
