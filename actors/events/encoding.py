"""Payloads to bytes: encoded once, where they are emitted.

What is JSON passes: dicts with string keys, lists, tuples, strings, numbers, booleans, None; and, because agents
return them, attrs classes, dataclasses, enums, datetimes and UUIDs, which become what they hold. What is not JSON
raises :class:`~actors.UnserialisableEvent` at the emitting line: NaN and infinities, bytes, sets, cycles, lone
surrogates, keys that are not strings, nesting deeper than :data:`MAX_DEPTH`, anything larger than the given limit.

Integers beyond ±(2^53-1) too: JSON allows them, and every browser rounds them without a word, so that a page would show
and send back another number (RFC 7493, section 2.2). What needs more digits, such as a 64-bit id, is a string.
"""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum
from itertools import accumulate
from typing import Any

import attrs
import orjson
from cattrs import Converter

from actors.errors import UnserialisableEvent
from actors.failures import describe, text_of

MAX_DEPTH = 64
"""Objects and lists within each other; the same bound holds for what clients send."""

_converter = Converter()
_MOMENTS = (datetime, date, time)
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_STRICT_INTEGER
_TOO_LONG = "an integer is beyond ±(2^53-1), and browsers would round it: give it as a string"
_BRACKET = ord("[")
_DEEP_LISTS = 2 * MAX_DEPTH  # a shorter text cannot be too deep: a level takes two brackets,
_DEEP_OBJECTS = 5 * MAX_DEPTH  # and without a list two braces, two quotes and a colon
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # one that does not end reaches to the end: linear
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_BRACKETS = bytes(set(range(256)) - set(_STEPS))


def encode(value: object, limit: int) -> bytes:
    """Give ``value`` as JSON text in UTF-8, at most ``limit`` bytes. Raises :class:`UnserialisableEvent`.

    Nothing else is raised, whatever the value does, but ``RecursionError``, near the end of the stack.

    The encoder writes NaN and infinities as ``null`` and checks no depth below 254, so a text that could hide either is
    looked at again; a text that cannot (nearly all) is not.
    """
    try:
        text = orjson.dumps(value, _plain, _OPTIONS)
    except BaseException as error:  # a value of a class of its own may raise anything where it is taken apart
        too_long = text_of(error).startswith("Integer exceeds")
        reason = _TOO_LONG if too_long else text_of(error.__cause__ or error)
        raise UnserialisableEvent(f"the payload is not JSON: {reason}") from error
    if len(text) > limit:
        raise UnserialisableEvent(f"the payload is {len(text)} bytes, {limit} are allowed")
    if b"null" in text and value is not None:
        _refuse_nan(value)
    if len(text) > _DEEP_LISTS and (_BRACKET in text or len(text) > _DEEP_OBJECTS) and too_deep(text):
        raise UnserialisableEvent(f"the payload is nested deeper than {MAX_DEPTH}")
    return text


def encode_text(text: object, limit: int) -> bytes:
    """Give a string as :func:`encode` does: no second look, since it can hide nothing. Anything else is refused."""
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
    """Say whether a string can be written as UTF-8: one with a lone surrogate cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def too_deep(text: bytes) -> bool:
    """Say whether JSON ``text`` nests deeper than :data:`MAX_DEPTH`; linear, and no recursion whatever the text is."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", text).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


def _plain(value: Any) -> object:
    """Take apart a value that the encoder does not know; the encoder calls this again for what is in it."""
    if type(value) in _MOMENTS:
        return orjson.Fragment(orjson.dumps(_fixed(value)))
    if attrs.has(value.__class__) or _is_dataclass(value):
        return _converter.unstructure(value)
    raise TypeError(f"type {type(value).__name__} has no JSON form")


def _fixed(moment: object) -> object:
    """Return a datetime with the same offset from a time zone of the standard library; raises what its own one raises.

    *The encoder asks a time zone for the offset and does not look for an exception: the process would end there.*
    """
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return moment
    return moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta(0)))


def _is_dataclass(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _refuse_nan(value: object) -> None:
    try:
        json.dumps(value, allow_nan=False, default=_searchable)
    except RecursionError:
        raise
    except BaseException as error:
        # This encoder asks a subclass of dict or list for its items; the first one does not.
        reason = "NaN and infinities have no JSON form" if type(error) is ValueError else describe(error)
        raise UnserialisableEvent(f"the payload is not JSON: {reason}") from error


def _searchable(value: Any) -> object:
    """Take it apart as the encoder does, except that leaves which cannot hold a float are only stood in for."""
    if attrs.has(value.__class__) or _is_dataclass(value):
        return _converter.unstructure(value)
    if isinstance(value, Enum):
        return value.value
    return ""


def envelope(event: str, run_id: str | None, parent_run_id: str | None = None, call_id: str | None = None) -> bytes:
    """Make what stands between ``ts`` and the value of ``data`` in an event's line; absent ids are left out."""
    fields = {"type": event, "run_id": run_id, "parent_run_id": parent_run_id, "call_id": call_id}
    present = {name: value for name, value in fields.items() if value is not None}
    return orjson.dumps(present)[1:-1] + b',"data":'
