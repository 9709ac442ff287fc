"""Faults of an input, as the text of a refusal: each with its path, and without the values of secret fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
from cattrs.errors import BaseValidationError, ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.v import format_exception

from actors.errors import CommandRefused
from actors.events._validation import MAX_FAULTS, may_quote, quotes, validation_faults
from actors.events.redaction import redact_text
from actors.failures import class_name, text_of
from actors.runs._converter import Unexpected
from actors.runs._pydantic import Inner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actors.events._validation import ValidationFault
    from actors.events.redaction import Redact
    from actors.events.types import JSON

_LONGEST_FAULT = 200
"""Maximum length of the text of one fault, in characters."""

_WITHHELD = "the value does not fit (the reason is withheld: it may show a secret)"


@attrs.frozen
class _Fault:
    """One fault of an input."""

    path: tuple[str | int, ...]
    """Keys and indices of the faulty part."""
    shown: str
    """The path as the client sees it, such as ``input.items[0]``."""
    text: str
    own: bool
    """Whether the text cannot quote the value, because no foreign code has written it."""


def refusal(
    error: BaseException, value: JSON, names: Mapping[str, set[str]], redact: Redact, name: str
) -> CommandRefused:
    """Return the refusal of an input.

    Args:
        error: The exception that the conversion raised. It may be of any type.
        value: The input.
        names: All names of each field that has an alias.
        redact: The function that removes secrets. A field that it would redact is not quoted.
        name: Name of the input, at the beginning of each path.
    """
    faults = list(_faults(error, value, (), name))
    hidden = _Hidden(value, names, redact)
    texts = [f"{hidden.text_of(fault)} @ {fault.shown}" for fault in faults[:MAX_FAULTS]]
    more = f" (and {len(faults) - MAX_FAULTS} more)" if len(faults) > MAX_FAULTS else ""
    return CommandRefused("bad_input", "; ".join(texts) + more)


def _faults(error: BaseException, value: object, path: tuple[str | int, ...], shown: str) -> Iterator[_Fault]:
    """Yield the faults in an exception of a conversion. ``value`` is the part of the input at ``path``."""
    found = validation_faults(error)
    if isinstance(error, (ClassValidationError, IterableValidationError)):
        noted, others = cast("tuple[list[tuple[Exception, Any]], list[Exception]]", error.group_exceptions())
        for each, note in noted:
            is_item = isinstance(error, IterableValidationError)
            key = note.index if is_item else note.name
            at = f"{shown}[{key!r}]" if is_item else f"{shown}.{key}"
            yield from _faults(each, _part(value, key), (*path, key), at)
        for each in others:
            yield from _faults(each, value, path, shown)
    elif found:
        for fault in found:
            yield from _of_pydantic(fault, value, path, shown)
    elif isinstance(error, (KeyError, ForbiddenExtraKeysError)):
        yield _Fault(path, shown, format_exception(error, None), own=True)
    else:
        text = "" if isinstance(error, BaseValidationError) else text_of(error)
        yield _Fault(path, shown, (text or class_name(error)).partition("\n")[0], own=isinstance(error, Unexpected))


def _of_pydantic(fault: ValidationFault, value: object, path: tuple[str | int, ...], shown: str) -> Iterator[_Fault]:
    """Yield a fault of pydantic. The names of union members and validators in its path become a part of the text."""
    labels: list[str] = []
    for index, key in enumerate(fault.loc):
        is_missing = fault.kind == "missing" and index == len(fault.loc) - 1
        part = _part(value, key)
        if part is _NOTHING and not is_missing:
            labels.append(str(key))
            continue
        value, path, shown = part, (*path, key), f"{shown}[{key}]" if isinstance(key, int) else f"{shown}.{key}"
    if isinstance(fault.cause, Inner):
        yield from _faults(fault.cause.error, value, path, shown)
        return
    text = f"{fault.text} ({', '.join(labels)})" if labels else fault.text
    yield _Fault(path, shown, text, own=not may_quote(fault.kind))


_NOTHING = object()


def _part(value: Any, key: Any) -> object:
    """Return the part of a JSON value at a key or an index. Return a marker if there is none."""
    wanted = {dict: str, list: int}.get(value.__class__)
    try:
        return value[key] if wanted is key.__class__ else _NOTHING
    except LookupError:
        return _NOTHING


class _Hidden:
    """The search for secrets in the faults of one input."""

    def __init__(self, value: JSON, names: Mapping[str, set[str]], redact: Redact) -> None:
        self._names = names
        self._redact = redact
        given = {"input": self._with_all_names(value)}
        self._secrets = [] if (redacted := self._redacted(given)) == given else list(_changed(given, redacted))

    def text_of(self, fault: _Fault) -> str:
        """Return the text of a fault. Withhold it if it may show the value of a secret field."""
        if fault.own:
            return text_of(fault.text, _LONGEST_FAULT)
        if self._is_secret(fault.path) or quotes(fault.text, self._secrets):
            return _WITHHELD
        return text_of(redact_text(self._redact, fault.text), _LONGEST_FAULT)

    def _is_secret(self, path: tuple[str | int, ...]) -> bool:
        probe: JSON = "x"
        for key in reversed(path):
            probe = {key: probe} if isinstance(key, str) else [probe]
        probe = self._with_all_names(probe)
        return self._redacted(probe) != probe

    def _redacted(self, value: JSON) -> object:
        try:
            return self._redact(value)
        except BaseException:  # noqa: BLE001 - the hook is foreign code; if it fails, nothing is quoted
            return _NOTHING

    def _with_all_names(self, value: JSON) -> JSON:
        """Return a JSON value in which each field is under all of its names."""
        if not self._names:
            return value
        if isinstance(value, list):
            return [self._with_all_names(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            name: self._with_all_names(each) for key, each in value.items() for name in {key, *self._names.get(key, ())}
        }


def _changed(value: Any, redacted: Any) -> Iterator[object]:
    """Yield the parts of a value that a redaction has changed."""
    kinds = {value.__class__, redacted.__class__}
    if kinds == {dict}:
        for key, each in value.items():
            yield from _changed(each, redacted.get(key, _NOTHING))
    elif kinds == {list} and len(value) == len(redacted):
        for each, other in zip(value, redacted, strict=True):
            yield from _changed(each, other)
    elif value != redacted:
        yield value
