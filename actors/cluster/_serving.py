"""The answers of this node to the questions of other nodes, about the sessions of the users that it owns."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import orjson

from actors.cluster._messages import Kind, Outcome, encode
from actors.cluster._questions import OWNER_UNREACHABLE
from actors.errors import ActorTerminated, CommandRefused, GreenroomError, LogError, MailboxFull, SessionClosed
from actors.eventlog.base import StreamKey
from actors.loop.boundary import report
from actors.sessions._commands import LOCAL, Command, CommandReply
from actors.sessions._messages import Typing

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from actors.cluster._outbox import Outbox
    from actors.cluster._owned import Owned
    from actors.cluster._questions import Question, Questions
    from actors.cluster._watched import Watched
    from actors.cluster.interfaces import Incarnation
    from actors.sessions._forgetting import Forgotten
    from actors.sessions._messages import Emit


class Forgets(Protocol):
    """The part of the router that forgets users."""

    async def forget_own(self, user: str) -> Forgotten:
        """Forget a user that this node owns. Raise ActorTerminated if this node has just released the user."""
        ...

    def on_forgotten(self, user: str) -> int:
        """Close the clients of a user that another node forgets. Return their number. Never wait."""
        ...


@attrs.define(eq=False)
class Serving:
    """The part of the router that answers other nodes. ``nursery`` runs the questions that must wait."""

    owned: Owned
    watched: Watched
    outbox: Outbox
    nursery: trio.Nursery | None = None
    forgetting: Forgets | None = None
    """The removal of users. Set by the router."""
    served: int = 0
    """Number of questions that were carried out for other nodes."""
    _pending: set[tuple[Incarnation, int]] = attrs.Factory(set[tuple["Incarnation", int]])

    def on_ask(self, sender: Incarnation, data: dict[str, Any]) -> None:
        """Answer a question, now or later. Never wait."""
        pair = (sender, data["id"])
        user, op = data.get("user", ""), data["op"]
        if op == "heads":
            link = self.watched.links.get(sender)
            self._answer(pair, {"is": Outcome.OK, "heads": {} if link is None else link.heads()})
        elif op == "forgotten":
            self._answer(pair, {"is": Outcome.OK, "connections": self._on_forgotten(user)})
        elif pair in self._pending:
            self._answer(pair, {"is": Outcome.LATER})
        elif user in self.owned.claiming:
            pass  # this node will know in a moment whether it owns the user: the asker asks again
        elif not self.owned.is_mine(user):
            self._answer(pair, {"is": Outcome.NOT_MINE, "token": data["token"]})
        else:
            self._begin(pair, data)

    def on_typing(self, data: dict[str, Any]) -> None:
        """Show that the user of another node's client types, or types no longer."""
        session = self.owned.here.table.living(StreamKey(data["user"], data["session"]))
        if session is not None:
            with suppress(MailboxFull, ActorTerminated):  # a notice of typing may get lost
                session.post(Typing(data["connection"], data["active"], elsewhere=True))

    def _begin(self, pair: tuple[Incarnation, int], data: dict[str, Any]) -> None:
        self._pending.add(pair)
        self.served += 1
        key, op = StreamKey(data["user"], data["session"]), data["op"]
        if op == "command":
            command = _command_of(data, lambda reply: self._on_reply(pair, data["name"], reply))
            moves = self.owned.is_ending or key.user in self.owned.leaving
            session = None if moves else self.owned.here.table.living(key)
            if session is not None:
                # At once, so that the commands of a client stay in their order.
                try:
                    session.post(command)
                except MailboxFull:
                    self._finish(pair, _refused("overloaded", "the session has too much to do"))
                except ActorTerminated:
                    self._start(pair, self._command, pair, key, command)
            else:
                self._start(pair, self._command, pair, key, command)
        elif op == "forget":
            self._start(pair, self._forget, pair, key.user)
        elif op == "watch":
            self._start(pair, self._watch, pair, key, data["number"], data.get("ahead", 0))
        else:
            self._start(pair, self._open, pair, key)

    def _start(self, pair: tuple[Incarnation, int], work: Callable[..., Any], *arguments: object) -> None:
        if self.nursery is None:
            self._pending.discard(pair)
        else:
            self.nursery.start_soon(self._contain, pair, work, *arguments)

    async def _contain(self, pair: tuple[Incarnation, int], work: Callable[..., Any], *arguments: object) -> None:
        """Do ``work``. If it raises, answer with the error. Never raise: the router's other tasks go on."""
        try:
            await work(*arguments)
        except ActorTerminated:
            self._pending.discard(pair)  # the session has just ended: the asker asks again
        except CommandRefused as refusal:
            self._finish(pair, _refused(refusal.code, refusal.message))
        except SessionClosed:
            self._finish(pair, {"is": Outcome.CLOSED})
        except LogError:
            self._finish(pair, {"is": Outcome.LOG})
        except GreenroomError as error:
            self._finish(pair, _refused("internal", str(error)))
        except Exception as error:  # noqa: BLE001 - the engine and the start of a session may raise anything
            report("a request of another server", error)
            self._finish(pair, _refused("internal", "the request failed at the server that has the session"))

    async def _command(self, pair: tuple[Incarnation, int], key: StreamKey, command: Command) -> None:
        # While the process ends, an idle user moves to the node of its client.
        if self.owned.is_ending and await self.owned.give_up(key.user):
            self._finish(pair, {"is": Outcome.YOURS})
        else:
            await self.owned.ask_here(key, command)

    async def _watch(self, pair: tuple[Incarnation, int], key: StreamKey, number: int, ahead: int) -> None:
        if await self.owned.give_up(key.user):
            self._finish(pair, {"is": Outcome.YOURS})
        else:
            self._finish(pair, {"is": Outcome.OK, **await self.watched.watch(pair[0], number, key, ahead)})

    def _on_forgotten(self, user: str) -> int:
        return 0 if self.forgetting is None else self.forgetting.on_forgotten(user)

    async def _forget(self, pair: tuple[Incarnation, int], user: str) -> None:
        if self.forgetting is not None:
            forgotten = await self.forgetting.forget_own(user)
            self._finish(pair, {"is": Outcome.OK, **attrs.asdict(forgotten)})

    async def _open(self, pair: tuple[Incarnation, int], key: StreamKey) -> None:
        if await self.owned.give_up(key.user):
            self._finish(pair, {"is": Outcome.YOURS})
        else:
            await self.owned.open_here(key)
            self._finish(pair, {"is": Outcome.OK})

    def _on_reply(self, pair: tuple[Incarnation, int], name: str, reply: CommandReply) -> None:
        # A process that ends begins no run. Perhaps the user moves in time, and then the new owner begins it.
        too_late = self.owned.is_ending and name == "run.start" and reply.code == "overloaded"
        if too_late or reply.code == OWNER_UNREACHABLE:
            self._pending.discard(pair)  # the session moves: the asker looks for its new owner
        else:
            fields = [reply.result, reply.code, reply.message, reply.duplicate]
            self._finish(pair, {"is": Outcome.OK, "reply": fields})

    def _finish(self, pair: tuple[Incarnation, int], answer: dict[str, object]) -> None:
        self._pending.discard(pair)
        self._answer(pair, answer)

    def _answer(self, pair: tuple[Incarnation, int], answer: dict[str, object]) -> None:
        sender, number = pair
        self.outbox.post(sender.node, encode(Kind.ANSWER, {"to": str(sender), "id": number, **answer}))


