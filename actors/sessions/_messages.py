"""The messages to a session other than commands, and the form in which clients see a queued start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.events.types import Position
    from actors.streams._cursor import Listener


@attrs.frozen(eq=False)
class Attach:
    """A request to attach a client to a session. The answer is an :class:`Attachment`.

    ``resume`` and ``from_latest`` decide at which event the client begins to read.
    """

    connection: str
    """Id of the client's connection. Commands and typing of the client carry this id."""
    listener: Listener
    """The object that is notified of new events, of signals and of the session's end."""
    resume: Position | None = None
    """Position at which the client stopped reading. None if the client has read nothing yet."""
    from_latest: bool = False
    """Whether a client without ``resume`` gets only new events. If False, the client gets old events first."""


@attrs.frozen
class Typing:
    """A message to the session: the user began or stopped typing at this connection."""

    connection: str
    active: bool
    elsewhere: bool = False
    """Whether the session does not know the connection: it is at another node of a cluster, or its client polls."""


@attrs.frozen
class Queued:
    """A queued request to start a run, with the fields that clients see."""

    command_id: str
    """Id of the command that asked for the run. A client can cancel the request by this id."""
    agent: str
    since: int
    """Time at which the request was accepted, in ms since 1970."""


@attrs.frozen
class Emit:
    """A message to the session: emit a ``custom`` event of the application. The event belongs to no run."""

    data: bytes
    """The data of the event as JSON text."""
