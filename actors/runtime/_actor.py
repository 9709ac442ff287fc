"""What users subclass: an actor, and what it can do with the runtime around it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import outcome
import trio

from actors.checks import check_kind
from actors.errors import StashFull
from actors.runtime._incarnation import NO_MESSAGE, UNHANDLED, Incarnation, does_nothing
from actors.runtime._instance import Instance, life_of
from actors.runtime._lifecycle import ExitReason, Normal, Shutdown
from actors.runtime._mailbox import Request
from actors.runtime._ref import ActorRef, cell_of
from actors.runtime._restart import Restart
from actors.runtime._spec import Overflow, mailbox_spec
from actors.runtime._timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from actors.runtime._spec import SupervisorSpec
    from actors.runtime._supervisor import SupervisorRef
    from actors.runtime._system import ActorSystem


NORMAL = Normal()


class Actor(Instance):
    """State, one mailbox, one nursery. Subclass it; the runtime makes the instance of each incarnation.

    The first is made by the task that spawns the actor, in a copy of its context, the others by the actor's own.
    One message is handled at a time. A failure of any method, or of a task in the nursery, ends the incarnation;
    whether another one is made is decided by ``restart``. :attr:`ref`, :attr:`nursery` and :attr:`context` are there
    from ``started()`` on.
    """

    @does_nothing
    async def started(self) -> None:
        """Run before the first message of each incarnation; ``spawn`` returns after it."""

    async def receive(self, message: object) -> object:
        """Handle one message. What is returned answers an ask; UNHANDLED says that the message is not known here."""
        del message
        return UNHANDLED

    @does_nothing
    async def stopping(self, reason: ExitReason) -> None:
        """Run at the end, when the children are gone; the time for it is what is left of ``shutdown``.

        After Normal and Shutdown the nursery is still open, and children may be started: what runs is cancelled, and
        they are stopped, when this returns. After a Failure both are gone. Not run for a killed actor, and not for one
        whose ``started()`` failed.
        """

    @property
    def ref(self) -> ActorRef:
        """The handle on this actor, to be given to others."""
        return life_of(self).cell.ref

    @property
    def nursery(self) -> trio.Nursery:
        """Where this actor's tasks live, opened when first asked for. They end with it; one that fails ends it.

        Its ``cancel_scope`` is around the whole life: to cancel that is a failure. Tasks that are to be cancelled need
        a scope of their own.
        """
        life = life_of(self)
        life.cell.system.home.check()
        nursery = life.room()
        if nursery is None:
            raise RuntimeError(f"{life.cell.path} has no nursery: it failed, or this is none of its tasks")
        return nursery

    @property
    def context(self) -> Context:
        """What this actor can do with the runtime."""
        return Context(life_of(self))


class Context:
    """What an actor can do with the runtime around it. Only for the actor itself and its tasks.

    Elsewhere, as in a thread, its methods raise RuntimeError and change nothing; see ``trio.from_thread``. It belongs
    to one incarnation: kept after that has ended it does nothing to a later one. What asks for something then raises
    RuntimeError (``spawn`` and ``supervise``: ActorTerminated), what ends something finds it ended.
    """

    __slots__ = ("_cell", "_life")

    def __init__(self, life: Incarnation) -> None:
        self._life = life
        self._cell = life.cell

    def _living(self) -> Incarnation:
        """Return the incarnation. Raises RuntimeError when it has ended, and where an actor may not be used."""
        self.system.home.check()
        if self._life.has_ended:
            raise RuntimeError(f"this incarnation of {self._cell.path} has ended: a later one has a context of its own")
        return self._life

    @property
    def system(self) -> ActorSystem:
        """The system it lives in."""
        return self._cell.system

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
        """Start a child of this actor; see :meth:`ActorSystem.spawn`. It ends before this actor does.

        More than 3 restarts of its children within 5 s end this actor with RestartLimit.
        """
        if self.system.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        mailbox = mailbox_spec(mailbox_size, overflow, stash_size)
        spec = self.system.child_spec(factory, args, name, restart, shutdown, mailbox)
        return await self.system.start_below(self._life, spec)

    async def supervise(
        self, spec: SupervisorSpec, name: str | None = None, *, restart: Restart = Restart.TEMPORARY
    ) -> SupervisorRef:
        """Start a supervisor below this actor; see :meth:`ActorSystem.supervise`."""
        if self.system.home.is_turn_after():
            await trio.lowlevel.checkpoint()
        return await self.system.supervise_below(self._life, spec, name, restart)

    def stop(self, reason: Normal | Shutdown = NORMAL) -> None:
        """End this actor after the message in hand, without draining.

        Unless its restart type brings it back, messages are refused from now on. A permanent actor is restarted.
        Nothing happens when this incarnation has ended.
        """
        check_kind("reason", reason, (Normal, Shutdown), "Normal or Shutdown")
        self.system.home.check()
        if not self._life.has_ended:
            self._cell.leave(reason)

    def watch(self, ref: ActorRef) -> None:
        """Receive one Terminated when that actor has ended for good, at once if it has already.

        Ends with the incarnation. An actor that returns UNHANDLED for a Terminated fails with DeathPact.
        """
        self._living().watch(cell_of(ref))

    def unwatch(self, ref: ActorRef) -> None:
        """Receive no Terminated of that actor, not even one that waits already."""
        self.system.home.check()
        self._life.unwatch(cell_of(ref))

    def stash(self) -> None:
        """Put the message in hand aside, an ask with its caller. Raises StashFull; then it is still in hand.

        A restart puts what is stashed back before the rest of the mailbox.
        """
        life = self._living()
        if life.current is NO_MESSAGE:
            raise RuntimeError("there is no message in hand to stash")
        stash = life.stash if life.stash is not None else []
        if len(stash) >= self._cell.spec.mailbox.stash:
            raise StashFull(f"the stash of {self._cell.path} is full ({len(stash)} messages)")
        stash.append(life.current)
        if isinstance(life.current, Request):
            life.keep(life.current)
        life.stash, life.current = stash, NO_MESSAGE

    def unstash(self) -> int:
        """Put all that is stashed before the rest of the mailbox, oldest first; how many they were."""
        self.system.home.check()
        stashed = self._life.take_stash()
        self._cell.mailbox.put_back(stashed)
        return len(stashed)

    def defer(self) -> Reply:
        """Answer the ask in hand later, from anywhere in this actor; what ``receive`` returns is then ignored.

        If the incarnation ends before, the caller gets ActorTerminated or ActorRestarted; if Python frees the reply
        unused, ReplyDropped. For a tell the reply goes nowhere: it is a dead letter.
        """
        life = self._living()
        request = life.current
        if not isinstance(request, Request):
            request = Request(None)
            request.abandon()
        else:
            life.defer(request)
        return Reply(life, request)

    @property
    def timers(self) -> Timers:
        """This incarnation's timers; when it has ended it has none, and sets none."""
        if self._life.timers is None:
            self._life.timers = Timers(self._life)
        return self._life.timers

    @contextlib.contextmanager
    def lease(self) -> Generator[None]:
        """Say that the actor is busy although nothing is in its mailbox: counted in ``statistics().leases``."""
        life = self._living()
        life.leases += 1
        try:
            yield
        finally:
            life.leases -= 1


