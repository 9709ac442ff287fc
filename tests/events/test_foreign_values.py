"""Payloads with values of pydantic, numpy and the standard library."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import UnserialisableEvent
from actors.spi import MAX_DEPTH, encode

LIMIT = 64 * 1024


class Colour(enum.Enum):
    RED = "red"
    LIGHT = Decimal("0.5")


class Pair(NamedTuple):
    first: object
    second: object = None


@attrs.frozen
class Box:
    """An attrs class around a value."""

    inside: object
    colours: dict[Colour, int] = attrs.Factory(dict[Colour, int])


class Card(pydantic.BaseModel):
    """A model with an alias, a computed field, a masked secret and a field for any value."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    number: int = pydantic.Field(default=1, alias="no")
    secret: pydantic.SecretStr = pydantic.SecretStr("hunter2")
    price: Decimal = Decimal("1.50")
    hidden: str = pydantic.Field(default="h", exclude=True)
    weight: float = 0.5
    anything: Any = None
    box: Box | None = None

    @pydantic.computed_field
    def twice(self) -> int:
        return 2 * self.number


class Names(pydantic.RootModel[list[str]]):
    """A model that is a list in JSON."""


class Raw(pydantic.BaseModel):
    content: bytes | None = None


class Coded(pydantic.BaseModel):
    content: pydantic.Base64Bytes


