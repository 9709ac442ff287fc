"""The handle on an actor: all that others ever hold of it."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

import attrs
import trio

from actors.checks import check_kind, check_seconds
from actors.errors import AskTimeout
from actors.runtime._home import Home
from actors.runtime._lifecycle import DRAIN, STOP, ExitReason
from actors.runtime._mailbox import MailboxStatistics, Request

if TYPE_CHECKING:
    from actors.runtime._cell import Cell


@attrs.frozen
class ActorStatistics:
    """How one actor stands."""

    path: str
    """Its place in the tree, from the root."""
    state: str
    """starting, running, stopping, restarting or terminated."""
    handled: int
    """Messages handled, over all incarnations."""
    failed: int
    """Messages it failed on, or was killed on."""
    restarts: int
    """How often it was restarted."""
    tasks: int
    """Tasks in its nursery now."""
    children: int
    """Actors below it now."""
    timers: int
    """Timers that are set."""
    stashed: int
    """Messages put aside."""
    leases: int
    """Leases held against reaping."""
    watchers: int
    """Actors that wait for its end."""
    mailbox: MailboxStatistics
    """Its data lane."""


class ActorRef:
    """The handle on an actor, over all its restarts. Comes from ``spawn``; has no public constructor.

    ``tell`` passes a checkpoint now and then, not on every call: whenever it has to wait, and otherwise once in 64
    calls, whichever actors they are for and whatever becomes of the messages. When it returns, the message was accepted
    or dropped as the mailbox's policy says; when it raises, it was not.

    What does something is for the thread and the trio run of the system; elsewhere it raises RuntimeError and changes
    nothing. A thread that trio runs calls by ``trio.from_thread.run`` or ``run_sync``.
    """

    __slots__ = ("__weakref__", "_cell", "_mailbox")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._mailbox = cell.mailbox

    @property
    def path(self) -> str:
        """Its place in the tree: ``/`` and the names from the root down."""
        return self._cell.path

    @property
    def name(self) -> str:
        """Its name, unique among the living children of its parent."""
        return self._cell.spec.id

    @property
    def alive(self) -> bool:
        """Whether it has not ended for good; one that is being restarted is alive."""
        return self._cell.reason is None

    async def tell(self, message: object) -> None:
        """Put a message into the mailbox; wait while it is full.

        Raises ActorTerminated when the actor has ended, is stopping, or ends while this waits; MailboxFull under the
        ``reject`` policy; RuntimeError when the actor's own task would wait for room that only it can make. Cancelled:
        the message was not sent.

        An actor that others have asked to stop may still tell itself, from its nursery too: the message is handled if
        the stop drains the mailbox, and is a dead letter if not.
        """
        mailbox = self._mailbox
        if next(mailbox.turns):
            await trio.lowlevel.checkpoint()
        if not mailbox.offer(message) and not self._is_own(message):
            if mailbox.holds_up:
                self._check_not_held_up()
            await mailbox.put(message)

    def _check_not_held_up(self) -> None:
        if trio.lowlevel.current_task() is self._cell.task:
            raise RuntimeError(f"{self.path} tells itself, and its mailbox is full: it would wait for ever")
        check_not_awaited(self._cell)

    def _is_own(self, message: object) -> bool:
        """Take a message that the actor tells itself although it is stopping; whether it was one."""
        return self._mailbox.is_stopping and self._cell.tells_itself() and self._mailbox.put_own(message)

    def tell_nowait(self, message: object) -> None:
        """Put a message into the mailbox, or raise MailboxFull or ActorTerminated."""
        self._mailbox.home.check()
        if not self._is_own(message):
            self._mailbox.put_nowait(message)

    async def ask(self, message: object, timeout: float | None = None) -> object:  # noqa: ASYNC109  -- the contract
        """Send a message and wait for what ``receive`` returns for it.

        Raises RuntimeError when the answer could never come: in the actor's own task, and in the ``started()`` of an
        actor for whose start it waits. Raises ActorTerminated at once when the actor has ended, is stopping, or ends
        before it replied; ActorRestarted when it failed on this message and goes on; MessageUnhandled when it does not
        know it; ReplyDropped when it lost the reply; MailboxFull when the mailbox refused or dropped it; AskTimeout
        after ``timeout`` seconds, those spent waiting for room included.

        After a timeout, or cancelled: a message that still waits is skipped, work that has begun for it is cancelled,
        and a reply that comes all the same is a dead letter.
        """
        if get_ident() != self._mailbox.home.thread:
            raise Home.elsewhere()
        if trio.lowlevel.current_task() is self._cell.task:
            raise RuntimeError(f"{self.path} asks itself: it would wait for ever")
        life = self._cell.life
        if life is not None and life.family is not None:
            check_not_awaited(self._cell)
        if timeout is None:
            return await self._ask(message)
        check_seconds(timeout, "timeout")
        with trio.move_on_after(timeout):
            return await self._ask(message)
        raise AskTimeout(f"{self.path} did not reply within {timeout} s")

    async def _ask(self, message: object) -> object:
        request = Request(message, self._mailbox)
        if not self._mailbox.offer(request):
            if next(self._mailbox.turns):  # what it is told may come without waiting
                await trio.lowlevel.checkpoint()
            await self._mailbox.put(request)
        return await request.wait()

    async def stop(self, *, drain: bool = False, timeout: float | None = None) -> ExitReason:  # noqa: ASYNC109  -- the contract
        """End the actor for good, whatever its restart type, and return the reason when nothing of it is left.

        New messages are refused from this call on. The message in hand is finished, with ``drain`` those in the mailbox
        too (without it they are dead letters); then its children stop, ``stopping()`` runs, its nursery is cancelled.
        After ``timeout`` seconds (default: the ``shutdown`` of its spec) everything is cancelled, a second later
        shielded work as well, and the reason is Killed; 0 does all that at once. Stopping a dead actor returns its
        reason.

        Raises RuntimeError when the actor's own task calls it, or that of an actor below it: it would wait for its own
        end, and ``context.stop()`` does not. A task of their nurseries is cancelled in it. Cancelled: the stop goes on.
        """
        cell = self._cell
        check_not_own_end(cell)
        seconds = cell.spec.seconds if timeout is None else timeout
        check_seconds(seconds, "timeout")
        cell.stop_soon(DRAIN if drain else STOP, seconds)
        return await cell.gone()

    def kill(self) -> None:
        """End the incarnation now, shielded work too, without ``stopping()``; reason Killed.

        Its supervisor takes that for a failure: a permanent or transient actor comes back. Nothing happens to one that
        has ended or is being restarted. Returns before the end: wait for ``terminated()``.
        """
        self._mailbox.home.check()
        self._cell.kill_soon()

    async def terminated(self) -> ExitReason:
        """Wait until it has ended for good; the reason. Cancelled: nothing happened.

        Raises RuntimeError where :meth:`stop` does.
        """
        check_not_own_end(self._cell)
        return await self._cell.gone()

    def statistics(self) -> ActorStatistics:
        """How it stands now."""
        return self._cell.statistics()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} {self._cell.state}>"


def cell_of(ref: ActorRef) -> Cell:
    """Give the runtime's own modules the body behind a ref, which shows users nothing of it.

    Raises SpecError for what is no ref.
    """
    check_kind("ref", ref, ActorRef, "an ActorRef")
    return ref._cell  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  -- the one place


def check_not_awaited(cell: Cell) -> None:
    """Raise RuntimeError when the actor's task waits for the start of the actor in whose task this is called.

    The tasks of children live in a nursery of their parent's task, under the names of the children.
    """
    tasks: list[trio.lowlevel.Task] = []
    task = trio.lowlevel.current_task()
    while task is not cell.task:
        tasks.append(task)
        if task.parent_nursery is None:
            return
        task = task.parent_nursery.parent_task
    starting: Cell | None = cell
    for below in reversed(tasks):
        starting = starting.awaits_start_in(below) if starting is not None else None
    if tasks and starting is not None:
        raise RuntimeError(f"{cell.path} waits until {starting.path} has started, which waits for {cell.path}")


def check_not_own_end(cell: Cell) -> None:
    """Raise RuntimeError when the current task is that of this actor or of one below it: the end would wait for itself.

    Raises RuntimeError outside the trio run of the system too.
    """
    if get_ident() != cell.system.home.thread:
        raise Home.elsewhere()
    task = trio.lowlevel.current_task()
    if cell.task is task:
        raise RuntimeError(f"{cell.path} waits for its own end; use context.stop()")
    for below in cell.family.descendants() if cell.family is not None else ():
        if below.task is task:
            raise RuntimeError(f"{below.path} waits for the end of {cell.path}, which waits for that of {below.path}")


@attrs.frozen
class Terminated:
    """What a watcher receives, once, when a watched actor has ended for good."""

    ref: ActorRef
    reason: ExitReason
