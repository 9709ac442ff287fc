"""Functions as tools of a run: each call of such a function is recorded as a tool call."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Protocol

from actors.runs._tools import tool_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from actors.runs._tools import ToolCall


class Toolbox(Protocol):
    """The method of a run by which a wrapped function records its calls."""

    def tool(self, name: str, arguments: Mapping[str, object] | None = None) -> ToolCall:
        """Return a new tool call, which is not open yet."""
        ...


def as_tool(
    run: Toolbox, function: Callable[..., Any], seconds: float | None, name: str | None
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return an async function with the signature of ``function``. Each call of it is a tool call of the run.

    The result looks like ``function`` to a framework that makes a schema of it: it has its name (or ``name``), its
    docstring, its signature and its annotations.
    """
    label = tool_name(function) if name is None else name
    signature = inspect.signature(function)

    @functools.wraps(function)
    async def tool(*args: Any, **kwargs: Any) -> Any:
        call = run.tool(label, _named(signature.bind(*args, **kwargs)))
        return await call.perform(function, seconds, functools.partial(function, *args, **kwargs))

    tool.__name__ = label
    tool.__qualname__ = getattr(function, "__qualname__", label) if name is None else label
    # Set, because some readers do not look at __wrapped__; and a callable object or a partial has no annotations.
    tool.__signature__ = signature  # type: ignore[attr-defined]  # inspect.signature() asks for it
    tool.__annotations__ = _annotations(signature)
    return tool


def _annotations(signature: inspect.Signature) -> dict[str, Any]:
    """Return the annotations of a signature, in the form of ``__annotations__``."""
    pairs = [(each.name, each.annotation) for each in signature.parameters.values()]
    pairs.append(("return", signature.return_annotation))
    return {name: annotation for name, annotation in pairs if annotation is not inspect.Signature.empty}


def _named(bound: inspect.BoundArguments) -> dict[str, object]:
    """Return the arguments of a call by name. Those of ``*args`` are a list, those of ``**kwargs`` are as given."""
    named: dict[str, object] = {}
    for name, value in bound.arguments.items():
        match bound.signature.parameters[name].kind:
            case inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            case inspect.Parameter.VAR_POSITIONAL:
                named[name] = list(value)
            case _:
                named[name] = value
    return named
