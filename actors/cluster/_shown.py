"""The states that a client shows: typing users and agents, and queued starts. A move can change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actors.sessions._messages import Queued

FLAGS = {"typing": "active", "queued": "waiting"}
"""The signals about states, and the field of each that is false when the state ends."""


class ShownStates:
    """The states that a client shows, by its welcome and by the signals since then.

    *The owner of a session is killed while an agent types and a start is queued. The session goes on at another node,
    and no signal would ever tell the clients there that the agent no longer types, and that the start is gone.*
    """

    __slots__ = ("_states",)

    def __init__(self, typing: Iterable[tuple[str, str]], queued: Iterable[Queued]) -> None:
        # By the name of the signal and the subject of the state. The values are the other fields of the signal.
        self._states: dict[tuple[str, ...], dict[str, str]] = {
            ("typing", str(by), id_): {"by": str(by), "id": id_} for by, id_ in typing
        }
        for start in queued:
            self._states["queued", start.command_id] = {"command_id": start.command_id, "agent": start.agent}

    def note(self, name: str, data: bytes) -> None:
        """Note a signal that the client gets. Ignore a signal of an agent that only has the name of such a signal."""
        key: tuple[str, ...]
        match name, orjson.loads(data):
            case "typing", {"by": str(by), "id": str(id_), "active": bool(active)}:
                key, fields = ("typing", by, id_), {"by": by, "id": id_}
            case "queued", {"command_id": str(id_), "agent": str(agent), "waiting": bool(active)}:
                key, fields = ("queued", id_), {"command_id": id_, "agent": agent}
            case _:
                return
        if active:
            self._states[key] = fields
        else:
            self._states.pop(key, None)

    def signals_to(self, new: ShownStates) -> Iterator[tuple[str, bytes]]:
        """Yield the signals that bring the client from these states to new ones. Ended states come first."""
        for active, states, others in ((False, self._states, new._states), (True, new._states, self._states)):
            for key, fields in states.items():
                if key not in others:
                    yield key[0], orjson.dumps({**fields, FLAGS[key[0]]: active})
