"""Descriptions of agents: names, docstrings and the JSON Schemas of their inputs."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import annotated_types as at
import attrs
import numpy as np
import numpy.typing as npt
import pydantic
import pytest
from runs.registered import input_type

from actors import JSON, Run
from transport import Greenroom


class Size(enum.Enum):
    SMALL = "small"
    HALF = Decimal("0.5")


class Item(pydantic.BaseModel):
    name: str
    size: Size | None = None


class Tree(pydantic.BaseModel):
    below: list[Tree] = []


@attrs.frozen
class Order:
    """An order."""

    items: list[Item]
    note: str = "none"
    at: datetime | None = None


@attrs.frozen
class Node:
    below: list[Node]


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0
    more: list[int] = dataclasses.field(default_factory=list)


class Note(TypedDict):
    text: str


class Pair(NamedTuple):
    first: int
    second: str = "b"


UserId = NewType("UserId", str)


def of_class(name: str, required: list[str], **properties: object) -> dict[str, object]:
    """Return the schema of a class with these fields."""
    schema = {"type": "object", "title": name, "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


SCHEMAS: list[tuple[Any, Any]] = [
    (JSON, {}),
    (str, {"type": "string"}),
    (UserId, {"type": "string"}),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (Literal["a", 1], {"enum": ["a", 1]}),
    (Size, {"title": "Size", "enum": ["small", "0.5"]}),
    (datetime, {"type": "string", "format": "date-time"}),
    (date, {"type": "string", "format": "date"}),
    (time, {"type": "string", "format": "time"}),
    (timedelta, {"type": "string", "format": "duration"}),
    (UUID, {"type": "string", "format": "uuid"}),
    (list[int], {"type": "array", "items": {"type": "integer"}}),
    (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
    ),
    (dict[str, object], {"type": "object", "additionalProperties": {}}),
    (list, {"type": "array"}),
    (Annotated[int, at.Gt(0), at.Le(5), at.MultipleOf(2)], {
        "type": "integer", "exclusiveMinimum": 0, "maximum": 5, "multipleOf": 2,
    }),
    (Annotated[list[str], at.Len(1, 2)], {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2}),
    (Annotated[str, at.MinLen(1)], {"type": "string", "minLength": 1}),
    (Annotated[int, pydantic.Field(gt=0)], {"type": "integer", "exclusiveMinimum": 0}),
    (np.int8, {"type": "integer"}),
    (npt.NDArray[np.float64], {"type": "array"}),
    (Item, Item.model_json_schema()),
    (Tree, Tree.model_json_schema()),
    (Node, {
        "$ref": "#/$defs/Node",
        "$defs": {"Node": of_class("Node", ["below"], below={"type": "array", "items": {"$ref": "#/$defs/Node"}})},
    }),
    (Point, of_class(
        "Point", ["x"], x={"type": "integer"}, y={"type": "integer", "default": 0},
        more={"type": "array", "items": {"type": "integer"}},
    )),
    (Note, of_class("Note", ["text"], text={"type": "string"})),
    (Pair, of_class("Pair", ["first"], first={"type": "integer"}, second={"type": "string", "default": "b"})),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "schema"), SCHEMAS, ids=lambda each: str(each)[:50])
def test_a_type_has_a_schema(annotation: Any, schema: Any) -> None:
    """Each type of inputs has a JSON Schema. That of a model is the model's own."""
    made = input_type(annotation).schema()
    assert made == schema
    assert json.loads(json.dumps(made)) == made


def test_a_model_in_a_class_has_one_definition() -> None:
    """The schema of a class contains the schemas of the models in its fields, and their definitions beside its own."""
    schema: Any = input_type(Order).schema()
    item = Item.model_json_schema()
    definitions = item.pop("$defs")
    assert schema.pop("$defs") == definitions
    assert schema.pop("description") == "An order."
    assert schema == of_class(
        "Order",
        ["items"],
        items={"type": "array", "items": item},
        note={"type": "string", "default": "none"},
        at={"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}], "default": None},
    )


def test_an_app_describes_its_agents() -> None:
    """``app.agents`` is the tuple of the agents' names, and describes each agent as JSON."""
    app = Greenroom(log="memory:")

    @app.agent
    async def first(run: Run, prompt: str) -> None:
        """Answer a question.

        In plain words.
        """

    @app.agent(name="second")
    async def other(run: Run) -> None: ...

    @app.agent
    async def third(run: Run, count: int = 5) -> None: ...

    @app.agent
    async def fourth(run: Run, value: JSON) -> None: ...

    names = app.agents
    assert names == ("first", "second", "third", "fourth")
    assert isinstance(names, tuple)
    assert (*names[:1], "z") == ("first", "z")
    described = app.agents.describe()
    assert json.loads(json.dumps(described)) == described
    assert described == [
        {"name": "first", "description": "Answer a question.\n\nIn plain words.", "input": {"type": "string"}},
        {"name": "second", "description": "", "input": None},
        {"name": "third", "description": "", "input": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 5}},
        {"name": "fourth", "description": "", "input": {}},
    ]
    assert Greenroom(log="memory:").agents.describe() == []