class Configured(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64")
    content: bytes = b"hi"


@pydantic.dataclasses.dataclass
class Point:
    x: int = pydantic.Field(default=1, serialization_alias="left")


@dataclasses.dataclass
class Deck:
    cards: list[Point]
    best: Point | None = None


class Broken(pydantic.BaseModel):
    number: int = 1

    @pydantic.field_serializer("number")
    def fail(self, value: int) -> int:
        raise SystemExit(value)


class Chain(pydantic.BaseModel):
    next: Chain | None = None


CARD = {
    "no": 1,
    "secret": "**********",
    "price": "1.50",
    "weight": 0.5,
    "anything": None,
    "box": None,
    "twice": 2,
}
ENCODED: list[tuple[object, object]] = [
    (Decimal("1.50"), "1.50"),
    (Decimal("-1E+9"), "-1E+9"),
    (timedelta(0), "PT0S"),
    (timedelta(days=1, seconds=90, microseconds=5000), "P1DT90.005S"),
    (timedelta(days=-1), "-P1D"),
    (timedelta(microseconds=-1), "-PT0.000001S"),
    (time(0, 0, 0, 10_000), "00:00:00.010000"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T00:00:00+02:00"),
    (Colour.LIGHT, "0.5"),
    (Pair(1, Pair("a")), {"first": 1, "second": {"first": "a", "second": None}}),
    (Box(Pair(Decimal(1)), {Colour.RED: 1}), {"inside": {"first": "1", "second": None}, "colours": {"red": 1}}),
    (Card(), CARD),
    ([{"card": Card()}], [{"card": CARD}]),
    (Box(Card()), {"inside": CARD, "colours": {}}),
    (Pair(Card()), {"first": CARD, "second": None}),
    (Card(box=Box(Decimal(1))), {**CARD, "box": {"inside": "1", "colours": {}}}),
    (Card(anything=[np.int16(3), Card()]), {**CARD, "anything": [3, CARD]}),
    (Names(["a"]), ["a"]),
    (Point(3), {"left": 3}),
    (Deck([Point()], Point(2)), {"cards": [{"left": 1}], "best": {"left": 2}}),
    (pydantic.SecretStr("hunter2"), "**********"),
    (pydantic.HttpUrl("http://localhost/"), "http://localhost/"),
    (Raw(), {"content": None}),
    (Coded(content=b"aGk="), {"content": "aGk="}),
    (Configured(), {"content": "aGk="}),
    (np.int64(5), 5),
    (np.bool_(1), True),
    (np.float32(0.1), 0.1),
    (np.float64(1.5), 1.5),
    (np.str_("a"), "a"),
    (np.datetime64("2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
    (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
    (np.array([1.5, 0.1], dtype=np.float32), [1.5, 0.1]),
    (np.array([1, 2], dtype=">i4"), [1, 2]),
    (np.array(5), 5),
    (np.array(["a", "b"]), ["a", "b"]),
    (np.array([Pair(1), None], dtype=object), [{"first": 1, "second": None}, None]),
    (np.zeros((0, 2)), []),
]


@pytest.mark.parametrize(("value", "expected"), ENCODED, ids=lambda value: repr(value)[:40])
def test_values_of_libraries_are_encoded(value: object, expected: object) -> None:
    """Values of pydantic, numpy and the standard library are encoded as their contents, also inside each other."""
    assert json.loads(encode(value, LIMIT)) == expected


REFUSED: list[tuple[object, str]] = [
    (b"x", "bytes has no JSON form"),
    (bytearray(b"x"), "bytearray has no JSON form"),
    ({"a": [Box(b"x")]}, "bytes has no JSON form"),
    (Pair(b"x"), "bytes has no JSON form"),
    (np.bytes_(b"x"), "bytes_ has no JSON form"),
    (Raw(content=b"x"), "Raw cannot be serialised: bytes have no JSON form"),
    (Card(anything={"a": b"x"}), "Card cannot be serialised: bytes have no JSON form"),
    (Card(box=Box(b"x")), "Card cannot be serialised"),
    (time(0, tzinfo=UTC), "a time with a time zone"),
    (Decimal("NaN"), "NaN and infinities"),
    (Decimal("-Infinity"), "NaN and infinities"),
    (Card(weight=math.nan), "NaN and infinities"),
    (Card(anything=[math.inf]), "NaN and infinities"),
    ([Box(Card(anything=Box(math.nan)))], "NaN and infinities"),
    (np.float32(math.nan), "NaN and infinities"),
    (np.array([[1.0, math.inf]]), "NaN and infinities"),
    (Card(anything=2**53), "give it as a string"),
    (Card(no=2**53), "give it as a string"),
    (np.uint64(2**60), "give it as a string"),
    (np.array([2**60]), "give it as a string"),
    (np.array([1j]), "complex128 has no JSON form"),
    (np.timedelta64(5, "s"), "has no JSON form"),
    (np.datetime64("NaT"), "unsupported"),
    (np.array([(1, 2)], dtype=[("a", int), ("b", int)]), "has no JSON form"),
    (np.ma.array([1, 2], mask=[False, True]), "MaskedArray has no JSON form"),
    (Broken(), "Broken cannot be serialised"),
    ([Broken()], "Broken cannot be serialised"),
    (Card(anything=object()), "Card cannot be serialised: type object"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED, ids=lambda value: repr(value)[:40])
def test_values_without_json_form_are_refused(value: object, reason: str) -> None:
    """The rules for NaN, large integers and bytes hold inside models and arrays too, and the error names the model."""
    with pytest.raises(UnserialisableEvent, match=reason):
        encode(value, LIMIT)


def test_depth_and_size_hold_in_models() -> None:
    """A model that is nested too deep, contains itself, or is too large is refused."""
    chain = Chain()
    for _ in range(MAX_DEPTH - 1):
        chain = Chain(next=chain)
    assert encode(chain, LIMIT)
    with pytest.raises(UnserialisableEvent, match="deeper than 64"):
        encode(Chain(next=chain), LIMIT)
    names = Names(["x" * 94])
    assert len(encode(names, 98)) == 98
    with pytest.raises(UnserialisableEvent, match="98 bytes, 97 are allowed"):
        encode(names, 97)
    chain = Chain()
    chain.next = chain
    with pytest.raises(UnserialisableEvent, match="Chain cannot be serialised"):
        encode(chain, LIMIT)


@given(st.timedeltas())
def test_durations_are_exact(value: timedelta) -> None:
    """A duration is written with all its microseconds: pydantic reads the same duration."""
    assert pydantic.TypeAdapter(timedelta).validate_json(encode(value, LIMIT)) == value


def test_libraries_are_not_imported() -> None:
    """Greenroom imports neither pydantic nor numpy, also when it encodes and redacts values and refuses others."""
    program = """if True:
        import sys, decimal
        import actors, transport
        from actors.spi import encode
        assert actors.redact_keys()({"a": object(), "password": decimal.Decimal(1)})["password"] == "[redacted]"
        for value in (decimal.Decimal(1), object()):
            try:
                encode(value, 100)
            except actors.UnserialisableEvent as error:
                assert "object" in str(error)
        print(sorted({name.partition(".")[0] for name in sys.modules} & {"pydantic", "pydantic_core", "numpy"}))
    """
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
