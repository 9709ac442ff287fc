"""Scalars and arrays of numpy as inputs. numpy is never imported: modules with such annotations have."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, get_args, get_origin

from actors.failures import class_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_FROM = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "U": "U", "M": "U"}
"""For each kind of numpy type, the kinds of arrays that numpy makes of the JSON values for it."""

_NUMBER: dict[type, type] = {int: float}
_NAMES = {"b": "booleans", "i": "integers", "u": "integers", "f": "numbers", "U": "strings", "M": "moments"}


def is_numpy(kind: Any) -> bool:
    """Return whether an annotation is a scalar type or an array type of numpy."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    origin = get_origin(kind) or kind
    return origin is numpy.ndarray or (isinstance(kind, type) and issubclass(kind, numpy.generic))


def is_array(kind: Any) -> bool:
    """Return whether an annotation of numpy is an array type."""
    return (get_origin(kind) or kind) is sys.modules["numpy"].ndarray


def dtype_of(kind: Any) -> Any:
    """Return the numpy type that an annotation names. Return None for an array of any type.

    Raise TypeError if no value of the type can come from JSON.
    """
    numpy: Any = sys.modules["numpy"]
    wanted = next((get_args(each)[0] for each in get_args(kind) if get_origin(each) is numpy.dtype), None)
    wanted = wanted if is_array(kind) else kind
    if wanted is None or wanted is Any:
        return None
    if wanted not in set(numpy.sctypeDict.values()) or numpy.dtype(wanted).kind not in _READ_FROM:
        raise TypeError(f"{wanted!r} has no JSON form, or is not one exact type")
    return numpy.dtype(wanted)


def from_json(value: Any, kind: Any) -> Any:
    """Return a JSON value as the numpy type ``kind``. Raise ValueError if it does not fit exactly."""
    if isinstance(value, list) is not is_array(kind):
        raise ValueError(f"expected {'an array' if is_array(kind) else 'one value'}, got {class_name(value)}")
    wanted = dtype_of(kind)
    made = _array(value)
    allowed = "biufU" if wanted is None else _READ_FROM[wanted.kind]
    if made.dtype.kind not in allowed and made.size:
        raise ValueError(f"expected {'JSON of one type' if wanted is None else _NAMES[wanted.kind]}")
    if wanted is not None:
        made = _cast(made, wanted)
    return made if is_array(kind) else made[()]


def _array(value: Any) -> Any:
    if len({_NUMBER.get(kind, kind) for kind in _types_in(value)}) > 1:  # numpy would make strings of numbers
        raise ValueError("expected JSON of one type")
    try:
        return sys.modules["numpy"].asarray(value)
    except ValueError:
        raise ValueError("expected lists of equal lengths") from None


def _types_in(value: Any) -> Iterator[type]:
    """Yield the types of the items in a JSON array, at any depth. Yield the type of another JSON value."""
    kind = value.__class__
    if kind is not list:
        yield kind
        return
    for each in value:
        yield from _types_in(each)


def _cast(made: Any, wanted: Any) -> Any:
    if wanted.kind == "U" or not made.size:
        return made.astype(wanted)
    try:
        cast = made.astype(wanted)
    except ValueError:
        raise ValueError(f"expected {_NAMES[wanted.kind]}") from None
    if wanted.kind in "iu" and not (cast == made).all():
        raise ValueError(f"an integer is too large for {wanted}")
    return cast
