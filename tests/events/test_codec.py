"""What is JSON passes as it is; what is not is refused at the emitting line."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import UnserialisableEvent
from actors.spi import MAX_DEPTH, encode

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


class Zone(tzinfo):
    """A time zone that answers, or fails, as a test says."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def utcoffset(self, _: datetime | None) -> timedelta:
        if isinstance(self._answer, type):
            raise self._answer
        return self._answer  # type: ignore[no-any-return]  # a foreign one may return anything

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        return "odd"


class Lazy(dict[str, object]):
    """A dict that fails when it is asked for its items."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__(a=None)
        self._error = error

    def items(self) -> Any:
        raise self._error


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


@pytest.mark.parametrize("answer", [ValueError, KeyboardInterrupt, "an hour", timedelta(days=2)], ids=repr)
def test_a_time_zone_that_fails_is_a_payload_that_is_not_json(answer: Any) -> None:
    """The encoder itself would end the process there."""
    with pytest.raises(UnserialisableEvent):
        encode({"at": [Box(datetime(2026, 1, 1, tzinfo=Zone(answer)))]}, LIMIT)


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (timedelta(hours=2), "2026-01-01T00:00:00.000007+02:00"),
        (timedelta(hours=-3, minutes=-30), "2026-01-01T00:00:00.000007-03:30"),
        (None, "2026-01-01T00:00:00.000007+00:00"),
    ],
)
def test_a_time_of_a_foreign_zone_is_written_as_one_of_the_standard_library(offset: Any, text: str) -> None:
    moment = datetime(2026, 1, 1, microsecond=7, tzinfo=Zone(offset))
    assert json.loads(encode(moment, LIMIT)) == text
    if offset is not None:
        assert encode(moment, LIMIT) == encode(moment.replace(tzinfo=timezone(offset)), LIMIT)


@pytest.mark.parametrize("error", [KeyError, SystemExit, KeyboardInterrupt, ValueError])
def test_whatever_a_value_raises_it_is_a_payload_that_is_not_json(error: type[BaseException]) -> None:
    """What has ``null`` in it is looked at by a second encoder, which asks objects for what is in them."""
    with pytest.raises(UnserialisableEvent):
        encode(Lazy(error), LIMIT)
