"""Constraints in annotations by the library annotated-types, such as ``Annotated[int, Gt(0)]``."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any, get_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LIBRARY = "annotated_types"
_COMPARED: dict[str, tuple[str, str, Callable[[Any, Any], bool]]] = {
    "Gt": ("gt", ">", operator.gt),
    "Ge": ("ge", ">=", operator.ge),
    "Lt": ("lt", "<", operator.lt),
    "Le": ("le", "<=", operator.le),
    "MultipleOf": ("multiple_of", "a multiple of", lambda value, number: value % number == 0),
}
_KEYWORDS = {
    "Gt": "exclusiveMinimum",
    "Ge": "minimum",
    "Lt": "exclusiveMaximum",
    "Le": "maximum",
    "MultipleOf": "multipleOf",
}
_LENGTHS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_WITHOUT_CHECK = {"Unit", "DocInfo"}


def constraints_of(kind: Any) -> list[Any]:
    """Return the constraints of annotated-types in an annotation. Return an empty list if there are none."""
    return list(_each(kind.__metadata__)) if get_origin(kind) is Annotated else []


def check_of(constraint: Any) -> Callable[[Any], None]:
    """Return a function that raises ValueError for a value that breaks a constraint.

    Raise TypeError if the constraint is of an unknown type.
    """
    name = type(constraint).__name__
    if name in _COMPARED:
        field, word, holds = _COMPARED[name]
        limit = getattr(constraint, field)
        return _checked(lambda value: holds(value, limit), f"must be {word} {limit!r}")
    if name == "MinLen":
        return _checked(
            lambda value: len(value) >= constraint.min_length, f"needs at least {constraint.min_length} items"
        )
    if name == "MaxLen":
        return _checked(
            lambda value: len(value) <= constraint.max_length, f"may have at most {constraint.max_length} items"
        )
    if name == "Predicate":
        text = getattr(constraint.func, "__name__", "its predicate")
        return _checked(constraint.func, f"does not fit {text}")
    raise TypeError(f"the constraint {constraint!r} cannot be checked")


def described(constraint: Any, schema_type: object) -> dict[str, Any]:
    """Return the keywords of JSON Schema that say the same as a constraint. Return none if there are no such keywords.

    ``schema_type`` is the ``type`` of the schema to which they are added.
    """
    name = type(constraint).__name__
    if name in _KEYWORDS and schema_type in {"integer", "number"}:
        return {_KEYWORDS[name]: getattr(constraint, _COMPARED[name][0])}
    shortest, longest = _LENGTHS.get(str(schema_type), ("", ""))
    if name == "MinLen" and shortest:
        return {shortest: constraint.min_length}
    return {longest: constraint.max_length} if name == "MaxLen" and longest else {}


def _each(metadata: Any) -> Iterator[Any]:
    """Yield the constraints, those in a group (an Interval, a Len) too."""
    for each in metadata:
        kind: type = each.__class__
        if not any(base.__module__ == _LIBRARY for base in kind.__mro__) or kind.__name__ in _WITHOUT_CHECK:
            continue
        if any(base.__name__ == "GroupedMetadata" for base in kind.__mro__):
            yield from _each(each)
        else:
            yield each


def _checked(holds: Callable[[Any], object], fault: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not holds(value):
            raise ValueError(fault)

    return check
