"""Types of inputs: which annotations can be inputs, and the hook that converts JSON to each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

import attrs
from cattrs.errors import StructureHandlerNotFoundError

from actors.failures import text_of
from actors.runs._converter import converter, is_any_json
from actors.runs._numpy import is_numpy
from actors.runs._pydantic import PydanticHook, is_pydantic, mentions_pydantic
from actors.runs._shapes import parts_of

if TYPE_CHECKING:
    from actors.runs._converter import Hook

_BYTES = (bytes, bytearray, memoryview)


@attrs.frozen
class Conversion:
    """The conversion of JSON values to a type."""

    kind: Any
    """The type."""
    hook: Hook
    """Function that converts a JSON value. It raises any exception for a value that does not fit."""
    names: dict[str, set[str]]
    """All names of each field that has an alias, in all models of the type."""

    @classmethod
    def to(cls, kind: Any) -> Conversion:
        """Return the conversion to a type. Every part of the type is checked now, and not with the first input.

        Raises:
            TypeError: A part of the type cannot come from JSON. Exceptions of other types, of cattrs and pydantic, mean
                the same.
        """
        if mentions_pydantic(kind):
            try:
                hook = PydanticHook.of(kind, converter.structure)
            except Exception:
                if is_pydantic(kind):
                    raise
                # A container or union with a type that pydantic does not know: cattrs converts it, pydantic its parts.
            else:
                return cls(kind, hook, dict(hook.names))
        names: dict[str, set[str]] = {}
        _check(kind, "", [], names)
        return cls(kind, converter.get_structure_hook(kind), names)


def _check(kind: Any, path: str, seen: list[Any], names: dict[str, set[str]]) -> None:
    """Raise TypeError if a part of a type cannot come from JSON. Build the hook of each part, and collect its names."""
    if is_any_json(kind) or any(kind is each or kind == each for each in seen):
        return
    seen.append(kind)
    try:
        _refuse_impossible(kind)
        if not is_pydantic(kind) and not is_numpy(kind):
            for name, part in parts_of(kind):
                _check(part, f"{path}.{name}" if path and name else name or path, seen, names)
        hook = converter.get_structure_hook(kind)
    except _Refused:
        raise
    except StructureHandlerNotFoundError as error:
        raise _Refused(_at(path, f"no JSON value can become {kind!r}")) from error
    except Exception as error:
        raise _Refused(_at(path, text_of(error))) from error
    if is_pydantic(kind):
        if not isinstance(hook, PydanticHook):  # a subclass of str, which cattrs would take for str
            hook = PydanticHook.of(kind, converter.structure)
            converter.register_structure_hook(kind, hook)
        for name, others in hook.names.items():
            names.setdefault(name, set()).update(others)


def _at(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text


def _refuse_impossible(kind: Any) -> None:
    if isinstance(kind, TypeVar):
        raise TypeError("a generic type needs its arguments, such as Box[int]")
    if get_origin(kind) is Callable:
        raise TypeError(f"no JSON value can become {kind!r}")
    if isinstance(kind, type) and issubclass(kind, _BYTES):
        raise TypeError(f"{kind.__name__} has no JSON form: use str, such as base64 text")


class _Refused(TypeError):
    """A part of a type cannot come from JSON. The message has the path of the part."""
