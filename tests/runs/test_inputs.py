"""An agent's input: converted to the annotation of its parameter, or ``bad_input`` with every fault and its path."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Literal, TypedDict

import attrs
import pytest

from actors import JSON, CommandRefused, ConfigError
from actors.runs.inputs import structurer


class Size(enum.Enum):
    SMALL = "small"


@attrs.frozen
class Item:
    name: str
    count: int = 1


@attrs.frozen
class Order:
    items: list[Item]
    size: Size = Size.SMALL
    note: str | None = None
    wrap: Literal["paper", "box"] = "paper"
    weight: float = 0.0
    anything: object = None
    any_of_it: Any = None
    json: JSON = None
    objects: dict[str, object] = attrs.Factory(dict[str, object])
    jsons: list[JSON] = attrs.Factory(list[JSON])


@dataclasses.dataclass
class Point:
    x: int


class Note(TypedDict):
    text: str


async def takes_any(run: object, value: JSON) -> None: ...
async def takes_text(run: object, value: str) -> None: ...
async def takes_order(run: object, value: Order) -> None: ...
async def takes_point(run: object, value: Point) -> None: ...
async def takes_note(run: object, value: Note) -> None: ...
async def takes_items(run: object, value: list[Item]) -> None: ...
async def takes_objects(run: object, value: dict[str, object]) -> None: ...
async def takes_order_or_none(run: object, value: Order | None = None) -> None: ...
async def takes_number_or_five(run: object, value: int = 5) -> None: ...
async def takes_any_or_five(run: object, value=5) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - as agents may be
async def takes_unknown(run: object, value: Nobody) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - as said


def fitted(agent: Any, value: Any) -> object:
    structure = structurer(agent, 1)
    assert structure is not None
    return structure(value)


NESTED: JSON = {"a": [1, {"b": None}]}
FITS = [
    (takes_any, NESTED, NESTED),
    (takes_text, "", ""),
    (takes_order, {"items": []}, Order([])),
    (takes_order, {"items": [{"name": "tea"}], "weight": 2}, Order([Item("tea")], weight=2.0)),
    (takes_order, {"items": [], "anything": NESTED, "any_of_it": NESTED}, Order([], anything=NESTED, any_of_it=NESTED)),
    (takes_order, {"items": [], "json": NESTED, "jsons": [NESTED]}, Order([], json=NESTED, jsons=[NESTED])),
    (takes_order, {"items": [], "objects": {"a": NESTED}}, Order([], objects={"a": NESTED})),
    (takes_point, {"x": 1}, Point(1)),
    (takes_note, {"text": "t"}, {"text": "t"}),
    (takes_items, [{"name": "tea", "count": 2}], [Item("tea", 2)]),
    (takes_objects, {"a": NESTED}, {"a": NESTED}),
    (takes_order_or_none, None, None),
    (takes_order_or_none, {"items": []}, Order([])),
    (takes_number_or_five, None, 5),
    (takes_number_or_five, 0, 0),
    (takes_any_or_five, None, 5),
    (takes_any_or_five, False, False),
]


@pytest.mark.parametrize(("agent", "value", "expected"), FITS)
def test_a_fitting_input_is_converted(agent: Any, value: Any, expected: object) -> None:
    """If an input fits the annotation of the agent's parameter, it is converted to the annotated type.

    For ``null`` the parameter gets its default.
    """
    assert fitted(agent, value) == expected


FAULTS = [
    (takes_text, 5, ["input"]),
    (takes_text, None, ["input"]),
    (takes_number_or_five, "5", ["input"]),
    (takes_order, 5, ["input"]),
    (takes_order, None, ["input"]),
    (takes_order, {}, ["input.items"]),
    (
        takes_order,
        {"items": [{"name": 1}, {"count": 1}, 7]},
        ["input.items[0].name", "input.items[1].name", "input.items[2]"],
    ),
    (takes_order, {"items": [], "size": "big", "note": 1}, ["input.size", "input.note"]),
    (takes_order, {"items": [], "wrap": "cloth", "weight": "2"}, ["input.wrap", "input.weight"]),
    (takes_order, {"items": "abc", "weight": True}, ["input.items", "input.weight"]),
    (takes_order, {"items": [], "shoe": 43}, ["input"]),
    (takes_point, {"x": True}, ["input.x"]),
    (takes_note, {"text": 1}, ["input.text"]),
    (takes_note, {}, ["input.text"]),
    (takes_items, {"name": "tea"}, ["input"]),
]


@pytest.mark.parametrize(("agent", "value", "paths"), FAULTS)
def test_a_refusal_has_the_path_of_every_fault(agent: Any, value: Any, paths: list[str]) -> None:
    """If an input does not fit, it is refused as ``bad_input``. The message has the path of each fault in the input."""
    with pytest.raises(CommandRefused) as refused:
        fitted(agent, value)
    assert refused.value.code == "bad_input"
    assert [fault.rpartition(" @ ")[2] for fault in refused.value.message.split("; ")] == paths


def test_a_refusal_names_the_expected_type() -> None:
    """If an input has a wrong JSON type, the message of the refusal names the expected type and the given type."""
    with pytest.raises(CommandRefused, match=r"^bad_input: expected object, got integer @ input$"):
        fitted(takes_order, 5)


def test_a_refusal_lists_twenty_faults() -> None:
    """If an input has more than twenty faults, the refusal lists twenty, and says how many more there are."""
    for count, more in ((20, ""), (21, " (and 1 more)")):
        with pytest.raises(CommandRefused) as refused:
            fitted(takes_items, [{"name": 1}] * count)
        assert refused.value.message.count(" @ ") == 20
        assert refused.value.message.endswith(f" @ input[19].name{more}")


def test_an_unknown_annotation_is_a_config_error() -> None:
    """If the annotation of an agent's input cannot be resolved, registering the agent raises ConfigError."""
    with pytest.raises(ConfigError, match="the annotation of value"):
        structurer(takes_unknown, 1)
