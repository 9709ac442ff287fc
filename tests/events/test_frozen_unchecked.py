"""Values that are frozen for the type checkers alone are otherwise like frozen objects of attrs."""

from __future__ import annotations

import attrs
import pytest

from actors.frozen import frozen_unchecked


@frozen_unchecked
class Point:
    x: int
    y: int = 0


@frozen_unchecked(eq=False)
class Command:
    name: str


def test_equal_values_have_one_hash() -> None:
    """Objects with equal fields are equal and have the same hash, and a copy can have other fields."""
    assert len({Point(1), Point(1, 0), Point(2)}) == 2
    assert attrs.evolve(Point(1), y=3) == Point(1, 3)


def test_values_without_equality_differ() -> None:
    """With ``eq=False`` each object is equal to itself alone."""
    first = Command("start")
    assert {first} == {first}
    assert first != Command("start")


def test_values_have_no_further_attributes() -> None:
    """An object has the attributes of its class alone, as it has slots."""
    with pytest.raises(AttributeError):
        setattr(Point(1), "z", 1)  # noqa: B010 - the type checkers refuse a plain assignment
