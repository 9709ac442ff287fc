"""The handle on an actor: the only object of an actor that other code holds."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

import attrs
import trio

from actors.checks import check_count, check_kind, check_seconds
from actors.errors import AskTimeout
from actors.runtime._home import Home
from actors.runtime._lifecycle import DRAIN, STOP, ExitReason
from actors.runtime._parts import PARTS, ReplyParts
from actors.runtime._request import PendingAsk
from actors.runtime._typed import Askable, Defaults, Message_contra, Reply_co

if TYPE_CHECKING:
    from actors.runtime._lifecycle import State, Stop
    from actors.runtime._mailbox import Mailbox, MailboxStatistics
    from actors.runtime._spec import ChildSpec


RefT = TypeVar("RefT")
T = TypeVar("T")


@attrs.frozen
class ActorStatistics:
    """The state of one actor at one moment."""

    path: str
    """Path of the actor in the tree, from the root."""
    state: str
    """State of the actor: starting, running, stopping, restarting or terminated."""
    handled: int
    """Number of messages that the actor has handled. Restarts do not reset it."""
    failed: int
    """Number of messages that were not handled completely, because the actor failed or was killed."""
    restarts: int
    """Number of the actor's restarts."""
    tasks: int
    """Number of tasks in the actor's nursery now."""
    children: int
    """Number of the actor's children now."""
    timers: int
    """Number of timers that are set now. That of :meth:`Context.idle_after` is included."""
    stashed: int
    """Number of messages that are stashed now."""
    leases: int
    """Number of :meth:`Context.lease` blocks that are open now. Each of these blocks marks the actor as busy."""
    watchers: int
    """Number of actors that watch this actor."""
    mailbox: MailboxStatistics
    """Statistics of the actor's mailbox."""
    subscriptions: int = attrs.field(default=0, kw_only=True)
    """Number of the actor's subscriptions to events now."""


class HasChildren(Protocol):
    """An incarnation (the actor's life since its last start), with the one attribute that a ref uses."""

    @property
    def children(self) -> object:
        """Children of the actor; None before the first child."""
        ...


class Watcher(Protocol):
    """An object that is notified when a watched actor has ended permanently."""

    def on_terminated(self, event: Terminated) -> None:
        """Receive the notice that the watched actor has ended permanently: it is not restarted."""
        ...


class Target(Protocol):
    """The interface of an actor that its refs and its watchers use."""

    @property
    def spec(self) -> ChildSpec:
        """Spec of the actor."""
        ...

    @property
    def path(self) -> str:
        """Path of the actor in the tree."""
        ...

    @property
    def state(self) -> State:
        """State of the actor."""
        ...

    @property
    def reason(self) -> ExitReason | None:
        """Reason of the actor's permanent end; None before that end."""
        ...

    @property
    def mailbox(self) -> Mailbox:
        """Mailbox of the actor."""
        ...

    @property
    def task(self) -> trio.lowlevel.Task | None:
        """Task that runs the actor; None before the start and after the end of the actor."""
        ...

    @property
    def life(self) -> HasChildren | None:
        """Current incarnation of the actor (its life since the last start); None while there is none."""
        ...

    @property
    def ref(self) -> ActorRef[Any, Any]:
        """Handle on the actor."""
        ...

    def tells_itself(self) -> bool:
        """Return True only if the caller is a task of this actor and other code has asked this actor to stop."""
        ...

    def check_not_awaited(self) -> None:
        """Raise RuntimeError if the calling actor is being started and this actor waits for that start: a deadlock."""
        ...

    def check_may_be_asked(self) -> None:
        """Raise RuntimeError if the caller of an ask would wait for itself."""
        ...

    def check_not_own_end(self) -> None:
        """Raise RuntimeError if the caller is the actor or an actor below it: the caller would wait for its own end."""
        ...

    def stop_soon(self, stop: Stop, seconds: float) -> None:
        """Begin a stop of the actor. Its code is cancelled after ``seconds``."""
        ...

    def kill_soon(self) -> None:
        """End the actor now. Shielded code is cancelled too. The supervisor decides whether the actor is restarted."""
        ...

    async def gone(self) -> ExitReason:
        """Wait until the actor has ended permanently, and return the reason."""
        ...

    def statistics(self) -> ActorStatistics:
        """Return the current statistics of the actor."""
        ...

    def add_watcher(self, watcher: Watcher) -> None:
        """Add a watcher. It is notified when the actor has ended permanently."""
        ...

    def remove_watcher(self, watcher: Watcher) -> None:
        """Remove a watcher, so that it is not notified."""
        ...


