"""The base class of users' actors, and the objects by which an actor uses the runtime: Context and Reply."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Generic, cast, overload

from actors.checks import check_kind
from actors.errors import StashFull
from actors.runtime._asks import LateAnswers
from actors.runtime._children import Children
from actors.runtime._incarnation import life_of
from actors.runtime._instance import Instance
from actors.runtime._lifecycle import Normal, Shutdown
from actors.runtime._occupation import NO_MESSAGE
from actors.runtime._presence import Presence
from actors.runtime._reply import CURRENT, Reply, ReplyStream, pass_on
from actors.runtime._request import PendingAsk
from actors.runtime._spawning import Spawner
from actors.runtime._spec import SupervisorSpec
from actors.runtime._supervisor import new_cell
from actors.runtime._timers import Timers
from actors.runtime._typed import (
    LATER,
    ChildMessageT,
    Defaults,
    Later,
    Message_contra,
    MessageT,
    Reply_co,
    ReplyT,
)

if TYPE_CHECKING:
    import trio

    from actors.runtime._ref import ActorRef
    from actors.runtime._runtime import Runtime
    from actors.runtime._system import ActorSystem


NORMAL = Normal()


class Actor(Instance[Message_contra, Reply_co]):
    """The base class of actors. Subclass it and override ``started``, ``receive`` and ``stopping``.

    An actor has its own state, one mailbox and one nursery. It handles one message at a time.

    When an actor is restarted, the runtime makes a new instance of the class. The life of one instance, from a start or
    restart to the next end, is called an incarnation. An exception in a method of the actor, or in a task of its
    nursery, ends the incarnation. The actor's restart type then decides whether a new incarnation follows.

    The task that spawns the actor makes the first instance, in a copy of that task's context variables. The actor's own
    task makes the instance of every restart. :attr:`ref`, :attr:`nursery` and :attr:`context` can be used from
    ``started()`` on, but not in ``__init__``.
    """

    @property
    def ref(self) -> ActorRef[Message_contra, Reply_co]:
        """Handle of this actor. Other code sends messages to the actor by this handle."""
        return life_of(self).cell.ref

    @property
    def nursery(self) -> trio.Nursery:
        """Nursery for this actor's own tasks. The first use opens it.

        The tasks end with the actor, and an exception of a task ends the actor. The nursery's ``cancel_scope`` encloses
        all code of the actor until its next restart or end: cancelling that scope is a failure of the actor. To cancel
        one task, give that task a scope of its own.
        """
        life = life_of(self)
        life.check_place()
        nursery = life.open_nursery()
        if nursery is None:
            raise RuntimeError(f"{life.cell.path} has no nursery: it failed, or this is none of its tasks")
        return nursery

    @property
    def context(self) -> Context[Message_contra, Reply_co]:
        """Methods for this actor's work with the runtime: children, timers, watches and the stash."""
        return Context(life_of(self))


