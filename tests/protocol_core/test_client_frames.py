"""Frames of clients: any incoming text is parsed to a frame or is a BadFrame, and nothing else."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.events import MAX_SEQ, Position
from transport.protocol.client_frames import Ack, BadFrame, CommandFrame, Hello, HistoryFrame, Pong, parse
from transport.protocol.limits import MAX_HISTORY, MAX_ID

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
TYPES = ("hello", "command", "typing", "ack", "history", "pong", "token")
FIELDS = ("session", "token", "resume", "from", "strict", "id", "name", "args", "active", "seq", "after", "limit")
NEARLY = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={name: ANY_VALUE | st.fixed_dictionaries({"epoch": ANY_VALUE, "seq": ANY_VALUE}) for name in FIELDS},
)


@given(ANY_TEXT)
def test_any_text(text: str) -> None:
    """For any text, the parser of client frames returns a frame or raises BadFrame. It raises nothing else."""
    with suppress(BadFrame):
        parse(text)


@given(ANY_VALUE)
def test_any_json(value: Any) -> None:
    """For any JSON text, the parser of client frames returns a frame or raises BadFrame. It raises nothing else."""
    with suppress(BadFrame):
        parse(json.dumps(value))


@given(NEARLY, st.booleans())
def test_any_field_value(frame: dict[str, Any], ascii_only: bool) -> None:
    """For any value in any field of a frame, the parser returns a frame or raises BadFrame. It raises nothing else."""
    with suppress(BadFrame):
        parse(json.dumps(frame, ensure_ascii=ascii_only))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"type":"pong"} x',
        '{"type":NaN}',
        '{"type":"pong","x":Infinity}',
        '{"type":"nonsense"}',
        '{"type":["pong"]}',
        '{"type":"ack","seq":' + "9" * 5_000 + "}",
        "[" * 100_000,
        '{"a":' * 65 + "1" + "}" * 65,
    ],
)
def test_invalid_text_is_a_bad_frame(text: str) -> None:
    """If a text is not a frame of the protocol, the parser raises BadFrame."""
    with pytest.raises(BadFrame):
        parse(text)


def sent(**fields: Any) -> Any:
    return parse(json.dumps(fields))


def test_null_and_unknown_fields() -> None:
    """In a client's frame, a field with null counts as absent, and an unknown field is ignored."""
    bare = Hello("s", None, None, from_latest=False, strict=False)
    assert sent(type="hello", session="s") == bare
    assert sent(type="hello", session="s", token=None, resume=None, strict=None, new={"x": 1}, **{"from": None}) == bare
    assert sent(type="pong", new=1) == Pong()
    assert sent(type="command", id="1", name="n", args=None) == CommandFrame("1", "n", {})


def test_hello_with_all_fields() -> None:
    """If a hello has all possible fields, the parser returns the value of each."""
    hello = sent(type="hello", session="s", resume={"epoch": "e", "seq": MAX_SEQ}, strict=True, **{"from": "latest"})
    assert hello == Hello("s", None, Position("e", MAX_SEQ), from_latest=True, strict=True)


@pytest.mark.parametrize("session", ["a", "x" * 128, "A.z_0~:-"])
def test_session_name(session: str) -> None:
    """A session name with 1 to 128 allowed characters is accepted."""
    assert sent(type="hello", session=session).session == session


@pytest.mark.parametrize("session", ["", "x" * 129, "a b", "a/b", "é", "a\n"])
def test_bad_session_name(session: str) -> None:
    """If a session name is empty, too long or has other characters, the parser raises BadFrame."""
    with pytest.raises(BadFrame, match="session must be 1 to 128 characters"):
        sent(type="hello", session=session)


def test_bounds_of_id_and_seq() -> None:
    """An id of maximum length and a seq of maximum value are accepted. One more is a BadFrame."""
    assert sent(type="command", id="x" * MAX_ID, name="n").id == "x" * MAX_ID
    assert [sent(type="ack", seq=seq) for seq in (0, MAX_SEQ)] == [Ack(0), Ack(MAX_SEQ)]
    for frame in (
        {"type": "command", "id": "x" * (MAX_ID + 1), "name": "n"},
        {"type": "command", "id": "", "name": "n"},
        {"type": "ack", "seq": -1},
        {"type": "ack", "seq": MAX_SEQ + 1},
        {"type": "ack", "seq": True},
        {"type": "ack", "seq": 1.0},
    ):
        with pytest.raises(BadFrame):
            sent(**frame)


@pytest.mark.parametrize(
    ("after", "limit", "fault"),
    [
        (0, 1, None),
        (MAX_SEQ, MAX_HISTORY, None),
        (-1, 1, "after must be"),
        (MAX_SEQ + 1, 1, "after must be"),
        (0, 0, "limit must be"),
        (0, MAX_HISTORY + 1, "limit must be"),
    ],
)
def test_bounds_of_a_history_request(after: int, limit: int, fault: str | None) -> None:
    """If a number in a ``history`` request is out of bounds, the parser returns a frame that names the fault.

    It does not raise BadFrame, so the connection can stay open.
    """
    frame = sent(type="history", id="1", after=after, limit=limit)
    assert frame == HistoryFrame("1", after, limit)
    assert frame.fault is None if fault is None else frame.fault.startswith(fault)
