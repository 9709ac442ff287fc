"""Faults that pydantic found in a value, as texts that do not show the value. Pure; pydantic is never imported.

*The text of pydantic's ValidationError quotes the input: an agent that failed on a login showed its password.*
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, cast, get_args

import attrs

from actors.failures import message_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_FAULTS = 20
"""Maximum number of faults that a text lists. A client could send an input with a million faults."""

_LONGEST = 200
"""Maximum length of the text of one fault, in characters."""

_DISTINCT = 4
"""Minimum length of a text that cannot be part of another word by chance, in characters."""

# One fault in the text of a ValidationError, with and without the line before the message. The text may be cut.
_FAULT = re.compile(r"^(?P<path>[^\n]*)\n  (?:(?!\n\S).)*?(?= \[type=\w*, input_value=)", re.MULTILINE | re.DOTALL)
_INPUT = re.compile(r" \[type=(?P<kind>\w*), input_value=(?P<value>.*?)(?=, input_type=|\Z)", re.DOTALL)
_WORD = re.compile(r"\w{3,}")
_WORDS = re.compile(r"\w+")

_MAX_PARTS = 1_000
"""Maximum number of values that are looked for in a text. A client could send an input with a million values."""

_SPEAKING = {
    "value_error",
    "assertion_error",
    "union_tag_invalid",
    "import_error",
    "get_attribute_error",
    "mapping_type",
    "iteration_error",
}
"""Types of faults of pydantic with messages that can quote the input. Messages of its other types never quote it."""


@attrs.frozen
class ValidationFault:
    """One fault that pydantic found."""

    loc: tuple[str | int, ...]
    """Keys and indices on the way to the fault. It has names of union members and validators too."""
    text: str
    """The message."""
    kind: str
    """The type of the fault, such as ``missing``."""
    value: object
    """The faulty part of the input."""
    cause: object = None
    """The exception that a check of the author's raised, if the fault comes from one."""


def validation_faults(error: BaseException) -> list[ValidationFault] | None:
    """Return the faults of pydantic's ``ValidationError``. Return None for any other exception. Never raises."""
    core = sys.modules.get("pydantic_core")
    if core is None or type(error) is not core.ValidationError:
        return None
    try:
        found = cast("Any", error).errors(include_url=False)
    except BaseException:  # noqa: BLE001 - it formats values of foreign classes
        return []
    return [
        ValidationFault(
            tuple(each["loc"]), text_of(each["msg"]), each["type"], each["input"], each.get("ctx", {}).get("error")
        )
        for each in found
    ]


def client_text(error: BaseException) -> str:
    """Return the text of an exception for clients, with the texts of a group's members. Never raises.

    pydantic's own text of a ``ValidationError`` quotes the input. Here it is a JSON object of paths and messages, in
    which a redactor finds the secret fields by their names.
    """
    return message_of(error, text=_text)


def may_quote(kind: str) -> bool:
    """Return whether messages of faults of this type may quote the input: the author of a validator can write any."""
    return kind in _SPEAKING or kind not in _known_kinds()


def without_inputs(text: str, is_secret: Callable[[str], bool], instead: str) -> str:
    """Return a text that contains the text of a ``ValidationError``, without the inputs that it quotes.

    Args:
        text: The text. It can be cut anywhere.
        is_secret: Function that tells whether a path names a secret. Then the message is removed too.
        instead: Text for each removed part.
    """
    text = _FAULT.sub(lambda fault: f"{fault['path']}\n  {instead}" if is_secret(fault["path"]) else fault[0], text)
    inputs = list(_INPUT.finditer(text))
    words = {word for each in inputs if may_quote(each["kind"]) for word in _WORD.findall(each["value"])}
    text = _INPUT.sub(lambda found: f" [type={found['kind']}, input_value={instead}", text)
    # The messages of an author's own checks may quote the input too.
    return re.sub(rf"\w*(?:{'|'.join(map(re.escape, words))})\w*", instead, text) if words else text


def quotes(text: str, value: object) -> bool:
    """Return whether a text contains a part of a value: one of its strings or numbers.

    The search is limited. Return True if the value has more than 1,000 strings and numbers.
    """
    lowered = text.lower()
    words = set(_WORDS.findall(lowered))
    for count, part in enumerate(_parts(value)):
        if count == _MAX_PARTS or _contains(lowered, words, part.lower()):
            return True
    return False


def _text(error: object, limit: int) -> str:
    faults = validation_faults(cast("BaseException", error))
    if faults is None:
        return text_of(error, limit)
    title = text_of(getattr(error, "title", ""), _LONGEST)
    texts: dict[str, str] = {}
    for each in faults[:MAX_FAULTS]:
        path = ".".join(map(str, each.loc)) or title
        hidden = may_quote(each.kind) and quotes(each.text, each.value)
        text = "Value error" if hidden else text_of(each.text, _LONGEST)
        texts[path] = f"{texts[path]}; {text}" if path in texts else text
    plural = "" if len(faults) == 1 else "s"
    listed = json.dumps(texts, ensure_ascii=False)
    return text_of(f"{len(faults)} validation error{plural} for {title}: {listed}", limit)


def _known_kinds() -> frozenset[str]:
    core = sys.modules.get("pydantic_core")
    return frozenset[str]() if core is None else frozenset(get_args(core.core_schema.ErrorType))


def _contains(text: str, words: set[str], part: str) -> bool:
    # A short text, such as a number, is looked for among whole words: 5 is not in 1,500.
    return part in text if len(part) >= _DISTINCT or (not part.isalnum() and part) else part in words


def _parts(value: object) -> Iterator[str]:
    """Yield the strings and numbers in a value, as text."""
    todo: list[Any] = [value]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        kind = each.__class__
        if issubclass(kind, (dict, list, tuple, set, frozenset)):
            if id(each) not in seen:
                seen.add(id(each))
                todo += each.values() if issubclass(kind, dict) else each
        elif each is not None and kind is not bool:
            yield text_of(each, sys.maxsize)
