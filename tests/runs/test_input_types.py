"""Inputs of the types of pydantic, numpy, annotated-types and the standard library."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
from collections import deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import annotated_types as at
import attrs
import numpy as np
import numpy.typing as npt
import pydantic
import pydantic_core
import pytest
from runs.registered import input_type

from actors import CommandRefused

T = TypeVar("T")


class Item(pydantic.BaseModel):
    name: str
    count: int = pydantic.Field(default=1, gt=0)
    at: datetime | None = None


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    name: str


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    day: date
    pair: tuple[int, int]
    number: int


class Tree(pydantic.BaseModel):
    name: str
    below: list[Tree] = []


class Names(pydantic.RootModel[list[str]]): ...


@pydantic.dataclasses.dataclass
class Point:
    x: int


@attrs.frozen
class Order:
    """An attrs class with models in it."""

    items: list[Item]
    pet: Cat | Dog | None = None
    size: Annotated[int, pydantic.Field(gt=0)] = 1
    code: Annotated[str, at.Len(2, 3)] = "ab"


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T
    more: list[T] = dataclasses.field(default_factory=list)
    items: dict[str, Item] = dataclasses.field(default_factory=dict)


class Note(TypedDict):
    text: str
    item: Item


class Pair(NamedTuple):
    first: int
    second: Item | None = None


class Basket(pydantic.BaseModel):
    """A model with attrs classes in it."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    order: Order
    others: list[Order] = []


class Level(enum.Enum):
    HALF = Decimal("0.5")
    BOTH = (1, 2)


