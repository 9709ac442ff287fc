"""The base class of users' actors, and their context in the runtime."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

import outcome
import trio

from actors.checks import check_kind
from actors.errors import StashFull
from actors.runtime._asks import LateAnswers
from actors.runtime._incarnation import Incarnation, life_of
from actors.runtime._instance import Instance
from actors.runtime._lifecycle import Normal, Shutdown
from actors.runtime._messages import NO_MESSAGE
from actors.runtime._ref import ActorRef, cell_of
from actors.runtime._request import Request
from actors.runtime._restart import Restart
from actors.runtime._spec import Overflow, mailbox_spec
from actors.runtime._timers import Timers
from actors.runtime._watching import Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from actors.runtime._spec import SupervisorSpec
    from actors.runtime._supervisor import SupervisorRef
    from actors.runtime._system import ActorSystem


NORMAL = Normal()


class Actor(Instance):
    """The base class of actors. Subclass it and override ``started``, ``receive`` and ``stopping``.

    An actor has its own state, one mailbox and one nursery.

    An incarnation lasts from a start to the next end or restart; each has an instance of its own. The runtime
    makes the first instance in the task that spawns the actor, in a copy of its context, and the others in the actor's
    own task. One message is handled at a time. An exception of any method, or of a task in the nursery, ends the
    incarnation; the restart type decides whether another one is made. :attr:`ref`, :attr:`nursery` and :attr:`context`
    can be used in ``started()`` and later.
    """

    @property
    def ref(self) -> ActorRef:
        """The handle on this actor, for others."""
        return life_of(self).cell.ref

    @property
    def nursery(self) -> trio.Nursery:
        """Nursery for this actor's own tasks. The first use opens it.

        The tasks end with the actor, and an exception of a task ends the actor. The nursery's ``cancel_scope`` encloses
        the whole incarnation: cancelling that scope is a failure of the actor. To cancel one task, give that task a
        scope of its own.
        """
        life = life_of(self)
        life.check_place()
        nursery = life.open_nursery()
        if nursery is None:
            raise RuntimeError(f"{life.cell.path} has no nursery: it failed, or this is none of its tasks")
        return nursery

    @property
    def context(self) -> Context:
        """Methods for this actor's work with the runtime: children, timers, watches and the stash."""
        return Context(life_of(self))