class Reply:
    """The answer to one ask, still to be given: by ``send`` or ``fail``, once.

    When the last reply to an ask is freed without either, the ask raises ReplyDropped: nothing can answer it any more.
    """

    __slots__ = ("_life", "_request")

    def __init__(self, life: Incarnation, request: Request) -> None:
        self._life = life
        self._request = request

    @property
    def wanted(self) -> bool:
        """Whether the caller still waits."""
        return not self._request.done

    def send(self, value: object) -> None:
        """Answer. When the caller no longer waits the value is a dead letter.

        Raises RuntimeError outside the trio run of the system; a thread that trio runs calls by ``from_thread``.
        """
        self._settle(outcome.Value(value), value)

    def fail(self, error: Exception) -> None:
        """Let the ask raise ``error``; this actor goes on. When the caller no longer waits it is a dead letter."""
        check_kind("error", error, Exception, "an Exception")
        self._settle(outcome.Error(error), error)

    def _settle(self, result: outcome.Outcome[object], content: object) -> None:
        self._life.cell.system.home.check()
        self._life.forget(self._request)
        if not self._request.settle(result):
            self._life.cell.late(content)

    def __del__(self) -> None:
        # Python may free it anywhere: in another thread, and between any two steps of this one.
        if not self._request.done:
            with contextlib.suppress(trio.RunFinishedError):
                self._life.cell.system.token.run_sync_soon(self._life.lost_reply, self._request)
