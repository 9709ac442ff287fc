"""The handle on an actor: the only part of it that other code holds."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from actors.checks import check_kind, check_seconds
from actors.errors import AskTimeout
from actors.runtime._home import Home
from actors.runtime._lifecycle import DRAIN, STOP, ExitReason
from actors.runtime._request import Request

if TYPE_CHECKING:
    from actors.runtime._lifecycle import State, Stop
    from actors.runtime._mailbox import Mailbox, MailboxStatistics
    from actors.runtime._spec import ChildSpec


@attrs.frozen
class ActorStatistics:
    """The state of one actor."""

    path: str
    """Path of the actor in the tree, from the root."""
    state: str
    """State of the actor: starting, running, stopping, restarting or terminated."""
    handled: int
    """Number of messages handled, over all incarnations."""
    failed: int
    """Number of messages that the actor was handling when it failed or was killed."""
    restarts: int
    """Number of the actor's restarts."""
    tasks: int
    """Number of tasks in the actor's nursery now."""
    children: int
    """Number of the actor's children now."""
    timers: int
    """Number of timers that are set now."""
    stashed: int
    """Number of messages that are stashed now."""
    leases: int
    """Number of leases that are held: see :meth:`Context.lease`."""
    watchers: int
    """Number of actors that watch this actor."""
    mailbox: MailboxStatistics
    """Statistics of the actor's mailbox."""


class HasChildren(Protocol):
    """An incarnation, with the one attribute that a ref uses."""

    @property
    def children(self) -> object:
        """Children of the incarnation; None before the first child."""
        ...


class Watcher(Protocol):
    """A watcher of an actor."""

    def on_terminated(self, event: Terminated) -> None:
        """Receive the notice that the watched actor has ended and is not restarted."""
        ...


class Target(Protocol):
    """The actor behind a ref, as its ref and its watchers use it."""

    @property
    def spec(self) -> ChildSpec:
        """Spec of the actor."""
        ...

    @property
    def path(self) -> str:
        """Path in the tree."""
        ...

    @property
    def state(self) -> State:
        """State of the actor."""
        ...

    @property
    def reason(self) -> ExitReason | None:
        """Reason of the actor's final end; None before that end."""
        ...

    @property
    def mailbox(self) -> Mailbox:
        """Mailbox of the actor."""
        ...

    @property
    def task(self) -> trio.lowlevel.Task | None:
        """Task that runs the actor; None while there is none."""
        ...

    @property
    def life(self) -> HasChildren | None:
        """Current incarnation of the actor; None while there is none."""
        ...

    @property
    def ref(self) -> ActorRef:
        """Handle on the actor."""
        ...

    def tells_itself(self) -> bool:
        """Return whether others asked the actor to stop, and the caller is the actor itself."""
        ...

    def check_not_awaited(self) -> None:
        """Raise RuntimeError if the actor waits for the start of the actor that calls this."""
        ...

    def check_not_own_end(self) -> None:
        """Raise RuntimeError if the caller is the actor, or an actor below it."""
        ...

    def stop_soon(self, stop: Stop, seconds: float) -> None:
        """Begin a stop of the actor."""
        ...

    def kill_soon(self) -> None:
        """End the current incarnation now."""
        ...

    async def gone(self) -> ExitReason:
        """Wait until the actor has ended finally, and return the reason."""
        ...

    def statistics(self) -> ActorStatistics:
        """Return the current statistics."""
        ...

    def add_watcher(self, watcher: Watcher) -> None:
        """Notify ``watcher`` when the actor has ended and is not restarted."""
        ...

    def remove_watcher(self, watcher: Watcher) -> None:
        """Do not notify ``watcher`` any more."""
        ...


