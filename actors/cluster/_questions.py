"""Questions to the nodes that own users. A question is asked again until its answer comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from actors.cluster._messages import Kind, Outcome, encode
from actors.errors import CommandRefused, LogUnavailable
from actors.loop.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.cluster._outbox import Outbox
    from actors.cluster._owned import Owned
    from actors.cluster.interfaces import Incarnation, Node, Token

RESEND_SECONDS = 0.5
"""Time in seconds after which a question without an answer is asked again."""
LATER_SECONDS = 2.0
"""Time in seconds after which a question is asked again that the owner has promised to answer later.

The answer may have been lost, or the owner may have ended.
"""
OWNER_UNREACHABLE = "owner_unreachable"
"""Error code of a command without an answer. It may have been carried out: send it again with its id."""
UNREACHABLE = "the server that has the session does not answer: send the command again with the same id"


@attrs.define(eq=False)
class Question:
    """A question that waits for its answer."""

    data: dict[str, object]
    first: Incarnation | None
    on_done: Callable[[dict[str, Any]], object] | None = None
    """Function that is called once with the answer ``ok``, before later messages of the owner are read."""
    wakeup: Wakeup = attrs.Factory(Wakeup)
    answer: dict[str, Any] | None = None
    was_asked: bool = False
    """Whether an owner has perhaps got the question."""

    @property
    def number(self) -> int:
        """The number of the question, which its answer has too."""
        return cast("int", self.data["id"])

    def take(self, answer: dict[str, Any]) -> None:
        """Store an answer for the task that waits. If the question was done already, ignore the answer."""
        if self.answer is not None and self.answer["is"] == Outcome.OK:
            return
        self.answer = answer
        if answer["is"] == Outcome.OK and self.on_done is not None:
            on_done, self.on_done = self.on_done, None
            on_done(answer)
        self.wakeup.wake()


class Questions:
    """The questions of this node that wait for an answer.

    The answer to a question that was asked several times may come more than once: the first one counts. So a question
    must be safe to ask again: a command is carried out only once, because it has an id.
    """

    def __init__(self, owned: Owned, node: Node, outbox: Outbox, forward_seconds: float) -> None:
        self._owned = owned
        self._node = node
        self._outbox = outbox
        self._forward_seconds = forward_seconds
        self._waiting: dict[int, Question] = {}
        self._last = 0
        self.asked = 0
        """Number of questions that were asked of another node."""
        self.resent = 0
        """Number of times that a question was asked again."""
        self.unreachable = 0
        """Number of questions that were given up without an answer."""

    def __len__(self) -> int:
        return len(self._waiting)

    def on_answer(self, data: dict[str, Any]) -> None:
        """Pass an answer to the task that waits for it. An answer that comes again, or too late, is ignored."""
        question = self._waiting.get(data["id"])
        if question is not None:
            question.take(data)

    def refuse_commands(self, user: str, reason: str) -> None:
        """Answer the commands of a user that wait for the owner's reply with error ``cancelled``."""
        for question in self._waiting.values():
            if question.data["op"] == "command" and question.data.get("user") == user:
                question.take({"is": Outcome.REFUSED, "code": "cancelled", "message": reason})

    def hurry(self) -> None:
        """Ask all questions again now, because a node is gone."""
        for question in self._waiting.values():
            question.wakeup.wake()

    async def owner(self, user: str) -> Incarnation | None:
        """Return the node that owns a user. If no node does, claim the user. Return None if this node owns the user.

        Raise the errors of :meth:`answer`.
        """
        until = self._deadline()
        while True:
            token = await self._owner(user, None)
            if token is not None and token.incarnation is not None:
                return None if token.incarnation == self._node.incarnation else token.incarnation
            if trio.current_time() >= until:
                raise CommandRefused(OWNER_UNREACHABLE, UNREACHABLE)
            await trio.sleep(RESEND_SECONDS)

    def open(
        self,
        data: Mapping[str, object],
        first: Incarnation | None = None,
        on_done: Callable[[dict[str, Any]], object] | None = None,
    ) -> Question:
        """Open a question to the owner of a user. If the owner is known, it is asked before this returns."""
        self._last += 1
        question = self._waiting[self._last] = Question({"id": self._last, **data}, first, on_done)
        self.asked += 1
        if first is not None:
            self._post(first, question, None)
        return question

    async def ask_owner(
        self, user: str, data: Mapping[str, object], first: Incarnation | None = None
    ) -> dict[str, Any] | None:
        """Open a question, and return its answer; see :meth:`answer`."""
        return await self.answer(user, self.open(data, first))

    async def ask_node(self, node: Incarnation, data: Mapping[str, object]) -> dict[str, Any]:
        """Ask a node again and again. Return its answer; an empty one if the node is not registered any more."""
        question = self.open(data, node)
        try:
            while node in {each.incarnation for each in self._node.nodes.values()}:
                if (answer := await _next(question, RESEND_SECONDS)) is not None:
                    return answer
                self.resent += 1
                self._post(node, question, None)
        finally:
            del self._waiting[question.number]
        return {}

    async def answer(self, user: str, question: Question) -> dict[str, Any] | None:
        """Return the answer of the node that owns the user. Return None as soon as this node owns the user.

        If no node owns the user, this node claims the user. Before each repetition the owner is looked up anew.

        Raises:
            CommandRefused: With ``owner_unreachable``, if no owner has answered in time. It is not known whether a
                command was carried out. With ``overloaded``, if this node is cut off from the cluster, and has asked no
                owner yet. *After an* ``overloaded`` *clients use a new id: a run began twice.*
        """
        try:
            return await self._ask_again(user, question)
        except CommandRefused as refusal:
            if refusal.code == OWNER_UNREACHABLE or not question.was_asked:
                raise
            self.unreachable += 1
            raise CommandRefused(OWNER_UNREACHABLE, UNREACHABLE) from None
        finally:
            del self._waiting[question.number]

    async def _ask_again(self, user: str, question: Question) -> dict[str, Any] | None:
        until, seconds = self._deadline(), RESEND_SECONDS
        to, token, denied = question.first, None, None
        while True:
            if to is None:
                token = await self._owner(user, denied)
                if token is not None and token.incarnation == self._node.incarnation:
                    return None
                to = None if token is None else token.incarnation
                if to is not None:
                    self._post(to, question, token)
            answer = await _next(question, seconds)
            if answer is not None and answer["is"] == Outcome.LATER:
                until, seconds = self._deadline(), LATER_SECONDS
                answer = await _next(question, seconds)
            to = denied = None
            match None if answer is None else answer["is"]:
                case Outcome.NOT_MINE:
                    # An old answer may come now: only the node of the present token can say that it is not valid.
                    denied = token if answer is not None and answer["token"] == str(token) else None
                case None | Outcome.YOURS | Outcome.LATER:
                    self.resent += 1
                case _:
                    return answer
            if trio.current_time() >= until:
                self.unreachable += 1
                raise CommandRefused(OWNER_UNREACHABLE, UNREACHABLE)

    def _post(self, to: Incarnation, question: Question, token: Token | None) -> None:
        question.was_asked = True
        self._outbox.post(to.node, encode(Kind.ASK, {**question.data, "to": str(to), "token": str(token)}))

    def _deadline(self) -> float:
        return trio.current_time() + self._forward_seconds

    async def _owner(self, user: str, denied: Token | None) -> Token | None:
        """Return the user's token after a claim if one is allowed. Return None if the engine did not answer."""
        try:
            token = await self._owned.own(user, denied)
        except LogUnavailable:
            return None
        if token is None:
            raise CommandRefused("overloaded", "the server is cut off from its cluster: try again later")
        return token


async def _next(question: Question, seconds: float) -> dict[str, Any] | None:
    """Return the answer to a question. Return None if it does not come in time."""
    if question.answer is None:
        with trio.move_on_after(seconds):
            await question.wakeup.wait()
    answer, question.answer = question.answer, None
    return answer
