"""A client that follows its session: when the session moves to another node, the client is attached again in place."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from actors.cluster._questions import OWNER_UNREACHABLE, RESEND_SECONDS
from actors.cluster._shown import FLAGS, ShownStates
from actors.cluster._watched import PAUSED
from actors.errors import ActorTerminated, MailboxFull, SessionClosed
from actors.events.types import Position
from actors.loop.boundary import report
from actors.sessions._commands import CommandReply
from actors.sessions._messages import Attach, Typing
from actors.streams._cursor import SessionEnding

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from actors.eventlog.base import StreamKey
    from actors.sessions._attachment import Attachment
    from actors.sessions._command_sink import CommandSink
    from actors.sessions._commands import Command
    from actors.streams._cursor import Listener

CUT_OFF = "the server is cut off from its cluster: try again later"
"""Message of a refusal while the node is suspended."""
MAX_IN_DOUBT = 64
"""Maximum number of commands of a client that may have been carried out, and that the client has not sent again."""


class Following:
    """The object between a client and its session: the session's listener, and the client's command sink.

    When the session ends as ``moved``, the client is not notified. Its attachment goes on with the session at the new
    node, at the same position. Commands without a reply are sent there again: the session knows them by their ids.
    """

    __slots__ = (
        "_attachment",
        "_deliver",
        "_follow",
        "_held",
        "_in_doubt",
        "_is_live",
        "_pending",
        "_shown",
        "_sink",
        "_start",
        "is_moving",
        "key",
        "listener",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        key: StreamKey,
        listener: Listener,
        follow: Callable[[Following], object],
        is_live: Callable[[], bool],
        deliver: Callable[[], None],
        start: Callable[..., object],
    ) -> None:
        self.key = key
        self.listener = listener
        self.is_moving = False
        """Whether the session has moved, and the client is not attached again yet."""
        self._follow = follow
        self._is_live = is_live
        self._deliver = deliver
        self._start = start
        self._attachment: Attachment | None = None
        self._sink: CommandSink | None = None
        self._shown: ShownStates
        # The signals that the new session sends before the client is attached to it.
        self._held: tuple[tuple[str, bytes], ...] = ()
        # By identity: a client may send a command again before its reply, and gets a reply to each.
        self._pending: dict[int, Command] = {}
        # The ids of commands that the client was told to send again. They may have been carried out.
        self._in_doubt: set[str] = set()

    def begin(self, attachment: Attachment) -> Attachment:
        """Stand between the client and the session of its new attachment. Return the attachment."""
        self._attachment = attachment
        self._shown = ShownStates(attachment.typing, attachment.queued)
        self._sink = attachment.reroute(self)
        return attachment

    @property
    def attachment(self) -> Attachment:
        """The client's attachment."""
        assert self._attachment is not None  # noqa: S101 - begin() was called
        return self._attachment

    @property
    def is_detached(self) -> bool:
        """Whether the client has left."""
        return self.attachment.cursor.detached

    def move(self, new: Attachment) -> None:
        """Go on with the session of the attachment ``new``, and send the commands without a reply again."""
        attachment = self.attachment
        self._sink = new.reroute(self)
        self.is_moving = False
        attachment.cursor.take_over(new.cursor)
        shown, self._shown = self._shown, ShownStates(new.typing, new.queued)
        held, self._held = self._held, ()
        for name, data in shown.signals_to(self._shown):
            self.listener.on_signal(name, data)
        for name, data in held:
            self.on_signal(name, data)
        for command in tuple(self._pending.values()):
            self._post_again(command)
        self.listener.on_events()
        self._deliver()

    # A listener of the session

    def on_events(self) -> None:
        """Notify the client of new events."""
        self.listener.on_events()

    def on_signal(self, name: str, data: bytes) -> None:
        """Pass a signal to the client. At the end of a pause, send the commands that have waited for it."""
        if name in FLAGS and self._attachment is not None:
            if self.is_moving:
                self._held += ((name, data),)
                return
            self._shown.note(name, data)
        self.listener.on_signal(name, data)
        if name == PAUSED and self._is_live():
            for command in tuple(self._pending.values()):
                if command.id in self._in_doubt:
                    self._post_again(command)

    def on_ended(self, reason: SessionEnding) -> None:
        """Notify the client of the end of its session, unless the session has moved."""
        if reason is SessionEnding.MOVED and self._attachment is not None:
            self.is_moving = True
            self._follow(self)
        else:
            self.listener.on_ended(reason)

    # A command sink of the client

    def post(self, message: Command | Typing) -> None:
        """Send a command or a typing notice to the session. Raise MailboxFull.

        While this node is cut off from the cluster, commands are refused as ``overloaded``. A command that the client
        sends again waits instead. *It may have been carried out, and after a refusal clients use a new id.*
        """
        if isinstance(message, Typing):
            if self._sink is not None:
                with suppress(ActorTerminated):
                    self._sink.post(message)
            return
        if not self._is_live() and message.id not in self._in_doubt:
            message.reply(CommandReply(message.id, code="overloaded", message=CUT_OFF))
            return
        self._pending[id(message)] = message
        if message.id in self._in_doubt:
            self._post_again(message)
            return
        try:
            self._post(message)
        except BaseException:
            self._pending.pop(id(message), None)
            raise

    def _post(self, command: Command) -> None:
        # A session that has ended has moved, or the client learns of its end.
        if self._sink is not None and not self.is_moving:
            with suppress(ActorTerminated):
                self._sink.post(attrs.evolve(command, reply=partial(self._on_reply, command)))

    def _post_again(self, command: Command) -> None:
        """Send a command that may have been carried out. If the session has too much to do, try again later.

        *Many clients moved to a session at once. The exception of its full mailbox ended all tasks of the router.*
        """
        if id(command) not in self._pending:
            return  # it has its reply, or the client has left
        if self._is_live():
            try:
                self._post(command)
            except MailboxFull:
                self._start(self._post_later, command)
        elif command.id not in self._in_doubt:  # else on_signal() sends it, at the end of the pause
            self._start(self._post_later, command)

    async def _post_later(self, command: Command) -> None:
        await trio.sleep(RESEND_SECONDS)
        self._post_again(command)

    def _on_reply(self, command: Command, reply: CommandReply) -> None:
        # While the session moves, this says that the command must be sent again, which move() does.
        if self.is_moving and reply.code == OWNER_UNREACHABLE:
            return
        # A command that was sent again, to the new node, can get two replies: the client gets the first one.
        if self._pending.pop(id(command), None) is not None:
            if reply.code == OWNER_UNREACHABLE and len(self._in_doubt) < MAX_IN_DOUBT:
                self._in_doubt.add(command.id)
            else:
                self._in_doubt.discard(command.id)
            command.reply(reply)

    async def history(self, after: int, limit: int, size: int) -> tuple[Sequence[bytes], bool]:
        """Return committed events of the session; see :meth:`.Attachment.history`."""
        assert self._sink is not None  # noqa: S101 - begin() was called
        return await self._sink.history(after, limit, size)

    def detach(self, connection: str) -> None:
        """Tell the session that the client has left."""
        self._pending.clear()
        self._in_doubt.clear()
        if self._sink is not None:
            self._sink.detach(connection)