class ActorRef(Defaults, Generic[Message_contra, Reply_co]):
    """The handle on an actor. It stays valid over all restarts. ``spawn`` returns the handle.

    ``tell`` passes a checkpoint whenever it has to wait. When it need not wait, it passes a checkpoint only on every
    64th call, counted over all actors. When ``tell`` returns, the message was accepted, or dropped by the policy of the
    mailbox. When it raises, the message was not sent.

    Methods that change something belong to the thread and the trio run of the system. In any other thread or run they
    raise RuntimeError and change nothing. In a thread that trio started, call them by ``trio.from_thread.run`` or
    ``run_sync``.
    """

    __slots__ = ("__weakref__", "_cell", "_mailbox")

    def __init__(self, cell: Target) -> None:
        self._cell = cell
        self._mailbox = cell.mailbox  # stored here too because every tell uses it

    @property
    def path(self) -> str:
        """Path of the actor in the tree: ``/`` and the names from the root down."""
        return self._cell.path

    @property
    def name(self) -> str:
        """Name of the actor, unique among the living children of its parent."""
        return self._cell.spec.id

    @property
    def alive(self) -> bool:
        """Whether the actor has not ended permanently. An actor that is being restarted is alive."""
        return self._cell.reason is None

    async def tell(self, message: Message_contra) -> None:
        """Put a message into the actor's mailbox. If the mailbox is full, wait, or do as its overflow policy says.

        An actor that other code has asked to stop can still send messages to itself, also from tasks of its nursery.
        These messages are handled if the stop drains the mailbox; otherwise they become dead letters.

        Raises:
            ActorTerminated: The actor has ended, is stopping, or ends while this waits.
            MailboxFull: The mailbox is full and its policy is ``reject``.
            RuntimeError: The mailbox is full and this would wait for ever: the caller is the actor's own task, or the
                actor waits for the start of the caller.

        Cancellation:
            The message was not sent.
        """
        mailbox = self._mailbox
        if next(mailbox.turns):
            await trio.lowlevel.checkpoint()
        if not mailbox.offer(message):
            await self._put(message)

    async def _put(self, message: Message_contra) -> None:
        """Put a message into the mailbox that has just refused it: wait for room, or do as its overflow policy says."""
        if self._put_own(message):
            return
        if self._mailbox.blocks:
            if trio.lowlevel.current_task() is self._cell.task:
                raise RuntimeError(f"{self.path} tells itself, and its mailbox is full: it would wait for ever")
            self._cell.check_not_awaited()
        await self._mailbox.put(message)

    def _put_own(self, message: object) -> bool:
        """Put a message that a stopping actor sends to itself into the mailbox. Return False for any other message."""
        return self._mailbox.is_stopping and self._cell.tells_itself() and self._mailbox.put_own(message)

    def tell_nowait(self, message: Message_contra) -> None:
        """Put a message into the actor's mailbox without waiting.

        Raises:
            MailboxFull: The mailbox is full, and its policy is to wait or to reject.
            ActorTerminated: The actor has ended or is stopping.
        """
        mailbox = self._mailbox
        mailbox.home.check()
        # Only a stopping actor refuses messages and takes its own all the same.
        if not (mailbox.offer(message) or self._put_own(message)):
            mailbox.put_nowait(message)

    @overload
    async def ask(self: RefT, message: Askable[RefT, T], timeout: float | None = None) -> T: ...  # noqa: ASYNC109  -- the contract

    @overload
    async def ask(self, message: Message_contra, timeout: float | None = None) -> Reply_co: ...  # noqa: ASYNC109  -- the contract

    async def ask(self, message: object, timeout: float | None = None) -> object:  # noqa: ASYNC109  -- the contract
        """Send a message, and return the value that the actor's ``receive`` returns for it.

        For type checkers, the value has the type in the message if the message is a :class:`Request`, else the type of
        the actor's replies.

        Args:
            message: The message.
            timeout: Maximum wait in seconds, the wait for room in the mailbox included. None for no limit.

        Raises:
            ActorTerminated: The actor has ended, is stopping, or ends before it replied. This is raised at once, not
                after ``timeout``.
            ActorRestarted: The actor failed on this message, and is restarted.
            MessageUnhandled: The actor does not know the message.
            ReplyDropped: The actor deferred its answer, and then lost the Reply object.
            MailboxFull: The mailbox refused or dropped the message.
            AskTimeout: There was no reply within ``timeout``.
            RuntimeError: The answer could never come: an actor asks itself, or a child asks its parent while the parent
                waits for the start of that child.

        Cancellation:
            The same happens as after a timeout: if the message is still in the mailbox, it is skipped. If the actor
            works on the message, that work is cancelled. A reply that comes later is a dead letter.
        """
        if get_ident() != self._mailbox.home.thread:
            raise Home.elsewhere()
        if trio.lowlevel.current_task() is self._cell.task:
            raise RuntimeError(f"{self.path} asks itself: it would wait for ever")
        life = self._cell.life
        # Only an actor with children can be waiting for the start of a child.
        if life is not None and life.children is not None:
            self._cell.check_not_awaited()
        if timeout is None:
            return await self._ask(message)
        check_seconds(timeout, "timeout")
        with trio.move_on_after(timeout):
            return await self._ask(message)
        raise AskTimeout(f"{self.path} did not reply within {timeout} s")

    @overload
    def ask_stream(
        self: RefT, message: Askable[RefT, T], *, buffer: int = PARTS, timeout: float | None = None
    ) -> ReplyParts[T]: ...

    @overload
    def ask_stream(
        self, message: Message_contra, *, buffer: int = PARTS, timeout: float | None = None
    ) -> ReplyParts[Reply_co]: ...

    def ask_stream(self, message: object, *, buffer: int = PARTS, timeout: float | None = None) -> ReplyParts[Any]:
        """Return an async iterator over a reply in several parts.

        Use it as ``with ref.ask_stream(message) as parts: async for part in parts: …``.

        The first step sends the message. The actor sends the parts by :meth:`Context.stream`; a value that its
        ``receive`` returns is a reply of one part. When the ``with`` block ends, or the iterator is freed, before the
        reply is complete, the actor's work for it is cancelled. If the actor ends or is restarted, loses the stream or
        does not know the message, the iterator raises the error of :meth:`ask`, after the parts that were sent before.

        Args:
            message: The message.
            buffer: Maximum number of parts that wait to be taken. The actor then waits in ``stream.send``.
            timeout: Maximum wait for each part, in seconds; AskTimeout ends the reply. For a limit of the whole reply,
                use ``trio.fail_after``.
        """
        check_count(buffer, 1, "buffer")
        if timeout is not None:
            check_seconds(timeout, "timeout")
        return ReplyParts(self._cell, message, buffer, timeout)

    async def _ask(self, message: object) -> object:
        request = PendingAsk(message, self._mailbox)
        if not self._mailbox.offer(request):
            if next(self._mailbox.turns):  # put() may return without a checkpoint
                await trio.lowlevel.checkpoint()
            await self._mailbox.put(request)
        return await request.wait()

    async def stop(self, *, drain: bool = False, timeout: float | None = None) -> ExitReason:  # noqa: ASYNC109  -- the contract
        """Stop the actor permanently: it is not restarted, even if its restart type is permanent.

        Return its exit reason.

        From this call on, the actor refuses new messages. It finishes its current message. Then its children stop, its
        ``stopping()`` runs, and the tasks of its nursery are cancelled. This returns when the actor and all actors
        below it have ended. If the actor had ended before the call, this only returns its reason.

        Args:
            drain: Whether the actor first handles the messages in its mailbox. If False, these messages become dead
                letters.
            timeout: Seconds until the actor's code is cancelled, if it still runs. One second later, shielded code is
                cancelled too. The reason is then Killed. 0 cancels all code at once. None: the ``shutdown`` time of the
                actor's spec.

        Raises:
            RuntimeError: The caller is the task of the actor, or of an actor below it. Such a task would wait for its
                own end: call ``context.stop()`` there. A task in the nursery of one of these actors gets no error, but
                is cancelled in this call.

        Cancellation:
            The stop continues.
        """
        cell = self._cell
        cell.check_not_own_end()
        if timeout is not None:
            check_seconds(timeout, "timeout")
        cell.stop_soon(DRAIN if drain else STOP, cell.spec.seconds if timeout is None else timeout)
        return await cell.gone()

    def kill(self) -> None:
        """End the actor now, even shielded work, without its ``stopping()``. The exit reason is Killed.

        The actor's supervisor treats the kill as a failure: a permanent or transient actor is restarted. If the actor
        has ended or is being restarted, nothing happens. This returns before the end of the actor: to wait for the end,
        await :meth:`terminated`.
        """
        self._mailbox.home.check()
        self._cell.kill_soon()

    async def terminated(self) -> ExitReason:
        """Wait until the actor has ended permanently (it is not restarted), and return the reason. Safe to cancel.

        Raises RuntimeError if the caller is the task of the actor, or of an actor below it: the caller would wait for
        its own end.
        """
        self._cell.check_not_own_end()
        return await self._cell.gone()

    def statistics(self) -> ActorStatistics:
        """Return the current statistics of the actor."""
        return self._cell.statistics()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {self._cell.state}>"


def cell_of(ref: ActorRef) -> Target:
    """Return the internal object of the actor behind ``ref``, for the runtime's modules.

    Raises SpecError if ``ref`` is no ActorRef.
    """
    check_kind("ref", ref, ActorRef, "an ActorRef")
    return ref._cell  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- the one place


@attrs.frozen
class Terminated:
    """The message that a watcher receives, once, when a watched actor has ended permanently."""

    ref: ActorRef
    reason: ExitReason
