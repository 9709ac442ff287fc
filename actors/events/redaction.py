"""Secrets out of what clients are told, by the name of their key: of tool arguments, and of the texts of failures."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from actors.failures import MAX_TEXT, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

Redact: TypeAlias = Callable[[object], object]
"""Returns the arguments of a tool call without their secrets; must not change what it is given.

It is also given the text of each failure that clients are told, as ``{"message": text}``, and returns the same form.
"""

REDACTED = "[redacted]"

WITHHELD = "[withheld: it could not be redacted]"
"""What clients are told in place of a failure's text when the hook fails on it."""

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

_JSON_BEGINS = ("{", "[", '"')
_OPENING = "{[("
# Each linear, whatever the text is: what is quoted and does not end reaches to the end.
_QUOTED = re.compile(r"""\"(?:[^"\\]++|\\.)*+"?|'(?:[^'\\]++|\\.)*+'?""", re.DOTALL)
_BEGIN = re.compile(r"[{\[]")
_MARK = re.compile(r"""[\"'{}\[\]()]""")
# A value without quotes ends at what separates it from the next; "Bearer" and the like belong to what follows them.
_BARE_VALUE = re.compile(r"(?:(?:bearer|basic|digest|token|negotiate)\s+)?[^\s,;&)}\]\"']*", re.IGNORECASE)
_EMBEDDED = 20
"""Places in a text at which a JSON object is looked for: each attempt may read all of the text."""


_LONGEST = 65_536
"""Characters up to which broken JSON is looked through; longer text with the name of a secret is left out."""


class FailureText(str):
    """The text of a failure: it is looked into for secrets as text, beside being looked into as JSON."""

    __slots__ = ()


def redact_keys(keys: Iterable[str] = DEFAULT_SECRET_KEYS) -> Redact:
    """Make a function that returns its argument with the value of every secret key, at any depth, redacted.

    Mappings, lists, tuples, named tuples, attrs classes and dataclasses are looked into, and come back as dicts and
    lists; so do sets that hold any of these. Strings that are JSON come back as JSON. The text of a failure is looked
    into for JSON and for ``key=value`` and ``key: value`` too. A word's underscores stand for hyphens too, and for
    nothing: ``private_key`` names ``Private-Key`` and ``privateKey``.
    """
    return _Redactor.of(keys).redact


def redact_text(redact: Redact, text: str) -> str:
    """Return the text of a failure as ``redact`` lets clients have it. Never raises: then it is :data:`WITHHELD`."""
    try:
        told = cast("Mapping[str, object]", redact({"message": FailureText(text)}))["message"]
        if not isinstance(told, str):
            return WITHHELD
    except BaseException:  # noqa: BLE001 - the hook may be anything, and tells clients nothing when it fails
        return WITHHELD
    return text_of(told, MAX_TEXT)


