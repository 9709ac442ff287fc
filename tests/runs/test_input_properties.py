"""Rules that hold for inputs of all types: drawn types, drawn values, drawn faults."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import itertools
import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from uuid import UUID

import attrs
import numpy as np
import pydantic
import pytest
import typing_extensions as te
from _scale import scaled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runs.registered import input_type

from actors import CommandRefused, redact_keys
from actors.spi import encode

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2"
LIMIT = 1024 * 1024


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


_NAMES = itertools.count()
_typed_dict: Any = te.TypedDict  # type checkers know it in class statements alone
_CONFIG = pydantic.ConfigDict(arbitrary_types_allowed=True)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_ZONES: Any = st.none() | st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, _TEXT),
    (int, st.integers(-(2**53) + 1, 2**53 - 1)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UUID, st.uuids()),
    (timedelta, st.timedeltas()),
    (Colour, st.sampled_from(Colour)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Annotated[int, pydantic.Field(ge=0, le=9)], st.integers(0, 9)),
    (np.int16, st.integers(-(2**15), 2**15 - 1).map(np.int16)),
    (np.float32, st.floats(width=32, allow_nan=False, allow_infinity=False).map(np.float32)),
    (Any, st.none() | st.booleans() | _TEXT),
]


# Years of four digits, and offsets of whole minutes, as ISO 8601 has them.
_FIRST, _LAST = datetime(1000, 1, 1), datetime(9998, 1, 1)  # noqa: DTZ001 - zones are drawn
_LEAVES += [
    (datetime, st.datetimes(_FIRST, _LAST, timezones=_ZONES)),
    (date, st.dates(_FIRST.date(), _LAST.date())),
    (time, st.times()),
]
_CLASSES: list[Callable[[str, Any], Any]] = [
    lambda name, kind: attrs.make_class(name, {"held": attrs.field(type=kind)}, frozen=True),
    lambda name, kind: dataclasses.make_dataclass(name, [("held", kind)]),
    lambda name, kind: pydantic.create_model(name, __config__=_CONFIG, held=(kind, ...)),
    lambda name, kind: NamedTuple(name, [("held", kind)]),
    lambda name, kind: _typed_dict(name, {"held": kind}),
]
_CONTAINERS: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda kind: GenericAlias(list, (kind,)), lambda value: [value]),
    (lambda kind: GenericAlias(dict, (str, kind)), lambda value: {"held": value}),
    (lambda kind: GenericAlias(tuple, (kind, ...)), lambda value: (value,)),
    (lambda kind: kind if kind is Any else kind | None, lambda value: value),
]


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[Any, Any]:
    """Draw a type and a value of it."""
    kind, values = draw(st.sampled_from(_LEAVES))
    value = draw(values)
    for index in draw(st.lists(st.integers(0, len(_CLASSES) + len(_CONTAINERS) - 1), max_size=5)):
        if index < len(_CLASSES):
            kind = _CLASSES[index](f"Class{next(_NAMES)}", kind)
            value = kind(held=value)
        else:
            outer, make = _CONTAINERS[index - len(_CLASSES)]
            kind, value = outer(kind), make(value)
    return kind, value


@settings(max_examples=scaled(60, 600), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(typed_values())
def test_an_encoded_value_comes_back(drawn: tuple[Any, Any]) -> None:
    """A value of any type, encoded as a result, is the same value again as an input of its type."""
    kind, value = drawn
    made = input_type(kind)(json.loads(encode(value, LIMIT)))
    assert made == value
    assert type(made) is type(value)


_KINDS: list[Any] = [
    Colour,
    list[Decimal],
    UUID | timedelta | None,
    np.ndarray,
    np.int8,
    pydantic.create_model("Drawn", a=(int, ...), b=(list[str], []), c=(UUID | None, None)),
    attrs.make_class("Held", {"a": attrs.field(type=int), "b": attrs.field(type=list[timedelta])}),
    NamedTuple("Pair", [("a", int), ("b", Decimal)]),
    _typed_dict("Note", {"a": Annotated[int, pydantic.Field(gt=0)], "b": str}),
]
_SHORT = ["P1D", "0.5", "a"]
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-300, 2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(["P1D", "0.5", "a"])
    | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "held"]), inner),
    max_leaves=8,
)


@settings(max_examples=scaled(100, 5_000), deadline=None)
@given(st.sampled_from(range(len(_KINDS))), _JSON)
def test_an_input_fits_or_is_refused_with_paths(index: int, value: Any) -> None:
    """Any JSON value is an input, or is refused as ``bad_input`` with a path. Nothing else is raised."""
    made = input_type(_KINDS[index])
    with contextlib.suppress(CommandRefused):
        made(value)
        return
    with pytest.raises(CommandRefused, match=r" @ input[^ ]*$") as refused:
        made(value)
    assert refused.value.code == "bad_input"


class Strictest(pydantic.BaseModel):
    """A model of which each check quotes the value."""

    password: Any = pydantic.Field(default=None, alias="pw")
    user: Any = None

    @pydantic.model_validator(mode="after")
    def fail(self) -> Strictest:
        raise ValueError(f"not {self.password!r} {self.user!r}")


def fails(instance: object, attribute: object, value: object) -> None:
    raise ValueError(f"not {value!r}")


Checked = attrs.make_class(
    "Checked",
    {
        "api_key": attrs.field(type=Any, default=None, validator=fails),
        "inside": attrs.field(type=list[Strictest], default=[], validator=fails),
    },
)
_SECRETS = _JSON.map(lambda value: [value, SECRET]) | st.just(SECRET) | st.just({"a": [SECRET]})


@settings(max_examples=scaled(60, 600), deadline=None)
@given(st.sampled_from(["api_key", "pw", "password", "user"]), _SECRETS, _JSON)
def test_a_refusal_never_shows_a_secret(place: str, secret: Any, other: Any) -> None:
    """A secret, wherever it is in an input with faults, is never in the text of the refusal."""
    inside = {"user": {"token": secret}} if place == "user" else {"user": other, place: secret}
    values = ({"api_key": secret}, {"api_key": other, "inside": [inside]}, {"inside": [inside, inside], "z": other})
    for value in values:
        with pytest.raises(CommandRefused) as refused:
            input_type(Checked)(value, redact_keys())
        assert SECRET not in refused.value.message
