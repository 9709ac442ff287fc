"""The removal of secrets from tool arguments and from the texts of failures, before clients see them. Pure.

A secret is found by the name of its key (``password``, ``api_key`` …), never by its value.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from actors.events._models import dumped, is_model, other_names
from actors.events._plain import named_items, numpy_of
from actors.events._validation import without_inputs
from actors.events.encoding import as_plain_json
from actors.failures import MAX_TEXT, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

Redact: TypeAlias = Callable[[object], object]
"""Type of a function that returns the arguments of a tool call without their secrets.

The function must not change its argument. It is also called with the text of each failure that clients see, as
``{"message": text}``. For this call the function must return a dict of the same form.
"""

REDACTED = "[redacted]"

WITHHELD = "[withheld: it could not be redacted]"
"""Text that clients get instead of a failure's text, if the :data:`Redact` function could not redact that text."""

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
"""Default words that mark a key as secret. A secret key contains one of these words, in upper or lower case."""

_JSON_BEGINS = ("{", "[", '"')
_OPENING = "{[("
# All of these are linear in the length of any text. A quoted string that does not end reaches to the end of the text.
_QUOTED = re.compile(r"""\"(?:[^"\\]++|\\.)*+"?|'(?:[^'\\]++|\\.)*+'?""", re.DOTALL)
_BEGIN = re.compile(r"[{\[]")
_MARK = re.compile(r"""[\"'{}\[\]()]""")
# A value without quotes ends at a separator. A word like "Bearer" and the token after it are one value.
_BARE_VALUE = re.compile(r"(?:(?:bearer|basic|digest|token|negotiate)\s+)?[^\s,;&)}\]\"']*", re.IGNORECASE)
_EMBEDDED = 20
"""Maximum number of attempts to find JSON inside one text. Each attempt can read the whole text."""

_LONGEST = 65_536
"""Maximum length of a broken JSON text that is searched for secrets, in characters.

If a longer text contains the name of a secret, the whole text is replaced.
"""


class FailureText(str):
    """The text of a failure. The redactor searches the text of a failure for ``key=value`` too, not only for JSON."""

    __slots__ = ()


def redact_keys(keys: Iterable[str] = DEFAULT_SECRET_KEYS) -> Redact:
    """Return a function that redacts the value of every secret key in its argument, at any depth.

    Mappings, lists, tuples, named tuples, attrs classes, dataclasses, arrays of objects and models of pydantic are
    searched, and are returned as dicts and lists. A field of a model is secret if its name or an alias is. A set that
    contains any of these types is searched too, and is returned as a list. Strings that are JSON are searched and
    returned as JSON. In the text of a failure, JSON, ``key=value`` and ``key: value`` are found too.

    Args:
        keys: The words that name a secret. In place of an underscore, a key can have a hyphen or no character: the word
            ``private_key`` also matches ``Private-Key`` and ``privateKey``.
    """
    return _Redactor.of(keys).redact


def redact_text(redact: Redact, text: str, limit: int = MAX_TEXT) -> str:
    """Return the text of a failure without secrets, as ``redact`` returns it, cut at ``limit`` characters.

    If ``redact`` raises, or returns no dict with a string ``message``, return :data:`WITHHELD`. This never raises.
    """
    try:
        redacted = cast("Mapping[str, object]", redact({"message": FailureText(text)}))["message"]
        if not isinstance(redacted, str):
            return WITHHELD
    except BaseException:  # noqa: BLE001 - the hook is foreign code; if it fails, clients get no text
        return WITHHELD
    return text_of(redacted, limit)


