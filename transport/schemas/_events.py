"""The schemas of the events: a definition for each type, and their union over ``type``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors.events.types import ENVELOPE, EVENT_TYPES, MAX_SEQ, Event, EventType, Fault, Status
from transport.schemas._classes import described, description_of, required_of
from transport.schemas._spec import meanings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transport.schemas._classes import Schema, Style

_NULLABLE = {"input", "arguments", "value"}
"""Fields of any JSON value that are always there: an absent value is null."""
_ALWAYS = {*_NULLABLE, "duration_ms"}
_IDS: Mapping[str, tuple[str, ...]] = {
    EventType.USER_MESSAGE: (),
    EventType.CUSTOM: (),
    EventType.TOOL_EXECUTING: ("run_id", "call_id"),
    EventType.TOOL_COMPLETED: ("run_id", "call_id"),
    EventType.INPUT_REQUESTED: ("run_id", "call_id"),
    EventType.INPUT_RECEIVED: ("run_id", "call_id"),
    EventType.INPUT_WITHDRAWN: ("run_id", "call_id"),
}
"""The ids that each event of a type has. Events of other types have a run, and no call."""


def event_definitions(style: Style) -> dict[str, Schema]:
    """Return the definitions of all events, and of their parts. ``Event`` is the union of the events."""
    definitions = {kind: _event(style, kind, cls) for kind, cls in EVENT_TYPES.items()}
    whole = style.union(
        "type", EVENT_TYPES, "An event. Keep, show or ignore events of other types, but count their seq."
    )
    fault = style.object(style.fields(Fault, {}), required_of(Fault), title="Fault", description=description_of(Fault))
    return {"Event": whole, **definitions, "Fault": fault}


def _event(style: Style, kind: str, cls: type[Event]) -> Schema:
    table = meanings("Events")
    ids = _IDS.get(kind, ("run_id",))
    possible = {"run_id", "parent_run_id", *ids} if kind != EventType.USER_MESSAGE else set[str]()
    envelope = style.fields(Event, {"seq": {"type": "integer", "minimum": 1, "maximum": MAX_SEQ}})
    kept = {name: each for name, each in envelope.items() if name in possible or name in {"seq", "ts"}}
    properties = {"type": {"const": kind}, **described(kept, table), "data": _data(style, cls)}
    required = ["type", "seq", "ts", *ids, "data"]
    return style.object(properties, required, title=cls.__name__, description=description_of(cls))


def _data(style: Style, cls: type[Event]) -> Schema:
    changes: dict[str, Schema] = {
        "status": {"enum": [status.value for status in Status]},
        "reason": {"enum": [Status.TIMEOUT.value, Status.CANCELLED.value]},
        "error": style.ref("Fault"),
    }
    properties = style.fields(cls, changes, ENVELOPE)
    fields = {field.name: field for field in attrs.fields(cls)}
    required = [name for name in properties if fields[name].default is attrs.NOTHING or name in _ALWAYS]
    return style.object(properties, required)