@attrs.frozen
class _Redactor:
    """Knows the words that name a secret."""

    _words: tuple[str, ...]
    _hint: re.Pattern[str] | None
    """Whether there can be a secret in a text: JSON may spell any letter as an escape."""
    _pair: re.Pattern[str]

    @classmethod
    def of(cls, keys: Iterable[str]) -> _Redactor:
        """Make one that knows these words."""
        lowered = {_plain(key) for key in keys}
        words = tuple(sorted(lowered | {word.replace("_", "") for word in lowered}))
        spelled = "|".join("[-_]?".join(map(re.escape, word.split("_"))) for word in sorted(lowered))
        hint = re.compile(rf"{spelled}|\\u", re.IGNORECASE) if lowered else None
        pair = re.compile(rf"(?:{spelled})[\w.\-]{{0,64}}+[\"']?\s{{0,16}}+(?:=>|=|:)\s{{0,16}}+", re.IGNORECASE)
        return cls(words, hint, pair)

    def redact(self, value: Any) -> Any:  # any JSON, or what a tool takes instead
        """Return the value without its secrets; raises RecursionError for a cycle."""
        kind = value.__class__
        if issubclass(kind, Enum):
            held = self.redact(value.value)  # which is what the encoder writes
            return value if held == value.value else held
        if issubclass(kind, str):
            return self._string(value)
        if issubclass(kind, Mapping):
            items = cast("Mapping[Any, Any]", value).items()
            return {key: REDACTED if self._secret(key) else self.redact(item) for key, item in items}
        if (fields := _fields(value)) is not None:
            return self.redact(fields)
        if issubclass(kind, (list, tuple)):
            return [self.redact(item) for item in value]
        return self._set(value) if issubclass(kind, AbstractSet) else value

    def _secret(self, key: object) -> bool:
        return isinstance(key, str) and any(word in _plain(key) for word in self._words)

    def _set(self, value: Any) -> Any:
        """Redact a set's items; one that holds no container stays as it is, and is no JSON."""
        items = [(item, self.redact(item)) for item in value]
        return value if all(item is redacted for item, redacted in items) else [redacted for _, redacted in items]

    def _string(self, text: str) -> str:
        if self._hint is None or not self._hint.search(text):
            return text
        begins_as_json = text.lstrip(" \t\r\n\ufeff").startswith(_JSON_BEGINS)
        if begins_as_json and (redacted := self._json(text)) is not None:
            return redacted
        if isinstance(text, FailureText):
            return self._scrubbed(self._without_embedded(text))
        if not begins_as_json:
            return text
        return self._scrubbed(text) if len(text) <= _LONGEST else REDACTED

    def _json(self, text: str) -> str | None:
        """Return JSON text without its secrets, as it was where it has none; None for what is no JSON."""
        repeated = False

        def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal repeated
            made = dict(pairs)
            repeated = repeated or len(made) < len(pairs)  # what a parser does not see is still there to be read
            return made

        try:
            value = json.loads(text.lstrip("\ufeff"), object_pairs_hook=object_of)
        except (ValueError, RecursionError):
            return None
        redacted = self.redact(value)
        return text if redacted == value and not repeated else _written(redacted)

    def _scrubbed(self, text: str) -> str:
        """Return the text without what follows a secret key and ``=`` or ``:``, in quotes and brackets or not."""
        parts: list[str] = []
        at = 0
        while (found := self._pair.search(text, at)) is not None:
            end = _value_end(text, found.end())
            quote = text[found.end()] if end > found.end() and text[found.end()] in "\"'" else ""
            parts += (text[at : found.end()], f"{quote}{REDACTED}{quote}" if end > found.end() else "")
            at = end
        return "".join([*parts, text[at:]])

    def _without_embedded(self, text: str) -> str:
        """Redact the JSON objects and arrays that are part of the text."""
        parts: list[str] = []
        at = 0
        for _ in range(_EMBEDDED):
            found = _BEGIN.search(text, at)
            if found is None:
                break
            begin = found.start()
            end = _value_end(text, begin)
            redacted = self._json(text[begin:end])
            parts += (text[at:begin], text[begin : begin + 1] if redacted is None else redacted)
            at = begin + 1 if redacted is None else end
        return "".join([*parts, text[at:]])


def _value_end(text: str, at: int) -> int:
    """Find where the value that begins at ``at`` ends: a quoted one, one in brackets, or a word."""
    if (quoted := _QUOTED.match(text, at)) is not None:
        return quoted.end()
    if text[at : at + 1] not in tuple(_OPENING):
        bare = _BARE_VALUE.match(text, at)
        return at if bare is None else bare.end()
    depth = 0
    while (mark := _MARK.search(text, at)) is not None:
        quoted = _QUOTED.match(text, mark.start())
        at = mark.end() if quoted is None else quoted.end()
        depth += 0 if quoted is not None else 1 if mark.group() in _OPENING else -1
        if not depth:
            return at
    return len(text)


def _written(value: object) -> str:
    """Write JSON; with escapes where there is what no file can hold, as it had been written before."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of an attrs class, a dataclass or a named tuple; None for anything else."""
    kind = value.__class__
    if attrs.has(kind):
        return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return _named_items(value)


def _named_items(value: Any) -> dict[str, Any] | None:
    """Return the items of a named tuple by their names; None for anything else."""
    kind: Any = value.__class__
    names: Any = getattr(kind, "_fields", None)
    return dict(zip(names, value, strict=True)) if issubclass(kind, tuple) and names else None