def _refused(code: str, message: str) -> dict[str, object]:
    return {"is": Outcome.REFUSED, "code": code, "message": message}


def open_command(questions: Questions, key: StreamKey, command: Command, first: Incarnation | None = None) -> Question:
    """Open the question by which a command is sent to the owner of its session.

    The reply is passed on as soon as it is read. *When a task that waited for it passed it on, the first signals and
    events of a run overtook the reply to its start.*
    """
    return questions.open(
        _question(key, command), first, lambda answer: command.reply(CommandReply(command.id, *answer["reply"]))
    )


def _question(key: StreamKey, command: Command) -> dict[str, object]:
    fields: dict[str, object] = {
        "op": "command",
        "user": key.user,
        "session": key.session,
        "command": command.id,
        "name": command.name,
        "args": command.args,
        "by": command.by,
    }
    if command.encoded_input is not None:
        fields["input"] = orjson.Fragment(command.encoded_input)
    return fields


def emit_command(emit: Emit, reply: Callable[[CommandReply], object]) -> Command:
    """Return the command that emits an event of the application, once even if it is sent again."""
    return Command(f"local-{secrets.token_hex(8)}", "event.emit", {}, LOCAL, reply, encoded_input=emit.data)


def _command_of(data: dict[str, Any], reply: Callable[[CommandReply], object]) -> Command:
    # Not internal, even if the code of the other node sent it: the session must remember its reply.
    encoded = orjson.dumps(data["input"]) if "input" in data else None
    return Command(data["command"], data["name"], data["args"], data["by"], reply, encoded_input=encoded)
