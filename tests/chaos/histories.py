"""The histories of a chaos test: what each client saw, what the log has, and what each process of a node did."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors import Event, StreamKey, decode_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SESSION = "s1"
"""The session of each user."""


@attrs.define
class Part:
    """The events that a client got between two resets, all in one epoch."""

    epoch: str = ""
    reset: str = ""
    """Reason of the reset before this part. Empty for the first part."""
    events: list[Event] = attrs.Factory(list[Event])


@attrs.define
class ClientHistory:
    """The events and the outcomes of the commands of one client."""

    client: str
    user: str
    parts: list[Part] = attrs.Factory(lambda: [Part()])
    starts: dict[str, str] = attrs.Factory(dict[str, str])
    """The outcome of each start of a run by its command id: ``ok``, or the code of the refusal."""
    messages: dict[str, str] = attrs.Factory(dict[str, str])
    """The outcome of each message of the user by its text."""


@attrs.frozen
class Stored:
    """The events of one session in the log, at the end."""

    epoch: str
    lines: Sequence[bytes]
    """Each event from the first one on."""

    @property
    def events(self) -> list[Event]:
        """The decoded events."""
        return [decode_event(orjson.loads(line)) for line in self.lines]


@attrs.frozen
class Entry:
    """One entry in the record of a process."""

    kind: str
    """``claim``, ``open``, ``append``, ``stored`` or ``call``.

    The process got a token, opened a session, sent an append, got its acknowledgement, or called an agent.
    """
    user: str
    token: str = ""
    first: int = 0
    """Of an append: the seq of its first event. Of an open session: the seq of its newest event."""
    lines: tuple[str, ...] = ()
    """The fingerprint of each event of an append."""
    run_id: str = ""

    @property
    def term(self) -> int:
        """The term of the token. Terms of one user grow with each claim."""
        return int(self.token.split()[0])


@attrs.frozen
class Story:
    """Everything that is known about one chaos test after its end."""

    clients: Sequence[ClientHistory]
    stored: Mapping[StreamKey, Stored]
    records: Sequence[Sequence[Entry]]
    """The entries of each process, in the order in which they were written."""
    restarted: bool = False
    """Whether the engine was restarted. Then sessions can get a new epoch."""
    lost: bool = False
    """Whether the engine came back without some of its data, or without all."""


def fingerprint(line: bytes) -> str:
    """Return a short text that only this line has."""
    return hashlib.blake2b(line, digest_size=8).hexdigest()


class Record:
    """The file in which a process of a node notes its claims, appends and calls of agents.

    Each entry is one write, so that a kill loses at most a part of the last one.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def note(self, kind: str, user: str, token: str = "", **fields: Any) -> None:
        """Write an entry."""
        self._file.write(orjson.dumps({"kind": kind, "user": user, "token": token, **fields}) + b"\n")


def read_record(path: Path) -> list[Entry]:
    """Return the complete entries of a record."""
    *lines, _ = path.read_bytes().split(b"\n")
    entries: list[Entry] = []
    for line in lines:
        fields = orjson.loads(line)
        entries.append(Entry(**{**fields, "lines": tuple(fields.get("lines", ()))}))
    return entries
