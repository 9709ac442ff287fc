"""Models of pydantic as JSON values. pydantic is never imported: a model exists only if the program has imported it.

A model is encoded by its own serialiser in JSON mode, by alias, as FastAPI does it: aliases, computed fields, excluded
fields, its own serialisers and masked secrets are as the model's author wants them.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from actors.errors import UnserialisableEvent
from actors.failures import class_name, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEPT_ADAPTERS = 256
"""Maximum number of classes, such as SecretStr, of which the means to encode them are kept."""


def is_model(kind: Any) -> bool:
    """Return whether a class is a model or a dataclass of pydantic."""
    # SecretStr has a serialiser, and is no model.
    return hasattr(kind, "__pydantic_serializer__") and hasattr(kind, "__pydantic_core_schema__")


def is_of_pydantic(kind: type[Any]) -> bool:
    """Return whether pydantic knows how to encode the instances of a class. Such a class need not be a model."""
    return is_model(kind) or (hasattr(kind, "__get_pydantic_core_schema__") and "pydantic" in sys.modules)


def dumped(value: Any, fallback: Callable[[Any], object], *, by_alias: bool = True) -> Any:  # JSON
    """Return a model, or an instance of another class that pydantic knows, as JSON.

    Args:
        value: The value; see :func:`is_of_pydantic`.
        fallback: Function that returns the JSON form of a value in the model that pydantic does not know.
        by_alias: Whether fields are named by their aliases. Otherwise they have the names in the class.

    Raises:
        UnserialisableEvent: The model's serialiser raised an exception, or bytes would be taken for text.
    """
    kind = value.__class__
    try:
        serializer = kind.__pydantic_serializer__ if is_model(kind) else _adapter(kind).serializer
        _refuse_bytes(value, serializer)
        return serializer.to_python(value, mode="json", by_alias=by_alias, warnings=False, fallback=fallback)
    except BaseException as error:  # the serialisers of a model are foreign code
        reason = text_of(error) or class_name(error)
        raise UnserialisableEvent(f"{class_name(value)} cannot be serialised: {reason}") from error


def _refuse_bytes(value: Any, serializer: Any) -> None:
    """Raise TypeError if a model holds bytes of which its author did not say how they look in JSON.

    pydantic would take any bytes for UTF-8.
    """
    kind = value.__class__
    if is_model(kind) and _may_hold_bytes(kind) and _holds_bytes(serializer.to_python(value, warnings=False)):
        raise TypeError("bytes have no JSON form: use Base64Bytes, or set ser_json_bytes in the model's config")


def dumped_as_python(value: Any) -> object:
    """Return the contents of a model without the changes that the JSON mode makes, such as null for an infinity."""
    kind = value.__class__
    return kind.__pydantic_serializer__.to_python(value, warnings=False) if is_model(kind) else ""


def other_names(kind: Any) -> dict[str, set[str]]:
    """Return for each name of a field all names of this field, for a model and the models in its fields.

    A field has a name in the class, and perhaps aliases. A field without an alias is not in the result.
    """
    return _other_names(kind) if is_model(kind) else {}


@lru_cache(_KEPT_ADAPTERS)
def _other_names(kind: Any) -> dict[str, set[str]]:
    return names_in(kind.__pydantic_core_schema__)


def names_in(schema: object) -> dict[str, set[str]]:
    """Return all names of each field that has an alias, for the fields in a core schema of pydantic."""
    found: dict[str, set[str]] = {}
    for node in nodes(schema):
        for name, field in _fields_in(node):
            aliases = {*_strings(field.get("validation_alias")), *_strings(field.get("serialization_alias"))}
            names = {name, *aliases}
            for each in names if aliases else ():
                found.setdefault(each, set()).update(names)
    return found


def nodes(schema: object) -> Iterator[dict[str, Any]]:
    """Yield the parts of a core schema of pydantic, the outer before the inner: all dicts with a type."""
    todo = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            held = cast("dict[str, Any]", node)
            if isinstance(held.get("type"), str):
                yield held
            # The values of these keys are not schemas, although they may look like some.
            todo += [each for key, each in held.items() if key not in {"default", "metadata", "expected", "config"}]
        elif isinstance(node, (list, tuple)):
            todo += cast("list[object]", node)


def _fields_in(node: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    fields = node.get("fields")
    if node["type"] in {"model-fields", "typed-dict"} and isinstance(fields, dict):
        return list(cast("dict[str, dict[str, Any]]", fields).items())
    if node["type"] == "dataclass-args" and isinstance(fields, list):
        return [(each["name"], each) for each in cast("list[dict[str, Any]]", fields)]
    return []


def _strings(alias: object) -> Iterator[str]:
    """Yield the names in an alias: a string, or lists of strings (paths and choices)."""
    if isinstance(alias, str):
        yield alias
    elif isinstance(alias, (list, tuple)):
        for each in cast("list[object]", alias):
            yield from _strings(each)


@lru_cache(_KEPT_ADAPTERS)
def _adapter(kind: Any) -> Any:
    return sys.modules["pydantic"].TypeAdapter(kind)


@lru_cache(_KEPT_ADAPTERS)
def _may_hold_bytes(kind: Any) -> bool:
    schema = kind.__pydantic_core_schema__
    if plain_bytes(schema):
        return True
    # A field for any value may hold bytes too. They cannot be told from those of Base64Bytes, so these go before.
    types = {node["type"] for node in nodes(schema)}
    return "any" in types and "bytes" not in types


def plain_bytes(schema: object, key: str = "ser_json_bytes") -> bool:
    """Return whether a core schema of pydantic has bytes without a rule for their form in JSON.

    ``key`` names the setting of a model's config that is such a rule.
    """
    todo = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            held = cast("dict[str, Any]", node)
            if held.get("type") == "bytes":
                return True
            if "serialization" not in held and key not in (held.get("config") or {}):
                skipped = {"default", "metadata", "expected", "config"}
                todo += [each for name, each in held.items() if name not in skipped]
        elif isinstance(node, (list, tuple)):
            todo += cast("list[object]", node)
    return False


def _holds_bytes(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_bytes, cast("dict[object, object]", value).values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(_holds_bytes, cast("list[object]", value)))
    return isinstance(value, bytes)
