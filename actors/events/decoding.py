"""Events from their wire form: the reading half of the codec, for clients, ``tail`` and ``verify``.

Forgiving where a newer writer may know more (fields that are not known are ignored, types that are not known become
:class:`~actors.UnknownEvent`), strict where it cannot: a value of the wrong type is never bent into the right one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn, override
from cattrs.v import format_exception

from actors.events.types import EVENT_TYPES, MAX_SEQ, Event, UnknownEvent
from actors.failures import shown, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

_ENVELOPE = ("seq", "ts", "run_id", "parent_run_id", "call_id")


def decode_event(obj: dict[str, Any]) -> Event:
    """Make the event that ``obj``, one parsed element of an ``events`` frame, stands for.

    JSON values in it are handed over as they are, not copied. Raises ``ValueError`` with every fault and its path where
    the envelope (``seq``, ``type``, ``ts``, ids, ``data``) or the data of a known type does not fit.
    """
    kind, data = obj.get("type"), obj.get("data")
    if not isinstance(kind, str) or not isinstance(data, dict):
        # The value is what is wrong here, as everywhere below: one exception for all that can be.
        raise ValueError(f"an event needs a type and a data object: {_shortened(obj)}")  # noqa: TRY004  as said
    fields = cast("dict[str, Any]", data)
    known = EVENT_TYPES.get(kind, UnknownEvent)
    flat = {"type": kind, "raw": fields} if known is UnknownEvent else dict(fields)
    for name in _ENVELOPE:
        flat.pop(name, None)
        if name in obj:
            flat[name] = obj[name]
    try:
        event = _converter.structure(flat, known)
    except BaseValidationError as error:
        raise ValueError(f"{kind}: {'; '.join(transform_error(error, path=kind, format_exception=_told))}") from error
    if not 1 <= event.seq <= MAX_SEQ:
        raise ValueError(f"{kind}: seq {event.seq} is not from 1 to 2^53-1")
    return event


def _told(error: BaseException, kind: type | None) -> str:
    """Say what the hooks below said as it is, and what cattrs itself found (a missing field) as cattrs says it."""
    return text_of(error) if isinstance(error, TypeError) else format_exception(error, kind)


def _shortened(obj: object) -> str:
    return shown(obj, 80)


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    """Make a hook that passes a value of exactly this type: ``True`` is no int, ``"1"`` is none either."""

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    return structure


def _as_it_is(value: Any, _: Any) -> Any:
    return value


def _object_or_none(value: Any, _: Any) -> Any:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return cast("dict[str, Any] | None", value)


_HOOKS: dict[str, Callable[[Any, Any], Any]] = {
    "JSON": _as_it_is,
    "dict[str, JSON] | None": _object_or_none,
    "dict[str, Any]": _as_it_is,
}
"""Fields that hold any JSON, by how they are annotated: a recursive alias is nothing that a converter can resolve."""


def _overrides(cls: type[Event]) -> dict[str, Any]:
    own = cls.__annotations__
    return {
        field.name: override(struct_hook=_HOOKS[own[field.name]])
        for field in attrs.fields(cls)
        if own.get(field.name) in _HOOKS
    }


def _make_converter() -> Converter:
    converter = Converter()
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))
    for cls in (*EVENT_TYPES.values(), UnknownEvent):
        hook: Any = make_dict_structure_fn(cls, converter, **_overrides(cls))
        converter.register_structure_hook(cls, hook)
    return converter


_converter = _make_converter()
