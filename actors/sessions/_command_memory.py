"""The memory of recent commands: a command that is sent again gets the first reply, and is not carried out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import orjson

from actors.loop.boundary import contained

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.sessions._commands import Command, CommandReply


_RECIPIENT = "the recipient of a command's reply"


class CommandMemory:
    """The commands that a session received recently, by id, with their replies.

    This memory detects commands that are sent again. A command is forgotten ``seconds`` after its reply. If the ids and
    replies together exceed ``room`` bytes, the oldest replies are forgotten earlier, and ``on_full`` is called with the
    name of the setting that limits the bytes. A command that has no reply yet is never forgotten.
    """

    __slots__ = ("_entries", "_on_full", "_room", "_seconds", "size")

    def __init__(self, seconds: float, room: int = 64 * 1024, on_full: Callable[[str], None] | None = None) -> None:
        self._seconds = seconds
        self._room = room
        self._on_full = on_full
        self._entries: dict[str, _Entry] = {}  # in the order of `since`, except for entries without a reply
        self.size = 0
        """Size of all remembered ids and replies as JSON text, in bytes."""

    def __len__(self) -> int:
        return len(self._entries)

    def admit(self, command: Command, now: float) -> bool:
        """Return True if the command is new and must be carried out. Return False if the command was sent before.

        A command that was sent before gets the same reply as the first time: at once if there is a reply already,
        otherwise when the first sender gets the reply. ``now`` is the time on trio's clock, in seconds.
        """
        self._forget(now)
        entry = self._entries.get(command.id)
        if entry is None:
            self._entries[command.id] = _Entry(now, [command.reply], internal=command.internal)
            return True
        if entry.reply is None:
            entry.waiting.append(command.reply)
        else:
            _send(command.reply, attrs.evolve(entry.reply, duplicate=True))
        return False

    def answer(self, reply: CommandReply, now: float) -> None:
        """Send the reply of a command to all its senders, and remember the reply.

        A second reply to the same command is ignored. The time for which the reply is remembered begins at ``now`` (in
        seconds), not with the command. The start of a run can be queued for a long time before it gets a reply, and
        even then the reply can get lost.
        """
        entry = self._entries.get(reply.id)
        if entry is None or entry.reply is not None:
            return
        # Removed here and added again at the end, so that the entries stay in the order of `since`.
        del self._entries[reply.id]
        entry.since = now
        entry.reply = reply
        if not entry.internal:
            self._remember(entry, reply)
        first, *repeated = entry.waiting
        entry.waiting = []
        contained(_RECIPIENT, first, reply)
        for waiting in repeated:
            _send(waiting, attrs.evolve(reply, duplicate=True))

    def recall(self, reply: CommandReply, now: float) -> None:
        """Remember a reply that was made before the session was restarted.

        It is not known whether the reply has reached the client.
        """
        self._drop(reply.id)
        self._remember(_Entry(now, [], reply), reply)

    def pending(self) -> tuple[str, ...]:
        """Return the ids of the commands that have no reply yet."""
        return tuple(id_ for id_, entry in self._entries.items() if entry.reply is None)

    def _remember(self, entry: _Entry, reply: CommandReply) -> None:
        entry.size = _size(reply)
        self.size += entry.size
        self._entries[reply.id] = entry
        if self.size > self._room:
            self._make_room()

    def _make_room(self) -> None:
        if self._on_full is not None:
            self._on_full("command_memory_bytes")
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
        # The entries are in the order of `since`, so the first entry that is young enough ends the search.
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


def _send(recipient: Callable[[CommandReply], object], reply: CommandReply) -> None:
    """Send a reply to a sender of a command. If the sender's function raises, the exception is only logged."""
    contained(_RECIPIENT, recipient, reply)


@attrs.define
class _Entry:
    since: float
    """Time at which the reply was sent; before that, the time at which the command came. In seconds on trio's clock."""
    waiting: list[Callable[[CommandReply], object]]
    """Functions that pass the reply to the senders of the command, in order. Empty when the reply was sent."""
    reply: CommandReply | None = None
    internal: bool = False
    """Whether the server's own code sent the command.

    The server's own code never sends a command twice, so the reply is not remembered.
    """
    size: int = 0
    """Size of the command's id and reply as JSON text, in bytes. 0 while there is no reply."""