class Context(Spawner, Presence, Defaults, Generic[MessageT, ReplyT]):
    """The methods by which an actor uses the runtime. Only the actor itself and its tasks can call them.

    In another thread or trio run, the methods raise RuntimeError and change nothing. A thread that trio started can
    call them by ``trio.from_thread``. A context belongs to one incarnation (the actor's life between two restarts).
    After the end of that incarnation, methods that start or request something raise RuntimeError (``spawn`` and
    ``supervise``: ActorTerminated), and methods that end something do nothing. So a late call does not change the
    restarted actor.
    """

    __slots__ = ()

    @property
    def system(self) -> ActorSystem:
        """The system that the actor belongs to."""
        return cast("ActorSystem", self._cell.system)  # the only runtime there is; cells are below it

    @property
    def _runtime(self) -> Runtime:
        return self._cell.system

    def _family(self) -> Children:
        life = self._life
        children = life.children
        if not isinstance(children, Children):  # its first child
            life.open_child_nursery()
            life.children = children = Children(self._cell.system, life, SupervisorSpec(), new_cell, keeps=False)
        return children

    def stop(self, reason: Normal | Shutdown = NORMAL) -> None:
        """Stop this actor after the current message, without handling the other messages in the mailbox first.

        A permanent actor is then restarted, and handles the messages in the mailbox. Any other actor refuses messages
        from now on, and is not restarted. If this context's incarnation (the actor's life between two restarts) has
        ended, nothing happens.
        """
        check_kind("reason", reason, (Normal, Shutdown), "Normal or Shutdown")
        self._life.check_place()
        if not self._life.has_ended:
            self._cell.leave(reason)

    def stash(self) -> Later:
        """Put the current message aside until :meth:`unstash`. If the message is an ask, its caller keeps waiting.

        ``receive`` can return what this returns: the value that it returns is ignored.

        A restart puts stashed messages back into the mailbox, in front of all other messages.

        Raises:
            StashFull: The stash is full. The message was not put aside: ``receive`` can still handle it.
            RuntimeError: No message is being handled.
        """
        life = self._living()
        if life.current is NO_MESSAGE:
            raise RuntimeError("there is no message in hand to stash")
        asks = self._late_answers()
        if len(asks.stash) >= self._cell.spec.mailbox.stash:
            raise StashFull(f"the stash of {self._cell.path} is full ({len(asks.stash)} messages)")
        asks.put_aside(life.current)
        # From here on the message is in the stash: if ``receive`` fails now, it is not lost.
        life.current = NO_MESSAGE
        return LATER

    def _late_answers(self) -> LateAnswers:
        life = self._life
        if life.asks is None:
            life.asks = LateAnswers(life)
        return life.asks

    def unstash(self) -> int:
        """Move all stashed messages to the front of the mailbox, oldest first. Return the number of these messages."""
        self._life.check_place()
        stashed = [] if self._life.asks is None else self._life.asks.take_stash()
        self._cell.mailbox.put_back(stashed)
        return len(stashed)

    def defer(self) -> Reply[ReplyT]:
        """Return a Reply, an object by which this actor answers the current ask later.

        The value that ``receive`` returns for this ask is then ignored; it can be the Reply. If the actor ends or is
        restarted before the answer, the caller gets ActorTerminated or ActorRestarted. If Python frees the Reply
        unused, the caller gets ReplyDropped. If the current message is a tell, no caller waits, and the reply becomes a
        dead letter.
        """
        return Reply(self._life, *self._keep_current())

    def _keep_current(self) -> tuple[LateAnswers, PendingAsk]:
        """Record that the current ask is answered later. Return the table of such asks, and the ask."""
        request, asks = self._living().current, self._late_answers()
        if isinstance(request, PendingAsk):
            asks.defer(request)
        else:
            # A tell has no caller. The reply goes to a request that is given up already: it becomes a dead letter.
            request = PendingAsk(None)
            request.abandon()
        return asks, request

    def stream(self) -> ReplyStream[ReplyT]:
        """Return a ReplyStream, an object by which this actor sends the reply to the current ask in several parts.

        Use it in ``receive``, or in a task of the nursery:
        ``with context.stream() as stream: await stream.send(part)``.
        The caller takes the parts by :meth:`ActorRef.ask_stream`. All rules of :meth:`defer` hold: the value that
        ``receive`` returns is ignored, and the caller gets an error if this actor ends before the end of the block. If
        the current message is a tell, no caller takes the parts: the block is cancelled at once.
        """
        return ReplyStream(self._life, *self._keep_current())

    @overload
    async def forward(self, ref: ActorRef[Any, Any]) -> Later: ...

    @overload
    async def forward(self, ref: ActorRef[ChildMessageT, Any], message: ChildMessageT) -> Later: ...

    async def forward(self, ref: ActorRef[Any, Any], message: object = CURRENT) -> Later:
        """Pass the current message on to the actor of ``ref``. The caller of an ask gets the reply of that actor.

        The caller also gets the errors of that actor from now on. If the caller gives up, the work of that actor is
        cancelled. The value that ``receive`` returns is ignored. This waits for room in the mailbox, as ``tell`` does.

        Args:
            ref: Handle of the other actor.
            message: Message to pass on in place of the current one.

        Raises:
            ActorTerminated: The other actor has ended or is stopping.
            MailboxFull: The mailbox is full and its policy is ``reject``.
            RuntimeError: No message is being handled, or this would wait for ever.

            After an error this actor still has the message: it can answer it, or pass it on to a third actor.

        Cancellation:
            The message was not passed on.
        """
        await pass_on(self._living(), ref, message)
        return LATER

    @property
    def deadline(self) -> float:
        """Time at which the caller of the current ask gives up, in seconds on trio's clock. Infinite for no limit.

        It is the earliest deadline of all cancel scopes around the caller, the ``timeout`` of the ask among them. If
        the caller is an actor that handles an ask itself, the deadline of that ask counts too, and so on. At that time
        ``receive`` is cancelled, with all asks that it waits for. Work in other tasks can use
        ``trio.CancelScope(deadline=…)``.
        """
        item = self._living().current
        return self.system.deadline_of(item) if isinstance(item, PendingAsk) else math.inf

    @property
    def timers(self) -> Timers[MessageT]:
        """Timers of this actor.

        The timers end when the actor ends or is restarted. After that, this context can set no timer.
        """
        if self._life.timers is None:
            self._life.timers = Timers(self._life)
        return self._life.timers
