"""The decoding of events from JSON as it is sent or stored, for clients, ``tail`` and ``verify``. Pure.

The decoder ignores what only a newer server can know: unknown fields are skipped, and an unknown type becomes an
:class:`~actors.UnknownEvent`. It is strict otherwise: a value of the wrong type is refused and never converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import orjson
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn, override
from cattrs.v import format_exception

from actors.events.types import ENVELOPE, EVENT_TYPES, MAX_SEQ, Event, UnknownEvent
from actors.failures import shown, text_of

if TYPE_CHECKING:
    from collections.abc import Callable


def decode_event(obj: dict[str, Any]) -> Event:
    """Return the event that a parsed JSON object describes: one element of an ``events`` frame, or a line of a log.

    Args:
        obj: The parsed JSON object. JSON values inside it become part of the event without a copy.

    Raises:
        ValueError: A field (``seq``, ``type``, ``ts``, an id, ``data``) or the data of a known type is invalid.
            The message lists all faults, each with the path of its field.
    """
    kind, data = obj.get("type"), obj.get("data")
    if not isinstance(kind, str) or not isinstance(data, dict):
        # Every fault of an event raises the same exception, ValueError.
        raise ValueError(f"an event needs a type and a data object: {shown(obj, 80)}")  # noqa: TRY004  as said
    fields = cast("dict[str, Any]", data)
    known = EVENT_TYPES.get(kind, UnknownEvent)
    flat = {"type": kind, "raw": fields} if known is UnknownEvent else dict(fields)
    # If a field of the data has the same name as a field of the envelope, the envelope counts.
    for name in ENVELOPE:
        flat.pop(name, None)
        if name in obj:
            flat[name] = obj[name]
    try:
        event = _converter.structure(flat, known)
    except BaseValidationError as error:
        faults = transform_error(error, path=kind, format_exception=_fault_text)
        raise ValueError(f"{kind}: {'; '.join(faults)}") from error
    if not 1 <= event.seq <= MAX_SEQ:
        raise ValueError(f"{kind}: seq {event.seq} is not from 1 to 2^53-1")
    return event


def decode_line(line: bytes) -> Event:
    """Return the event that a line of a log describes: the JSON text of one event.

    Raises:
        ValueError: The line is no JSON, or the event is invalid; see :func:`decode_event`.
    """
    return decode_event(orjson.loads(line))


def _fault_text(error: BaseException, kind: type | None) -> str:
    """Return the text that describes one decoding fault.

    The hooks of this module raise TypeError with a good text. cattrs describes all other faults.
    """
    return text_of(error) if isinstance(error, TypeError) else format_exception(error, kind)


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    """Return a hook that accepts only values of exactly the type ``kind``: the hook for ``int`` refuses ``True``."""

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    return structure


def _unchanged(value: Any, _: Any) -> Any:
    return value


def _object_or_none(value: Any, _: Any) -> Any:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return cast("dict[str, Any] | None", value)


_HOOKS: dict[str, Callable[[Any, Any], Any]] = {
    "JSON": _unchanged,
    "dict[str, JSON] | None": _object_or_none,
    "dict[str, Any]": _unchanged,
}
"""Decoding hooks for fields that hold any JSON. The key is the field's annotation.

The hooks are needed because cattrs cannot handle a type alias that refers to itself, as ``JSON`` does.
"""


def _overrides(cls: type[Event]) -> dict[str, Any]:
    own = cls.__annotations__
    return {
        field.name: override(struct_hook=_HOOKS[own[field.name]])
        for field in attrs.fields(cls)
        if own.get(field.name) in _HOOKS
    }


def _is_event_class(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Event)


def _make_converter() -> Converter:
    converter = Converter()
    # By default cattrs converts values, for example the text "1" to the number 1. These hooks refuse them instead.
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))

    def decoder_of(cls: type[Event]) -> Any:
        return make_dict_structure_fn(cls, converter, **_overrides(cls))

    # Made for each type when its first event comes. All of them would delay each start of a program by 20 ms.
    converter.register_structure_hook_factory(_is_event_class, decoder_of)
    return converter


_converter = _make_converter()
