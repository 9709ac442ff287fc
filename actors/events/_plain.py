"""Values that the JSON encoder does not know, as values that it knows: decimals, durations, named tuples, numpy. Pure.

numpy is never imported: a value of numpy exists only if the program has imported numpy already.
"""

from __future__ import annotations

import re
import sys
from datetime import time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import orjson

from actors.failures import class_name

if TYPE_CHECKING:
    from types import ModuleType

_BYTES = (bytes, bytearray, memoryview)
_DURATION = re.compile(
    r"[-+]?P(?:(?P<weeks>\d{1,9})W)?(?:(?P<days>\d{1,9})D)?(?:T(?=\d)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?"
    r"(?:(?P<seconds>\d{1,9})(?:[.,](?P<FRACTION>\d{1,9}))?S)?)?",
    re.ASCII,
)
_PLAIN_KINDS = "biufM"
"""The kinds of numpy arrays that orjson can encode: booleans, integers, floats and moments."""


def plain(value: Any) -> object:
    """Return another form of a value: JSON, or a value that the encoder knows.

    A Decimal becomes a string of all its digits, a timedelta a duration of ISO 8601, a named tuple a dict, and an array
    of numpy a list. Raise TypeError for a value that has no JSON form.
    """
    if isinstance(value, Decimal):
        return _finite(value)
    if isinstance(value, time):
        return _naive(value)
    if isinstance(value, timedelta):
        return iso_duration(value)
    if issubclass(value.__class__, _BYTES):
        raise TypeError(f"{class_name(value)} has no JSON form: give it as text, such as base64")
    if (items := named_items(value)) is not None:
        return items
    if (numpy := numpy_of(value)) is not None:
        return _from_numpy(value, numpy)
    raise TypeError(f"type {class_name(value)} has no JSON form")


def iso_duration(value: timedelta) -> str:
    """Return a duration as ISO 8601 writes it, such as ``P1DT2.5S``. A negative duration begins with a minus sign."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    days = f"{value.days}D" if value.days else ""
    fraction = f".{value.microseconds:06}".rstrip("0") if value.microseconds else ""
    time = f"T{value.seconds}{fraction}S" if value.seconds or fraction or not days else ""
    return f"{sign}P{days}{time}"


def duration_of(text: str) -> timedelta:
    """Return the timedelta for a duration of ISO 8601. Raise ValueError for years, months and any other text."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is not a duration")
    parts = {name: int(part) for name, part in found.groupdict().items() if part and name.islower()}
    micros = int((found["FRACTION"] or "").ljust(6, "0")[:6])
    made = timedelta(**parts, microseconds=micros)
    return -made if text.startswith("-") else made


def named_items(value: Any) -> dict[str, Any] | None:
    """Return the items of a named tuple by their names. Return None for any other value."""
    kind: Any = value.__class__
    names: Any = getattr(kind, "_fields", None)
    return dict(zip(names, value, strict=True)) if issubclass(kind, tuple) and names else None


def numpy_of(value: object) -> ModuleType | None:
    """Return the module numpy if ``value`` is an array or a scalar of numpy, else None."""
    numpy: Any = sys.modules.get("numpy")
    # Not a subclass of an array: the array behind a masked one also has the values that the mask hides.
    if numpy is None or not (type(value) is numpy.ndarray or isinstance(value, numpy.generic)):
        return None
    return cast("ModuleType", numpy)


def _naive(value: time) -> str:
    if value.tzinfo is not None:
        raise TypeError("a time with a time zone has no JSON form: its offset depends on the day")
    return value.isoformat()  # orjson drops the first zero of a fraction: 10 ms became 100 ms


def _finite(value: Decimal) -> str:
    if not value.is_finite():
        raise TypeError("NaN and infinities have no JSON form")
    return str(value)


def _from_numpy(value: Any, numpy: Any) -> object:
    kind, size = value.dtype.kind, value.dtype.itemsize
    # Lists of Python's own values: then the encoder checks the length of integers, and all that an object array holds.
    if kind in "UO" or (kind in "iu" and size > 4):  # noqa: PLR2004 - an integer of 4 bytes is never too long
        return value.tolist()
    if kind not in _PLAIN_KINDS:
        raise TypeError(f"numpy's {value.dtype} has no JSON form")
    if isinstance(value, numpy.generic) or not value.ndim:
        return orjson.Fragment(_encoded(value[()]))
    return orjson.Fragment(_encoded(numpy.ascontiguousarray(value, value.dtype.newbyteorder("="))))


def _encoded(value: object) -> bytes:
    """Return the text of an array or scalar. It has the digits of the value's own precision: 0.1 of 4 bytes is 0.1."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
