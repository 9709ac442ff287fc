"""Strict conversion of a client's input to the annotation of an agent's parameter. Faults are reported with paths."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, MutableMapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from enum import Enum, EnumType
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Any,
    ForwardRef,
    Literal,
    TypeAlias,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import attrs
from cattrs import transform_error
from cattrs.cols import homogenous_tuple_structure_factory, is_frozenset, list_structure_factory
from cattrs.cols import mapping_structure_factory as _mapping  # pyright: ignore[reportUnknownVariableType]  # a bare type
from cattrs.errors import ForbiddenExtraKeysError, IterableValidationError, IterableValidationNote
from cattrs.preconf.orjson import make_converter
from cattrs.v import format_exception

from actors.errors import CommandRefused, ConfigError
from actors.events.types import JSON
from actors.failures import class_name, shown, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

_Hook: TypeAlias = "Callable[[Any, Any], Any]"
_Factory: TypeAlias = "Callable[[Any, Any], _Hook]"

_NOTE: Any = IterableValidationNote  # made by __new__, which pyright does not see
_FAULTS: Any = IterableValidationError

_MAX_FAULTS = 20
"""Maximum number of faults that a refusal lists. A client could send an input with a million faults."""

_LONGEST_FAULT = 200
"""Maximum length of the text of one fault, in characters."""


def structurer(function: Callable[..., object], position: int) -> Callable[[JSON], object] | None:
    """Return a function that converts a JSON value to the type of the ``position``-th parameter of ``function``.

    Return None if there is no such parameter. A parameter without an annotation, or with the annotation ``object``,
    ``Any`` or ``JSON``, gets the value unchanged. A parameter with a default gets the default if the value is ``null``.
    A missing input counts as ``null``.

    Raise :class:`~actors.ConfigError` if the annotation cannot be resolved, or if nothing can be converted to its type.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) <= position:
        return None
    parameter = parameters[position]
    structure = _structure(function, parameter)
    if parameter.default is parameter.empty:
        return structure
    return lambda value: parameter.default if value is None else structure(value)


def _structure(function: Callable[..., object], parameter: inspect.Parameter) -> Callable[[JSON], object]:
    if parameter.annotation in (inspect.Parameter.empty, "JSON", JSON, "object", "Any", object, Any):
        return _as_it_is
    try:
        annotation = _resolved(function, parameter)
        hook = _converter.get_structure_hook(annotation)
    except Exception as error:
        where = f"the annotation of {parameter.name} in {shown(function)}"
        raise ConfigError(f"{where} cannot be used: {text_of(error)}") from error

    def structure(value: JSON) -> object:
        return fitted(value, lambda given: hook(given, annotation))

    return structure


def _resolved(function: Callable[..., object], parameter: inspect.Parameter) -> Any:
    """Return the type that the annotation of ``parameter`` stands for, also if the annotation is a string.

    Other annotations of the function are not resolved. Such annotations can have names that are imported only for type
    checkers.
    """
    only = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    return get_type_hints(only, inspect.unwrap(function).__globals__)[parameter.name]


def fitted(value: JSON, structure: Callable[[JSON], object]) -> object:
    """Return ``structure(value)``. If ``structure`` raises an exception, raise ``CommandRefused("bad_input")``.

    The message has all faults of the value. A check that the agent's author wrote can raise any exception: even
    SystemExit only leads to this refusal.
    """
    try:
        return structure(value)
    except BaseException as error:
        faults = transform_error(error, path="input", format_exception=_fault)
        more = f" (and {len(faults) - _MAX_FAULTS} more)" if len(faults) > _MAX_FAULTS else ""
        raise CommandRefused("bad_input", "; ".join(faults[:_MAX_FAULTS]) + more) from error


def _as_it_is(value: JSON) -> object:
    return value


def _fault(error: BaseException, _: Any) -> str:
    """Return one line that describes ``error``, a fault of an input, in terms of JSON.

    If the exception comes from a check that the agent's author wrote, its message is sent to the client.
    """
    if isinstance(error, (KeyError, ForbiddenExtraKeysError)):
        return format_exception(error, None)
    return text_of((text_of(error) or class_name(error)).partition("\n")[0], _LONGEST_FAULT)


def _expect(value: Any, kind: type[Any]) -> None:
    if type(value) is not kind:
        raise TypeError(f"expected {_IN_JSON[kind]}, got {_IN_JSON.get(value.__class__, value.__class__.__name__)}")


def _exactly(kind: type[Any]) -> _Hook:
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

    def factory(kind: Any, converter: Any) -> _Hook:
        inner = make(kind, converter)

        def structure(value: Any, _: Any) -> Any:
            _expect(value, json)
            return inner(value, kind)

        return structure

    return factory


def _set(kind: Any, converter: Any) -> _Hook:
    inner: Any = list_structure_factory(kind, converter)
    make: Any = frozenset if is_frozenset(kind) else set
    return lambda value, _: make(inner(value, kind))


def _bare(kind: Any, _: Any) -> _Hook:
    return lambda value, _: kind(value)


def _fixed_tuple(kind: Any, converter: Any) -> _Hook:
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


def _enum(kind: Any, _: Any) -> _Hook:
    def structure(value: Any, _: Any) -> Any:
        member = kind(value)
        if type(value) is bool and type(member.value) is not bool:  # true == 1
            raise ValueError(f"{shown(value)} is not a valid {kind.__name__}")
        return member

    return structure


def _literal(kind: Any, _: Any) -> _Hook:
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


def _has_fields(kind: Any) -> bool:
    return isinstance(kind, type) and (attrs.has(kind) or is_dataclass(kind))


_JSON = get_type_hints(SimpleNamespace(__annotations__={"value": "JSON"}), {"JSON": JSON})["value"]
"""The type to which the annotation ``JSON`` resolves. The definition of ``JSON`` itself refers to ``JSON`` by name."""


def _is_any_json(kind: Any) -> bool:
    return kind is object or kind == _JSON or (isinstance(kind, ForwardRef) and kind.__forward_arg__ == str(JSON))


_IN_JSON: dict[type[Any], str] = {
    dict: "object",
    list: "array",
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_converter = make_converter(forbid_extra_keys=True)
_FACTORIES: tuple[tuple[Callable[[Any], bool], _Factory], ...] = (
    (_has_fields, _only(dict, lambda kind, converter: converter.gen_structure_attrs_fromdict(kind))),
    (is_typeddict, _only(dict, lambda kind, converter: converter.gen_structure_typeddict(kind))),
    (_of(dict, Mapping, MutableMapping), _only(dict, cast("_Factory", _mapping))),
    (_of(list, Sequence, MutableSequence), _only(list, list_structure_factory)),
    (_of(set, frozenset, AbstractSet, MutableSet), _only(list, _set)),
    (_is(set, frozenset, tuple), _only(list, _bare)),
    (_is_tuple, _only(list, homogenous_tuple_structure_factory)),
    (_is_fixed_tuple, _only(list, _fixed_tuple)),
    (_is_enum, _enum),
    (_is_literal, _literal),
)
for _applies, _make in _FACTORIES:
    _converter.register_structure_hook_factory(_applies, _make)
for _container in (dict, list):
    # By identity: a TypedDict is a dict by its class.
    _converter.register_structure_hook_func(_is(_container), _exactly(_container))
for _kind in (str, int, float, bool):
    _converter.register_structure_hook(_kind, _exactly(_kind))
_converter.register_structure_hook_func(_is_any_json, lambda value, _: value)
