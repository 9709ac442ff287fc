"""The router: it finds the node that runs the sessions of a user, and serves the clients of this node from there."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actors.cluster._consuming import Consuming
from actors.cluster._following import CUT_OFF, Following, Moving
from actors.cluster._forgetting import ForgettingNodes
from actors.cluster._hearing import Hearing
from actors.cluster._messages import Kind, encode
from actors.cluster._mirrors import Mirrors
from actors.cluster._outbox import Outbox
from actors.cluster._owned import Owned
from actors.cluster._pausing import Pausing
from actors.cluster._questions import OWNER_UNREACHABLE, RESEND_SECONDS, UNREACHABLE, Question, Questions
from actors.cluster._remote import raise_refusal, remote_attachment
from actors.cluster._revoking import Revoking
from actors.cluster._serving import Serving, emit_command, open_command
from actors.cluster._watched import Watched
from actors.cluster._watching import Watching
from actors.cluster.interfaces import NodeState
from actors.errors import CommandRefused, SessionClosed
from actors.loop.boundary import report
from actors.sessions._commands import Command, CommandReply
from actors.sessions._messages import Attach, Emit
from actors.streams._cursor import NO_LISTENER, SessionEnding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from actors.cluster._mirror import Mirror
    from actors.cluster._statistics import RouterStatistics
    from actors.cluster.interfaces import Bus, Node, Publisher
    from actors.eventlog.base import EventLog, StreamKey
    from actors.sessions._messages import Typing
    from actors.sessions._registry import Sessions

TICK_SECONDS = 1.0
"""Interval in seconds at which owners tell the heads of watched sessions, and unused mirrors are removed."""
ATTEMPTS = 10
"""Maximum number of attempts to reach a session that moves from node to node."""
MOVES = "the session moves from server to server: try again later"


class Router:
    """The place of all sessions of a cluster (a :class:`~actors.sessions._place.Place`), as this node sees it.

    Make it, set it as ``sessions.place``, and run :meth:`run` in a task.
    """

    def __init__(  # noqa: PLR0913 - made in one place, by name
        self,
        sessions: Sessions,
        log: EventLog,
        node: Node,
        bus: Bus,
        *,
        forward_seconds: float = 5.0,
        patience_seconds: float = 30.0,
        publisher: Publisher | None = None,
    ) -> None:
        self._sessions = sessions
        self._node = node
        self._outbox = Outbox(bus)
        self._mirrors = Mirrors(log, self._outbox, sessions.here.deliver, publisher)
        self._consuming = Consuming(sessions.consumers)
        self.owned = Owned(sessions.here, node, self._consuming)
        self._questions = Questions(self.owned, node, self._outbox, forward_seconds)
        self._watching = Watching(self._mirrors, self._questions, sessions.settings)
        self._watched = Watched(self.owned.ask_here, self._outbox, publisher, sessions.committed)
        self._serving = Serving(self.owned, self._watched, self._outbox)
        self._revoking = Revoking(sessions.revocations, node, self._outbox)
        self._hearing = Hearing(
            bus, node, self._outbox, self._mirrors, self._watched, self._questions, self._serving, self._revoking
        )
        forgetting = ForgettingNodes(sessions.removal, log, node, self.owned, self._questions, self._mirrors)
        sessions.removal.nodes = self._serving.forgetting = forgetting
        self._moving = Moving(self._attach, patience_seconds)
        self._pausing = Pausing(self._mirrors, self._moving, sessions.here.table, patience_seconds)
        self._incarnation = node.incarnation
        self._nursery: trio.Nursery | None = None

    # A Place

    async def open(self, key: StreamKey) -> None:
        """Make the session at the node of its user if it is not in memory there."""
        self._require_live()
        data = {"op": "open", "user": key.user, "session": key.session}
        for _ in range(ATTEMPTS):
            if (answer := await self._questions.ask_owner(key.user, data)) is not None:
                return raise_refusal(key, answer)
            with self.owned.unless_moved(key.user):
                return await self.owned.open_here(key)
        raise CommandRefused("overloaded", MOVES)

    async def ask(self, key: StreamKey, message: object) -> object:
        """Send a message to the session at the node of its user. Return the answer."""
        self._require_live()
        match message:
            case Attach() if message.listener is not NO_LISTENER:
                following = Following(
                    key, message.listener, self._follow, self._is_live, self._mirrors.deliver, self._start
                )
                return following.begin(await self._attach(key, attrs.evolve(message, listener=following)))
            case _ if self.owned.is_mine(key.user):
                return await self.owned.ask_here(key, message)
            case Attach():
                return await self._attach(key, message)
            case Command():
                await self._command(key, message)
            case Emit():
                await self._emit(key, message)
            case _:
                raise TypeError(f"{type(message).__name__} cannot be sent to another node")
        return None

    async def leave(self) -> None:
        """Release the users of this node, each as soon as its runs have ended; see :meth:`.Place.leave`."""
        await self.owned.leave()

    @asynccontextmanager
    async def hold(self, key: StreamKey) -> AsyncGenerator[None]:
        """Keep the session in memory inside the ``async with`` block, at the node that has it now."""
        if self.owned.is_mine(key.user) or await self._questions.owner(key.user) is None:
            async with self._sessions.here.hold(key):
                yield
            return
        attachment = await self._attach(key, Attach(f"lease-{secrets.token_hex(8)}", NO_LISTENER, from_latest=True))
        try:
            yield
        finally:
            attachment.detach()

    def _is_live(self) -> bool:
        return self._node.state is NodeState.LIVE

    def _require_live(self) -> None:
        if not self._is_live():
            raise CommandRefused("overloaded", CUT_OFF)

    # Sessions of other nodes

    async def _attach(self, key: StreamKey, attach: Attach) -> Any:
        for _ in range(ATTEMPTS):
            owner = await self._questions.owner(key.user)
            if owner is None:
                with self.owned.unless_moved(key.user):
                    return await self.owned.ask_here(key, attach)
                continue
            with self._mirrors.holding(key, owner) as mirror:
                if (state := await self._watching.begin(mirror, attach.resume)) is not None:
                    return remote_attachment(mirror, attach, state, self)
        raise CommandRefused("overloaded", MOVES)

    def _start(self, work: Callable[..., Any], *arguments: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(work, *arguments)

    def _follow(self, following: Following) -> None:
        if self._nursery is not None:
            self._moving.begin(following, self._nursery)

    async def _command(self, key: StreamKey, command: Command, question: Question | None = None) -> None:
        """Have a command carried out by the node of its user, and pass its reply on."""
        if command.agent is not None:  # its code is a block in this process
            await self.open(key)
            if not self.owned.is_mine(key.user):
                raise CommandRefused(
                    "overloaded", "the user's sessions run on another server: start a registered agent, or try later"
                )
            await self.owned.ask_here(key, command)
            return
        answer = await self._questions.answer(key.user, question or open_command(self._questions, key, command))
        if answer is None:
            await self.owned.ask_here(key, command)
        else:
            raise_refusal(key, answer)

    async def _emit(self, key: StreamKey, emit: Emit) -> None:
        replies: list[CommandReply] = []
        await self._command(key, emit_command(emit, replies.append))
        for reply in replies:
            if reply.code is not None:
                raise CommandRefused(reply.code, reply.message)

    def forward(self, mirror: Mirror, command: Command) -> None:
        """Send a command of a client to the owner of its session, and pass its reply on when it comes."""
        if self._nursery is None:
            command.reply(CommandReply(command.id, code="overloaded", message=CUT_OFF))
            return
        question = open_command(self._questions, mirror.key, command, mirror.owner)
        self._nursery.start_soon(self._forward, mirror.key, command, question)

    async def _forward(self, key: StreamKey, command: Command, question: Question) -> None:
        try:
            await self._command(key, command, question)
        except CommandRefused as refusal:
            command.reply(CommandReply(command.id, code=refusal.code, message=refusal.message))
        except SessionClosed as closed:
            command.reply(CommandReply(command.id, code="cancelled", message=str(closed)))
        except Exception as error:  # noqa: BLE001 - the engine and the start of a session may raise anything
            report("a command for another server", error)
            await trio.sleep(RESEND_SECONDS)  # the client sends it again at once
            command.reply(CommandReply(command.id, code=OWNER_UNREACHABLE, message=UNREACHABLE))

    def tell_typing(self, mirror: Mirror, typing: Typing) -> None:
        """Tell the owner of a session that a user began or stopped typing."""
        notice = {"connection": typing.connection, "active": typing.active, "to": str(mirror.owner)}
        self._outbox.post(mirror.owner.node, encode(Kind.TYPING, mirror.key._asdict() | notice))

    # The node

    async def run(self) -> None:
        """Talk to the other nodes until this is cancelled."""
        self._sessions.here.moved = self.owned.has_moved
        with self._sessions.calling_after_commits(self._watched.on_commit), self._revoking.telling():
            async with trio.open_nursery() as nursery:
                self._nursery = self._serving.nursery = nursery
                nursery.start_soon(self._outbox.run)
                nursery.start_soon(self._mirrors.run)
                nursery.start_soon(self._hearing.run)
                nursery.start_soon(self._revoking.run)
                while True:
                    self.on_node()
                    await trio.sleep(TICK_SECONDS)
                    self._hearing.tick()

    def on_claimed(self, user: str) -> None:
        """Forget the past of a user that this node has just claimed. Never wait. The node calls this."""
        self._mirrors.end_user(user)
        self._sessions.user_retention.on_claimed(user)
        self._consuming.on_owned(user)

    def on_node(self) -> None:
        """Follow the state of the node: its incarnation, its neighbours, and whether it is suspended. Never wait.

        The node calls this after each change.
        """
        incarnation = self._node.incarnation
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._mirrors.end_all(SessionEnding.MOVED)
            self._watched.forget_all()
        living = {node.incarnation for node in self._node.nodes.values()}
        if self._node.state is NodeState.LIVE:
            self._watched.keep(living)
            if gone := self._mirrors.owners() - living:
                self._mirrors.end_all(SessionEnding.MOVED, gone)
                self._questions.hurry()
        self._consuming.follow(self._node.state, living)
        self._pausing.follow(suspended=self._node.state is not NodeState.LIVE)

    def on_lost(self, user: str) -> None:
        """End the sessions of a user that another node has claimed. Their clients attach again. The node calls this."""
        self._consuming.on_gone(user)
        self._end_user(user)

    def _end_user(self, user: str) -> None:
        self._start(self._sessions.here.end_user, user)

    def unready(self) -> str:
        """Return the reason why this node should get no new clients now; "" if it can serve them."""
        return self._node.unready

    def statistics(self) -> RouterStatistics:
        """Return statistics of the messages to and from other nodes."""
        return self._hearing.statistics(len(self.owned))
