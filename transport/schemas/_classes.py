"""The JSON Schema of an attrs class: one property for each field."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import attrs

from actors.events.types import MAX_SEQ

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Schema = dict[str, Any]

_KINDS: Mapping[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer", "minimum": 0, "maximum": MAX_SEQ},
    "bool": {"type": "boolean"},
    "JSON": {},
    "Any": {},
    "dict[str, Any]": {"type": "object"},
}
"""Schemas of the annotations that fields have. A field with another annotation is described by its own schema."""

_OPTIONAL = " | None"
_TUPLE = re.compile(r"tuple\[(\w+), \.\.\.\]")
_MARKUP = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")


@attrs.frozen
class Style:
    """The form in which schemas are written: where the definitions are, and whether unknown fields are errors."""

    root: str = "#/$defs/"
    """The place of the definitions in the document, as the beginning of a reference."""
    is_strict: bool = False
    """Whether only the fields and names of this version are valid: for tests of the server.

    A client must ignore unknown fields, so the published schemas allow them.
    """
    is_asyncapi: bool = False
    """Whether the discriminator of a union is written as AsyncAPI wants it."""

    def ref(self, name: str) -> Schema:
        """Return a reference to the definition ``name``."""
        return {"$ref": self.root + name}

    def known(self, names: Iterable[object]) -> Schema:
        """Return the schema of a string to which newer servers may add values."""
        values = [str(name) for name in names]
        return {"type": "string", "enum": values} if self.is_strict else {"type": "string", "examples": values}

    def union(self, by: str, names: Iterable[str], description: str) -> Schema:
        """Return the union of some definitions. The field ``by`` decides which of them applies."""
        members = [self.ref(name) for name in names]
        discriminator = by if self.is_asyncapi else {"propertyName": by}
        return {
            "type": "object",
            "description": description,
            "properties": {by: {"type": "string"}},
            "required": [by],
            "discriminator": discriminator,
            "oneOf": members,
        }

    def object(self, properties: Mapping[str, Schema], required: Collection[str], **more: Any) -> Schema:
        """Return the schema of an object with these fields."""
        schema: Schema = {"type": "object", **more, "properties": dict(properties), "required": list(required)}
        return {**schema, "additionalProperties": False} if self.is_strict else schema

    def fields(self, cls: type[Any], changes: Mapping[str, Schema], without: Collection[str] = ()) -> dict[str, Schema]:
        """Return the schemas of a class's fields. ``changes`` has the schemas that the annotations do not say."""
        annotations = _annotations_of(cls)
        return {
            field.name: changes.get(field.name) or self._of_annotation(annotations[field.name])
            for field in attrs.fields(cls)
            if field.name not in without
        }

    def _of_annotation(self, annotation: str) -> Schema:
        plain = annotation.removesuffix(_OPTIONAL)
        many = _TUPLE.fullmatch(plain)
        return {"type": "array", "items": self.ref(many[1])} if many else dict(_KINDS[plain])


def _annotations_of(cls: type[Any]) -> dict[str, str]:
    """Return the annotations of a class and its bases, as they are written.

    The types of attrs' fields do not serve: once cattrs has read an object of the class, they are no longer texts.
    """
    return {name: text for base in reversed(cls.__mro__) for name, text in inspect.get_annotations(base).items()}


def required_of(cls: type[Any]) -> list[str]:
    """Return the names of the fields without a default."""
    return [field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING]


def description_of(cls: type[Any]) -> str:
    """Return the first paragraph of a class's docstring, without references to other classes."""
    text = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
    return _MARKUP.sub(r"`\1`", text)


def described(properties: Mapping[str, Schema], meanings: Mapping[str, str]) -> dict[str, Schema]:
    """Return the properties, each with its meaning as its description."""
    return {
        name: schema | ({"description": meanings[name]} if meanings.get(name) else {})
        for name, schema in properties.items()
    }
