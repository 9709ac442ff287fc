"""Input from clients to what an agent's parameter is annotated as: strictly, with every fault and its path."""

from __future__ import annotations

import dataclasses
import inspect
import operator
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ForwardRef, cast, get_args, get_origin, get_type_hints

import attrs
from cattrs import transform_error
from cattrs.cols import homogenous_tuple_structure_factory, list_structure_factory
from cattrs.preconf.orjson import make_converter

from actors.errors import CommandRefused, ConfigError
from actors.events import JSON

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_FAULTS = 20


def structurer(function: Callable[..., object], position: int) -> Callable[[JSON], object] | None:
    """Make what turns a JSON value into the ``position``-th parameter of ``function``; None when it takes none.

    A parameter without an annotation, or annotated ``object``, ``Any`` or ``JSON``, gets the value as it is; one with a
    default gets that for ``null``, which is also what an absent input is. Raises :class:`~actors.ConfigError` when the
    annotation cannot be resolved.
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
        raise ConfigError(f"the annotation of {parameter.name} in {function!r} cannot be used: {error}") from error

    def structure(value: JSON) -> object:
        return fitted(value, lambda given: hook(given, annotation))

    return structure


def _resolved(function: Callable[..., object], parameter: inspect.Parameter) -> Any:
    """Resolve this parameter's annotation alone: those of others may exist for type checkers only."""
    only = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    return get_type_hints(only, inspect.unwrap(function).__globals__)[parameter.name]


def fitted(value: JSON, structure: Callable[[JSON], object]) -> object:
    """Return ``structure(value)``; what does not fit raises ``CommandRefused("bad_input")`` with each fault."""
    try:
        return structure(value)
    except Exception as error:
        faults = transform_error(error, path="input")
        more = f" (and {len(faults) - _MAX_FAULTS} more)" if len(faults) > _MAX_FAULTS else ""
        raise CommandRefused("bad_input", "; ".join(faults[:_MAX_FAULTS]) + more) from error


def _as_it_is(value: JSON) -> object:
    return value


def _exactly(kind: type[Any]) -> Callable[[Any, Any], Any]:
    """Make a hook that takes what has the type and coerces nothing: 5 is not "5", true is not 1."""

    def structure(value: Any, _: Any) -> Any:
        if type(value) is kind or (kind is float and type(value) is int):
            return kind(value)
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")

    return structure


def _array(make: Callable[[Any, Any], Callable[[Any, Any], Any]]) -> Callable[[Any, Any], Callable[[Any, Any], Any]]:
    """Make a factory of hooks that take a list only: the letters of "abc" are no list of strings."""

    def factory(kind: Any, converter: Any) -> Callable[[Any, Any], Any]:
        inner = make(kind, converter)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, list):
                raise TypeError(f"expected list, got {type(value).__name__}")
            return inner(value, kind)

        return structure

    return factory


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in {list, Sequence}


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[-1:] == (...,)


_JSON = get_type_hints(SimpleNamespace(__annotations__={"value": "JSON"}), {"JSON": JSON})["value"]
"""What an annotation with ``JSON`` is, once it is resolved; within it, it is a forward reference for ever."""


def _is_any_json(kind: Any) -> bool:
    return kind is object or kind == _JSON or (isinstance(kind, ForwardRef) and kind.__forward_arg__ == str(JSON))


def _is_class(kind: Any) -> bool:
    return attrs.has(kind) or (isinstance(kind, type) and dataclasses.is_dataclass(kind))


def _class(kind: Any) -> Callable[[Any, Any], Any]:
    """Make a hook that says what was expected, where there is no object to look for fields in."""
    inner = _converter.gen_structure_attrs_fromdict(kind)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"expected object, got {type(value).__name__}")
        return inner(cast("Any", value), kind)

    return structure


_converter = make_converter(forbid_extra_keys=True)
_converter.register_structure_hook_factory(_is_class, _class)
_converter.register_structure_hook_factory(_is_list, _array(list_structure_factory))
_converter.register_structure_hook_factory(_is_tuple, _array(homogenous_tuple_structure_factory))
for _kind in (str, int, float, bool):
    _converter.register_structure_hook(_kind, _exactly(_kind))
for _alone in (dict, list):  # these alone: a typed dict, which is a dict, has fields to look at
    _converter.register_structure_hook_func(partial(operator.is_, _alone), _exactly(_alone))
_converter.register_structure_hook_func(_is_any_json, lambda value, _: value)
