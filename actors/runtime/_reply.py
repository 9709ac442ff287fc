"""Answers that come later, in several parts, or from another actor."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, Generic, Self, cast

import outcome
import trio

from actors.checks import check_kind
from actors.errors import AskAbandoned, ReplyDropped
from actors.runtime._mailbox import Mailbox
from actors.runtime._occupation import NO_MESSAGE
from actors.runtime._parts import END, Parts
from actors.runtime._ref import cell_of
from actors.runtime._request import AskEnd, PendingAsk
from actors.runtime._typed import Answer_contra, Defaults, Later

if TYPE_CHECKING:
    from types import TracebackType

    from actors.runtime._asks import LateAnswers
    from actors.runtime._incarnation import Incarnation
    from actors.runtime._ref import ActorRef
    from actors.runtime._system import ActorSystem

CURRENT: Final = object()
"""Stands for the message that is being handled. None cannot be used, because None can be a message."""


class Answering(Later):
    """The part of :class:`Reply` and :class:`ReplyStream` that is the same: the ask and its caller."""

    __slots__ = ("_asks", "_life", "_request")

    def __init__(self, life: Incarnation, asks: LateAnswers, request: PendingAsk) -> None:
        self._life = life
        self._asks = asks
        self._request = request

    @property
    def wanted(self) -> bool:
        """Whether the caller of the ask still waits for the answer."""
        return not self._request.done

    async def abandoned(self) -> bool:
        """Wait until the ask is over. Return True if its caller gave up, and False if it was answered. Safe to cancel.

        When the caller gives up, only work in ``receive`` is cancelled. A task that does the work elsewhere learns it
        from this method.
        """
        self._life.check_place()
        await self._request.ended()
        return self._request.is_abandoned

    @property
    def deadline(self) -> float:
        """Time at which the caller of the ask gives up, in seconds on trio's clock; see :attr:`Context.deadline`."""
        system = cast("ActorSystem", self._life.cell.system)
        return system.deadline_of(self._request)

    def fail(self, error: Exception) -> None:
        """Answer the ask with an error: the caller's call raises ``error``. This actor does not fail.

        If the caller no longer waits, the error becomes a dead letter. Raises SpecError if ``error`` is not an
        Exception, and RuntimeError outside the trio run of the system.
        """
        check_kind("error", error, Exception, "an Exception")
        self._settle(outcome.Error(error), error)

    def _settle(self, result: outcome.Outcome[object], content: object) -> None:
        self._life.check_place()
        self._asks.forget(self._request)
        if not self._request.settle(result):
            self._life.cell.late(content)

    def __del__(self) -> None:
        # Python may free this in another thread, or in the middle of other code. So the loop makes the change later.
        if not self._request.done:
            with contextlib.suppress(trio.RunFinishedError):
                self._life.cell.system.token.run_sync_soon(self._asks.on_reply_freed, self._request)


class Reply(Answering, Defaults, Generic[Answer_contra]):
    """The object by which an actor answers one ask later; see :meth:`Context.defer`. Call ``send`` or ``fail``, once.

    An ask can have several Reply objects. If Python frees all of them and none was used, the ask raises ReplyDropped,
    because no answer can come any more.
    """

    __slots__ = ()

    def send(self, value: Answer_contra) -> None:
        """Answer the ask with ``value``. If the caller no longer waits, the value becomes a dead letter.

        Raises RuntimeError outside the trio run of the system. In a thread that trio started, use ``trio.from_thread``.
        """
        self._settle(outcome.Value(value), value)