class ActorRef:
    """The handle on an actor. It stays valid over all restarts. ``spawn`` returns it; it has no public constructor.

    ``tell`` passes a checkpoint whenever it has to wait, and otherwise not on every call but once in 64 calls to any
    actors. When it returns, the message was accepted, or dropped by the policy of the mailbox. When it raises, the
    message was not sent.

    Methods that change something belong to the thread and the trio run of the system. Elsewhere they raise RuntimeError
    and change nothing. In a thread that trio started, call them by ``trio.from_thread.run`` or ``run_sync``.
    """

    __slots__ = ("__weakref__", "_cell", "_mailbox")

    def __init__(self, cell: Target) -> None:
        self._cell = cell
        self._mailbox = cell.mailbox

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
        """Whether the actor has not ended finally. An actor that is being restarted is alive."""
        return self._cell.reason is None

    async def tell(self, message: object) -> None:
        """Put a message into the mailbox. Wait while it is full.

        An actor that others have asked to stop may still send messages to itself, from tasks of its nursery too. Such a
        message is handled if the stop drains the mailbox, and is a dead letter if not.

        Raises:
            ActorTerminated: The actor has ended, is stopping, or ends while this waits.
            MailboxFull: The mailbox is full and its policy is ``reject``.
            RuntimeError: The actor's own task would wait for room that only it can make.

        Cancellation:
            The message was not sent.
        """
        mailbox = self._mailbox
        if next(mailbox.turns):
            await trio.lowlevel.checkpoint()
        if not mailbox.offer(message) and not self._put_own(message):
            if mailbox.blocks:
                self._check_may_wait()
            await mailbox.put(message)

    def _check_may_wait(self) -> None:
        """Raise RuntimeError if the caller would wait for ever for room in the mailbox."""
        if trio.lowlevel.current_task() is self._cell.task:
            raise RuntimeError(f"{self.path} tells itself, and its mailbox is full: it would wait for ever")
        self._cell.check_not_awaited()

    def _put_own(self, message: object) -> bool:
        """Put a message of a stopping actor to itself into the mailbox. Return False for any other message."""
        return self._mailbox.is_stopping and self._cell.tells_itself() and self._mailbox.put_own(message)

    def tell_nowait(self, message: object) -> None:
        """Put a message into the mailbox without waiting.

        Raises:
            MailboxFull: The mailbox is full, and its policy is to wait or to reject.
            ActorTerminated: The actor has ended or is stopping.
        """
        self._mailbox.home.check()
        if not self._put_own(message):
            self._mailbox.put_nowait(message)

    async def ask(self, message: object, timeout: float | None = None) -> object:  # noqa: ASYNC109  -- the contract
        """Send a message, and return the value that ``receive`` returns for it.

        Args:
            message: The message.
            timeout: Maximum wait in seconds, the wait for room in the mailbox included. None for no limit.

        Raises:
            ActorTerminated: The actor has ended, is stopping, or ends before it replied. Raised at
                once, not after ``timeout``.
            ActorRestarted: The actor failed on this message, and is restarted.
            MessageUnhandled: The actor does not know the message.
            ReplyDropped: The actor deferred its answer, and then lost the Reply object.
            MailboxFull: The mailbox refused or dropped the message.
            AskTimeout: There was no reply within ``timeout``.
            RuntimeError: The answer could never come: the actor asks itself, or it waits for the start of the actor
                that asks.

        Cancellation:
            As after a timeout, a message that is still in the mailbox is skipped, work that has begun for it is
            cancelled, and a reply that comes later is a dead letter.
        """
        if get_ident() != self._mailbox.home.thread:
            raise Home.elsewhere()
        if trio.lowlevel.current_task() is self._cell.task:
            raise RuntimeError(f"{self.path} asks itself: it would wait for ever")
        life = self._cell.life
        if life is not None and life.children is not None:
            self._cell.check_not_awaited()
        if timeout is None:
            return await self._ask(message)
        check_seconds(timeout, "timeout")
        with trio.move_on_after(timeout):
            return await self._ask(message)
        raise AskTimeout(f"{self.path} did not reply within {timeout} s")

    async def _ask(self, message: object) -> object:
        request = Request(message, self._mailbox)
        if not self._mailbox.offer(request):
            if next(self._mailbox.turns):  # put() may return without a checkpoint
                await trio.lowlevel.checkpoint()
            await self._mailbox.put(request)
        return await request.wait()

    async def stop(self, *, drain: bool = False, timeout: float | None = None) -> ExitReason:  # noqa: ASYNC109  -- the contract
        """End the actor finally, even if its restart type is permanent. Return the reason when nothing of it is left.

        New messages are refused from this call on. The current message is finished. Then the actor's children stop,
        ``stopping()`` runs, and the nursery is cancelled. Stopping an actor that has ended returns its reason.

        Args:
            drain: Whether the messages in the mailbox are handled first. If not, they are dead letters.
            timeout: Seconds until everything is cancelled; one second later, shielded work is cancelled too. The reason
                is then Killed. 0 cancels all of it at once. The default is the ``shutdown`` of its spec.

        Raises:
            RuntimeError: The caller is the task of the actor, or of an actor below it: it would wait for its own end.
                Use ``context.stop()`` there. A task in the nursery of such an actor is cancelled in this call.

        Cancellation:
            The stop continues.
        """
        cell = self._cell
        cell.check_not_own_end()
        seconds = cell.spec.seconds if timeout is None else timeout
        check_seconds(seconds, "timeout")
        cell.stop_soon(DRAIN if drain else STOP, seconds)
        return await cell.gone()

    def kill(self) -> None:
        """End the incarnation now, shielded work too, without ``stopping()``. The reason is Killed.

        The supervisor treats that as a failure: a permanent or transient actor is restarted. Nothing happens to an
        actor that has ended or is being restarted. This returns before the end: wait for ``terminated()``.
        """
        self._mailbox.home.check()
        self._cell.kill_soon()

    async def terminated(self) -> ExitReason:
        """Wait until the actor has ended and is not restarted, and return the reason. Safe to cancel.

        Raises RuntimeError where :meth:`stop` does.
        """
        self._cell.check_not_own_end()
        return await self._cell.gone()

    def statistics(self) -> ActorStatistics:
        """Return the current statistics."""
        return self._cell.statistics()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {self._cell.state}>"


def cell_of(ref: ActorRef) -> Target:
    """Return the actor behind a ref, for the runtime's own modules. Raises SpecError if ``ref`` is no ref."""
    check_kind("ref", ref, ActorRef, "an ActorRef")
    return ref._cell  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- the one place


@attrs.frozen
class Terminated:
    """The message that a watcher receives, once, when a watched actor has ended and is not restarted."""

    ref: ActorRef
    reason: ExitReason
