"""The published schemas as checks: each frame of a server that a test reads has only the fields that they have.

The checks are stricter than the published schemas, which allow the fields of newer servers. Each is compiled once, when
the first frame of its type comes, and takes a few microseconds.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import fastjsonschema

from transport.schemas._classes import Style
from transport.schemas._frames import CLIENT_FRAMES, SERVER_FRAMES
from transport.schemas.documents import definitions

if TYPE_CHECKING:
    from collections.abc import Callable

Frame = dict[str, Any]
STRICT = Style(is_strict=True)


@cache
def check(name: str) -> Callable[[Any], Any]:
    """Return the compiled check of a definition. Events inside a frame are not checked."""
    made = definitions(STRICT)
    if name != "Event":
        made["Event"] = {}  # `check_frame` takes the check of each event's own type: it need not try them all
    return fastjsonschema.compile({"$ref": f"#/$defs/{name}", "$defs": made})


def check_frame(frame: Frame) -> None:
    """Check a frame from a server, and the events in it. Raise ``JsonSchemaValueException`` for a field too many."""
    check(SERVER_FRAMES[frame["type"]].__name__)(frame)
    for event in frame.get("events", ()):
        check_event(event)


def check_event(event: Frame) -> None:
    """Check an event."""
    check(event["type"])(event)


def check_client_frame(frame: Frame) -> None:
    """Check a frame from a client."""
    check(CLIENT_FRAMES[frame["type"]].__name__)(frame)
