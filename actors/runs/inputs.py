"""Strict conversion of a client's input to the annotation of an agent's parameter. Faults are reported with paths."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

import attrs

from actors.errors import ConfigError
from actors.events.redaction import redact_keys
from actors.events.types import JSON
from actors.failures import shown, text_of
from actors.runs._faults import refusal
from actors.runs._schemas import default_of, schema_of
from actors.runs._types import Conversion

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.events.redaction import Redact

_ANY = (inspect.Parameter.empty, "JSON", JSON, "object", "Any", object, Any)
_MISSING = inspect.Parameter.empty
_LIBRARIES = {"pydantic", "fastapi"}
_redact_default = redact_keys()


@attrs.frozen
class InputType:
    """The type of an input: the annotation of an agent's parameter, or the type of an answer."""

    _conversion: Conversion | None
    """The conversion of JSON to the type. None if every JSON value is an input, unchanged."""
    _default: object = _MISSING
    _name: str = attrs.field(default="input", alias="name")
    """Name of the value, at the beginning of each path in a refusal."""

    @classmethod
    def of(cls, kind: Any, where: str, name: str = "input") -> InputType:
        """Return the type for an annotation.

        Args:
            kind: The annotation.
            where: Description of the annotation, for the error.
            name: Name of the value, at the beginning of each path in a refusal.

        Raises:
            ConfigError: No JSON value can be converted to the type, or to a part of it.
        """
        if kind in _ANY:
            return cls(None, name=name)
        try:
            return cls(Conversion.to(kind), name=name)
        except Exception as error:
            reason = text_of(error).partition("\n\nFor further information")[0]  # pydantic adds an address
            raise ConfigError(f"{where} cannot be used: {reason}") from error

    def __call__(self, value: JSON, redact: Redact = _redact_default) -> object:
        """Return the input that a JSON value stands for. ``null`` stands for the parameter's default, if it has one.

        Args:
            value: The JSON value.
            redact: The function that removes secrets. The message of a refusal does not show what it removes.

        Raises:
            CommandRefused: The value does not fit (``bad_input``). The message has every fault with its path. A check
                that the agent's author wrote can raise any exception: even SystemExit only leads to this refusal.
        """
        if value is None and self._default is not _MISSING:
            return self._default
        if self._conversion is None:
            return value
        try:
            return self._conversion.hook(value, self._conversion.kind)
        except BaseException as error:
            raise refusal(error, value, self._conversion.names, redact, self._name) from error

    def schema(self) -> dict[str, JSON]:
        """Return the JSON Schema of the JSON values that are converted. Return ``{}`` if there is none."""
        schema = {} if self._conversion is None else schema_of(self._conversion.kind)
        if self._default is _MISSING:
            return schema
        definitions = schema.pop("$defs", None)
        made: dict[str, JSON] = {"anyOf": [schema, {"type": "null"}]} if schema else {}
        made.update(default_of(self._default))
        return made if definitions is None else {**made, "$defs": definitions}


def structurer(function: Callable[..., object], position: int) -> InputType | None:
    """Return the type of the ``position``-th parameter of ``function``, which converts JSON values to it.

    Return None if there is no such parameter. A parameter without an annotation, or with the annotation ``object``,
    ``Any`` or ``JSON``, gets the value unchanged. A parameter with a default gets the default if the value is ``null``.
    A missing input counts as ``null``.

    Raise :class:`~actors.ConfigError` if the annotation cannot be resolved, or if nothing can be converted to its type.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) <= position:
        return None
    parameter = parameters[position]
    where = f"the annotation of {parameter.name} in {shown(function)}"
    try:
        made = InputType.of(_resolved(function, parameter), where)
    except (NameError, SyntaxError, TypeError) as error:
        hint = " (names of types must be in the agent's module)" if isinstance(error, NameError) else ""
        raise ConfigError(f"{where} cannot be used: {text_of(error)}{hint}") from error
    if parameter.default is parameter.empty:
        return made
    if type(parameter.default).__module__.partition(".")[0] in _LIBRARIES:
        raise ConfigError(f"{where}: write {shown(parameter.default)} into the annotation, as Annotated[type, …]")
    return attrs.evolve(made, default=parameter.default)


def _resolved(function: Callable[..., object], parameter: inspect.Parameter) -> Any:
    """Return the type that the annotation of ``parameter`` stands for, also if the annotation is a string.

    Other annotations of the function are not resolved. Such annotations can have names that are imported only for type
    checkers.
    """
    if parameter.annotation in _ANY:
        return Any
    only = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    hints = get_type_hints(only, inspect.unwrap(function).__globals__, include_extras=True)
    return hints[parameter.name]
