"""The encoding of payloads: each is encoded to bytes once, where it is emitted. Pure.

Allowed are JSON values: dicts with string keys, lists, tuples, strings, numbers, booleans and None. Because agents
return them, other values are allowed too. Attrs classes, dataclasses, named tuples, enums and models of pydantic are
encoded as their contents, arrays of numpy as lists, and datetimes, timedeltas, UUIDs and Decimals as strings.

Everything else raises :class:`~actors.UnserialisableEvent` at the line that emits it: NaN and infinities, bytes, sets,
cycles, lone surrogates, keys that are not strings, nesting deeper than :data:`MAX_DEPTH`, and a payload larger than the
given limit.

Integers beyond ±(2^53-1) are refused too. JSON allows them, but browsers round them silently: a page would show and
send back another number (RFC 7493, section 2.2). Send a number with more digits, such as a 64-bit id, as a string.
"""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import date, datetime, timedelta, timezone
from enum import Enum
from itertools import accumulate
from typing import Any

import attrs
import orjson
from cattrs import Converter

from actors.errors import UnserialisableEvent
from actors.events._models import dumped, dumped_as_python, is_model, is_of_pydantic
from actors.events._plain import named_items, numpy_of, plain
from actors.failures import describe, text_of

MAX_DEPTH = 64
"""Maximum nesting depth of objects and lists in a payload. The same limit holds for frames from clients."""

_converter = Converter()
_MOMENTS = (datetime, date)
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_STRICT_INTEGER
_TOO_LONG = "an integer is beyond ±(2^53-1), and browsers would round it: give it as a string"
_BRACKET = ord("[")
# A text of fewer bytes cannot be nested too deep: each level of lists takes two brackets,
_DEEP_LISTS = 2 * MAX_DEPTH
# and each level of objects takes two braces, two quotes and a colon.
_DEEP_OBJECTS = 5 * MAX_DEPTH
# Linear in the text's length: a string without its closing quote reaches to the end of the text.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_BRACKETS = bytes(set(range(256)) - set(_STEPS))


def encode(value: object, limit: int) -> bytes:
    """Return ``value`` as JSON text in UTF-8.

    Args:
        value: A JSON value. It can contain the other values that this module's text lists.
        limit: Maximum size of the text in bytes.

    Raises:
        UnserialisableEvent: The value is not allowed, a method of its class raised, or the text exceeds ``limit``.
        RecursionError: The call stack has too little room left for the encoding.
    """
    try:
        text = orjson.dumps(value, _unstructured, _OPTIONS)
    except BaseException as error:  # the class of a value may raise anything when its contents are read
        too_long = text_of(error).startswith("Integer exceeds")
        reason = _TOO_LONG if too_long else text_of(error.__cause__ or error)
        raise UnserialisableEvent(f"the payload is not JSON: {reason}") from error
    if len(text) > limit:
        raise UnserialisableEvent(f"the payload is {len(text)} bytes, {limit} are allowed")
    # orjson writes NaN and infinities as null and allows 254 levels. Only a text that may contain NaN, infinities or
    # too many levels is examined: very few do.
    if b"null" in text and value is not None:
        _refuse_nan(value)
    if len(text) > _DEEP_LISTS and (_BRACKET in text or len(text) > _DEEP_OBJECTS) and too_deep(text):
        raise UnserialisableEvent(f"the payload is nested deeper than {MAX_DEPTH}")
    return text


def encode_text(text: object, limit: int) -> bytes:
    """Return a string as JSON text in UTF-8.

    This is faster than :func:`encode`: a string needs no checks for NaN and for depth.

    Args:
        text: A string; anything else is refused.
        limit: Maximum size of the JSON text in bytes.

    Raises:
        UnserialisableEvent: ``text`` is not a string, has a lone surrogate, or is larger than ``limit``.
    """
    if not isinstance(text, str):
        raise UnserialisableEvent(f"expected a string, got {type(text).__name__}")
    try:
        encoded = orjson.dumps(text)
    except TypeError as error:
        raise UnserialisableEvent(f"the payload is not JSON: {error}") from error
    if len(encoded) > limit:
        raise UnserialisableEvent(f"the payload is {len(encoded)} bytes, {limit} are allowed")
    return encoded


def is_text(value: str) -> bool:
    """Return whether a string can be encoded as UTF-8. A string with a lone surrogate cannot."""
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def too_deep(text: bytes) -> bool:
    """Return whether JSON ``text`` is nested deeper than :data:`MAX_DEPTH`.

    The text need not be valid JSON. The check takes linear time and does not recurse.
    """
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", text).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


def _unstructured(value: Any) -> object:
    """Return another form of a value, for orjson. orjson can encode this form, but not the value itself.

    orjson calls this for each value that it does not know, at any depth.
    """
    if type(value) in _MOMENTS:
        return orjson.Fragment(orjson.dumps(_with_fixed_offset(value)))
    if is_of_pydantic(value.__class__):
        return dumped(value, as_plain_json)
    if attrs.has(value.__class__) or _is_dataclass(value):
        return _converter.unstructure(value)
    return plain(value)


def as_plain_json(value: object) -> object:
    """Return a value as a value of JSON alone. Raise an exception of any type if the value has no JSON form."""
    try:
        return orjson.loads(orjson.dumps(value, _unstructured, _OPTIONS))
    except orjson.JSONEncodeError as error:
        raise error.__cause__ or error from None


def _with_fixed_offset(moment: object) -> object:
    """Return a datetime with the same offset from UTC, but with a time zone of the standard library.

    A value that is not a datetime, or that has no time zone, is returned unchanged. If the datetime's own time zone
    raises an exception, this function raises the exception. *orjson asks a time zone for its offset without checking
    for an exception: the whole process ended.*
    """
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return moment
    return moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta(0)))


def _is_dataclass(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _refuse_nan(value: object) -> None:
    try:
        json.dumps(value, allow_nan=False, default=_searchable, skipkeys=True)
    except RecursionError:
        raise
    except BaseException as error:
        # The json module reads the items of a subclass of dict or list through its methods; orjson does not.
        reason = "NaN and infinities have no JSON form" if type(error) is ValueError else describe(error)
        raise UnserialisableEvent(f"the payload is not JSON: {reason}") from error


def _searchable(value: Any) -> object:
    """Return the contents of a value, to be searched for NaN. Return "" if the value cannot contain a float."""
    if is_model(value.__class__):
        return dumped_as_python(value)
    if attrs.has(value.__class__) or _is_dataclass(value):
        return _converter.unstructure(value)
    if isinstance(value, Enum):
        return value.value
    return value.tolist() if numpy_of(value) is not None else ""


def _unstructured_items(value: Any) -> dict[str, object] | None:
    items = named_items(value)
    return items and {name: _converter.unstructure(item) for name, item in items.items()}


def _is_named_tuple(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "_fields") and issubclass(kind, tuple)


# cattrs would write a named tuple as a list, and a dataclass of pydantic without its aliases.
_converter.register_unstructure_hook_func(is_of_pydantic, lambda value: value)
_converter.register_unstructure_hook_func(_is_named_tuple, _unstructured_items)
