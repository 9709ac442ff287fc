"""The items that observers and consumers get, and the choice of events by type. Pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import attrs

from actors.errors import ConfigError
from actors.events.line import event_type
from actors.events.types import EVENT_TYPES, Event
from actors.failures import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@attrs.frozen
class Observed:
    """A committed event of a session."""

    user: str
    """Id of the user to which the session belongs."""
    session: str
    """Name of the session. The name is unique among the sessions of the user."""
    epoch: str
    """Random id of the session's log. User, session, ``epoch`` and ``event.seq`` together identify an event for ever.

    *A session's log was lost and made again: an event with the same seq was another event, and was not billed.*
    """
    event: Event
    """The event itself."""


@attrs.frozen
class Lagged:
    """A notice that events are missing here: an observer was too slow, or the log no longer has them."""

    missed: int
    """Number of the missing events.

    An observer misses only events of its types. A consumer counts all events: it never saw the types of deleted events.
    """
    user: str | None = None
    """Id of the user to which the missing events belong. None if they can belong to several users."""
    session: str | None = None
    """Name of the session to which the missing events belong. None if they can belong to several sessions."""


class EventChoice:
    """A choice of events: all events of some types, of one user or of all users.

    Args:
        types: Names of event types, such as ``"agent_completed"``, or event classes. If there are none, all events are
            chosen.
        user: If it is not None, only this user's events are chosen.

    Raises:
        ConfigError: There is no such event type, or ``user`` is not a string.
    """

    __slots__ = ("_types", "user")

    def __init__(self, types: Iterable[str | type[Event]], user: str | None = None) -> None:
        if user is not None and not isinstance(user, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
            raise ConfigError(f"user must be the id of a user or None, not {shown(user)}")
        self._types = frozenset(_name_of(each).encode() for each in types)
        self.user = user

    def wants(self, line: bytes) -> bool:
        """Return whether the type of a line (an encoded event) is chosen."""
        return not self._types or event_type(line) in self._types

    def of(self, user: str, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Return the chosen lines among ``lines``, which are encoded events of a session of ``user``."""
        if self.user is not None and user != self.user:
            return ()
        types = self._types
        return [line for line in lines if event_type(line) in types] if types else lines


def _name_of(kind: object) -> str:
    """Return the name of an event type that is given as a name or as a class. Raise ConfigError if there is none."""
    for name, cls in EVENT_TYPES.items():
        if kind in (name, cls):
            return name
    close = difflib.get_close_matches(kind, EVENT_TYPES, n=1) if isinstance(kind, str) else []
    hint = f"did you mean {close[0]!r}?" if close else f"the types are {', '.join(EVENT_TYPES)}"
    raise ConfigError(f"there is no event type {shown(kind)}; {hint}")
