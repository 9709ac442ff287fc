"""The messages to a session other than commands, and the form in which clients see a queued start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.events.types import Position
    from actors.streams._cursor import Listener


@attrs.frozen(eq=False)
class Attach:
    """A request for an :class:`Attachment`. ``resume`` and ``from_latest`` decide where the cursor starts."""

    connection: str
    """Id of the client's connection. Its commands and its typing count as of this connection."""
    listener: Listener
    """Notified of new events, signals and the session's end."""
    resume: Position | None = None
    """Position at which the client stopped reading. None for a client that has read nothing."""
    from_latest: bool = False
    """Whether a client without ``resume`` gets new events only, instead of all events in the log."""


@attrs.frozen
class Typing:
    """A notice that the user began or stopped typing at this connection."""

    connection: str
    active: bool


@attrs.frozen
class Queued:
    """A start that waits for its turn, as clients see it."""

    command_id: str
    """Id of the command. A client can cancel the start by this id."""
    agent: str
    since: int
    """When the start was accepted, in ms since 1970."""


@attrs.frozen
class Emit:
    """An event of the application, outside of any run."""

    data: bytes
    """The payload as JSON text."""
