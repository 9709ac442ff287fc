"""The conversion of JSON values to annotated types, strictly: cattrs with hooks of its own. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum, EnumType
from types import NoneType, SimpleNamespace
from typing import Any, ForwardRef, Literal, TypeAlias, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from cattrs.cols import (
    homogenous_tuple_structure_factory,
    is_frozenset,
    list_structure_factory,
)
from cattrs.cols import mapping_structure_factory as _mapping  # pyright: ignore[reportUnknownVariableType]  # a bare type
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.preconf.orjson import make_converter

from actors.events._plain import duration_of
from actors.events.encoding import as_plain_json
from actors.events.types import JSON
from actors.failures import shown
from actors.runs._constraints import check_of, constraints_of
from actors.runs._numpy import dtype_of, from_json, is_numpy
from actors.runs._pydantic import PydanticHook, is_pydantic
from actors.runs._shapes import fields_of, has_fields, is_named_tuple, is_typed_dict, is_union

Hook: TypeAlias = "Callable[[Any, Any], Any]"
_Factory: TypeAlias = "Callable[[Any, Any], Hook]"

_NOTE: Any = IterableValidationNote  # made by __new__, which pyright does not see
_FIELD_NOTE: Any = AttributeValidationNote  # as above
_FIELD_FAULTS: Any = ClassValidationError
_FAULTS: Any = IterableValidationError


class Unexpected(ValueError):
    """A JSON value of the wrong type. The message never quotes the value."""


def _expect(value: Any, kind: type[Any]) -> None:
    if type(value) is not kind:
        raise Unexpected(f"expected {_IN_JSON[kind]}, got {_IN_JSON.get(value.__class__, value.__class__.__name__)}")


def _exactly(kind: type[Any]) -> Hook:
    """Return a conversion hook that accepts only values of the type ``kind``: the string "5" is not accepted as 5.

    There is one exception: JSON has only one type of number, so an integer is accepted as a float.
    """

    def structure(value: Any, wanted: Any) -> Any:
        # JSON has one kind of number: 2 is a float too.
        if not (kind is float and type(value) is int):
            _expect(value, kind)
        return value if type(value) is wanted else wanted(value)  # a class of the author's own: an IntEnum, a UserId

    return structure


def _only(json: type[Any], make: _Factory) -> _Factory:
    """Return a factory of conversion hooks that accept only a JSON object, or only a JSON array.

    For example, the string "abc" is not taken as an array of its letters. ``json`` is ``dict`` or ``list``.
    """

    def factory(kind: Any, converter: Any) -> Hook:
        inner = make(kind, converter)

        def structure(value: Any, _: Any) -> Any:
            _expect(value, json)
            return inner(value, kind)

        return structure

    return factory


def _set(kind: Any, converter: Any) -> Hook:
    inner: Any = list_structure_factory(kind, converter)
    make: Any = frozenset if is_frozenset(kind) else set
    return lambda value, _: make(inner(value, kind))


def _deque(kind: Any, converter: Any) -> Hook:
    inner: Any = list_structure_factory(kind, converter)
    return lambda value, _: deque(inner(value, kind))


def _bare(kind: Any, _: Any) -> Hook:
    return lambda value, _: kind(value)


def _fixed_tuple(kind: Any, converter: Any) -> Hook:
    kinds = get_args(kind)
    hooks = [converter.get_structure_hook(each) for each in kinds]

    def structure(value: Any, _: Any) -> Any:
        if len(value) != len(kinds):
            raise ValueError(f"expected {len(kinds)} items, got {len(value)}")
        items: list[Any] = []
        faults: list[Exception] = []
        for index, (item, hook, each) in enumerate(zip(value, hooks, kinds, strict=True)):
            try:
                items.append(hook(item, each))
            except Exception as error:  # noqa: BLE001 - the client gets every fault
                error.add_note(_NOTE(f"@ index {index}", index, each))
                faults.append(error)
        if faults:
            raise _FAULTS(f"While structuring {kind}", faults, kind)
        return tuple(items)

    return structure


def _named_tuple(kind: Any, converter: Any) -> Hook:
    made: Any = get_origin(kind) or kind
    types = fields_of(kind)

    def structure(value: Any, _: Any) -> Any:
        if value.__class__ is list:  # an array of its items, as some writers of JSON make it, pydantic for one
            if len(value) > len(types):
                raise Unexpected(f"expected {len(types)} items, got {len(value)}")
            value = dict(zip(types, value, strict=False))
        _expect(value, dict)
        items: dict[str, Any] = {}
        faults: list[Exception] = []
        for name in [each for each in types if each in value or each not in made._field_defaults]:
            try:
                items[name] = converter.get_structure_hook(types[name])(value[name], types[name])
            except Exception as error:  # noqa: BLE001 - the client gets every fault
                error.add_note(_FIELD_NOTE(f"@ {name}", name, types[name]))
                faults.append(error)
        if unknown := value.keys() - types.keys():
            faults.append(ForbiddenExtraKeysError("", made, unknown))
        if faults:
            raise _FIELD_FAULTS(f"While structuring {kind}", faults, made)
        return made(**items)

    return structure


def _union(kind: Any, converter: Any) -> Hook:
    """Return a hook that takes the first type of a union that the value fits."""
    kinds = [each for each in get_args(kind) if each is not NoneType]
    hooks = [converter.get_structure_hook(each) for each in kinds]
    optional = len(kinds) < len(get_args(kind))

    def structure(value: Any, _: Any) -> Any:
        if value is None and optional:
            return None
        faults: list[Exception] = []
        for hook, each in zip(hooks, kinds, strict=True):
            try:
                return hook(value, each)
            except Exception as error:  # noqa: BLE001 - the client gets every fault
                faults.append(error)
        raise _FAULTS(f"While structuring {kind}", faults, kind)

    return structure


def _constrained(kind: Any, converter: Any) -> Hook:
    inner = converter.get_structure_hook(kind.__origin__)
    checks = [check_of(each) for each in constraints_of(kind)]

    def structure(value: Any, _: Any) -> Any:
        made = inner(value, kind.__origin__)
        for check in checks:
            check(made)
        return made

    return structure


def _numpy(kind: Any, _: Any) -> Hook:
    dtype_of(kind)  # an impossible type is refused here, and not with the first input
    return from_json


def _parsed(parse: Callable[[str], Any], name: str) -> Hook:
    """Return a hook that reads a string by ``parse``. Its fault names the form and does not quote the value."""

    def structure(value: Any, _: Any) -> Any:
        _expect(value, str)
        try:
            return parse(value)
        except (ValueError, OverflowError, InvalidOperation):
            raise Unexpected(f"expected {name}") from None

    return structure


def _decimal(value: str) -> Decimal:
    made = Decimal(value)
    if not made.is_finite():
        raise ValueError("not finite")
    return made


def _decimal_of(value: Any, _: Any) -> Decimal:
    return Decimal(value) if type(value) is int else _read_decimal(value, Decimal)


_read_decimal = _parsed(_decimal, "a decimal number, as a string")


def _enum(kind: Any, _: Any) -> Hook:
    # Members with values that are other values in JSON: a Decimal, a tuple.
    in_json = [
        (as_plain_json(member.value), member) for member in kind if not isinstance(member.value, (str, int, float))
    ]

    def structure(value: Any, _: Any) -> Any:
        found = next((member for held, member in in_json if type(held) is type(value) and held == value), None)
        if found is not None:
            return found
        member = kind(value)
        if type(value) is bool and type(member.value) is not bool:  # true == 1
            raise ValueError(f"{shown(value)} is not a valid {kind.__name__}")
        return member

    return structure


def _literal(kind: Any, _: Any) -> Hook:
    allowed = get_args(kind)

    def structure(value: Any, _: Any) -> Any:
        if not any(type(each) is type(value) and each == value for each in allowed):
            raise ValueError(f"expected {' or '.join(map(repr, allowed))}, got {shown(value)}")
        return value

    return structure


def _is(*kinds: Any) -> Callable[[Any], bool]:
    return lambda kind: any(kind is each for each in kinds)


def _of(*origins: Any) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) in origins


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[-1:] == (...,)


def _is_fixed_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and not _is_tuple(kind)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, EnumType)


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal and not any(isinstance(each, Enum) for each in get_args(kind))


def _is_mixed_union(kind: Any) -> bool:
    """Return whether cattrs has no way of its own for a union.

    cattrs takes a union with None, a union of JSON's own types and one other type, and one of attrs classes that differ
    in their fields.
    """
    others = {each for each in get_args(kind) if each not in _NATIVE} if is_union(kind) else set[Any]()
    return len(others) > 1 and not all(map(has_fields, others))


def _is_union_of_models(kind: Any) -> bool:
    """Return whether a union has models of pydantic, and besides only JSON's own types."""
    others = {each for each in get_args(kind) if each not in _NATIVE} if is_union(kind) else set[Any]()
    return bool(others) and all(map(is_pydantic, others))


