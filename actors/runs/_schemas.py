"""JSON Schemas of the types that inputs can have."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, EnumType
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin
from uuid import UUID

import attrs

from actors.events.encoding import as_plain_json
from actors.runs._constraints import constraints_of, described
from actors.runs._converter import converter, is_any_json
from actors.runs._numpy import dtype_of, is_array, is_numpy
from actors.runs._pydantic import PydanticHook, is_pydantic
from actors.runs._shapes import fields_of, has_fields, is_named_tuple, is_typed_dict, is_union, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.events.types import JSON

Schema = dict[str, Any]

_REF = "#/$defs/"
_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    dict: {"type": "object"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    set: {"type": "array", "uniqueItems": True},
    frozenset: {"type": "array", "uniqueItems": True},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    timedelta: {"type": "string", "format": "duration"},
    UUID: {"type": "string", "format": "uuid"},
    Decimal: {
        "anyOf": [{"type": "string", "pattern": r"^[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?$"}, {"type": "integer"}]
    },
}
_NUMPY = {"b": "boolean", "i": "integer", "u": "integer", "f": "number", "U": "string", "M": "string"}


def schema_of(kind: Any) -> dict[str, JSON]:
    """Return the JSON Schema (draft 2020-12) of a type. A part without a schema is ``{}``, so any value fits it."""
    builder = _Builder()
    schema = builder.of(kind)
    name = str(schema.get("$ref", "")).removeprefix(_REF)
    if name in builder.definitions and len(schema) == 1:
        whole = builder.definitions[name]
        # The outermost class is written in place, unless it contains itself.
        if json.dumps(builder.definitions).count(f'"{_REF}{name}"') == 0:
            schema = builder.definitions.pop(name) and whole
    return {**schema, "$defs": builder.definitions} if builder.definitions else schema


class _Builder:
    """One JSON Schema in the making, with the definitions of its classes."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._names: list[tuple[Any, str]] = []

    def of(self, kind: Any) -> Schema:
        """Return the schema of a type. The schema of a class is a reference to its definition."""
        if is_any_json(kind):
            return {}
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        for applies, make in self._MAKERS:
            if applies(kind):
                return make(self, kind)
        inner = [part for _, part in parts_of(kind)]  # a NewType, or an alias
        return self.of(inner[0]) if len(inner) == 1 else self._class(kind)

    def _class(self, kind: Any) -> Schema:
        """Return the schema of a subclass of a type that has one, such as an author's own subclass of ``str``."""
        bases = kind.__mro__[1:] if isinstance(kind, type) else ()
        return next((dict(_PLAIN[base]) for base in bases if base in _PLAIN), Schema())

    def _pydantic(self, kind: Any) -> Schema:
        hook = converter.get_structure_hook(kind)
        try:
            made: Schema = hook.json_schema() if isinstance(hook, PydanticHook) else {}
        except Exception:  # noqa: BLE001 - pydantic cannot describe every type that it can check
            return {}
        self.definitions.update(made.pop("$defs", {}))
        return made

    def _constrained(self, kind: Any) -> Schema:
        schema = self.of(kind.__origin__)
        for constraint in constraints_of(kind):
            schema |= described(constraint, schema.get("type"))
        return schema

    def _union(self, kind: Any) -> Schema:
        return {"anyOf": [self.of(each) for each in get_args(kind)]}

    def _literal(self, kind: Any) -> Schema:
        return {"enum": [each.value if isinstance(each, Enum) else each for each in get_args(kind)]}

    def _enum(self, kind: Any) -> Schema:
        return {"title": kind.__name__, "enum": [as_plain_json(each.value) for each in kind]}

    def _numpy(self, kind: Any) -> Schema:
        wanted = dtype_of(kind)
        if is_array(kind):
            return {"type": "array"}
        return {"type": _NUMPY[wanted.kind]}

    def _mapping(self, kind: Any) -> Schema:
        return {"type": "object", "additionalProperties": self.of(get_args(kind)[1])}

    def _tuple(self, kind: Any) -> Schema:
        kinds = get_args(kind)
        if kinds[-1:] == (...,):
            return {"type": "array", "items": self.of(kinds[0])}
        items = [self.of(each) for each in kinds]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}

    def _array(self, kind: Any) -> Schema:
        items = {"type": "array", "items": self.of(get_args(kind)[0])}
        is_set = isinstance(get_origin(kind), type) and issubclass(get_origin(kind), AbstractSet)
        return {**items, "uniqueItems": True} if is_set else items

    def _fields(self, kind: Any) -> Schema:
        """Return a reference to the definition of a class with fields. Add the definition, once for each class."""
        name = next((name for known, name in self._names if known == kind), "")
        if not name:
            title = getattr(get_origin(kind) or kind, "__name__", "object")
            name = title
            while name in self.definitions:
                name += "_"
            self._names.append((kind, name))
            self.definitions[name] = {}  # before its fields, which may have the class again
            self.definitions[name] = self._definition(kind, title)
        return {"$ref": _REF + name}

    def _definition(self, kind: Any, title: str) -> Schema:
        base = get_origin(kind) or kind
        optional = _defaults_of(base)
        fields = fields_of(kind)
        properties = {name: self.of(each) | optional.get(name, {}) for name, each in fields.items()}
        schema: Schema = {"type": "object", "title": title, "properties": properties, "additionalProperties": False}
        required = [name for name in fields if name not in optional]
        text = inspect.cleandoc(base.__doc__ or "")
        if text and not text.startswith(f"{title}("):  # a dataclass has its signature, if its author wrote nothing
            schema["description"] = text
        return {**schema, "required": required} if required else schema

    _MAKERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Any], Schema]], ...] = (
        (is_pydantic, _pydantic),
        (lambda kind: bool(constraints_of(kind)), _constrained),
        (lambda kind: get_origin(kind) is Annotated, lambda self, kind: self.of(kind.__origin__)),
        (is_union, _union),
        (lambda kind: get_origin(kind) is Literal, _literal),
        (lambda kind: isinstance(kind, EnumType), _enum),
        (is_numpy, _numpy),
        (lambda kind: has_fields(kind) or is_typed_dict(kind) or is_named_tuple(kind), _fields),
        (lambda kind: get_origin(kind) is tuple, _tuple),
        (lambda kind: get_origin(kind) in {dict, Mapping, MutableMapping}, _mapping),
        (lambda kind: isinstance(get_origin(kind), type) and len(get_args(kind)) == 1, _array),
    )


def _defaults_of(kind: Any) -> dict[str, Schema]:
    """Return the fields of a class that may be left out, each with its default as a part of its schema."""
    if is_typed_dict(kind):
        return {name: {} for name in kind.__optional_keys__}
    if is_named_tuple(kind):
        return {name: default_of(value) for name, value in kind._field_defaults.items()}
    if attrs.has(kind):
        return {each.name: default_of(each.default) for each in attrs.fields(kind) if each.default is not attrs.NOTHING}
    return {
        name: default_of(each.default)
        for name, each in kind.__dataclass_fields__.items()
        if each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING
    }


def default_of(value: object) -> dict[str, JSON]:
    """Return a default as a part of a JSON Schema. Return ``{}`` if it has no JSON form, as a factory has none."""
    try:
        made: Any = as_plain_json(value)
    except Exception:  # noqa: BLE001 - the contents of foreign classes
        return {}
    return {"default": made}
