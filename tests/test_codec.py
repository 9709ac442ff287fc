"""What is JSON passes as it is; what is not is refused at the emitting line."""

from __future__ import annotations

import json
import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import MAX_DEPTH, UnserialisableEvent, encode

LIMIT = 1024 * 1024
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@attrs.frozen
class Box:
    inside: object


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@given(JSON_VALUES)
def test_a_json_value_comes_back_as_it_was(value: Any) -> None:
    assert json.loads(encode(value, LIMIT)) == value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [math.inf],
        {"a": -math.inf},
        Box(math.nan),
        Box(Box(math.nan)),
        b"x",
        {1, 2},
        {1: 2},
        "\ud800",
        Box(b"x"),
    ],
    ids=repr,
)
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(UnserialisableEvent):
        encode(value, LIMIT)


EXACT = 2**53 - 1
"""The largest integer that every reader of JSON takes for what it is."""


@pytest.mark.parametrize("value", [EXACT, -EXACT, [EXACT], Box(-EXACT), float(2**60), str(2**60)], ids=repr)
def test_a_number_that_browsers_read_exactly_passes(value: object) -> None:
    assert encode(value, LIMIT)


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63 - 1, 2**64, {"id": [2**53]}, Box(2**53)], ids=repr)
def test_an_integer_that_browsers_would_round_is_refused_and_told_what_to_do(value: object) -> None:
    with pytest.raises(UnserialisableEvent, match="give it as a string"):
        encode(value, LIMIT)


def test_a_cycle_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(UnserialisableEvent):
        encode(value, LIMIT)


def test_the_depth_allowed_is_allowed_and_one_more_is_not() -> None:
    assert encode(nested(MAX_DEPTH), LIMIT)
    with pytest.raises(UnserialisableEvent, match="deeper"):
        encode(nested(MAX_DEPTH + 1), LIMIT)


def test_the_limit_is_inclusive() -> None:
    assert len(encode("x" * 98, 100)) == 100
    with pytest.raises(UnserialisableEvent, match="101 bytes"):
        encode("x" * 99, 100)