@attrs.frozen
class _Redactor:
    """A search for the values of secret keys, and their replacement. A key is secret if it contains a given word."""

    _words: tuple[str, ...]
    _hint: re.Pattern[str] | None
    """Pattern that finds texts in which a secret is possible. None if no words mark a key as secret.

    The pattern also matches a JSON escape, because an escape can stand for any letter of a word.
    """
    _pair: re.Pattern[str]
    """Pattern that matches a secret key in plain text and the characters up to its value, such as ``password=``."""

    @classmethod
    def of(cls, keys: Iterable[str]) -> _Redactor:
        """Return a redactor that treats a key as secret if the key contains one of the words ``keys``."""
        lowered = {_normalised(key) for key in keys}
        words = tuple(sorted(lowered | {word.replace("_", "") for word in lowered}))
        spelled = "|".join("[-_]?".join(map(re.escape, word.split("_"))) for word in sorted(lowered))
        hint = re.compile(rf"{spelled}|\\u", re.IGNORECASE) if lowered else None
        pair = re.compile(rf"(?:{spelled})[\w.\-]{{0,64}}+[\"']?\s{{0,16}}+(?:=>|=|:)\s{{0,16}}+", re.IGNORECASE)
        return cls(words, hint, pair)

    def redact(self, value: Any) -> Any:  # JSON, or any other value that a tool accepts
        """Return the value without its secrets. Raise ``RecursionError`` if the value contains itself."""
        kind = value.__class__
        if issubclass(kind, Enum):
            held = self.redact(value.value)  # the encoder writes the value of an enum
            return value if held == value.value else held
        if issubclass(kind, str):
            return self._string(value)
        if issubclass(kind, Mapping):
            items = cast("Mapping[Any, Any]", value).items()
            return {key: REDACTED if self._secret(key) else self.redact(item) for key, item in items}
        return self._inside(value)

    def _inside(self, value: Any) -> Any:
        """Return the fields or the items of a value without secrets. Return any other value unchanged."""
        kind = value.__class__
        if is_model(kind):
            by_alias, by_name = (dumped(value, self._as_json, by_alias=each) for each in (True, False))
            return self._model(by_alias, by_name, value, _names_within(value))
        if (fields := _fields(value)) is not None:
            return self.redact(fields)
        if issubclass(kind, (list, tuple)):
            return [self.redact(item) for item in value]
        if issubclass(kind, AbstractSet):
            return self._set(value)
        # An array of numpy can hold any objects.
        return self.redact(value.tolist()) if numpy_of(value) is not None and value.dtype.kind == "O" else value

    def _as_json(self, value: object) -> object:
        return as_plain_json(self.redact(value))

    def _secret(self, *keys: object) -> bool:
        normalised = [_normalised(key) for key in keys if isinstance(key, str)]
        return any(word in key for word in self._words for key in normalised)

    def _model(self, by_alias: Any, by_name: Any, held: Any, others: Mapping[str, set[str]]) -> Any:
        """Return a model as JSON without its secrets.

        Args:
            by_alias: The model as JSON, with the aliases of its fields.
            by_name: The same with the names that the fields have in the class. A field is secret if its name or its
                alias is.
            held: The model itself. pydantic writes the named tuples in it as arrays without names.
            others: For each name of a field, all names of this field.
        """
        while getattr(held.__class__, "__pydantic_root_model__", False):
            held = held.root
        kinds = {by_alias.__class__, by_name.__class__}
        if not kinds & {dict, list}:
            return self.redact(by_alias)
        if len(kinds) > 1 or len(by_alias) != len(by_name):
            # A serialiser of the author's own made two shapes: nothing tells which names belong together.
            return REDACTED
        if kinds == {list}:
            names, items = _items_of(held, len(by_alias))
            return [
                REDACTED if self._secret(name) else self._model(aliased, named, item, others)
                for name, item, aliased, named in zip(names, items, by_alias, by_name, strict=True)
            ]
        fields = _fields_of(held)
        return {
            key: REDACTED
            if self._secret(key, name, *others.get(name, ()))
            else self._model(item, named, fields.get(name), others)
            for (key, item), (name, named) in zip(by_alias.items(), by_name.items(), strict=True)
        }

    def _set(self, value: Any) -> Any:
        """Return the items of a set without secrets, as a list. Return the set itself if no item had to change."""
        items = [(item, self.redact(item)) for item in value]
        return value if all(item is redacted for item, redacted in items) else [redacted for _, redacted in items]

    def _string(self, text: str) -> str:
        if self._hint is None:
            return text
        if isinstance(text, FailureText) and "input_value=" in text:
            text = FailureText(without_inputs(text, self._secret, REDACTED))
        if not self._hint.search(text):
            return text  # the usual case: no word of a secret, so nothing is parsed
        begins_as_json = text.lstrip(" \t\r\n\ufeff").startswith(_JSON_BEGINS)
        if begins_as_json and (redacted := self._json(text)) is not None:
            return redacted
        # An exception's text often quotes JSON, a URL or a header in the middle of a sentence.
        if isinstance(text, FailureText):
            return self._scrubbed(self._without_embedded(text))
        # Ordinary prose of a tool's argument is not searched: "the token: what is it?" is a question, not a secret.
        if not begins_as_json:
            return text
        return self._scrubbed(text) if len(text) <= _LONGEST else REDACTED

    def _json(self, text: str) -> str | None:
        """Return a JSON text without its secrets. If the text has no secrets, return it unchanged.

        Return None if the text is not JSON.
        """
        repeated = False

        def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal repeated
            made = dict(pairs)
            repeated = repeated or len(made) < len(pairs)  # a parser ignores the first value, but a person can read it
            return made

        try:
            value = json.loads(text.lstrip("\ufeff"), object_pairs_hook=object_of)
        except (ValueError, RecursionError):
            return None
        redacted = self.redact(value)
        return text if redacted == value and not repeated else _json_text(redacted)

    def _scrubbed(self, text: str) -> str:
        """Return the text without the values of secret keys (``key=value``, ``key: value``).

        Values in quotes or brackets are found too.
        """
        parts: list[str] = []
        at = 0
        while (found := self._pair.search(text, at)) is not None:
            end = _value_end(text, found.end())
            quote = text[found.end()] if end > found.end() and text[found.end()] in "\"'" else ""
            parts += (text[at : found.end()], f"{quote}{REDACTED}{quote}" if end > found.end() else "")
            at = end
        return "".join([*parts, text[at:]])

    def _without_embedded(self, text: str) -> str:
        """Return the text without the secrets that are in JSON objects and arrays inside the text."""
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
            at = begin + 1 if redacted is None else end  # not JSON: look for JSON after this bracket
        return "".join([*parts, text[at:]])


