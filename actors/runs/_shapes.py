"""Shapes of types: the kinds of classes and of annotations with other types inside. Pure."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator


def has_fields(kind: Any) -> bool:
    """Return whether a type is an attrs class or a dataclass. A generic class may have its arguments."""
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and (attrs.has(kind) or is_dataclass(kind))


def is_named_tuple(kind: Any) -> bool:
    """Return whether a type is a named tuple. A generic one may have its arguments."""
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and hasattr(kind, "_fields") and issubclass(kind, tuple)


def is_typed_dict(kind: Any) -> bool:
    """Return whether a type is a typed dict, of ``typing`` or of ``typing_extensions``. It may have arguments."""
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and hasattr(kind, "__total__") and issubclass(kind, dict)


def is_union(kind: Any) -> bool:
    """Return whether a type is a union."""
    return get_origin(kind) in {Union, UnionType}


def parts_of(kind: Any) -> Iterator[tuple[str, Any]]:
    """Yield the types inside a type, each with the name of its field; "" if it is not the type of a field."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield "", kind.__origin__
    elif has_fields(kind) or is_typed_dict(kind) or is_named_tuple(kind):
        yield from fields_of(kind).items()
    elif origin is not None and origin is not Literal:
        yield from (("", each) for each in get_args(kind) if each is not ...)
    elif (inner := getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)) is not None:
        yield "", inner  # a NewType, or an alias by the statement `type`


def fields_of(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a class that an input can have, by their names.

    The parameters of a generic class are replaced by the arguments in ``kind``.
    """
    base = get_origin(kind) or kind
    hints = get_type_hints(base, include_extras=True)
    arguments = dict(zip(getattr(base, "__parameters__", ()), get_args(kind), strict=False))
    if attrs.has(base):
        names = [field.name for field in attrs.fields(base) if field.init]
    elif is_dataclass(base):
        names = [field.name for field in dataclass_fields(base) if field.init]
    else:
        names = list(getattr(base, "_fields", hints))
    return {name: _filled(_without_qualifier(hints.get(name, Any)), arguments) for name in names}


def _filled(kind: Any, arguments: dict[Any, Any]) -> Any:
    """Return a type with arguments in place of the parameters that it has inside."""
    if isinstance(kind, TypeVar):
        return arguments.get(kind, kind)
    parameters = getattr(kind, "__parameters__", ())
    known = arguments and parameters and get_origin(kind) is not None
    return kind[tuple(arguments.get(each, each) for each in parameters)] if known else kind


def _without_qualifier(kind: Any) -> Any:
    """Return the type inside ``Required[…]``, ``NotRequired[…]`` or ``ReadOnly[…]``, and any other type unchanged."""
    while getattr(get_origin(kind), "_name", "") in {"Required", "NotRequired", "ReadOnly"}:
        kind = get_args(kind)[0]
    return kind
