"""What a session's mailbox takes beside commands, and what an attachment gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from actors.events.types import Position
    from actors.streams._cursor import Listener


@attrs.frozen(eq=False)
class Attach:
    """Give me a cursor, placed by the resume decision; answered with an ``Attachment``. ``connection`` owns it."""

    connection: str
    listener: Listener
    resume: Position | None = None
    from_latest: bool = False


@attrs.frozen
class Typing:
    """The user types at this connection, or stopped."""

    connection: str
    active: bool


@attrs.frozen
class Queued:
    """A start that waits for its turn, ``since`` then (ms since 1970); its ``command_id`` is what cancels it."""

    command_id: str
    agent: str
    since: int


@attrs.frozen
class Emit:
    """An event of the application's own, outside of any run; ``data`` is its payload, encoded."""

    data: bytes
