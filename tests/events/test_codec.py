"""The encoding of payloads."""

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
    """An attrs class around a value."""

    inside: object


class Zone(tzinfo):
    """A time zone that returns ``answer`` as its offset, or raises it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def utcoffset(self, _: datetime | None) -> timedelta:
        if isinstance(self._answer, type):
            raise self._answer
        return self._answer  # type: ignore[no-any-return]  # a foreign zone may return anything

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        return "odd"


class Lazy(dict[str, object]):
    """A dict that raises when its items are read."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__(a=None)
        self._error = error

    def items(self) -> Any:
        raise self._error


def nested(levels: int) -> object:
    """Return ``levels`` lists within each other."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@given(JSON_VALUES)
def test_round_trip(value: Any) -> None:
    """Any JSON value is the same after encoding and decoding."""
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
def test_other_values_are_refused(value: object) -> None:
    """The encoder refuses a value that has no JSON form, with ``UnserialisableEvent``."""
    with pytest.raises(UnserialisableEvent):
        encode(value, LIMIT)


EXACT = 2**53 - 1
"""The largest integer that every reader of JSON reads exactly."""


@pytest.mark.parametrize("value", [EXACT, -EXACT, [EXACT], Box(-EXACT), float(2**60), str(2**60)], ids=repr)
def test_exact_numbers_are_accepted(value: object) -> None:
    """An integer that browsers read exactly is accepted. A larger number is accepted if it is a float or a string."""
    assert encode(value, LIMIT)


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63 - 1, 2**64, {"id": [2**53]}, Box(2**53)], ids=repr)
def test_large_integers_are_refused(value: object) -> None:
    """An integer that browsers would round is refused, and the message advises to send it as a string."""
    with pytest.raises(UnserialisableEvent, match="give it as a string"):
        encode(value, LIMIT)


def test_cycle_is_refused() -> None:
    """A list that contains itself is refused."""
    value: list[object] = []
    value.append(value)
    with pytest.raises(UnserialisableEvent):
        encode(value, LIMIT)


def test_maximum_depth() -> None:
    """A value with the maximum depth is accepted. A value with one level more is refused."""
    assert encode(nested(MAX_DEPTH), LIMIT)
    with pytest.raises(UnserialisableEvent, match="deeper"):
        encode(nested(MAX_DEPTH + 1), LIMIT)


def test_size_limit_is_inclusive() -> None:
    """A payload with exactly the maximum size is accepted. A payload that is one byte larger is refused."""
    assert len(encode("x" * 98, 100)) == 100
    with pytest.raises(UnserialisableEvent, match="101 bytes"):
        encode("x" * 99, 100)


@pytest.mark.parametrize("answer", [ValueError, KeyboardInterrupt, "an hour", timedelta(days=2)], ids=repr)
def test_failing_time_zone_is_refused(answer: Any) -> None:
    """A datetime is refused if its time zone raises an exception or returns an invalid offset.

    Without this check, such an exception inside the encoder would end the whole process.
    """
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
def test_foreign_time_zone(offset: Any, text: str) -> None:
    """A datetime with another library's time zone is encoded like a datetime with a time zone of Python itself."""
    moment = datetime(2026, 1, 1, microsecond=7, tzinfo=Zone(offset))
    assert json.loads(encode(moment, LIMIT)) == text
    if offset is not None:
        assert encode(moment, LIMIT) == encode(moment.replace(tzinfo=timezone(offset)), LIMIT)


@pytest.mark.parametrize("error", [KeyError, SystemExit, KeyboardInterrupt, ValueError])
def test_failing_value_is_refused(error: type[BaseException]) -> None:
    """A dict is refused if its method ``items()`` raises an exception.

    The encoder itself does not call this method, but the search for NaN in the value does.
    """
    with pytest.raises(UnserialisableEvent):
        encode(Lazy(error), LIMIT)