async def attach_again(
    following: Following, attach: Callable[[StreamKey, Attach], Awaitable[Attachment]], patience_seconds: float
) -> None:
    """Attach a client again, because its session has moved. If that fails, or its position is lost, end the client.

    Never raise: this is the border between one client and the router's other tasks.
    """
    old = following.attachment
    until = trio.current_time() + patience_seconds
    while not following.is_detached:
        resume = Position(old.epoch, old.cursor.position)
        try:
            new = await attach(following.key, Attach(old.connection, following, resume))
        except SessionClosed:
            following.listener.on_ended(SessionEnding.CLOSED)
            return
        except Exception as error:  # noqa: BLE001 - the engine and the start of a session may raise anything
            if trio.current_time() >= until:
                report("the way of a client to its session", error)
                break
            await trio.sleep(RESEND_SECONDS)
            continue
        if following.is_detached or not new.recovered:
            new.detach()
            break
        following.move(new)
        return
    following.listener.on_ended(SessionEnding.MOVED)


class Moving:
    """The clients of sessions that have moved. They are not attached again yet."""

    def __init__(self, attach: Callable[[StreamKey, Attach], Awaitable[Attachment]], patience_seconds: float) -> None:
        self._attach = attach
        self._patience_seconds = patience_seconds
        self._clients: set[Following] = set()

    def begin(self, following: Following, nursery: trio.Nursery) -> None:
        """Attach a client again in a task of the nursery."""
        self._clients.add(following)
        nursery.start_soon(self._run, following)

    async def _run(self, following: Following) -> None:
        try:
            await attach_again(following, self._attach, self._patience_seconds)
        finally:
            self._clients.discard(following)

    def signal(self, name: str, data: bytes) -> None:
        """Send a signal to these clients, which no session reaches. ``data`` is JSON text."""
        for following in tuple(self._clients):
            following.on_signal(name, data)