class Word(str):
    """A string with a check of pydantic."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return pydantic_core.core_schema.no_info_after_validator_function(cls._checked, handler(str))

    @classmethod
    def _checked(cls, text: str) -> Word:
        if text != "please":
            raise ValueError("the word is please")
        return cls(text)


@attrs.frozen
class Spell:
    word: Word


ItemId = NewType("ItemId", Item)


PlainPair = namedtuple("PlainPair", "first second")  # noqa: PYI024 - the case: it has no types
Made = NamedTuple("Made", [("first", int)])  # noqa: UP014 - the case: it is no class statement


class Chain(NamedTuple, Generic[T]):
    held: list[T]
    next: Chain[T] | None = None


ITEM = {"name": "tea"}
ORDER = Order([Item(name="tea")])
BOTH: list[tuple[Any, Any, Any]] = [
    (Item, {"name": "tea", "at": "2026-01-02T00:00:00Z"}, Item(name="tea", at=datetime(2026, 1, 2, tzinfo=UTC))),
    (Item | None, None, None),
    (Item | None, ITEM, Item(name="tea")),
    (list[Item], [ITEM], [Item(name="tea")]),
    (dict[str, Item], {"a": ITEM}, {"a": Item(name="tea")}),
    (Cat | Dog, {"kind": "dog", "name": "Rex"}, Dog(kind="dog", name="Rex")),
    (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], {"kind": "cat", "lives": 9}, Cat(kind="cat", lives=9)),
    (Item | Order, {"items": []}, Order([])),
    (Item | Order | Note | None, {"text": "t", "item": ITEM}, {"text": "t", "item": Item(name="tea")}),
    (Strict, {"day": "2026-01-02", "pair": [1, 2], "number": 3}, Strict(day=date(2026, 1, 2), pair=(1, 2), number=3)),
    (Tree, {"name": "a", "below": [{"name": "b"}]}, Tree(name="a", below=[Tree(name="b")])),
    (Names, ["a"], Names(["a"])),
    (Point, {"x": 1}, Point(1)),
    (ItemId, ITEM, Item(name="tea")),
    (Order, {"items": [ITEM], "pet": {"kind": "cat", "lives": 9}}, Order([Item(name="tea")], Cat(kind="cat", lives=9))),
    (Box[int], {"inside": 1, "items": {"a": ITEM}, "more": [2]}, Box(1, [2], {"a": Item(name="tea")})),
    (Note, {"text": "t", "item": ITEM}, {"text": "t", "item": Item(name="tea")}),
    (Pair, {"first": 1, "second": ITEM}, Pair(1, Item(name="tea"))),
    (Pair, [1], Pair(1)),
    (PlainPair, {"first": 1, "second": [None]}, PlainPair(1, [None])),
    (Made, {"first": 1}, Made(1)),
    (Chain[int], {"held": [1], "next": {"held": []}}, Chain([1], Chain([]))),
    (
        Basket,
        {"order": {"items": []}, "others": [{"items": [ITEM]}]},
        Basket(order=Order([]), others=[ORDER]),
    ),
    (Spell, {"word": "please"}, Spell(Word("please"))),
    (Level, "0.5", Level.HALF),
    (Level, [1, 2], Level.BOTH),
    (Annotated[int, pydantic.Field(gt=0)], 1, 1),
    (Annotated[int, at.Gt(0), at.Le(5)], 5, 5),
    (pydantic.PositiveInt, 1, 1),
    (list[Annotated[str, at.Len(1, 2)]], ["a", "ab"], ["a", "ab"]),
    (Annotated[int, at.MultipleOf(3), at.Predicate(bool)], 6, 6),
    (Annotated[int, "a note"], 1, 1),
    (Decimal, "1.50", Decimal("1.50")),
    (Decimal, 2, Decimal(2)),
    (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (date, "2026-01-02", date(2026, 1, 2)),
    (time, "03:04", time(3, 4)),
    (timedelta, "P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
    (timedelta, "-P2W", timedelta(weeks=-2)),
    (UUID, "00000000-0000-0000-0000-000000000001", UUID(int=1)),
    (datetime | UUID | None, "00000000-0000-0000-0000-000000000001", UUID(int=1)),
    (int | UUID | list[date], ["2026-01-02"], [date(2026, 1, 2)]),
    (deque[int], [1], deque([1])),
    (None, None, None),
    (np.int8, 5, np.int8(5)),
    (np.float32, 0.1, np.float32(0.1)),
    (np.bool_, True, np.bool_(1)),
    (np.datetime64, "2026-01-02", np.datetime64("2026-01-02")),
    (pydantic.HttpUrl, "http://localhost/", pydantic.HttpUrl("http://localhost/")),
    (Annotated[pathlib.Path, pydantic.Field()], "/tmp", pathlib.Path("/tmp")),  # noqa: S108 - only a name
]


@pytest.mark.parametrize(("annotation", "value", "expected"), BOTH, ids=lambda each: str(each)[:50])
def test_a_value_becomes_its_annotated_type(annotation: Any, value: Any, expected: Any) -> None:
    """An input becomes the annotated type: a model by pydantic, all others by strict conversion, inside each other."""
    made = input_type(annotation)(value)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (np.ndarray, [[1, 2.5]], np.array([[1, 2.5]])),
        (np.ndarray, [], np.array([])),
        (npt.NDArray[np.uint8], [1, 255], np.array([1, 255], dtype=np.uint8)),
        (npt.NDArray[np.float32], [[1]], np.array([[1]], dtype=np.float32)),
        (npt.NDArray[np.str_], ["a"], np.array(["a"])),
        (npt.NDArray[Any], [True], np.array([True])),
    ],
    ids=str,
)
def test_an_array_has_the_annotated_type(annotation: Any, value: Any, expected: Any) -> None:
    """An array becomes an array of numpy, of the annotated type or of the type of its items."""
    made: Any = input_type(annotation)(value)
    assert np.array_equal(made, expected)
    assert made.dtype == expected.dtype


FAULTS: list[tuple[Any, Any, str]] = [
    (
        Item,
        {"name": 5, "count": 0, "at": "no"},
        "Input should be a valid string @ input.name; Input should be greater than 0 @ input.count; ",
    ),
    (Item | None, {}, "Field required @ input.name"),
    (Item, 5, "Input should be an object @ input"),
    (list[Item], [ITEM, {}], "Field required @ input[1].name"),
    (dict[str, Item], {"a": {}}, "Field required @ input.a.name"),
    (Cat | Dog, {"kind": "dog"}, "Field required (Dog) @ input.name"),
    (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], {"kind": "cow"}, "tags: 'cat', 'dog' @ input"),
    (
        Item | Order,
        {"nme": 1},
        "Field required @ input.name; required field missing @ input.items; extra fields found (nme) @ input",
    ),
    (
        Strict,
        {"day": "2026-01-02", "pair": [1], "number": "3"},
        "Field required @ input.pair[1]; Input should be a valid integer @ input.number",
    ),
    (Tree, {"name": "a", "below": [{"name": 1}]}, "Input should be a valid string @ input.below[0].name"),
    (Names, [1], "Input should be a valid string @ input[0]"),
    (
        Order,
        {"items": [{}], "pet": {"kind": "cat", "lives": "x"}, "size": 0, "code": "abcd"},
        (
            "Field required @ input.items[0].name; Input should be a valid integer, unable to parse "
            "string as an integer (Cat) @ input.pet.lives"
        ),
    ),
    (
        Order,
        {"items": [], "size": -1, "code": "a"},
        "Input should be greater than 0 @ input.size; needs at least 2 items @ input.code",
    ),
    (
        Box[int],
        {"inside": "1", "items": {"a": {}}},
        "expected integer, got string @ input.inside; Field required @ input.items['a'].name",
    ),
    (Note, {"item": {}}, "required field missing @ input.text; Field required @ input.item.name"),
    (Pair, {"first": "1", "third": 1}, "got string @ input.first; extra fields found (third) @ input"),
    (Chain[int], {"held": ["a"], "next": {}}, "string @ input.held[0]; required field missing @ input.next.held"),
    (Pair, [1, None, 3], "expected 2 items, got 3 @ input"),
    (
        Basket,
        {"order": {"items": [{}]}, "others": [{}]},
        "Field required @ input.order.items[0].name; required field missing @ input.others[0].items",
    ),
    (Spell, {"word": "now"}, "Value error, the word is please @ input.word"),
    (Level, [2], "[2] is not a valid Level @ input"),
    (Annotated[int, pydantic.Field(gt=0)], -5, "Input should be greater than 0 @ input"),
    (Annotated[int, at.Gt(0), at.Le(5)], 6, "must be <= 5 @ input"),
    (Annotated[int, at.Interval(ge=1, lt=3)], 3, "must be < 3 @ input"),
    (pydantic.PositiveInt, "1", "expected integer, got string @ input"),
    (list[Annotated[str, at.Len(1, 2)]], ["", "abc"], "1 items @ input[0]; may have at most 2 items @ input[1]"),
    (Annotated[int, at.MultipleOf(3)], 4, "must be a multiple of 3 @ input"),
    (Annotated[int, at.Predicate(bool)], 0, "does not fit bool @ input"),
    (Decimal, 1.5, "expected string, got number @ input"),
    (Decimal, "NaN", "expected a decimal number, as a string @ input"),
    (datetime, 5, "expected string, got integer @ input"),
    (datetime, "soon", "expected a date and time of ISO 8601 @ input"),
    (date, "2026-01-02T00:00:00", "expected a date of ISO 8601 @ input"),
    (time, "25:00", "expected a time of ISO 8601 @ input"),
    *[
        (timedelta, text, "expected a duration of ISO 8601")
        for text in ("P1Y", "P", "PT", "P1DT", "P9999999999D", "PT1S ")
    ],
    (UUID, "x", "expected a UUID @ input"),
    (datetime | UUID, "x", "expected a date and time of ISO 8601 @ input; expected a UUID @ input"),
    (deque[int], "12", "expected array, got string @ input"),
    (None, 1, "expected null, got integer @ input"),
    (np.int8, 300, "an integer is too large for int8 @ input"),
    (np.int8, 1.5, "expected integers @ input"),
    (np.int8, True, "expected integers @ input"),
    (np.int8, [1], "expected one value, got list @ input"),
    (np.float32, "1", "expected numbers @ input"),
    (np.datetime64, "soon", "expected moments @ input"),
    (np.ndarray, 5, "expected an array, got int @ input"),
    (np.ndarray, [[1], [1, 2]], "expected lists of equal lengths @ input"),
    (np.ndarray, ["a", 1], "expected JSON of one type @ input"),
    (np.ndarray, [True, 1], "expected JSON of one type @ input"),
    (np.ndarray, [None], "expected JSON of one type @ input"),
    (npt.NDArray[np.uint8], [-1], "an integer is too large for uint8 @ input"),
    (npt.NDArray[np.float64], ["x"], "expected numbers @ input"),
]


@pytest.mark.parametrize(("annotation", "value", "fault"), FAULTS, ids=lambda each: str(each)[:50])
def test_a_value_of_another_type_is_refused(annotation: Any, value: Any, fault: str) -> None:
    """An input that does not fit is refused as ``bad_input``, with the path of each fault, of whichever library."""
    with pytest.raises(CommandRefused) as refused:
        input_type(annotation)(value)
    assert refused.value.code == "bad_input"
    assert fault in refused.value.message
