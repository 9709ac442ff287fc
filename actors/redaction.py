"""Secrets out of tool arguments, by the name of their key."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

Redact: TypeAlias = Callable[[object], object]
"""Gives the arguments of a tool call back without their secrets; must not change what it is given."""

REDACTED = "[redacted]"

DEFAULT_SECRET_KEYS = (
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "credential",
    "private_key",
    "cookie",
)
"""A key that contains one of these, in any case, names a secret."""


def redact_keys(keys: Iterable[str] = DEFAULT_SECRET_KEYS) -> Redact:
    """Make a function that gives its argument back with the value of every secret key, at any depth, redacted.

    Dicts, lists, tuples, attrs classes and dataclasses are looked into, and come back as dicts and lists. A word's
    underscores stand for hyphens too, and for nothing: ``private_key`` names ``Private-Key`` and ``privateKey``.
    """
    lowered = {_plain(key) for key in keys}
    words = tuple(sorted(lowered | {word.replace("_", "") for word in lowered}))

    def secret(key: object) -> bool:
        return isinstance(key, str) and any(word in _plain(key) for word in words)

    def redact(value: Any) -> Any:  # any JSON, or what a tool takes instead
        if issubclass(value.__class__, dict):
            return {key: REDACTED if secret(key) else redact(item) for key, item in value.items()}
        if issubclass(value.__class__, (list, tuple)):
            return [redact(item) for item in value]
        if (fields := _fields(value)) is not None:
            return redact({name: getattr(value, name) for name in fields})
        return value

    return redact


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def _fields(value: Any) -> list[str] | None:
    """Name the fields of an attrs class or a dataclass; None for anything else."""
    if attrs.has(value.__class__):
        return [field.name for field in attrs.fields(value.__class__)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in dataclasses.fields(value)]
    return None
