"""An agent's input fits its annotation strictly, for each kind of annotation, or is refused."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import CommandRefused, ConfigError
from actors.events import JSON
from actors.runs.inputs import structurer

if TYPE_CHECKING:
    import decimal
    from collections.abc import Callable

    from actors import Run


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Name(str):
    """A class that the author of an agent wrote."""

    __slots__ = ()


class Point(TypedDict):
    x: int
    y: int


@attrs.frozen
class Order:
    item: str
    count: int = attrs.field(default=1, validator=attrs.validators.gt(0))
    tags: list[str] = attrs.Factory(list[str])


@dataclasses.dataclass(frozen=True)
class Range:
    first: float
    last: float | None = None


@attrs.frozen
class Tree:
    name: str
    below: tuple[Tree, ...] = ()


@attrs.frozen
class Cat:
    kind: Literal["cat"]
    lives: int


@attrs.frozen
class Dog:
    kind: Literal["dog"]
    name: str


def converter_for(annotation: Any) -> Callable[[JSON], object]:
    """Return the function that converts a JSON value to this annotation of an agent's input."""

    async def agent(run: Run, value: Any) -> None: ...

    agent.__annotations__["value"] = annotation
    made = structurer(agent, 1)
    assert made is not None
    return made


TWO = pytest.param(set[str], ["a", "b"], {"a", "b"}, id="a set of two")
"""A case with a fixed id: the ``repr`` of a set has another order in each process."""
FITS: list[tuple[Any, Any, Any]] = [
    (str, "a", "a"),
    (int, 5, 5),
    (float, 5, 5.0),
    (bool, True, True),
    (Name, "a", Name("a")),
    (list[int], [1, 2], [1, 2]),
    (Sequence[int], [1], [1]),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple, [1, "a"], (1, "a")),
    (set[str], ["a"], {"a"}),
    (frozenset[int], [1], frozenset({1})),
    (AbstractSet[int], [1], {1}),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (Mapping[str, list[int]], {"a": [1]}, {"a": [1]}),
    (dict, {"a": [None]}, {"a": [None]}),
    (list, [1, "a"], [1, "a"]),
    (str | None, None, None),
    (int | str, "5", "5"),
    (Order | None, {"item": "a"}, Order("a")),
    (Literal["a", 1], 1, 1),
    (Colour, "red", Colour.RED),
    (Level, 1, Level.LOW),
    (Point, {"x": 1, "y": 2}, {"x": 1, "y": 2}),
    (Order, {"item": "a", "count": 2, "tags": ["b"]}, Order("a", 2, ["b"])),
    (Range, {"first": 1, "last": None}, Range(1.0)),
    (Tree, {"name": "a", "below": [{"name": "b"}]}, Tree("a", (Tree("b"),))),
    (Cat | Dog, {"kind": "dog", "name": "Rex"}, Dog("dog", "Rex")),
    (list[tuple[str, set[int]]], [["a", [1]]], [("a", {1})]),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), [*FITS, TWO], ids=str)
def test_a_value_becomes_its_annotated_type(annotation: Any, value: Any, expected: Any) -> None:
    """If an input fits its annotation, it is converted to exactly the annotated type."""
    made = converter_for(annotation)(value)
    assert made == expected
    assert type(made) is type(expected)


FAULTS: list[tuple[Any, Any, str]] = [
    (str, 5, "expected string, got integer @ input"),
    (str, None, "expected string, got null @ input"),
    (int, True, "expected integer, got boolean @ input"),
    (int, 5.0, "expected integer, got number @ input"),
    (float, "1", "expected number, got string @ input"),
    (bool, 1, "expected boolean, got integer @ input"),
    (Name, 5, "expected string, got integer @ input"),
    (list[str], "abc", "expected array, got string @ input"),
    (list[str], {"a": 1}, "expected array, got object @ input"),
    (Sequence[str], "abc", "expected array, got string @ input"),
    (tuple[str, ...], "abc", "expected array, got string @ input"),
    (tuple[str, str], "ab", "expected array, got string @ input"),
    (tuple[str, str], ["a"], "expected 2 items, got 1 @ input"),
    (tuple[int, int], ["a", 1.5], "string @ input[0]; expected integer, got number @ input[1]"),
    (tuple, "ab", "expected array, got string @ input"),
    (set[str], "abc", "expected array, got string @ input"),
    (frozenset[str], "abc", "expected array, got string @ input"),
    (dict[str, int], [["a", 1]], "expected object, got array @ input"),
    (dict[str, int], {"a": "1"}, "expected integer, got string @ input['a']"),
    (Literal["a", 1], "b", "expected 'a' or 1, got 'b' @ input"),
    (Literal[1], True, "expected 1, got True @ input"),
    (Colour, "blue", "'blue' is not a valid Colour @ input"),
    (Level, True, "expected integer, got boolean @ input"),
    (Level, 2, "2 is not a valid Level @ input"),
    (Point, {"x": "1", "z": 1}, "expected integer, got string @ input.x; required field missing @ input.y"),
    (Point, [1, 2], "expected object, got array @ input"),
    (Order, None, "expected object, got null @ input"),
    (Order, {}, "required field missing @ input.item"),
    (Order, {"item": "a", "Count": 1}, "extra fields found (Count) @ input"),
    (Order, {"item": 5, "tags": [1, "b", None]}, "@ input.item; expected string, got integer @ input.tags[0]; "),
    (Order, {"item": "a", "count": 0}, "'count' must be > 0: 0 @ input"),
    (Range, {"first": "1"}, "expected number, got string @ input.first"),
    (Tree, {"name": "a", "below": [{"name": 5}]}, "expected string, got integer @ input.below[0].name"),
    (Cat | Dog, {"kind": "dog", "lives": 9}, "required field missing @ input.name"),
    (list[list[int]], ["12"], "expected array, got string @ input[0]"),
]