class Context:
    """Methods for an actor's work with the runtime. Only the actor itself and its tasks use it.

    Elsewhere, as in a thread, its methods raise RuntimeError and change nothing; see ``trio.from_thread``. A context
    belongs to one incarnation. After that incarnation has ended, methods that ask for something raise RuntimeError
    (``spawn`` and ``supervise``: ActorTerminated), and methods that end something do nothing. A later incarnation is
    not changed.
    """

    __slots__ = ("_cell", "_life")

    def __init__(self, life: Incarnation) -> None:
        self._life = life
        self._cell = life.cell

    def _living(self) -> Incarnation:
        """Return the incarnation. Raises RuntimeError if it has ended, or if this is not the system's trio run."""
        self._life.check_place()
        if self._life.has_ended:
            raise RuntimeError(f"this incarnation of {self._cell.path} has ended: a later one has a context of its own")
        return self._life

    @property
    def system(self) -> ActorSystem:
        """The system that the actor belongs to."""
        return cast("ActorSystem", self._cell.system)  # the only runtime there is; cells are below it

    async def spawn(  # noqa: PLR0913  -- one keyword per documented option
        self,
        factory: Callable[..., Actor],
        *args: object,
        name: str | None = None,
        restart: Restart = Restart.TEMPORARY,
        shutdown: float | None = None,
        mailbox_size: int = 64,
        overflow: Overflow = Overflow.WAIT,
        stash_size: int = 64,
    ) -> ActorRef:
        """Start a child of this actor, and return its handle. The child ends before this actor does.

        The arguments and exceptions are those of :meth:`ActorSystem.spawn`, and ActorTerminated if this actor is
        stopping. More than 3 restarts of its children within 5 s end this actor with RestartLimit.
        """
        system = self.system
        if system.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        mailbox = mailbox_spec(mailbox_size, overflow, stash_size)
        spec = system.child_spec(factory, args, name, restart, shutdown, mailbox)
        return await system.start_below(self._life, spec)

    async def supervise(
        self, spec: SupervisorSpec, name: str | None = None, *, restart: Restart = Restart.TEMPORARY
    ) -> SupervisorRef:
        """Start a supervisor below this actor, and return its handle; see :meth:`ActorSystem.supervise`."""
        if self.system.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        return await self.system.supervise_below(self._life, spec, name, restart)

    def stop(self, reason: Normal | Shutdown = NORMAL) -> None:
        """End this actor after the current message, without draining the mailbox.

        A permanent actor is restarted. Any other actor refuses messages from now on. Nothing happens if this
        incarnation has ended.
        """
        check_kind("reason", reason, (Normal, Shutdown), "Normal or Shutdown")
        self._life.check_place()
        if not self._life.has_ended:
            self._cell.leave(reason)

    def watch(self, ref: ActorRef) -> None:
        """Receive one Terminated message when the actor of ``ref`` has ended and is not restarted.

        If that actor has ended already, the message comes at once.

        The watch ends with the incarnation. An actor that returns UNHANDLED for a Terminated fails with DeathPact.
        """
        life = self._living()
        if life.watching is None:
            life.watching = Watching(life)
        life.watching.add(cell_of(ref))

    def unwatch(self, ref: ActorRef) -> None:
        """Stop watching an actor. If its Terminated message already waits to be handled, that message is dropped."""
        self._life.check_place()
        target = cell_of(ref)
        if self._life.watching is not None:
            self._life.watching.remove(target)

    def stash(self) -> None:
        """Put the current message aside until :meth:`unstash`. If the message is an ask, its caller keeps waiting.

        A restart puts stashed messages back into the mailbox, in front of all other messages.

        Raises:
            StashFull: The stash is full. The message is then still the current one.
            RuntimeError: No message is being handled.
        """
        life = self._living()
        if life.current is NO_MESSAGE:
            raise RuntimeError("there is no message in hand to stash")
        asks = self._late_answers()
        if len(asks.stash) >= self._cell.spec.mailbox.stash:
            raise StashFull(f"the stash of {self._cell.path} is full ({len(asks.stash)} messages)")
        asks.put_aside(life.current)
        life.current = NO_MESSAGE

    def _late_answers(self) -> LateAnswers:
        life = self._life
        if life.asks is None:
            life.asks = LateAnswers(life)
        return life.asks

    def unstash(self) -> int:
        """Move all stashed messages to the front of the mailbox, oldest first. Return their number."""
        self._life.check_place()
        stashed = [] if self._life.asks is None else self._life.asks.take_stash()
        self._cell.mailbox.put_back(stashed)
        return len(stashed)

    def defer(self) -> Reply:
        """Return a Reply by which this actor answers the current ask later. The value of ``receive`` is then ignored.

        If the incarnation ends first, the caller gets ActorTerminated or ActorRestarted. If Python frees the Reply
        unused, the caller gets ReplyDropped. The reply to a tell is a dead letter.
        """
        life = self._living()
        asks = self._late_answers()
        request = life.current
        if not isinstance(request, Request):
            request = Request(None)
            request.abandon()
        else:
            asks.defer(request)
        return Reply(life, asks, request)

    @property
    def timers(self) -> Timers:
        """Timers of this incarnation. They end with the incarnation; after that no timer can be set."""
        if self._life.timers is None:
            self._life.timers = Timers(self._life)
        return self._life.timers

    @contextlib.contextmanager
    def lease(self) -> Generator[None]:
        """Mark the actor as busy inside the block, although its mailbox is empty. See ``statistics().leases``."""
        life = self._living()
        life.leases += 1
        try:
            yield
        finally:
            life.leases -= 1


class Reply:
    """The answer to one ask that was deferred. Call ``send`` or ``fail``, once.

    When Python frees the last unused Reply to an ask, the ask raises ReplyDropped: nothing can answer it any more.
    """

    __slots__ = ("_asks", "_life", "_request")

    def __init__(self, life: Incarnation, asks: LateAnswers, request: Request) -> None:
        self._life = life
        self._asks = asks
        self._request = request

    @property
    def wanted(self) -> bool:
        """Whether the caller still waits for the answer."""
        return not self._request.done

    def send(self, value: object) -> None:
        """Answer the ask. If the caller no longer waits, the value is a dead letter.

        Raises RuntimeError outside the trio run of the system. In a thread that trio started, use ``trio.from_thread``.
        """
        self._settle(outcome.Value(value), value)

    def fail(self, error: Exception) -> None:
        """Make the ask raise ``error``, but not this actor. If the caller no longer waits, the error is a dead letter.

        Raises SpecError if ``error`` is no exception, and RuntimeError where :meth:`send` does.
        """
        check_kind("error", error, Exception, "an Exception")
        self._settle(outcome.Error(error), error)

    def _settle(self, result: outcome.Outcome[object], content: object) -> None:
        self._life.check_place()
        self._asks.forget(self._request)
        if not self._request.settle(result):
            self._life.cell.late(content)

    def __del__(self) -> None:
        # Python may free it in another thread, and between any two steps of this one: so this changes nothing here.
        if not self._request.done:
            with contextlib.suppress(trio.RunFinishedError):
                self._life.cell.system.token.run_sync_soon(self._asks.on_reply_freed, self._request)
