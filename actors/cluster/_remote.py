"""The way of a client's commands to a session of another node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from actors.cluster._messages import Outcome
from actors.cluster._shown import ShownStates
from actors.errors import ActorTerminated, CommandRefused, LogUnavailable, SessionClosed
from actors.events.grammar import Kind, Open
from actors.sessions._attachment import Attachment
from actors.sessions._messages import Queued, Typing
from actors.streams.resume import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.cluster._mirror import Mirror
    from actors.eventlog.base import StreamKey
    from actors.sessions._commands import Command
    from actors.sessions._messages import Attach


class Forwarder(Protocol):
    """The interface through which a sink sends something to the owner of a session. The methods never wait."""

    def forward(self, mirror: Mirror, command: Command) -> None:
        """Send a command to the owner, and pass its reply on when it comes."""

    def tell_typing(self, mirror: Mirror, typing: Typing) -> None:
        """Tell the owner that a user began or stopped typing. This may get lost."""


class RemoteSink:
    """The :class:`~actors.sessions._command_sink.CommandSink` of a client with a session on another node."""

    __slots__ = ("_forwarder", "_mirror", "_types")

    def __init__(self, mirror: Mirror, forwarder: Forwarder) -> None:
        self._mirror = mirror
        self._forwarder = forwarder
        self._types = False

    def post(self, message: Command | Typing) -> None:
        """Send a command or a typing notice to the session. Raise ActorTerminated if the session has moved."""
        if self._mirror.ended:
            raise ActorTerminated("the session has moved to another server")
        if isinstance(message, Typing):
            self._types = message.active
            self._forwarder.tell_typing(self._mirror, message)
        else:
            self._forwarder.forward(self._mirror, message)

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Return committed events from the log; see :meth:`.Attachment.history`."""
        return await self._mirror.history(after, limit, size)

    def detach(self, connection: str) -> None:
        """Tell the session that the client's user no longer types."""
        if self._types and not self._mirror.ended:
            self._types = False
            self._forwarder.tell_typing(self._mirror, Typing(connection, active=False))


def remote_attachment(mirror: Mirror, attach: Attach, state: dict[str, Any], forwarder: Forwarder) -> Attachment:
    """Return the attachment of a client to a session of another node.

    ``state`` is the owner's description of the session. The mirror must have the newest event that it names.
    """
    oldest, latest, epoch = max(state["oldest"], mirror.oldest), state["latest"], mirror.epoch
    resume, newest = attach.resume, latest
    if resume is not None and latest < resume.seq <= mirror.committed_seq:
        newest = resume.seq  # the client has seen events that were committed after the owner's answer
    states = ShownStates(state["typing"], (Queued(*start) for start in state["queued"]))
    for number, name, data in mirror.recent:
        if number > state.get("s", 0):  # the signal came after the answer
            states.note(name, data)
    start = decide(epoch=epoch, oldest=oldest, latest=newest, resume=resume, from_latest=attach.from_latest)
    return Attachment(
        sink=RemoteSink(mirror, forwarder),
        session=mirror.key.session,
        connection=attach.connection,
        cursor=mirror.attach(attach.listener, start.after),
        epoch=epoch,
        oldest=oldest,
        latest=latest,
        recovered=start.recovered,
        reset=start.reset,
        runs=tuple(Open(Kind(kind), *rest) for kind, *rest in state["runs"]),
        queued=states.queued,
        typing=states.typing,
    )


def raise_refusal(key: StreamKey, answer: dict[str, Any]) -> None:
    """Raise the error that the owner of a session has answered, if it has."""
    match answer["is"]:
        case Outcome.REFUSED:
            raise CommandRefused(answer["code"], answer["message"])
        case Outcome.CLOSED:
            raise SessionClosed(f"session {key.session} was closed permanently")
        case Outcome.LOG:
            raise LogUnavailable("the log of the server that has the session failed")
        case _:
            pass