@pytest.mark.parametrize(("annotation", "value", "fault"), FAULTS, ids=str)
def test_a_value_of_another_type_is_refused(annotation: Any, value: Any, fault: str) -> None:
    """If an input does not have the annotated type, it is refused as ``bad_input``, with the path of each fault."""
    with pytest.raises(CommandRefused) as refused:
        converter_for(annotation)(value)
    assert refused.value.code == "bad_input"
    assert fault in refused.value.message


def test_faults_after_the_twentieth_are_counted() -> None:
    """If an input has more than twenty faults, the refusal lists twenty and only counts the others."""
    for count, more in ((20, ""), (21, " (and 1 more)"), (500, " (and 480 more)")):
        with pytest.raises(CommandRefused) as refused:
            converter_for(list[int])(["x"] * count)
        assert refused.value.message.count("@ input[") == 20
        assert refused.value.message.endswith(f"@ input[19]{more}")


def test_a_long_fault_is_cut() -> None:
    """If the text of a fault is very long, for example because it repeats the value, it is cut.

    "(truncated)" at its end shows this.
    """
    with pytest.raises(CommandRefused, match=r"\(truncated\) @ input$") as refused:
        converter_for(Colour)("x" * 60_000)
    assert len(refused.value.message) < 300


@pytest.mark.parametrize("annotation", [Any, object, JSON, "JSON", "object", "Any"], ids=str)
def test_an_annotation_for_any_value_gets_it_unchanged(annotation: Any) -> None:
    """If the annotation of an agent's input allows any JSON value, the agent gets the input unchanged."""
    value: Any = {"a": [None, {"b": 1.5}]}
    assert converter_for(annotation)(value) is value


def test_a_parameter_without_annotation_gets_the_value_unchanged() -> None:
    """If the input parameter of an agent has no annotation, the agent gets the input unchanged."""

    async def agent(run, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - the case
        ...

    value: JSON = [1]
    made = structurer(agent, 1)
    assert made is not None
    assert made(value) is value


def test_a_function_without_a_second_parameter_takes_no_input() -> None:
    """If an agent's function has no second parameter, the agent takes no input, so there is nothing to convert."""

    async def agent(run: Run) -> None: ...

    assert structurer(agent, 1) is None


def test_only_the_annotation_of_the_input_is_resolved() -> None:
    """Only the annotation of an agent's input must be resolvable.

    The other annotations of its function may use names that exist only for type checkers.
    """

    async def agent(run: Run, value: int, more: decimal.Decimal = ...) -> None: ...

    made = structurer(agent, 1)
    assert made is not None
    assert made(5) == 5


@pytest.mark.parametrize("annotation", ["Nowhere", complex, "decimal.Decimal"])
def test_an_unusable_annotation_is_a_config_error(annotation: Any) -> None:
    """If the annotation of an agent's input cannot be resolved, or nothing fits it, ConfigError is raised."""
    with pytest.raises(ConfigError, match="the annotation of value in"):
        converter_for(annotation)


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["item", "x", "kind"]), inner),
    max_leaves=10,
)


@given(_VALUES, st.sampled_from([case[0] for case in FITS]))
def test_any_json_fits_or_is_refused(value: Any, annotation: Any) -> None:
    """For any JSON value as input, the value is converted or is refused as ``bad_input``, with a message of one line.

    No other exception is raised.
    """
    refusals: list[CommandRefused] = []
    try:
        converter_for(annotation)(value)
    except CommandRefused as refused:
        refusals.append(refused)
    for refusal in refusals:
        assert refusal.code == "bad_input"
        assert "@ input" in refusal.message
        assert "\n" not in refusal.message
