"""Commands from clients, their replies, and the memory that makes a repeated command harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import orjson

from actors.errors import CommandRefused
from actors.events.encoding import is_text
from actors.loop.boundary import contained

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.events.types import JSON


@attrs.frozen
class CommandReply:
    """The answer to a command: a ``result``, or an error's ``code`` and ``message``."""

    id: str
    result: JSON = None
    code: str | None = None
    message: str = ""
    duplicate: bool = False

    @property
    def ok(self) -> bool:
        """Whether the command was done."""
        return self.code is None


@attrs.frozen(eq=False)
class Command:
    """What a client asks of its session.

    ``by`` is the connection it came from; ``reply`` is called once, at once or later, and must not wait. Where it
    raises, that is logged and concerns nobody else.
    The id of an ``internal`` one, from the server's own code, is in no event; while its start waits for its turn, it is
    what the start is shown and cancelled by.
    """

    id: str
    name: str
    args: dict[str, Any]
    by: str
    reply: Callable[[CommandReply], None]
    internal: bool = False

    def text(self, field: str, *, longest: int = 128) -> str:
        """Give a required string argument, 1 to ``longest`` characters; raises ``CommandRefused("bad_args")``."""
        value = self.args.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise CommandRefused("bad_args", f"{field} must be a string of 1 to {longest} characters")
        if not is_text(value):
            raise CommandRefused("bad_args", f"{field} has a lone surrogate")
        return value


class CommandMemory:
    """The commands of the last ``seconds``, by id: a repeated one gets the first one's reply and does nothing.

    Where their ids and replies have more than ``room`` bytes, the oldest replies are forgotten first. A command whose
    reply is still to come is kept until it has one, however long that takes.
    """

    __slots__ = ("_entries", "_room", "_seconds", "size")

    def __init__(self, seconds: float, room: int = 64 * 1024) -> None:
        self._seconds = seconds
        self._room = room
        self._entries: dict[str, _Entry] = {}
        self.size = 0
        """Bytes of the ids and replies that are remembered, as JSON text."""

    def __len__(self) -> int:
        return len(self._entries)

    def admit(self, command: Command, now: float) -> bool:
        """Say whether the command is new at ``now`` (s); one that is not was answered, or will be with the first."""
        self._forget(now)
        entry = self._entries.get(command.id)
        if entry is None:
            self._entries[command.id] = _Entry(now, [command.reply], internal=command.internal)
            return True
        if entry.reply is None:
            entry.waiting.append(command.reply)
        else:
            _give(command.reply, attrs.evolve(entry.reply, duplicate=True))
        return False

    def answer(self, reply: CommandReply, now: float) -> None:
        """Give the reply of an admitted command to everyone who asked; a second one of the same id is ignored.

        From ``now`` (s) it is remembered: a start that waited long for its turn may still have lost its reply.
        """
        entry = self._entries.get(reply.id)
        if entry is None or entry.reply is not None:
            return
        del self._entries[reply.id]
        entry.since = now
        entry.reply = reply
        if not entry.internal:
            self._remember(entry, reply)
        first, *repeated = entry.waiting
        entry.waiting = []
        _give(first, reply)
        for waiting in repeated:
            _give(waiting, attrs.evolve(reply, duplicate=True))

    def recall(self, reply: CommandReply, now: float) -> None:
        """Remember a reply that an earlier incarnation gave, or would have given."""
        self._drop(reply.id)
        self._remember(_Entry(now, [], reply), reply)

    def pending(self) -> tuple[str, ...]:
        """List the ids of the commands that have no reply yet."""
        return tuple(id_ for id_, entry in self._entries.items() if entry.reply is None)

    def _remember(self, entry: _Entry, reply: CommandReply) -> None:
        entry.size = _size(reply)
        self.size += entry.size
        self._entries[reply.id] = entry
        if self.size > self._room:
            self._make_room()

    def _make_room(self) -> None:
        excess, oldest = self.size - self._room, list[str]()
        for id_, entry in self._entries.items():
            if excess <= 0:
                break
            if entry.reply is not None:
                oldest.append(id_)
                excess -= entry.size
        for id_ in oldest:
            self._drop(id_)

    def _forget(self, now: float) -> None:
        expired: list[str] = []
        for id_, entry in self._entries.items():
            if entry.since > now - self._seconds:
                break
            if entry.reply is not None:
                expired.append(id_)
        for id_ in expired:
            self._drop(id_)

    def _drop(self, id_: str) -> None:
        entry = self._entries.pop(id_, None)
        if entry is not None:
            self.size -= entry.size


def _size(reply: CommandReply) -> int:
    return len(orjson.dumps([reply.id, reply.result, reply.code, reply.message]))


def _give(asked: Callable[[CommandReply], None], reply: CommandReply) -> None:
    """Hand a reply over the border to whoever asked."""
    contained("who asked for a command's reply", asked, reply)


@attrs.define
class _Entry:
    since: float
    waiting: list[Callable[[CommandReply], None]]
    reply: CommandReply | None = None
    internal: bool = False
    """Of the server's own code, which sends none twice: nothing is to be remembered once it is answered."""
    size: int = 0
    """Bytes of its id and reply, 0 while it has none."""
