"""The states that a client shows: typing users and agents, and queued starts. A move can change them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson

from actors.sessions._messages import Queued

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FLAGS = {"typing": "active", "queued": "waiting"}
"""The signals about states, and the field of each that is false when the state ends."""


class ShownStates:
    """The states that a client shows, by its welcome and by the signals since then.

    *The owner of a session is killed while an agent types and a start is queued. The session goes on at another node,
    and no signal would ever tell the clients there that the agent no longer types, and that the start is gone.*
    """

    __slots__ = ("_queued", "_typing")

    def __init__(self, typing: Iterable[tuple[str, str]], queued: Iterable[Queued]) -> None:
        # Dicts, since they keep the order.
        self._typing: dict[tuple[str, str], None] = {(str(by), id_): None for by, id_ in typing}
        self._queued: dict[str, Queued] = {start.command_id: start for start in queued}

    @property
    def typing(self) -> tuple[tuple[str, str], ...]:
        """The users and agents that type, as in :class:`.Attachment`."""
        return tuple(self._typing)

    @property
    def queued(self) -> tuple[Queued, ...]:
        """The starts that wait."""
        return tuple(self._queued.values())

    def note(self, name: str, data: bytes) -> None:
        """Note a signal that the client gets. Ignore a signal of an agent that only has the name of such a signal."""
        match name, orjson.loads(data):
            case "typing", {"by": str(by), "id": str(id_), "active": bool(active)}:
                if active:
                    self._typing[by, id_] = None
                else:
                    self._typing.pop((by, id_), None)
            case "queued", {"command_id": str(id_), "agent": str(agent), "waiting": bool(active)}:
                if active:
                    self._queued[id_] = Queued(id_, agent, time.time_ns() // 1_000_000)
                else:
                    self._queued.pop(id_, None)
            case _:
                pass

    def signals_to(self, new: ShownStates) -> Iterator[tuple[str, bytes]]:
        """Yield the signals that bring the client from these states to new ones. Ended states come first."""
        for active, states, others in ((False, self, new), (True, new, self)):
            known = {*others.typing, *(start.command_id for start in others.queued)}
            for by, id_ in states.typing:
                if (by, id_) not in known:
                    yield "typing", orjson.dumps({"by": by, "id": id_, "active": active})
            for start in states.queued:
                if start.command_id not in known:
                    yield (
                        "queued",
                        orjson.dumps({"command_id": start.command_id, "agent": start.agent, "waiting": active}),
                    )