class ReplyStream(Answering, Defaults, Generic[Answer_contra]):
    """The object by which an actor sends one reply in several parts; see :meth:`Context.stream`.

    In its ``with`` block, ``await stream.send(part)`` sends a part, and waits while the caller is slow. The end of the
    block completes the reply. If the caller leaves, the block is cancelled and ends without an error. If the block
    raises, the reply stays open: the caller gets the error of the actor's failure.
    """

    __slots__ = ("_scope",)

    def __init__(self, life: Incarnation, asks: LateAnswers, request: PendingAsk) -> None:
        super().__init__(life, asks, request)
        self._scope = trio.CancelScope()

    def __enter__(self) -> Self:
        self._life.check_place()
        request, scope = self._request, self._scope
        if request.end is None:
            request.end = AskEnd()
        scope.__enter__()
        request.end.scopes.append(scope)
        if request.done:
            scope.cancel()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        end = self._request.end
        if end is not None:
            end.scopes.remove(self._scope)
        if error is None:
            self.close()
        return self._scope.__exit__(kind, error, traceback)

    async def send(self, part: Answer_contra) -> None:
        """Send one part. While the caller's buffer is full, wait.

        To an ``ask`` that takes no parts, the first part is the whole answer.

        Raises:
            AskAbandoned: The caller has left, or the reply is complete. In the ``with`` block of the stream, the block
                is cancelled instead.
            RuntimeError: This is not the trio run of the system.

        Cancellation:
            The part was not sent.
        """
        self._life.check_place()
        await trio.lowlevel.checkpoint()
        request = self._request
        if isinstance(request.end, Parts):
            try:
                await request.end.put(part)
            except AskAbandoned:
                await trio.lowlevel.checkpoint()  # in the ``with`` block this raises Cancelled
                raise
        elif request.done:
            raise AskAbandoned("the caller of this ask takes no more parts")
        else:
            self._settle(outcome.Value(part), part)

    def close(self) -> None:
        """Complete the reply. The caller gets the parts that it has not taken yet, then the end. Idempotent.

        An ``ask`` that takes no parts raises ReplyDropped if no part was sent.
        """
        self._life.check_place()
        self._asks.forget(self._request)
        if isinstance(self._request.end, Parts):
            self._request.settle(outcome.Value(END))
        else:
            self._request.settle(outcome.Error(ReplyDropped(f"{self._life.cell.path} sent no part of its reply")))


async def pass_on(life: Incarnation, ref: ActorRef[Any, Any], given: object) -> None:
    """Pass the current message of an actor on to another actor, or the message ``given`` in its place.

    If this raises or is cancelled, the message was not passed on, and is still the current message of the actor.
    """
    item = life.current
    if item is NO_MESSAGE:
        raise RuntimeError("there is no message in hand to forward")
    if not isinstance(item, PendingAsk):
        await ref.tell(item if given is CURRENT else given)
    elif item.done:  # its caller gave up, or has an answer
        await trio.lowlevel.checkpoint()
    else:
        await _pass_on_ask(life, item, ref, given)
    if life.current is item:
        # From here on the message is not this actor's: if ``receive`` fails now, the message is not lost.
        life.current = NO_MESSAGE


async def _pass_on_ask(life: Incarnation, request: PendingAsk, ref: ActorRef[Any, Any], given: object) -> None:
    scope, message, keeper = request.scope, request.message, request.keeper
    request.keeper, request.is_passed_on = None, True
    if given is not CURRENT:
        request.message = given
    try:
        await ref.tell(request)
    except BaseException:
        request.message, request.keeper, request.is_passed_on = message, keeper, False
        if request.is_abandoned:
            _give_up(request)
        raise
    request.is_passed_on = False
    if life.asks is not None:
        life.asks.forget(request)
    if request.scope is scope:  # else the other actor has begun with it, while this one waited for room
        request.scope, request.kept = None, False
        request.keeper = request.keeper or cell_of(ref).mailbox  # a pool has set the mailbox of a member
    if request.is_abandoned:
        _give_up(request)


def _give_up(request: PendingAsk) -> None:
    """Drop a request from the queue that it is in, because its caller gave up while it was passed on."""
    keeper = request.keeper
    if keeper is not None and (not isinstance(keeper, Mailbox) or any(each is request for each in keeper.items)):
        keeper.give_up(request)