def _is_constrained(kind: Any) -> bool:
    return bool(constraints_of(kind))


_JSON = get_type_hints(SimpleNamespace(__annotations__={"value": "JSON"}), {"JSON": JSON})["value"]
"""The type to which the annotation ``JSON`` resolves. The definition of ``JSON`` itself refers to ``JSON`` by name."""


def is_any_json(kind: Any) -> bool:
    """Return whether a type stands for any JSON value."""
    return (
        kind is Any
        or kind is object
        or kind == _JSON
        or (isinstance(kind, ForwardRef) and kind.__forward_arg__ == str(JSON))
    )


_IN_JSON: dict[type[Any], str] = {
    dict: "object",
    list: "array",
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_NATIVE = (str, int, float, bool, NoneType)
converter = make_converter(forbid_extra_keys=True)
"""The converter of inputs. :func:`actors.runs._types.hook_of` checks a type before it is used here."""


def _to_attrs(value: Any, kind: Any) -> Any:
    return converter.structure(value, kind)


def _by_pydantic(kind: Any, _: Any) -> Hook:
    return PydanticHook.of(kind, _to_attrs)


_FACTORIES: tuple[tuple[Callable[[Any], bool], _Factory], ...] = (
    (has_fields, _only(dict, lambda kind, converter: converter.gen_structure_attrs_fromdict(kind))),
    (is_typed_dict, _only(dict, lambda kind, converter: converter.gen_structure_typeddict(kind))),
    (_of(dict, Mapping, MutableMapping), _only(dict, cast("_Factory", _mapping))),
    (_of(list, Sequence, MutableSequence), _only(list, list_structure_factory)),
    (_of(set, frozenset, AbstractSet, MutableSet), _only(list, _set)),
    (_of(deque), _only(list, _deque)),
    (_is(set, frozenset, tuple, deque), _only(list, _bare)),
    (_is_tuple, _only(list, homogenous_tuple_structure_factory)),
    (_is_fixed_tuple, _only(list, _fixed_tuple)),
    (_is_enum, _enum),
    (_is_literal, _literal),
    (is_named_tuple, _named_tuple),
    (_is_mixed_union, _union),
    (_is_constrained, _constrained),
    (is_numpy, _numpy),
    (is_pydantic, _by_pydantic),
    (_is_union_of_models, _by_pydantic),
)
for _applies, _make in _FACTORIES:
    converter.register_structure_hook_factory(_applies, _make)
for _container in (dict, list):
    # By identity: a TypedDict is a dict by its class.
    converter.register_structure_hook_func(_is(_container), _exactly(_container))
for _kind in (str, int, float, bool, NoneType):
    converter.register_structure_hook(_kind, _exactly(_kind))
_PARSED: tuple[tuple[type, Callable[[str], Any], str], ...] = (
    (datetime, datetime.fromisoformat, "a date and time of ISO 8601"),
    (date, date.fromisoformat, "a date of ISO 8601"),
    (time, time.fromisoformat, "a time of ISO 8601"),
    (timedelta, duration_of, "a duration of ISO 8601 in days to seconds, such as PT1.5S"),
    (UUID, UUID, "a UUID"),
)
for _class, _parse, _name in _PARSED:
    converter.register_structure_hook(_class, _parsed(_parse, _name))
converter.register_structure_hook(Decimal, _decimal_of)
converter.register_structure_hook_func(is_any_json, lambda value, _: value)
