"""Annotations that pydantic checks. pydantic is never imported: modules with such annotations have imported it.

The input of an agent comes as JSON, and so pydantic reads it as JSON: a strict model takes a date from a string.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import attrs
import orjson

from actors.events._models import names_in, nodes
from actors.runs._numpy import is_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from actors.events.types import JSON

_LIBRARIES = {"pydantic", "pydantic_core"}
_INSTANCES = {"is-instance", "is-subclass", "callable"}
_OWN_WAYS = {"function-before", "function-wrap", "function-plain", "custom-error"}
"""Types of schemas in which a function of an author's own may make anything of the JSON value."""

_BYTES = "bytes have no JSON form: use str, Base64Bytes, or set val_json_bytes in the model's config"


def is_pydantic(kind: Any) -> bool:
    """Return whether pydantic checks values of this annotation: a model, a type of pydantic, or one with its rules."""
    if "pydantic" not in sys.modules:
        return False
    if get_origin(kind) is Annotated:
        return any(map(_is_rule, kind.__metadata__))
    return hasattr(kind, "__get_pydantic_core_schema__") or hasattr(kind, "__pydantic_core_schema__")


def mentions_pydantic(kind: Any) -> bool:
    """Return whether a type that pydantic checks is anywhere in an annotation, such as ``list[Model] | None``."""
    if is_pydantic(kind):
        return True
    inner = [*get_args(kind), getattr(kind, "__supertype__", None), getattr(kind, "__value__", None)]
    return any(mentions_pydantic(each) for each in inner if each is not None and not isinstance(each, (str, int)))


class Inner(ValueError):
    """The exception of another converter inside pydantic, which goes on with other parts after a ValueError."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@attrs.frozen(eq=False)
class PydanticHook:
    """A conversion hook that lets pydantic read a JSON value."""

    kind: Any
    _validator: Any
    _schema: Any
    names: Mapping[str, set[str]]
    """All names of each field that has an alias."""

    @classmethod
    def of(cls, kind: Any, convert: Callable[[Any, Any], object]) -> PydanticHook:
        """Return the hook for an annotation.

        Args:
            kind: The annotation.
            convert: Function that converts a JSON value to a class that pydantic does not know: of attrs or numpy.

        Raises:
            TypeError: The annotation has a type of which no value can come from JSON.
            PydanticUserError: pydantic does not know a type, or the type is not fully defined.
        """
        adapter = sys.modules["pydantic"].TypeAdapter(kind)
        if not getattr(adapter, "pydantic_complete", True):
            adapter.rebuild(force=True, raise_errors=True)
        schema, validator = adapter.core_schema, adapter.validator
        if any(map(_is_foreign, nodes(schema))):
            schema = _with_conversions(schema, convert)
            validator = _validator_of(schema)
        for path, reason in _unusable(schema):
            raise TypeError(f"{path}: {reason}" if path else reason)
        return cls(kind, validator, schema, names_in(schema))

    def __call__(self, value: Any, _: Any) -> object:
        """Return the value that pydantic makes of a JSON value. Raise any exception of pydantic or of the model."""
        return self._validator.validate_json(orjson.dumps(value))

    def json_schema(self) -> dict[str, JSON]:
        """Return the JSON Schema of the JSON values. Raise an exception of pydantic if it cannot describe a type."""
        made: dict[str, JSON] = sys.modules["pydantic.json_schema"].GenerateJsonSchema().generate(self._schema)
        return made


def _is_rule(metadata: Any) -> bool:
    of_library = type(metadata).__module__.partition(".")[0] in _LIBRARIES
    return of_library or hasattr(metadata, "__get_pydantic_core_schema__")


def _is_foreign(node: Any) -> bool:
    """Return whether a node of a core schema only compares the class of a value, and the class is of attrs or numpy."""
    return node.get("type") == "is-instance" and (attrs.has(node["cls"]) or is_numpy(node["cls"]))


def _with_conversions(node: Any, convert: Callable[[Any, Any], object]) -> Any:
    """Return a core schema that converts JSON to the foreign classes in it, instead of comparing classes."""
    if issubclass(node.__class__, dict):
        if _is_foreign(node):
            function = {"type": "no-info", "function": partial(_converted, convert, node["cls"])}
            return {"type": "function-plain", "function": function, "json_schema_input_schema": {"type": "any"}}
        return {key: _with_conversions(each, convert) for key, each in node.items()}
    return type(node)(_with_conversions(each, convert) for each in node) if type(node) in {list, tuple} else node


def _validator_of(schema: Any) -> Any:
    """Return a new validator. It does not use the validators that models have already: these still compare classes."""
    try:
        return sys.modules["pydantic_core"].SchemaValidator(schema, _use_prebuilt=False)
    except TypeError as error:
        raise TypeError("classes of attrs and numpy in a model need pydantic 2.13 or newer") from error


def _converted(convert: Callable[[Any, Any], object], kind: Any, value: Any) -> object:
    try:
        return convert(value, kind)
    except Exception as error:
        raise Inner(error) from error


def _unusable(node: Any, path: str = "", *, coded: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the path and the reason of each part of a core schema that no JSON value can fit.

    ``coded`` tells that the author has said how bytes look in JSON.
    """
    if issubclass(node.__class__, (list, tuple)):
        for each in node:
            yield from _unusable(each, path, coded=coded)
        return
    if not issubclass(node.__class__, dict):
        return
    kind = node.get("type")
    coded = coded or "val_json_bytes" in (node.get("config") or {}) or "serialization" in node
    if kind == "bytes" and not coded:
        yield path, _BYTES
    elif kind in _INSTANCES:
        yield path, f"pydantic only compares the class {node.get('cls', 'function')!r}, and JSON has no such value"
    elif kind == "union":
        choices = [list(_unusable(each, path, coded=coded)) for each in node["choices"]]
        bad = [each for found in choices for each in found if all(choices) or each[1] is _BYTES]
        yield from bad[:1]
    elif kind == "default":
        # A field with a default can be left out.
        yield from (each for each in _unusable(node["schema"], path, coded=coded) if each[1] is _BYTES)
    elif kind not in _OWN_WAYS:
        yield from _unusable_inside(node, path, coded=coded)


def _unusable_inside(node: Any, path: str, *, coded: bool) -> Iterator[tuple[str, str]]:
    way = {"json-or-python": "json_schema", "lax-or-strict": "lax_schema"}.get(node.get("type"))
    inner: dict[str, Any] = node if way is None else {way: node[way]}
    fields: dict[str, Any] = inner.get("fields") or {}
    for key, each in inner.items():
        if key == "fields" and fields.__class__ is dict:
            for name, field in fields.items():
                yield from _unusable(field, f"{path}.{name}".lstrip("."), coded=coded)
        elif key not in {"metadata", "config", "expected", "serialization", "cls", "computed_fields"}:
            name = f"{path}.{inner['name']}".lstrip(".") if isinstance(inner.get("name"), str) else path
            yield from _unusable(each, name, coded=coded)