def _value_end(text: str, at: int) -> int:
    """Return the index at which the value that begins at ``at`` ends.

    The value is a quoted text, a text in brackets, or a single word.
    """
    if (quoted := _QUOTED.match(text, at)) is not None:
        return quoted.end()
    if text[at : at + 1] not in tuple(_OPENING):
        bare = _BARE_VALUE.match(text, at)
        return at if bare is None else bare.end()
    # In brackets: up to the bracket that closes the first. Brackets inside quoted strings do not count.
    depth = 0
    while (mark := _MARK.search(text, at)) is not None:
        quoted = _QUOTED.match(text, mark.start())
        at = mark.end() if quoted is None else quoted.end()
        depth += 0 if quoted is not None else 1 if mark.group() in _OPENING else -1
        if not depth:
            return at
    return len(text)


def _json_text(value: object) -> str:
    """Return a value as JSON text. Characters that UTF-8 cannot encode (lone surrogates) are written as escapes."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _normalised(key: str) -> str:
    return key.lower().replace("-", "_")


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of an attrs instance, a dataclass instance or a named tuple. Return None for other values."""
    kind = value.__class__
    if attrs.has(kind):
        return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return named_items(value)


def _fields_of(value: Any) -> dict[str, Any]:
    """Return the named parts of a value: fields, or items of a mapping. Return an empty dict if there are none."""
    kind = value.__class__
    if is_model(kind):
        return dict(getattr(value, "__dict__", {}))
    if issubclass(kind, Mapping):
        return {str(key): item for key, item in value.items()}
    return _fields(value) or {}


def _items_of(value: Any, count: int) -> tuple[list[object], list[Any]]:
    """Return the names and the items of a list, a set, a tuple or an array with ``count`` items, as two lists.

    An item without a name has None. If the value does not have ``count`` items, all are None.
    """
    unknown: list[Any] = [None] * count
    held = value.tolist() if numpy_of(value) is not None else value
    items: list[Any] = list(held) if issubclass(held.__class__, (list, tuple, AbstractSet)) else []
    return (list(named_items(held) or unknown), items) if len(items) == count else (unknown, unknown)


def _names_within(value: Any) -> dict[str, set[str]]:
    """Return for each name of a field all names of this field, for a model and for every model that it holds."""
    names: dict[str, set[str]] = {}
    seen: set[int] = set()
    todo = [value]
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        for name, others in other_names(each.__class__).items():
            names.setdefault(name, set()).update(others)
        is_list = issubclass(each.__class__, (list, tuple, AbstractSet))
        todo += each if is_list else _fields_of(each).values()
    return names
